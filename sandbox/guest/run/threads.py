"""Starting threads with large stacks, as programs that recurse deeply do.

The kernel counts all of a thread's stack as data when the thread starts (RLIMIT_DATA), though only
what is touched is memory. Where a cgroup counts memory, the limit on data may rise by a stack that
did not fit; elsewhere the program is told why its thread can't start.
"""

import _thread
import functools
import threading
from collections.abc import Callable
from typing import Any

from ..jail import rlimits

_BESIDE = 64 << 10
"""Bytes that a thread needs beside its stack, and more: a guard page, its place in a table."""

_NAMES = ("start_new_thread", "start_new", "start_joinable_thread")


def install(memory_bytes: Callable[[], int]) -> None:
    """Put these starts in the place of Python's own, in `_thread` and `threading`. memory_bytes:
    the run's limit, for messages.
    """
    for name in _NAMES:
        own = getattr(_thread, name, None)
        if own is None:  # not in this version
            continue
        start = _starting(own, memory_bytes)
        setattr(_thread, name, start)
        if getattr(threading, "_" + name, None) is own:
            setattr(threading, "_" + name, start)


def _starting(own: Callable[..., Any], memory_bytes: Callable[[], int]) -> Callable[..., Any]:
    @functools.wraps(own)
    def start(*args: Any, **kwargs: Any) -> Any:
        # First, since Python 3.13 does not start a thread again once that has failed.
        size = _thread.stack_size()
        needed = size + _BESIDE
        if size <= rlimits.STACK_BYTES or _fits(needed) or rlimits.raise_data(needed):
            return own(*args, **kwargs)
        raise RuntimeError(
            f"can't start new thread: a stack of {size / (1 << 20):g} MiB (threading.stack_size("
            f"{size})) does not fit in what is left of memory_bytes={memory_bytes()}. Where no "
            "cgroup counts memory, as here, a stack counts in full: use a smaller stack or a "
            "larger memory limit"
        )

    return start


def _fits(size: int) -> bool:
    """Whether this process may have `size` bytes more of data. Nothing of them is touched: libc
    asks the kernel for zeros.
    """
    try:
        bytes(size)
    except MemoryError:
        return False
    return True
