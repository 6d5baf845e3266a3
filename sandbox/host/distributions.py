"""Which files of installed distributions a jail must hold, by their own metadata.

Imported only where packages are asked for: to read metadata takes modules that cost 50 ms.
"""

import functools
import json
import os
from collections.abc import Iterable, Iterator
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ..errors import PolicyError
from .interpreter import Interpreter
from .packages import Packages

ALL = "*"


def find_packages(names: Iterable[str], interpreter: Interpreter) -> tuple[Packages, ...]:
    """Return the distributions `names`, and everything they need, of `interpreter`.

    A name may be a requirement, such as "pandas[excel]>=2"; "*" is all that is installed, but for
    what is there in place (pip install -e). Raises `PolicyError` naming what is not installed
    there, has another version, or has no files that could be shown.
    """
    names = list(names)
    wanted: list[tuple[str | None, metadata.Distribution]] = []
    if ALL in names:
        wanted += [(None, each) for each in _all(interpreter)]
        names = [name for name in names if name != ALL]
    entries: dict[str, set[str]] = {}
    for name, distribution in (*wanted, *_closure(names, interpreter)):
        site = os.path.realpath(str(distribution.locate_file("")))
        own = _entries(distribution, site)
        if name is not None and not any(map(_is_importable, own)):
            raise PolicyError(
                f"packages: {name!r} has no modules in {site}, as it is when something was "
                "installed in place (pip install -e) or by the system; install it plainly"
            )
        entries.setdefault(site, set()).update(own)
    order = [os.path.realpath(site) for site in interpreter.sites]  # the first one on the path wins
    return tuple(
        Packages(site, tuple(sorted(entries[site]))) for site in sorted(entries, key=order.index)
    )


def modules_named(names: Iterable[str], interpreter: Interpreter) -> list[str]:
    """The top-level modules of the distributions `names`, as for `find_packages`, less what they
    need, and less private ones.
    """
    found: set[str] = set()
    for name in names:
        if name == ALL:
            distributions = list(_all(interpreter))
        else:
            distributions = [_installed(_parse_asked(name), "asked for", interpreter)]
        for entry, tree in (each for one in distributions for each in _own(one).items()):
            module, _, suffix = entry.partition(".")
            is_module = bool(tree) if not suffix else suffix.endswith(("py", "so"))
            if is_module and module.isidentifier() and module[0] != "_":
                found.add(module)
    return sorted(found)


def _all(interpreter: Interpreter) -> Iterator[metadata.Distribution]:
    """What is installed, each distribution once: the first one on the path wins."""
    found = set()
    for distribution in metadata.distributions(path=list(interpreter.sites)):
        name = distribution.metadata["Name"]
        if name is None or canonicalize_name(name) in found:
            continue
        found.add(canonicalize_name(name))
        if not _is_in_place(distribution):
            yield distribution


def _is_in_place(distribution: metadata.Distribution) -> bool:
    """Whether a distribution is run from its source (PEP 660, or earlier)."""
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        editable = origin.get("dir_info", {}).get("editable", False)
    except (AttributeError, ValueError):  # whatever it is, it is no such record
        editable = False
    return bool(editable) or not any(map(_is_importable, _own(distribution)))


def provider_of(module: str, sites: tuple[str, ...]) -> str | None:
    """Return the name of the distribution in `sites` that a top-level module belongs to, if any
    does. Nothing is imported; the sites are read once, so that no name, which may be a program's
    invention, costs more than a look.
    """
    distribution = _providers(sites).get(module)
    name = None if distribution is None else distribution.metadata["Name"]
    return None if name is None else str(name)


@functools.lru_cache(maxsize=8)
def _providers(sites: tuple[str, ...]) -> dict[str, metadata.Distribution]:
    """The distributions in `sites`, by their top-level modules; the first one on the path wins."""
    found: dict[str, metadata.Distribution] = {}
    for distribution in metadata.distributions(path=list(sites)):
        record = distribution.read_text("RECORD")
        if record is None:
            tops = {name if tree else f"{name}," for name, tree in _own(distribution).items()}
        else:  # a line for each file: its path, a comma, and more
            tops = {line.partition("/")[0] for line in record.splitlines()}
        for top in tops:
            file, is_file, _ = top.partition(",")
            name, _, suffix = file.partition(".")
            if not suffix or (is_file and suffix.endswith(("py", "so"))):
                found.setdefault(name, distribution)
    return found


