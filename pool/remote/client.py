"""`connect`'s executor: the methods of a `Pool`, whose runs are made elsewhere."""

import contextlib
import dataclasses
import functools
import os
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ...sandbox.errors import PolicyError
from ...sandbox.limits import Limits
from ...sandbox.run.job import Job
from ..checks import each_of, naming, pair_of, require_count, require_runtime
from ..engine.stats import Stats
from ..engine.task import OnOutput, RunFuture
from ..errors import PoolClosed, PoolError
from ..executor import Executor
from ..program import Program
from ..snapshot import Snapshot
from . import messages
from .messages import RunBody
from .order import JudgeOrder, Order, RunOrder, SessionOrder
from .router import Router
from .session import RemoteSession
from .snapshots import Origin

if TYPE_CHECKING:
    from ..judge.cases import Case
    from ..judge.judging import JudgeOptions
    from ..judge.verdict import CaseResult, Verdict


class RemoteRunner:
    """Makes runs by way of a router; what judging, fuzzing and snapshots are built on."""

    def __init__(
        self, router: Router, limits: Limits, tier: str, runtimes: tuple[str, ...]
    ) -> None:
        self.router = router
        self.limits = limits
        self.tier = tier
        self.runtimes = runtimes
        self._pid = os.getpid()

    @property
    def ahead(self) -> int:
        return self.router.ahead

    def submit(
        self,
        job: Job,
        *,
        test: Job | None = None,
        source: Origin | None = None,
        expires_at: float | None = None,
        on_output: OnOutput | None = None,
        wait: bool = False,
    ) -> RunFuture:
        self.require_ours()
        if on_output is not None:
            raise PolicyError("on_output: output does not come piece by piece from an executor")
        if job.feed is not None:
            raise PolicyError("stdin: a stream can't be read elsewhere; give its contents")
        body = RunBody(job, test, None, "" if source is None else source.key)
        order = RunOrder(body, self.tier, expires_at)
        order.snapshot = source
        future: RunFuture = order.future
        try:
            self.router.put(order, wait=wait)
        except BaseException:  # Ctrl-C, when it is queued already: nobody has its future
            future.cancel()
            raise
        return future

    def require_runtime(self, runtime: str | None) -> None:
        require_runtime(runtime, self.runtimes)

    def require_room(self) -> None:
        self.require_ours()
        self.router.require_room()

    def when_room(self, call: Callable[[], None]) -> None:
        self.router.when_room(call)

    def is_ours(self) -> bool:
        return os.getpid() == self._pid

    def require_ours(self) -> None:
        if not self.is_ours():
            raise PoolClosed(
                f"this client belongs to process {self._pid}; connect in this process, too"
            )


