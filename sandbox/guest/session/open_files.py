"""Files that a program has open while it is branched: those that can't be changed are opened anew.

Two processes that share an open file share its position, so a branch may not keep a file as its
forerunner has opened it. A file of a package, such as a font, that a library keeps open for reading
can be opened anew: by the family init, which is trusted, and which later tells by the position that
the branch has put that one in the place of the old one. Files of the scratch are the program's, and
end a branch that has them open.
"""

import os
import select
import stat
from collections.abc import Callable

from ..jail import proc, wire

MOST = 32
"""Open files that are opened anew; a message has room for their paths."""

_LONGEST_PATH = 200


def of_this_process(own: int, most: int) -> list[tuple[int, str]]:
    """The descriptors below `most` that are open, but for the standard ones and `own`, and what
    they are open on; "" where that can't be told from here.
    """
    poll = select.poll()
    for fd in range(3, most):
        poll.register(fd, 0)
    closed = {fd for fd, event in poll.poll(0) if event & select.POLLNVAL}
    return [(fd, _path(fd)) for fd in range(3, most) if fd not in closed and fd != own][:MOST]


def _path(fd: int) -> str:
    try:
        path = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:  # Landlock
        return ""
    return path if len(path) <= _LONGEST_PATH else ""


def reopen(
    pid: int, files: list[tuple[int, str]], is_read_only: Callable[[str], bool]
) -> dict[int, int]:
    """Open anew what a branch has open for reading and no program can change; return the
    descriptors by their numbers in the branch. The others are left out.

    files: as the branch's forerunner has it, which may be wrong: then a descriptor is of no use.
    is_read_only: whether programs may read what is at a path, and not write to it.
    """
    fresh = {}
    for number, path in files[:MOST]:
        try:
            place = position(pid, number)
            opened = _open(path or os.readlink(f"/proc/{pid}/fd/{number}"), is_read_only)
        except OSError:
            continue
        if opened is not None:
            os.lseek(opened, place, os.SEEK_SET)
            fresh[number] = opened
    return fresh


def _open(path: str, is_read_only: Callable[[str], bool]) -> int | None:
    """Open a regular file for reading, if no program can write to it. The file that was opened is
    judged, not the path alone: a program has named that, and we may read more than it may.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW
    if not is_read_only(path):  # before it is opened: to open some things has effects
        return None
    opened = os.open(path, flags)
    is_regular = stat.S_ISREG(os.fstat(opened).st_mode)
    if is_regular and is_read_only(os.readlink(f"/proc/self/fd/{opened}")):
        return opened
    os.close(opened)
    return None


def is_same(pid: int, number: int, fd: int) -> bool:
    """Whether the descriptor `number` of a process is the open file that `fd` is here: then it
    follows when that is moved, to two places that nobody can foresee.
    """
    here = os.lseek(fd, 0, os.SEEK_CUR)
    try:
        for _ in range(2):
            place = int.from_bytes(os.urandom(4), "little") >> 1
            os.lseek(fd, place, os.SEEK_SET)
            if position(pid, number) != place:
                return False
    finally:
        os.lseek(fd, here, os.SEEK_SET)
    return True


def position(pid: int, number: int) -> int:
    """Where a process's descriptor stands in its file. Raises `OSError` where it is not open."""
    return int(proc.descriptor(pid, number)[b"pos"])


def decoded(value: wire.Value) -> list[tuple[int, str]]:
    """What a state says of its files, or [] where it says something else."""
    if isinstance(value, list):
        files = [each for each in value if _is_file(each)]
        if len(files) == len(value):
            return files
    return []


def _is_file(value: wire.Value) -> bool:
    match value:
        case (int(fd), str(path)):
            return 3 <= fd < 1 << 20 and len(path) <= _LONGEST_PATH
    return False