_Tree = dict[str, "_Tree"]


def _own(distribution: metadata.Distribution) -> _Tree:
    """The files of a distribution as a tree of names, without what lies outside of its site."""
    tree: _Tree = {}
    for file in distribution.files or ():
        if ".." in file.parts or "__pycache__" in file.parts or os.path.isabs(str(file)):
            continue
        branch = tree
        for part in file.parts:
            branch = branch.setdefault(part, {})
    return tree


def _entries(distribution: metadata.Distribution, site: str) -> set[str]:
    """What must be shown of `site` to show the distribution and none of its neighbours: folders
    that are its own as a whole, and the parts of those that it shares (namespace packages).
    """
    found: set[str] = set()
    waiting = [(name, tree) for name, tree in _own(distribution).items()]
    while waiting:
        path, tree = waiting.pop()
        here = f"{site}/{path}"
        if not os.path.exists(here):
            continue
        if not tree or "__init__.py" in tree or not _is_shared(here, tree):
            found.add(path)
        else:
            waiting += [(f"{path}/{name}", below) for name, below in tree.items()]
    return found


def _is_shared(folder: str, tree: _Tree) -> bool:
    """Whether something lies in the folder, or below it, that is not in the tree."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == "__pycache__":
                continue
            if entry.name not in tree:
                return True
            if entry.is_dir() and _is_shared(entry.path, tree[entry.name]):
                return True
    return False


def _is_importable(entry: str) -> bool:
    top = entry.partition("/")[0]
    return not top.endswith((".dist-info", ".egg-info", ".pth")) and "__editable__" not in top


def _closure(
    names: Iterable[str], interpreter: Interpreter
) -> Iterable[tuple[str | None, metadata.Distribution]]:
    """All distributions needed, each once, with its name if it was asked for."""
    found: dict[str, tuple[str | None, metadata.Distribution]] = {}
    followed: set[tuple[str, str]] = set()
    waiting = [(_parse_asked(name), "asked for", name) for name in names]
    while waiting:
        requirement, why, asked = waiting.pop()
        key = canonicalize_name(requirement.name)
        if key not in found:
            found[key] = (asked or None, _installed(requirement, why, interpreter))
        distribution = found[key][1]
        if asked:
            found[key] = (asked, distribution)  # what was needed before may be asked for, too
        if asked and not requirement.specifier.contains(distribution.version, prereleases=True):
            raise PolicyError(
                f"packages: {asked!r} does not fit what is installed, "
                f"{requirement.name} {distribution.version} ({interpreter.home})"
            )
        for extra in ("", *map(canonicalize_name, requirement.extras)):
            if (key, extra) in followed:
                continue
            followed.add((key, extra))
            if extra and extra not in [canonicalize_name(each) for each in _extras(distribution)]:
                raise PolicyError(
                    f"packages: {requirement.name} {distribution.version} has no extra {extra!r}; "
                    f"there are: {', '.join(_extras(distribution)) or 'none'}"
                )
            for text in distribution.requires or ():
                needed = _parse(text, f"which {requirement.name} needs")
                environment = {**interpreter.markers, "extra": extra}
                if needed.marker is None or needed.marker.evaluate(environment):
                    waiting.append((needed, f"needed by {requirement.name}", ""))
    return found.values()


def _extras(distribution: metadata.Distribution) -> list[str]:
    return distribution.metadata.get_all("Provides-Extra") or []


def _parse_asked(name: str) -> Requirement:
    requirement = _parse(name, "asked for")
    if requirement.url or requirement.marker:
        raise PolicyError(
            f"packages: {name!r} (asked for): only what is installed can be offered; leave out "
            "the URL or the condition"
        )
    return requirement


def _parse(name: str, why: str) -> Requirement:
    try:
        return Requirement(name)
    except InvalidRequirement:
        raise PolicyError(
            f"packages: {name!r} ({why}) is no name of a distribution; "
            'write "numpy", "pandas[excel]" or "numpy>=2"'
        ) from None


def _installed(
    requirement: Requirement, why: str, interpreter: Interpreter
) -> metadata.Distribution:
    sites = list(interpreter.sites)
    found = next(iter(metadata.distributions(name=requirement.name, path=sites)), None)
    if found is None:
        raise PolicyError(
            f"packages: {requirement.name!r} ({why}) is not installed in this environment "
            f"({interpreter.home}); install it there, or leave it out"
        )
    return found
