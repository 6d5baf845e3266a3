"""How many files this process may have open, and what of that a program may: every parked state
takes two descriptors here, and those in messages count for all of a user's processes.
"""

import contextlib
import errno
import os
import resource

from ..errors import SetupError

FOR_A_CALL = 12
"""Two pipes, input, a new state, and what is open for a moment; about as many as a family needs."""

FOR_A_WORKER = 10
"""Its jail's sockets, files and pidfds, and what a run and the next prewarmed process open for a
moment."""

FOR_ITS_GROUP = 8
"""What is read and written of its cgroups, kept open."""

IN_MESSAGES = 512
"""By how much our own limit is to be above a program's. The kernel counts the descriptors that a
user's processes have sent and nobody has taken, and refuses a sender (ETOOMANYREFS) whose own limit
they exceed: a program gets as far as its limit and one message of 253 more (fs/unix, scm.c)."""


def for_a_program(wanted: int | None) -> int:
    """Return how many a program may have open that is to have `wanted` (None: all there are): not
    so many that it could keep us from sending any. Raises this process's soft limit if that helps.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard and (wanted is None or wanted + IN_MESSAGES > soft):
        _raise_soft_limit()
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = max(soft - IN_MESSAGES, soft // 4)
    return most if wanted is None else min(wanted, most)


def require() -> None:
    """Make sure that a call of a session finds what it needs: an answer of the kernel's that can't
    be taken would cost the session. Raises `SetupError` where the limit can't be raised to that.
    """
    _require(
        FOR_A_CALL,
        "a session takes five of them, two more for every earlier state",
        "close sessions, or set max_sessions and a shorter history",
    )


def require_for_workers(size: int, *, grouped: bool) -> None:
    """Make sure that so many workers, in cgroups or not, find what they need; the first has it by
    now. Raises `SetupError` where they can't all run at once: some would not start, and others fail
    in the middle of a run.
    """
    each = FOR_A_WORKER + (FOR_ITS_GROUP if grouped else 0)
    _require(
        (size - 1) * each, f"each of {size} workers takes {each} of them", "choose a smaller size"
    )


def _require(count: int, use: str, else_: str) -> None:
    """Raise this process's soft limit to its hard one when `count` more come half-way to it, and
    `SetupError` where that is not enough for them.
    """
    taken: list[int] = []
    try:
        _take(count, taken)
    except OSError as error:
        _close(taken)
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        _raise_soft_limit()
        try:
            _take(count, taken)
        except OSError as again:
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            raise SetupError(
                "descriptors",
                f"{again.strerror}: this process may have {hard} open, and {use}; raise the hard "
                f"limit (ulimit -Hn, LimitNOFILE=), or {else_}",
            ) from None
    finally:
        highest = max(taken, default=0)
        _close(taken)
    if 2 * highest > resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
        _raise_soft_limit()


def _take(count: int, taken: list[int]) -> None:
    taken.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    for _ in range(count - 1):
        taken.append(os.dup(taken[0]))


def _close(taken: list[int]) -> None:
    while taken:
        os.close(taken.pop())


def _raise_soft_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError, OSError):  # it stays as it was, then
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
