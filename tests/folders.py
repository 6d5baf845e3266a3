"""A user's folder in which files have the names of the product's folders."""

from pathlib import Path

FILES = (
    "pool.py",
    "registry.py",
    "transforms.py",
    "guest.py",
    "interpreter.py",
    "sandbox/__init__.py",
)

_WRONG = "raise SystemExit('a file of the user is imported: ' + __name__)\n"


def with_names_like_ours(folder: Path) -> Path:
    """Fill `folder` with files that end whoever imports them; return it."""
    for name in FILES:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(_WRONG, encoding="utf-8")
    return folder


def is_untouched(folder: Path) -> bool:
    """Whether these files are there as they were, and nothing of them was compiled."""
    whole = all((folder / name).read_text("utf-8") == _WRONG for name in FILES)
    compiled = [path for path in folder.rglob("*.pyc") if path.name.split(".")[0] != "script"]
    return whole and not compiled
