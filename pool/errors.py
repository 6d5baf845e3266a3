"""Errors of the pool. A run's end is told by its `Result`; only of a called function, which has no
other way to say that it did not return, it is told by an error.
"""

from typing import Any

from ..sandbox.errors import SandboxError
from ..sandbox.result import Result


class PoolError(SandboxError):
    """Base class of the pool's errors."""


class PoolClosed(PoolError):
    """The pool is closed, or belongs to another process (it can't be used across a fork)."""


class PoolFull(PoolError):
    """`max_queue` runs are waiting already; try again later, or give the pool more workers.
    retry_after_s: about how many seconds later there may be room, or None.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[Any, ...]:
        return _pool_full, (str(self), self.retry_after_s)


def _pool_full(message: str, retry_after_s: float | None) -> PoolFull:
    return PoolFull(message, retry_after_s=retry_after_s)


class ProgramError(PoolError):
    """A called function did not return: its program's own doing.

    type, message, traceback: of the exception that ended it, in its own words; of a program that
    left otherwise, "SystemExit" or the name of a signal. result: all that is known of the run.
    """

    def __init__(self, type: str, message: str, traceback: str, result: Result) -> None:
        super().__init__(f"{type}: {message}" if message else type)
        self.type = type
        self.message = message
        self.traceback = traceback
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        return ProgramError, (self.type, self.message, self.traceback, self.result)


class LimitExceeded(PoolError):
    """A called function was ended by a limit, or by the sandbox. reason: which, an `ExitReason`;
    result: all that is known of the run.
    """

    def __init__(self, result: Result) -> None:
        super().__init__(f"{result.reason}: {result.detail}".rstrip(": "))
        self.reason = result.reason
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        return LimitExceeded, (self.result,)


class SessionLost(PoolError):
    """A session's state is gone; the message says why. by_program: it is its program's doing, which
    counts as a failure of it: a limit ended it with all that was kept, or it was evicted while it
    held more than its share of `session_memory_bytes`.
    """

    def __init__(self, message: str, *, by_program: bool = False) -> None:
        super().__init__(message)
        self.by_program = by_program

    def __reduce__(self) -> tuple[Any, ...]:
        return _session_lost, (str(self), self.by_program)


def _session_lost(message: str, by_program: bool) -> SessionLost:
    return SessionLost(message, by_program=by_program)


class PoolTimeout(PoolError, TimeoutError):
    """The run waited `queue_timeout` seconds for a free worker, and was taken back unrun."""
