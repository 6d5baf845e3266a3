"""How a zygote's memory lies, so that to fork it and to write in a fork of it costs little.

A fork copies an entry of the page table for each page that is there, some 0.14 us with its removal
at the end, and one for each huge page; the first write to a page copies the page, some 2 us.
"""

import ctypes
import os
import sys
from collections.abc import Iterator

from . import kernel

# Of Python's allocator (Objects/obmalloc.c); where it is another, nothing but memory is lost.
_ALIGNMENT, _LARGEST_BLOCK, _POOL_BYTES, _POOL_HEADER_BYTES = 16, 512, 16 << 10, 48
_MOST_FREE_BLOCKS = 2_000  # of one size
_NEW_IN_A_ROW = 4
"""So many blocks one after the other, from the first of a pool on, tell a new pool from one that
has had holes."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_HUGE_PAGE = _PAGE // 8 * _PAGE
"""What one table of entries, itself a page of 8-byte entries, maps: 2 MiB of pages of 4 KiB."""

_MADV_COLLAPSE = 25


class HugePages:
    """Makes huge pages of this process's own memory. Made while /proc can be reached."""

    def __init__(self) -> None:
        self._maps = os.open("/proc/self/maps", os.O_RDONLY)

    def gather(self) -> None:
        """Make a huge page wherever at least half of one is in use, and close this.

        What is in use less would cost more memory than it saves time. A kernel before 6.1, or one
        that is short of memory, does nothing, and all is as it was. A fork that writes to a huge
        page is given small ones in its place.
        """
        try:
            for start in self._candidates():
                kernel.syscall("madvise", start, _HUGE_PAGE, _MADV_COLLAPSE)
        except OSError:
            pass

    def _candidates(self) -> Iterator[int]:
        for start, end in self._own_ranges():
            first = -(-start // _HUGE_PAGE) * _HUGE_PAGE
            for each in range(first, end - _HUGE_PAGE + 1, _HUGE_PAGE):
                if _bytes_in_use(each) >= _HUGE_PAGE // 2:
                    yield each

    def _own_ranges(self) -> list[tuple[int, int]]:
        """Writable memory that is no file's and nobody else's."""
        found = []
        with open(self._maps, encoding="utf-8", errors="replace") as maps:
            for line in maps:
                addresses, permissions, _, _, inode, *path = line.split(maxsplit=5)
                if permissions == "rw-p" and inode == "0" and path in ([], ["[heap]\n"]):
                    start, _, end = addresses.partition("-")
                    found.append((int(start, 16), int(end, 16)))
        return found


def _bytes_in_use(start: int) -> int:
    """How much of a huge page's range of addresses has memory."""
    present = (ctypes.c_ubyte * (_HUGE_PAGE // _PAGE))()
    kernel.syscall("mincore", start, _HUGE_PAGE, present)
    return _PAGE * sum(each & 1 for each in present)


def occupy_free_blocks() -> list[object]:
    """Take every free block of Python's allocator, and return what has taken them: what a child
    allocates then lies side by side in fresh pools, not in holes on as many pages.
    """
    taken: list[object] = []
    for size in range(_ALIGNMENT, _LARGEST_BLOCK + 1, _ALIGNMENT):
        in_a_row = 0
        for _ in range(_MOST_FREE_BLOCKS):
            block = _block(size)
            follows = in_a_row and id(block) == id(taken[-1]) + size
            taken.append(block)
            if id(block) % _POOL_BYTES == _POOL_HEADER_BYTES:
                in_a_row = 1  # the first of its pool
            else:
                in_a_row = in_a_row + 1 if follows else 0
            if in_a_row == _NEW_IN_A_ROW:
                break
    return taken


def _block(size: int) -> object:
    """Something that takes a block of `size`, and nothing else."""
    if size == _ALIGNMENT:
        return object()
    if size == 2 * _ALIGNMENT:
        return float(size)
    return bytes(size - sys.getsizeof(b""))
