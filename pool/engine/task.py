"""A run on its way through the pool: its job, a future, and how often it was tried."""

import concurrent.futures
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ...sandbox.reasons import ExitReason
from ...sandbox.result import Result
from ...sandbox.run.job import Job
from ...sandbox.run.stop import Stop
from .bell import Bell
from .retry import Attempts

if TYPE_CHECKING:
    from ...sandbox.run.record import Record
    from .jails import Source
    from .timer import Alarm

logger = logging.getLogger(__name__)

OnOutput = Callable[[str, bytes], object]
"""Called with "stdout" or "stderr" and each piece of output, as it comes."""


class ForCaller(Exception):
    """A call that was not made, for a reason that is its caller's to see: its `__cause__`."""


class RunFuture(concurrent.futures.Future[Result]):
    """A `concurrent.futures.Future` whose `cancel` reaches the process.

    A waiting run is taken back, as with any future. A running one is killed: `cancel` returns
    True, and the future then resolves with a result whose reason is `cancelled`, unless the run
    was just ending by itself.

    record: of a run that a test called, what is known of both; set before the future is done.
    """

    def __init__(self, stop: Callable[[ExitReason], object]) -> None:
        super().__init__()
        self.record: Record | None = None
        self._stop = stop
        self._ended = Bell()
        ring = self._ended.ring
        self.add_done_callback(lambda _: ring())

    def cancel(self) -> bool:
        if super().cancel():
            return True
        if self.done():
            return False
        self._stop(ExitReason.CANCELLED)
        return True

    def result(self, timeout: float | None = None) -> Result:
        self._ended.wait(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._ended.wait(timeout)
        return super().exception(0)

    def wait(self) -> Result:
        """Return the result; kill the run where the wait is interrupted."""
        try:
            return self.result()
        except BaseException:
            self.cancel()
            raise


class Task:
    """One run, from `submit` to its result.

    on_output: the caller's, called with "stdout" or "stderr" and each piece of output. What it
    raises ends the run, and is what the future then raises.
    source: where its jail comes from; None: from where every worker's does.
    test: of a program that a test calls, the test's job; the future's `record` then has what is
    known of it.
    call: of a session, what makes it, in a worker's thread; None for a run.

    expires_at: when it is no longer worth waiting for a worker, by the monotonic clock. alarm: what
    sees to that. attempts: how it fared with the jails that it has had.
    """

    def __init__(
        self,
        job: Job,
        *,
        expires_at: float | None = None,
        on_output: OnOutput | None = None,
        source: "Source | None" = None,
        test: Job | None = None,
        call: "Callable[[Task], Result] | None" = None,
    ) -> None:
        self.job = job
        self.source = source
        self.test = test
        self.call = call
        self.on_output = None if on_output is None else self._pass_on
        self._on_output = on_output
        self._failure: BaseException | None = None
        self.stop = Stop()
        self.future = RunFuture(self.stop)
        self.queued_at = time.monotonic()
        self.expires_at = expires_at
        self.alarm: Alarm | None = None
        self.attempts = Attempts()
        if (feed := job.feed) is not None:
            self.future.add_done_callback(lambda _: feed.close())

    def queue_s(self) -> float:
        return time.monotonic() - self.queued_at

    def begin(self) -> bool:
        """Claim the task for a worker; False where its future was cancelled meanwhile."""
        self.expires_at = None  # the wait is won, also for a second try
        alarm, self.alarm = self.alarm, None
        if alarm is not None:
            alarm.cancel()
        if self.attempts.any:
            return True  # claimed before
        return self.future.set_running_or_notify_cancel()

    def answer(self, result: Result, record: "Record | None" = None) -> None:
        """Resolve the future. What a callback of the caller's raises goes no further."""
        self.future.record = record
        if self._failure is not None:
            self.fail(self._failure)
            return
        with _callbacks():
            self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        """Resolve the future with an error; as `answer`."""
        with _callbacks():
            self.future.set_exception(error)

    def _pass_on(self, stream: str, data: bytes) -> None:
        if self._failure is None and self._on_output is not None:
            try:
                self._on_output(stream, data)
            except BaseException as error:  # noqa: BLE001  (the caller's own: it goes back there)
                self._failure = error
                self.stop(ExitReason.CANCELLED)


@contextlib.contextmanager
def _callbacks() -> Iterator[None]:
    """A future lets pass what is no Exception, SystemExit among it. It would end the thread that
    resolves futures for everybody. A Ctrl-C is no callback's: it is for the main thread.
    """
    try:
        yield
    except BaseException as error:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and isinstance(error, KeyboardInterrupt):
            raise
        logger.exception("a callback of a run's future failed")
