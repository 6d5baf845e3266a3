"""Files that a test and a program share: by value, before a call and after it.

Each has a scratch of its own. What has changed in one of them since the last time goes along with a
question, or with its answer: regular files and folders, and which are gone. No links, no devices,
and not the program's own file. Paths that lead into a scratch lead into the other one on the other
side.
"""

import os
import stat
import sys
from typing import Any

from ..jail import wire
from ..jail.confine import PROGRAM_FILE

MOST_FILES = 1000
MOST_BYTES = 8 << 20
"""Of the files that have changed from one time to the next."""

_HERE = "\0scratch"
"""Stands for the scratch in what crosses."""

_OWN = f"home/{PROGRAM_FILE}"
_MOST_DEPTH = 32

News = tuple[Any, ...]
"""(where the working directory is, folders, (file, its content, when it was changed in ns), those
that are gone), by their paths in the scratch."""


class Files:
    """The files of a process's own scratch. home: its folder for the working directory."""

    def __init__(self, home: str) -> None:
        self.root = os.path.dirname(home)
        self._known: dict[str, tuple[int, int, int] | None] = {}
        self.news()

    def news(self) -> News:
        """What has changed since the last time. Raises `wire.WireError` for too much of it."""
        found = self._all()
        folders = [path for path, state in found.items() if state is None]
        changed = [
            path
            for path, state in found.items()
            if state is not None and state != self._known.get(path)
        ]
        gone = sorted(self._known.keys() - found.keys(), reverse=True)  # what is in a folder first
        files: list[tuple[str, bytes, int]] = []
        size = 0
        for path in changed:
            content = self._read(path)
            size += len(content)
            if len(files) >= MOST_FILES or size > MOST_BYTES:
                raise wire.TooMuch(f"more than {MOST_FILES} files or {MOST_BYTES} bytes of them")
            files.append((path, content, found[path][0]))  # type: ignore[index]
        new = [path for path in folders if path not in self._known]
        self._known = found
        return self._inside(os.getcwd()), tuple(new), tuple(files), tuple(gone)

    def take(self, news: object) -> None:
        """Have the same here. Raises `wire.WireError` for what is no news."""
        match news:
            case (str() | None as where, tuple(folders), tuple(files), tuple(gone)):
                pass
            case _:
                raise wire.WireError("no news of files")
        if len(files) > MOST_FILES:
            raise wire.TooMuch(f"more than {MOST_FILES} files")
        try:
            for path in folders:
                os.makedirs(self._path(path), exist_ok=True)
            for file in files:
                match file:
                    case (str(path), bytes(content), int(changed_ns)):
                        self._write(self._path(path), content, changed_ns)
                    case _:
                        raise wire.WireError("no news of files")
            for path in gone:
                self._remove(self._path(path))
            if where is not None:
                os.chdir(self._path(where))
        except (OSError, OverflowError, ValueError) as error:
            raise wire.WireError(f"files can't be shared: {error}") from None
        self._known = self._all()

    def outward(self, value: Any, depth: int = 0) -> Any:
        """The value, with its paths as they cross."""
        return _replaced(value, self.root, _HERE, depth)

    def inward(self, value: Any, depth: int = 0) -> Any:
        """The value, with paths as they are here."""
        return _replaced(value, _HERE, self.root, depth)

    def _all(self) -> dict[str, tuple[int, int, int] | None]:
        """Each folder (None) and regular file: when it was changed, its size and its number."""
        found: dict[str, tuple[int, int, int] | None] = {}
        for top in ("home", "tmp"):
            pending = [top]
            while pending:
                folder = pending.pop()
                try:
                    entries = list(os.scandir(os.path.join(self.root, folder)))
                except OSError:
                    continue
                for entry in entries:
                    path = f"{folder}/{entry.name}"
                    state = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(state.st_mode):
                        found[path] = None
                        pending.append(path)
                    elif stat.S_ISREG(state.st_mode) and path != _OWN:
                        found[path] = state.st_mtime_ns, state.st_size, state.st_ino
        return found

    def _inside(self, path: str) -> str | None:
        inside = path.startswith((f"{self.root}/home", f"{self.root}/tmp"))
        return path[len(self.root) + 1 :] if inside else None

    def _path(self, path: object) -> str:
        parts = path.split("/") if isinstance(path, str) else []
        if parts[:1] not in (["home"], ["tmp"]) or not {"", ".", ".."}.isdisjoint(parts):
            raise wire.WireError(f"no path of a scratch: {path!r:.80}")
        if path == _OWN:
            raise wire.WireError("a program's own file is not shared")
        return os.path.join(self.root, *parts)

    def _read(self, path: str) -> bytes:
        fd = os.open(os.path.join(self.root, path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            return file.read(MOST_BYTES + 1)

    @staticmethod
    def _write(path: str, content: bytes, changed_ns: int) -> None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(fd, "wb") as file:
            file.write(content)
        os.utime(path, ns=(changed_ns, changed_ns))

    @staticmethod
    def _remove(path: str) -> None:
        try:
            is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
            (os.rmdir if is_folder else os.unlink)(path)
        except OSError:  # it is gone here, too, or there is more in it
            pass


def refuse_code() -> None:
    """In a test's process: nothing that a program has written into a file is to run here.

    Modules are not looked for among the files, and pickles are read as `refuse_pickles` says.
    """
    home = os.getcwd()
    sys.path[:] = [each for each in sys.path if each not in (home, "")]
    refuse_pickles()


def refuse_pickles() -> None:
    """In a test's process: have pickles name only `_PLAIN_CLASSES`, and classes of the test's."""
    sys.addaudithook(_look_at_pickle)


_PLAIN_CLASSES = {
    "builtins": {"set", "frozenset", "complex", "bytearray", "range", "slice", "object"},
    "collections": {"OrderedDict", "defaultdict", "Counter", "deque"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "uuid": {"UUID"},
    "copyreg": {"_reconstructor"},
    "_codecs": {"encode"},
    "numpy": {"ndarray", "dtype"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy._core.numeric": {"_frombuffer"},
}


def _look_at_pickle(event: str, args: Any) -> None:
    if event != "pickle.find_class":
        return
    module, name = args
    if name not in _PLAIN_CLASSES.get(module, ()) and not _is_class_of_test(module, name):
        raise RuntimeError(f"in a test's process no pickle may name {module}.{name}")


def _is_class_of_test(module: str, name: str) -> bool:
    main = sys.modules["__main__"]
    found = vars(main).get(name) if sys.modules.get(module) is main else None
    return type(found) is type and found.__module__ == module


def _replaced(value: Any, old: str, new: str, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        return value.replace(old, new) if old in value else value
    if depth > _MOST_DEPTH:
        return value
    if kind in (list, tuple, set, frozenset):
        return kind(_replaced(each, old, new, depth + 1) for each in value)
    if kind is dict:
        return {
            _replaced(key, old, new, depth + 1): _replaced(each, old, new, depth + 1)
            for key, each in value.items()
        }
    pathlib: Any = sys.modules.get("pathlib")
    if pathlib is not None and kind in (pathlib.PosixPath, pathlib.PurePosixPath):
        return kind(_replaced(str(value), old, new, depth + 1))
    return value
