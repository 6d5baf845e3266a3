"""The files of a session, from the host's side, while all of its states are stopped.

The family init opens the session's working directory, and writes (`guest/session/files.py`). The
host reads by itself, by descriptors from that folder down, and never by way of a link. It is safe
also where a program is not stopped: then a file may be half of one, and half of another.
"""

import contextlib
import errno
import os
import select
import socket
import stat
import time
from collections.abc import Iterator

from ..guest.jail import wire
from ..guest.jail.confine import SPARE_INODES
from ..guest.session.files import FOLDER, FOLDER_FLAGS, WRITE
from ..jail.messages import JailLost, close_all, quoted, understood
from ..limits import Limits
from ..run.files import in_pages
from ..run.job import in_memory
from ..run.resource_monitor import SPARE_BYTES, look_through
from .family import Family
from .patience import LOOK_S
from .state import State

_PATIENCE_S = 60.0
"""An answer that takes longer will never come: a family init may have many files to copy first."""

_AT_ONCE_BYTES = 64 << 20
"""Read at once, or written with one request: others of the family are served in between."""

_MOST_NAMES = 100_000

_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LIST_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


_CLEARER = {errno.ELOOP: "a link, which is not followed", errno.ENXIO: "no regular file"}
"""Of errors that mean more elsewhere."""


@contextlib.contextmanager
def folder_of(family: Family, state: State) -> Iterator[int]:
    """Yield the working directory of a parked state, as an O_PATH descriptor. Raises OSError where
    the program has put something else in its place, or nothing; `JailLost`.
    """
    try:
        folder = _ask(family, (FOLDER, state.inner, state.home.name))
    except OSError as error:
        _require_at_rest(state)
        text = f"{error.strerror}: the session's working directory was removed or replaced"
        raise OSError(error.errno, text, ".") from None
    if folder is None:
        raise JailLost("a family init sent no folder")
    try:
        _require_at_rest(state)  # afterwards: until then, its id was its own
        yield folder
    finally:
        os.close(folder)


def write(family: Family, state: State, folder: int, files: dict[str, bytes]) -> None:
    """Write files below a working directory, over those that are there. Raises OSError with the
    name of one that can't be written; those before it are.
    """
    limits = family.limits
    if state.home.path is not None:  # no kernel caps what lies there
        _require_room(state.home.path, folder, files, limits)
        state.home.disk.touched()
    for name, content in files.items():
        for offset in range(0, len(content) or 1, _AT_ONCE_BYTES):
            piece = content[offset : offset + _AT_ONCE_BYTES]
            with _named(name, limits), _in_memory(piece) as source:
                _ask(family, (WRITE, name, offset), folder, source)


def read(folder: int, name: str, most_bytes: int) -> bytes:
    """Return the content of a file below a working directory. Raises OSError with its name, also
    for a link, and for more than `most_bytes`.
    """
    with _named(name), _above(folder, name) as (above, last):
        # Not as a file of Python's, which leaves the descriptor of a folder open.
        fd = os.open(last, _READ_FLAGS, dir_fd=above)
        try:
            status = os.fstat(fd)
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.ENXIO, "no regular file")
            if status.st_size > most_bytes:
                raise OSError(errno.EFBIG, f"{status.st_size} bytes, more than {most_bytes}")
            pieces = []
            left = status.st_size
            while left and (piece := os.read(fd, min(left, _AT_ONCE_BYTES))):
                pieces.append(piece)
                left -= len(piece)
            return b"".join(pieces)
        finally:
            os.close(fd)


def names_in(folder: int, path: str) -> list[str]:
    """Return the sorted names in a folder below a working directory, or in that itself, which is
    ".". Raises OSError with the path.
    """
    with _named(path), _above(folder, path) as (above, last):
        fd = os.open(last, _LIST_FLAGS, dir_fd=above)
        try:
            found: list[str] = []
            with os.scandir(fd) as entries:
                for entry in entries:
                    if len(found) == _MOST_NAMES:
                        raise OSError(errno.EFBIG, f"more than {_MOST_NAMES} files and folders")
                    found.append(entry.name)
        finally:
            os.close(fd)
    return sorted(found)


@contextlib.contextmanager
def listable(folder: int) -> Iterator[int]:
    """Yield a descriptor of the same folder that can be listed. Raises OSError."""
    fd = os.open(".", _LIST_FLAGS, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)


# ---- below


def _require_at_rest(state: State) -> None:
    if not state.is_at_rest():
        raise JailLost("a parked state has ended")


@contextlib.contextmanager
def _named(name: str, limits: Limits | None = None) -> Iterator[None]:
    """Have an OSError say the name that the caller knows, and be of the class that belongs to it.
    limits: of what is written to.
    """
    try:
        yield
    except OSError as error:
        text = _CLEARER.get(error.errno or 0, error.strerror)
        if error.errno == errno.ENOSPC and limits is not None:
            text = f"{text} (disk_bytes={limits.disk_bytes}, files={limits.files})"
        raise OSError(error.errno, text, name) from None


@contextlib.contextmanager
def _above(folder: int, name: str) -> Iterator[tuple[int, str]]:
    """Yield the folder that a name's last part stands in, and that part."""
    *above, last = name.split("/")
    here = os.dup(folder)
    try:
        for part in above:
            inner = os.open(part, FOLDER_FLAGS, dir_fd=here)
            os.close(here)
            here = inner
        yield here, last
    finally:
        os.close(here)


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    fd = in_memory("file", [content])
    try:
        yield fd
    finally:
        os.close(fd)


def _require_room(top: str, folder: int, files: dict[str, bytes], limits: Limits) -> None:
    """Raise OSError (ENOSPC) where files would bring a scratch that is only watched over its
    limits: every later call would be ended for it.
    """
    if limits.disk_bytes is limits.files is None:
        return
    added_bytes = added_files = 0
    for path in {path for name in files for path in _prefixes(name)}:
        status = _status(folder, path)
        added_files += status is None
        if path in files:
            added_bytes += in_pages(len(files[path])) - (status.st_blocks * 512 if status else 0)
    spare = SPARE_BYTES - max(added_bytes, 0), SPARE_INODES - added_files
    if look_through(top, limits, *spare).trouble:
        with _named(next(reversed(files)), limits):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _prefixes(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _status(folder: int, name: str) -> os.stat_result | None:
    try:
        with _above(folder, name) as (above, last):
            return os.stat(last, dir_fd=above, follow_symlinks=False)
    except OSError:
        return None


def _ask(family: Family, message: wire.Value, *descriptors: int) -> int | None:
    """Have the family init do something; return the descriptor that it sends, if it does. Raises
    OSError as it says, `JailLost` where it does not answer.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            family.channel.send(message, theirs.fileno(), *descriptors)
        poll = select.poll()
        poll.register(ours, select.POLLIN)
        gives_up_at = time.monotonic() + _PATIENCE_S
        while not poll.poll(LOOK_S * 1e3):
            family.channel.require()
            if time.monotonic() > gives_up_at:
                raise JailLost("a family init does not answer")
        flags = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
        try:
            data, fds, _, _ = socket.recv_fds(ours, 4096, 1, flags)
        except OSError as error:
            raise JailLost(f"a family init is gone ({error})") from None
    if not data:
        raise JailLost("a family init is gone")
    match understood(data, 10):
        case ("done",):
            return fds[0] if fds else None
        case ("failed", int(number)) if number in errno.errorcode and not fds:
            raise OSError(number, os.strerror(number))
        case other:
            close_all(fds)
            raise JailLost(f"a family init said {quoted(other)}")
