"""`mmap.mmap(-1, n)` where the filter refuses memory that is shared and in no file.

Python asks for such memory unless it is told not to. One process alone can't tell it from memory
of its own. Where a program may have several processes, they could: then it is refused, with the
reason.
"""

import errno
import mmap
from typing import Any

_TYPE = 0x0F  # MAP_TYPE

_own = mmap.mmap
_counted = True
_refuses = False


class _Private(_own):
    """As Python's own, but for memory that is in no file."""

    __slots__ = ()

    def __new__(
        cls,
        fileno: int,
        length: int,
        flags: int = mmap.MAP_SHARED,
        prot: int = mmap.PROT_READ | mmap.PROT_WRITE,
        access: int = mmap.ACCESS_DEFAULT,
        offset: int = 0,
        **more: Any,
    ) -> Any:
        writes = access in (mmap.ACCESS_DEFAULT, mmap.ACCESS_WRITE)
        if fileno == -1 and flags & _TYPE == mmap.MAP_SHARED and writes:
            if _refuses:
                raise PermissionError(
                    errno.EPERM,
                    "no cgroup counts memory on this host, so processes share memory by files "
                    "only, as multiprocessing does: map a file of yours",
                )
            flags = flags & ~_TYPE | mmap.MAP_PRIVATE
            access = mmap.ACCESS_DEFAULT
        return super().__new__(cls, fileno, length, flags, prot, access, offset, **more)


_Private.__name__ = _Private.__qualname__ = "mmap"
_Private.__module__ = "mmap"
_Private.__doc__ = _own.__doc__


def make_private(counted: bool) -> None:
    """Have memory in no file be private. counted: a cgroup counts that of runs, which may share."""
    global _counted
    _counted = counted
    mmap.mmap = _Private  # type: ignore[misc]


def share() -> None:
    """In a program that may have several processes: have it be shared, or refused."""
    global _refuses
    if _counted:
        mmap.mmap = _own  # type: ignore[misc]
    _refuses = True
