"""What a client wants done, on its way to an executor and back."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import InvalidStateError
from typing import Any

from ...sandbox.reasons import ExitReason
from ...sandbox.result import Result
from ...sandbox.run.record import Record
from ..engine.task import RunFuture
from ..errors import PoolError, PoolTimeout, SessionLost
from . import messages

logger = logging.getLogger(__name__)


class Order:
    """One order, from its client to an answer.

    repeatable: it has no effect but its answer, so that it can be made again elsewhere, and anyone
    may make it; else `link` is where it must be made. future: of the answer.
    number: the client's; 0 as long as it was never sent. lost: executors that were lost while it
    was in flight; lost_alone: that broke down while nothing else was in flight there. failed_at:
    those that have answered with a failure of their own. apart: it is packed by itself.
    """

    repeatable = False

    def __init__(self, kind: int, body: Any, link: Any = None) -> None:
        self.number = 0
        self.kind = kind
        self.body = body
        self.link = link
        self.expires_at: float | None = None
        self.snapshot: Any = None  # an `Origin`
        self.cancel: Callable[[Order], None] | None = None
        self.future: Any = RunFuture(self._stop)
        self.begun = self.dropped = False  # dropped: cancelled before, and those who wait know
        self.unwanted = False  # it was cancelled after it had begun
        self.hedged = False
        self.lost = self.lost_alone = 0
        self.failed_at: tuple[str, ...] = ()
        self.apart = False
        self.sent_at = 0.0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number}>"

    def begin(self) -> bool:
        """Claim it for an executor; False where its future was cancelled meanwhile."""
        if not self.begun and not self.dropped:
            self.begun = self.future.set_running_or_notify_cancel()
            self.dropped = not self.begun
        return self.begun

    def packed(self) -> messages.Sent:
        return messages.Sent(self.number, self.kind, self.body)

    def sent(self) -> messages.Sent:
        """As it goes into a request."""
        packed = self.packed()
        return packed._replace(body=messages.apart(packed.body)) if self.apart else packed

    def take(self, answer: messages.Answer) -> None:
        """Resolve the future with an executor's answer."""
        if answer.error is not None:
            self.fail(answer.error)
        else:
            self.succeed(answer.value)

    def succeed(self, value: Any) -> None:
        with _once():
            self.future.set_result(value)
        self._release()

    def fail(self, error: BaseException) -> None:
        """Resolve the future with an error, whether it was begun or not."""
        if self.begin():
            with _once():
                self.future.set_exception(error)
        self._release()

    def give_up(self, why: str, *, denied: bool = False) -> None:
        """Answer it without an executor's answer: for a reason of ours, or because the program that
        is in it is to blame.
        """
        self.fail(PoolError(why))

    def _release(self) -> None:
        """Let go of the client: this and its future hold each other."""
        self.cancel = self.link = self.snapshot = None

    def _stop(self, _: ExitReason) -> None:
        self.unwanted = True
        cancel = self.cancel
        if cancel is not None:
            cancel(self)


@contextlib.contextmanager
def _once() -> Iterator[None]:
    """A second answer to an order changes nothing; what a callback of the caller's raises that is
    no Exception (SystemExit) goes no further.
    """
    try:
        yield
    except InvalidStateError:
        pass
    except BaseException:
        logger.exception("a callback of an order's future failed")


class RunOrder(Order):
    """A run, or a pair of them; expires_at: until when it may wait."""

    repeatable = True

    def __init__(self, body: messages.RunBody, tier: str, expires_at: float | None) -> None:
        super().__init__(messages.RUN, body)
        self.queued_at = time.monotonic()
        self.expires_at = expires_at
        self._tier = tier

    def packed(self) -> messages.Sent:
        body = self.body
        if self.expires_at is not None:
            body = body._replace(queue_timeout=max(self.expires_at - time.monotonic(), 0.0))
        return messages.Sent(self.number, self.kind, body)

    def take(self, answer: messages.Answer) -> None:
        if answer.error is not None:
            self.fail(answer.error)
        elif not self.future.done():
            result, self.future.record = answer.value
            self.succeed(result)

    def expire(self) -> None:
        waited = time.monotonic() - self.queued_at
        self.fail(PoolTimeout(f"no executor was free within queue_timeout ({waited:.1f} s)"))

    def give_up(self, why: str, *, denied: bool = False) -> None:
        make = Result.refused if denied else Result.internal
        queue_s = time.monotonic() - self.queued_at
        result = make(why, tier=self._tier, queue_s=queue_s, id=self.body.job.id)
        if self.body.test is not None and denied and not self.future.done():
            self.future.record = Record(result)
        if self.begin():
            self.succeed(result)


class JudgeOrder(Order):
    """A program and its cases; kinds: of the cases."""

    repeatable = True

    def __init__(self, program: Any, cases: Sequence[Any], options: dict[str, Any]) -> None:
        super().__init__(messages.JUDGE, (program, cases, options))

    def give_up(self, why: str, *, denied: bool = False) -> None:
        from ..judge.cases import kind_of
        from ..judge.verdict import CaseResult, Outcome, Verdict

        kinds = [kind_of(case) for case in self.body[1]]
        outcome, reason = Outcome.INFRA_ERROR, "internal"
        if denied:
            outcome, reason = Outcome.FAIL, str(ExitReason.DENIED)
        results = [
            CaseResult(index=index, kind=kind, outcome=outcome, reason=reason, detail=why)
            for index, kind in enumerate(kinds)
        ]
        if self.begin():
            self.succeed(Verdict.of(kinds, results))


class SessionOrder(Order):
    """A call of a session, or something else that is done with it: at its executor, and once."""

    def give_up(self, why: str, *, denied: bool = False) -> None:
        self.fail(SessionLost(why))
