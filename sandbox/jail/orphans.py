"""Reaping what this process inherits of its jails.

A process whose parent has died becomes a child of the nearest subreaper, or of process 1. Where the
host is either (a container without an init), what a lost zygote leaves comes to the host, and stays
a zombie until the host waits for it. The trainer has children as well, which are its own to wait
for; ours are told by the session that the zygote of a jail leads. A program can't leave it: setsid
and setpgid are refused.
"""

import contextlib
import os
import time
from collections.abc import Iterator

from ..guest.jail import kernel, proc

_LOOK_S = 0.005


def reap(session: int, patience_s: float) -> None:
    """Reap what has been inherited of `session`, waiting up to `patience_s` for its end: all of it
    has been killed, or dies with its parent.
    """
    if os.getpid() != 1 and not kernel.is_subreaper():
        return
    deadline = time.monotonic() + patience_s
    while not all(_reap(pid, session) for pid in _children()) and time.monotonic() < deadline:
        time.sleep(_LOOK_S)


def _children() -> Iterator[int]:
    """The children of this process: each is a child of one of its threads."""
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):
            yield from proc.children(os.getpid(), int(thread))


def _reap(pid: int, session: int) -> bool:
    """Reap a child if it is of `session` and has ended; false where it is, and has not."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return True
    try:
        # Only now: whoever has this number from here on, nothing but the child is waited for.
        found = proc.stat(pid)
        if found is None or found.session != session:
            return True
        return os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG) is not None
    except ChildProcessError:  # somebody else has waited for it
        return True
    finally:
        os.close(pidfd)
