"""Files that go into a run's working directory, and files that come out of it.

What comes out was made by a hostile program. It is read when nothing of the program is left that
could change it, by descriptors from the working directory down, never through a link; whatever is
no regular file, or too large, is passed over by name.
"""

import dataclasses
import fnmatch
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping

from ..guest.jail.confine import PROGRAM_FILE
from ..limits import Limits

_PAGE = 4096
_MOST_ENTRIES = 100_000
_MOST_DEPTH = 100
_MOST_COLLECTED_BYTES = 1 << 30
"""What is taken out at most where `disk_bytes` is unlimited."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pattern:
    """A name to collect, with wildcards as in a shell: `*`, `?` and `[...]` within a folder, and
    `**` for any folders. A leading dot is matched by a dot only.
    """

    text: str
    parts: "tuple[re.Pattern[str] | None, ...]"

    @classmethod
    def parse(cls, text: object) -> "Pattern":
        """Raises TypeError or ValueError naming `collect`."""
        if not isinstance(text, str):
            raise TypeError(f"collect must hold strings only, not {text!r}")
        return cls(text, tuple(map(_compile, _parts("collect", text))))

    def matches(self, name: str) -> bool:
        """Tell whether the whole `name` fits: by all places in the pattern that it may have come
        to, so that no pattern takes longer than its length times the name's.
        """
        places = self._and_next({0})
        for part in name.split("/"):
            further = set()
            for place in places - {len(self.parts)}:
                expression = self.parts[place]
                if expression is None and not part.startswith("."):
                    further.add(place)
                elif expression is not None and expression.match(part):
                    further.add(place + 1)
            places = self._and_next(further)
        return len(self.parts) in places

    def _and_next(self, places: set[int]) -> set[int]:
        """Add what comes after a `**`, which may stand for nothing."""
        for place in sorted(places):
            while place < len(self.parts) and self.parts[place] is None:
                place += 1
                places.add(place)
        return places

    @property
    def deep(self) -> bool:
        """Whether it can match anything below the working directory's own files."""
        return "/" in self.text or "**" in self.text


def _compile(part: str) -> "re.Pattern[str] | None":
    if part == "**":
        return None
    return re.compile(("" if part.startswith(".") else r"(?!\.)") + fnmatch.translate(part))


def check_name(argument: str, name: object) -> str:
    """Return the name of a file below a working directory; raise TypeError or ValueError naming the
    `argument` for anything else.
    """
    if not isinstance(name, str):
        raise TypeError(f"{argument} must be a string, not {name!r:.200}")
    _parts(argument, name)
    return name


def check_content(argument: str, content: object) -> bytes:
    """Return a file's content as bytes; raise TypeError naming the `argument`."""
    if isinstance(content, str):
        return content.encode("utf-8", "surrogatepass")
    if isinstance(content, (bytes, bytearray, memoryview)):
        return bytes(content)
    raise TypeError(f"{argument} must be str or bytes, not {type(content).__name__}")


def check_filename(filename: object) -> str:
    """Return what a program's file is to be called; raise TypeError or ValueError."""
    if not isinstance(filename, str):
        raise TypeError(f"filename must be a string or None, not {filename!r:.200}")
    if not filename or "/" in filename:
        raise ValueError(
            f"filename={filename!r}: must be a plain name such as 'snippet.py', without a folder"
        )
    _parts("filename", filename)
    return filename


def check_files(
    files: object, limits: Limits, program_file: str = PROGRAM_FILE
) -> dict[str, bytes]:
    """Return contents by name; raise TypeError or ValueError naming what can't be written.

    program_file: the name of the program's own file, which nothing else can have; "" where there is
    none.
    """
    if not isinstance(files, Mapping):
        raise TypeError(f"files must map names to str or bytes, not {files!r:.200}")
    if limits.files is not None and len(files) > limits.files:
        raise ValueError(f"files: {len(files)} of them, more than limits.files={limits.files}")
    checked: dict[str, bytes] = {}
    folders: set[str] = set()
    size = 0
    for name, content in files.items():
        if not isinstance(name, str):
            raise TypeError(f"files: the name {name!r:.200} must be a string")
        parts = _parts("files", name)
        if name == program_file:
            raise ValueError(f"files: {name!r} is the program's own; take another name")
        content = check_content(f"files[{name!r}]", content)
        checked[name] = content
        folders.update("/".join(parts[:end]) for end in range(1, len(parts)))
        size += in_pages(len(content))
    for name in sorted(folders & checked.keys() | folders & {program_file}):
        raise ValueError(f"files: {name!r} can't be a file and a folder at once")
    if limits.files is not None and len(checked) + len(folders) > limits.files:
        raise ValueError(
            f"files: {len(checked)} in {len(folders)} folders are more than "
            f"limits.files={limits.files}"
        )
    if limits.disk_bytes is not None and size > limits.disk_bytes:
        raise ValueError(
            f"files: {size} bytes in whole pages, more than limits.disk_bytes={limits.disk_bytes}"
        )
    return checked


