"""A run on its way through the pool: checked input, a future, and how often it was tried."""

import concurrent.futures
import time
from collections.abc import Sequence

from sandbox.limits import Limits
from sandbox.reasons import ExitReason
from sandbox.result import Result
from sandbox.run import Job
from sandbox.stop import Stop


class RunFuture(concurrent.futures.Future[Result]):
    """A `concurrent.futures.Future` whose `cancel` reaches the process.

    A waiting run is taken back, as with any future. A running one is killed: `cancel` returns
    True, and the future then resolves with a result whose reason is `cancelled`, unless the run
    was just ending by itself.
    """

    def __init__(self, stop: Stop) -> None:
        super().__init__()
        self._stop = stop

    def cancel(self) -> bool:
        if super().cancel():
            return True
        if self.done():
            return False
        self._stop(ExitReason.CANCELLED)
        return True


class Task:
    """One run, from `submit` to its result.

    lost: how often a jail fell while the program ran in it. unstarted: how often it could not
    be started at all, which the program is not to blame for.
    """

    def __init__(self, job: Job, expires_at: float | None) -> None:
        self.job = job
        self.stop = Stop()
        self.future = RunFuture(self.stop)
        self.queued_at = time.monotonic()
        self.expires_at = expires_at
        self.lost = 0
        self.unstarted = 0

    def queue_s(self) -> float:
        return time.monotonic() - self.queued_at

    def begin(self) -> bool:
        """Claim the task for a worker; False where its future was cancelled meanwhile."""
        self.expires_at = None  # the wait is won, also for a second try
        if self.lost or self.unstarted:
            return True  # claimed before
        return self.future.set_running_or_notify_cancel()


def make_job(
    code: str | bytes,
    *,
    stdin: str | bytes,
    args: Sequence[str],
    limits: Limits,
    timeout: float | None,
) -> Job:
    """Check what a caller passed; raise TypeError or ValueError naming the argument."""
    if not isinstance(limits, Limits):
        raise TypeError(f"limits must be a sandbox.Limits, not {limits!r}")
    if timeout is not None:
        limits = limits.replace(wall_s=timeout)
    source = _to_bytes("code", code)
    if limits.source_bytes is not None and len(source) > limits.source_bytes:
        raise ValueError(
            f"code has {len(source)} bytes, more than limits.source_bytes={limits.source_bytes}"
        )
    if isinstance(args, (str, bytes)):
        raise TypeError(f"args must be a sequence of strings, not {args!r}")
    for each in args:
        if not isinstance(each, str):
            raise TypeError(f"args must hold strings only, not {each!r}")
        if "\0" in each:
            raise ValueError(f"args: {each!r} holds a NUL, which no command line can")
    return Job(source, tuple(args), _to_bytes("stdin", stdin), limits)


def _to_bytes(name: str, value: str | bytes) -> bytes:
    if isinstance(value, str):
        # Lone surrogates become what Python then calls a syntax error, as it should be.
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"{name} must be str or bytes, not {type(value).__name__}")