class RemoteExecutor(Executor):
    """Runs programs on executors elsewhere: one service, or a fleet. Made by `connect`. Can be
    pickled: it is connected anew where it is unpickled.

    Results, verdicts and errors are those of a `Pool`. Where executors are lost, their runs are
    made again by others; after `retries`, or where none is left, a run's result is an infra error.
    A program that brings down two of them, each time alone, is `denied`. Refused, by `PolicyError`:
    on_output, and streams as stdin.
    """

    def __init__(
        self,
        router: Router,
        reconnect: "Callable[[], RemoteExecutor]",
        limits: Limits | None = None,
    ) -> None:
        self._reconnect = reconnect
        self.router = router
        try:
            router.start()
        except BaseException:
            router.close()
            raise
        first = router.executors()[0]
        self.limits = first.limits if limits is None else limits
        self.tier = first.tier
        self._runner = RemoteRunner(router, self.limits, first.tier, first.runtimes)
        # For clients that nobody closes: at the interpreter's exit, or when they are collected.
        self._finalizer = weakref.finalize(self, _close, self._runner)

    def __repr__(self) -> str:
        return f"<RemoteExecutor {self.router!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reconnect, ()

    @property
    def runner(self) -> RemoteRunner:
        return self._runner

    def judging(
        self,
        items: "Iterable[tuple[str | bytes | Program, Iterable[Case]]]",
        options: "JudgeOptions",
        *,
        numbered: bool = True,
    ) -> Any:
        """As `Executor.judging`; executors judge by themselves, but for checkers that are functions
        of the caller's: those run here.
        """
        own: list[tuple[Any, tuple[Any, ...]]] = list(
            each_of("items", items, "pairs of a program and its cases")  # type: ignore[arg-type]
        )
        for number, each in enumerate(own):
            place = f"items[{number}]"
            source, cases = pair_of(place, each, "a program and its cases")
            with naming(place) if numbered else contextlib.nullcontext():
                own[number] = source, tuple(each_of("cases", cases, "cases"))
        if any(_has_function(case) for _, cases in own for case in cases):
            return super().judging(own, options, numbered=numbered)
        self._runner.require_ours()
        from ..judge.plan import judging_limits

        given: dict[str, Any] = dict(options)
        limits = judging_limits(self.limits, given.get("limits"), given.pop("timeout", None))
        limits.require_fit(self.tier)
        self._runner.require_runtime(given.get("runtime"))
        return RemoteJudging(self.router, own, {**given, "limits": limits}, numbered=numbered)

    def session(
        self,
        *,
        limits: Limits | None = None,
        history: int = 16,
        rollback: bool = True,
        numeric_threads: int = 1,
        runtime: str | None = None,
    ) -> RemoteSession:
        """Return a new session, at one of the executors, where it stays; as `Pool.session`. Raises
        `SessionLost` from then on where that executor is lost.
        """
        (session,) = self.sessions(
            1,
            limits=limits,
            history=history,
            rollback=rollback,
            numeric_threads=numeric_threads,
            runtime=runtime,
        )
        return session

    def sessions(self, n: int, **options: Any) -> list[RemoteSession]:
        """As `Executor.sessions`; all are made at once, spread over the executors."""
        require_count("n", n, 0, 100_000)
        self._runner.require_ours()
        limits = options.get("limits")
        limits = self.limits if limits is None else limits
        self._runner.require_runtime(options.get("runtime"))
        opening: list[tuple[Any, RunFuture]] = []
        for _ in range(n):
            link = self.router.least_busy(len(opening))
            body = ("", "open", (), {**options, "limits": limits})
            order = SessionOrder(messages.SESSION, body, link)
            self.router.put(order)
            opening.append((link, order.future))
        made: list[RemoteSession] = []
        failed: BaseException | None = None
        for link, future in opening:
            try:
                session_id: Any = future.result()
                made.append(RemoteSession(self, self._runner, link, session_id, limits))
            except BaseException as error:  # noqa: BLE001  (the others are still to be heard)
                failed = error
        if failed is not None:
            for session in made:
                session.close()
            raise failed
        return made

    def snapshot(
        self, setup: str | bytes, *, timeout: float | None = 60.0, runtime: str | None = None
    ) -> Snapshot:
        """As `Pool.snapshot`. Every executor that is to make runs from it makes it for itself."""
        self._runner.require_ours()
        self._runner.require_runtime(runtime)
        source = Program(setup).job(self.limits).source
        origin = Origin(self.router, source, timeout, runtime)
        return Snapshot(self, self._runner, origin)

    def stats(self) -> Stats:
        """Return the counters of all executors together, as they are now."""
        found = self.stats_by_executor()
        if not found:
            raise PoolError(f"no executor of {self.router.name} is there")
        return functools.reduce(Stats.plus, found.values())

    def stats_by_executor(self) -> dict[str, Stats]:
        """Return the counters of each executor, by its name; those that don't answer are left
        out.
        """
        self._runner.require_ours()
        self.router.require_open()
        asked = []
        for link in self.router.executors():
            order = Order(messages.STATS, None, link)
            self.router.put(order)
            asked.append((link.key, order.future))
        found = {}
        for key, future in asked:
            try:
                found[key] = future.result()
            except PoolError:
                continue
        return found

    def close(self) -> None:
        """End what is under way for this client, its sessions and snapshots. The executors go on.
        Idempotent.
        """
        self._finalizer()


def _close(runner: RemoteRunner) -> None:
    if runner.is_ours():
        runner.router.close()


class RemoteJudging:
    """One call of `judge_many`: an order for each item. As `Judging`."""

    def __init__(
        self,
        router: Router,
        items: "list[tuple[Any, tuple[Case, ...]]]",
        options: dict[str, Any],
        *,
        numbered: bool,
    ) -> None:
        given = dict(options)
        self._on_result: Callable[[CaseResult], None] | None = given.pop("on_result", None)
        self._router = router
        self._numbered = numbered
        self._orders = [JudgeOrder(source, cases, given) for source, cases in items]

    def run(self) -> "list[Verdict]":
        """Return a verdict for each item, in their order."""
        found: list[Any] = []
        try:
            for order in self._orders:
                self._router.put(order, wait=True)
            for number, order in enumerate(self._orders):
                with naming(f"items[{number}]") if self._numbered else contextlib.nullcontext():
                    verdict: Any = order.future.result()
                found.append(verdict)
                if self._on_result is not None:
                    for case in verdict.cases:
                        self._on_result(case)
        finally:
            self.cancel()
        return found

    def cancel(self) -> None:
        for order in self._orders:
            order.future.cancel()


def _has_function(case: object) -> bool:
    """Whether a case has a checker that is a function of the caller's."""
    checker = getattr(case, "checker", None)
    return checker is not None and not dataclasses.is_dataclass(checker)