def in_pages(size: int) -> int:
    """The bytes that a file of this size takes on a disk."""
    return -(-size // _PAGE) * _PAGE


def _parts(argument: str, name: str) -> list[str]:
    """Split a relative name; raise ValueError for one that leads elsewhere, or nowhere."""
    parts = name.split("/")
    if "\0" in name:
        raise ValueError(f"{argument}: {name!r} holds a NUL, which no name can")
    if name.startswith("/"):
        raise ValueError(f"{argument}: {name!r} must be relative to the working directory")
    if ".." in parts:
        raise ValueError(f"{argument}: {name!r} must stay below the working directory, without ..")
    if "" in parts or "." in parts:
        raise ValueError(f"{argument}: {name!r} is no plain name; write it as a/b/c")
    try:
        long = [part for part in parts if len(os.fsencode(part)) > 255]
    except UnicodeEncodeError:
        raise ValueError(f"{argument}: {name!r} is no text that a file can be named by") from None
    if long or len(os.fsencode(name)) > 2000 or len(parts) > _MOST_DEPTH:
        raise ValueError(f"{argument}: {name!r:.80} is too long, or nested too deep")
    return parts


def collect(
    folder: int, patterns: Iterable[Pattern], limits: Limits, program_file: str = PROGRAM_FILE
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the files below `folder` that match: contents by name, and why others were left.

    folder: a descriptor of the working directory, in which nothing runs any more. program_file: the
    name of the program's own file, which is passed over; "" where there is none. In all, as much is
    taken as the run may have on disk; a sparse file counts by its length.
    """
    return _Collector(tuple(patterns), limits, program_file).collect(folder)


def most_bytes(limits: Limits) -> int:
    """How much is taken out at most."""
    return _MOST_COLLECTED_BYTES if limits.disk_bytes is None else limits.disk_bytes


class _Collector:
    def __init__(self, patterns: tuple[Pattern, ...], limits: Limits, program_file: str) -> None:
        self._patterns = patterns
        self._program_file = program_file
        self._room = most_bytes(limits)
        self._entries = 0
        self._deep = any(pattern.deep for pattern in patterns)
        self.files: dict[str, bytes] = {}
        self.skipped: dict[str, str] = {}

    def collect(self, top: int) -> tuple[dict[str, bytes], dict[str, str]]:
        open_: list[tuple[int, str, Iterator[str]]] = []
        try:
            self._enter(os.dup(top), "", open_)
            while open_:
                folder, above, names = open_[-1]
                name = next(names, None)
                if name is None:
                    os.close(folder)
                    open_.pop()
                    continue
                path = above + name
                self._entries += 1
                if self._entries > _MOST_ENTRIES:
                    self.skipped[path] = f"behind the first {_MOST_ENTRIES} files and folders"
                    break
                inner = self._take(folder, name, path)
                if inner is None:
                    continue
                if len(open_) > _MOST_DEPTH:
                    os.close(inner)
                    self.skipped[path] = f"nested deeper than {_MOST_DEPTH} folders"
                    continue
                self._enter(inner, f"{path}/", open_)
        finally:
            for folder, _, _ in open_:
                os.close(folder)
        return self.files, self.skipped

    def _enter(self, folder: int, path: str, open_: list[tuple[int, str, Iterator[str]]]) -> None:
        """Note a folder and its names; it is closed where they can't be had."""
        try:
            open_.append((folder, path, iter(sorted(os.listdir(folder)))))
        except BaseException:
            os.close(folder)
            raise

    def _take(self, folder: int, name: str, path: str) -> int | None:
        """Take a file if it is wanted; return a descriptor of a folder to look into."""
        wanted = any(pattern.matches(path) for pattern in self._patterns)
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                if not self._deep:
                    return None
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                return os.open(name, flags, dir_fd=folder)
            if wanted and path != self._program_file:
                trouble = self._trouble(status)
                if trouble:
                    self.skipped[path] = trouble
                else:
                    self.files[path] = self._read(folder, name, status.st_size)
        except OSError as error:
            if wanted:
                self.skipped[path] = f"can't be read ({error.strerror})"
        return None

    def _trouble(self, status: os.stat_result) -> str | None:
        if stat.S_ISLNK(status.st_mode):
            return "a link"
        if not stat.S_ISREG(status.st_mode):
            return "no regular file"
        if status.st_size > self._room:
            return f"its {status.st_size} bytes are more than is left of the {self._room} to take"
        return None

    def _read(self, folder: int, name: str, size: int) -> bytes:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(name, flags, dir_fd=folder), "rb") as file:
            content = file.read(size)
        self._room -= len(content)
        return content
