"""The pool: a queue, its workers, and the doors to them."""

import asyncio
import dataclasses
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Unpack

from sandbox.cpus import usable_cpus
from sandbox.errors import PolicyError
from sandbox.family import Family
from sandbox.host import Wish, settle
from sandbox.jail import JailLost
from sandbox.limits import Limits
from sandbox.nursery import Nursery
from sandbox.plan import Plan
from sandbox.result import Result
from sandbox.runtime import Runtime

from .errors import PoolClosed, PoolError
from .function import Function
from .judge.cases import Case
from .judge.judging import Judging, OnResult
from .judge.plan import Item, Work, judging_limits
from .judge.verdict import Verdict
from .lifecycle import State
from .ordered import in_order
from .program import Options, Program
from .queue import Queue
from .session import Session, Sessions
from .stats import Counters, Stats
from .task import OnOutput, RunFuture, Task
from .worker import Worker

logger = logging.getLogger(__name__)

_JOIN_PATIENCE_S = 10.0

_LOOK_AHEAD = 4
"""Programs of a `map` in flight for each worker: enough that none is idle while one takes long."""


class Pool:
    """Runs programs, each in a fresh, confined process. Thread-safe; a context manager.

    size: how many programs run at once; None: as many as this process may use CPUs.
    limits: what a run may use unless it is given limits of its own.
    packages: names of installed distributions that programs may import, as requirements
        ("numpy", "pandas[excel]>=2"); what they need comes along. Nothing else is visible but the
        standard library.
    preload: modules that are imported once, before programs are forked from there.
    python: the interpreter that programs are run by, and whose distributions are meant: the path of
        one (CPython 3.11 or newer), or the folder of a virtual environment; None: this one.
    tier: "auto" (the strongest that works when tried), "namespaces", "landlock", or "none"
        (trusted code only); require: refuse anything weaker than this.
    max_queue: how many runs may wait; None: any number.

    Raises `SetupError` where no jail starts here, `PolicyError` for what can't be had together,
    TypeError and ValueError for values that make no sense. When the constructor returns, one
    worker is ready and the others are starting. A pool belongs to the process that made it: in a
    forked child it answers `PoolClosed`.

    >>> with Pool(1) as pool:
    ...     pool.run("print(6 * 7)").stdout
    '42\\n'
    """

    def __init__(
        self,
        size: int | None = None,
        *,
        limits: Limits | None = None,
        packages: Sequence[str] = (),
        preload: Sequence[str] = (),
        python: str | os.PathLike[str] | None = None,
        tier: str = "auto",
        require: str | None = None,
        max_queue: int | None = None,
    ) -> None:
        size = usable_cpus() if size is None else size
        _require_count("size", size, 1, 4096)
        if max_queue is not None:
            _require_count("max_queue", max_queue, 0, 1 << 31)
        limits = Limits() if limits is None else limits
        if not isinstance(limits, Limits):
            raise TypeError(f"limits must be a sandbox.Limits, not {limits!r}")
        wish = Wish(
            tier,
            require,
            _names("packages", packages),
            _names("preload", preload),
            os.fspath(python) if isinstance(python, os.PathLike) else python,
        )
        runtime = Runtime()
        try:
            ground = settle(wish, limits, runtime)
        except BaseException:
            runtime.close()
            raise
        if ground.passed_over:
            logger.warning(
                "confining with the %s tier; stronger ones don't work here: %s",
                ground.plan.tier,
                "; ".join(ground.passed_over),
            )
        self.limits = limits
        self.tier = ground.plan.tier
        self._pid = os.getpid()
        self._queue = Queue(max_queue)
        self._counters = Counters()
        closing = threading.Event()
        engine = _Engine(self._queue, self._counters, closing, runtime, ground.plan)
        first = ground.jail
        engine.workers = [
            Worker(
                ground.plan,
                limits,
                self._queue,
                self._counters,
                closing,
                engine.hopeless,
                jail=first if number == 0 else None,
            )
            for number in range(size)
        ]
        try:
            for worker in engine.workers:
                worker.start()
        except BaseException:
            engine.close(self._pid)
            ground.jail.close()
            raise
        self._engine = engine
        # For pools that nobody closes: at the interpreter's exit, or when they are collected.
        self._finalizer = weakref.finalize(self, _Engine.close, engine, self._pid)

    def __repr__(self) -> str:
        states = [worker.state.value for worker in self._engine.workers]
        counts = ", ".join(f"{states.count(name)} {name}" for name in dict.fromkeys(states))
        return f"<Pool {self.tier}: {counts}; {len(self._queue)} queued>"

    def run(
        self,
        code: str | bytes | Program,
        *,
        queue_timeout: float | None = None,
        on_output: OnOutput | None = None,
        **options: Unpack[Options],
    ) -> Result:
        """Run a program and return its result.

        code: its source, as text or as the bytes of a file; or a `Program`.
        options: stdin, args, files, collect, limits, env, seed, id, as in `Program`, in place of
            what a program given has; timeout: short for `limits.wall_s`, and wins over it.
        queue_timeout: seconds to wait for a free worker before `PoolTimeout` is raised.
        on_output: called from another thread with "stdout" or "stderr" and each piece of output
            (bytes) as it comes, up to the limit. What it raises ends the run and is raised here.
            Of a run that is tried again, after its worker was lost, the output comes again.

        However the program ends is told by the result. Raises `PoolFull`, `PoolClosed`,
        `PoolTimeout`; TypeError or ValueError for arguments that make no sense. If the wait is
        interrupted (Ctrl-C), the run is killed.
        """
        future = self.submit(code, queue_timeout=queue_timeout, on_output=on_output, **options)
        return future.wait()

    async def arun(
        self,
        code: str | bytes | Program,
        *,
        queue_timeout: float | None = None,
        on_output: OnOutput | None = None,
        **options: Unpack[Options],
    ) -> Result:
        """`run` for asyncio; cancelling the task kills the run."""
        return await asyncio.wrap_future(
            self.submit(code, queue_timeout=queue_timeout, on_output=on_output, **options)
        )

    def submit(
        self,
        code: str | bytes | Program,
        *,
        queue_timeout: float | None = None,
        on_output: OnOutput | None = None,
        **options: Unpack[Options],
    ) -> RunFuture:
        """Queue a program and return a future of its result; arguments as for `run`.

        `cancel()` takes back a run that waits and kills one that runs. A run that waits longer
        than `queue_timeout` resolves with `PoolTimeout`.
        """
        self._require_room()
        if on_output is not None and not callable(on_output):
            raise TypeError(f"on_output must be callable, not {on_output!r}")
        program = Program.of(code, options)
        return self._queue_up(program, options.get("timeout"), queue_timeout, on_output)

    def _require_room(self) -> None:
        if os.getpid() != self._pid:
            raise PoolClosed(f"this pool belongs to process {self._pid}; make one in this process")
        self._queue.require_room()

    def _queue_up(
        self,
        program: Program,
        timeout: float | None,
        queue_timeout: float | None,
        on_output: OnOutput | None,
        call: bytes | None = None,
    ) -> RunFuture:
        self._require_room()
        limits = self.limits if program.limits is None else program.limits
        if timeout is not None:
            limits = limits.replace(wall_s=timeout)
        job = program.job(limits)
        if call is not None:
            job = dataclasses.replace(job, call=call)
        task = Task(job, _expiry(queue_timeout), on_output)
        self._queue.put(task)
        return task.future

    def map(
        self, programs: Iterable[str | bytes | Program], **options: Unpack[Options]
    ) -> Iterator[Result]:
        """Yield the results of `programs` in their order, while later ones run.

        A few more are taken from `programs` than run at once, so that it may be endless; with a
        bounded queue, `map` waits where `submit` would raise `PoolFull`. options: for all of them,
        as for `run`. When the iterator is closed, or fails, what has not ended is cancelled.
        """
        ahead = _LOOK_AHEAD * len(self._engine.workers)
        return in_order(lambda program: self.submit(program, **options), programs, ahead)

    def function(
        self,
        source: str | bytes | Program,
        name: str,
        *,
        queue_timeout: float | None = None,
        **options: Unpack[Options],
    ) -> Function:
        """Return the function `name` of an untrusted program, to be called like any other.

        Every call loads `source` afresh, as a module, in a confined process of its own. `name` may
        lead through attributes and constructors: "Solution().method". options: as for `run`.

        >>> with Pool(1) as pool:
        ...     pool.function("def double(x): return 2 * x", "double")([1, 2])
        [1, 2, 1, 2]
        """
        program = Program.of(source, options)
        timeout = options.get("timeout")

        def run(call: bytes) -> Result:
            return self._queue_up(program, timeout, queue_timeout, None, call).wait()

        return Function(run, name)

    def judge(
        self,
        source: str | bytes | Program,
        cases: Iterable[Case],
        *,
        limits: Limits | None = None,
        timeout: float | None = None,
        shuffle: bool | int = False,
        stop_at_first_failure: bool = False,
    ) -> Verdict:
        """Return the verdict on an untrusted program, by its cases: `Stdio`, `Call`, `Asserts`.

        Every case has a fresh process; expected values, tests, checkers and comparisons never are
        in it.
        timeout: CPU seconds that each case may take; None: as many as the pool's limits give, of
            wall time if they name no CPU time. By the wall, six times as long is allowed.
        limits: in place of both, and of the pool's. A program's own limits win over all.
        shuffle: judge in a random order; a whole number (but no bool): in the same one every time.
        stop_at_first_failure: leave out the cases that come after the first that does not pass.

        A program never makes it raise; ValueError or TypeError are for cases that make no sense.
        Waits where the queue is full. If the wait is interrupted, all that runs is killed.
        """
        (verdict,) = self.judge_many(
            [(source, cases)],
            limits=limits,
            timeout=timeout,
            shuffle=shuffle,
            stop_at_first_failure=stop_at_first_failure,
        )
        return verdict

    def judge_many(
        self,
        items: Iterable[tuple[str | bytes | Program, Iterable[Case]]],
        *,
        limits: Limits | None = None,
        timeout: float | None = None,
        shuffle: bool | int = False,
        stop_at_first_failure: bool = False,
    ) -> list[Verdict]:
        """Return a verdict for each of `items`, pairs of a program and its cases, in their order.
        The cases of all of them share the pool; arguments as for `judge`.
        """
        return self._judging(items, limits, timeout, shuffle, stop_at_first_failure).run()

    async def ajudge(
        self,
        source: str | bytes | Program,
        cases: Iterable[Case],
        *,
        limits: Limits | None = None,
        timeout: float | None = None,
        shuffle: bool | int = False,
        stop_at_first_failure: bool = False,
    ) -> Verdict:
        """`judge` for asyncio, in a thread of the loop's; cancelling the task kills what runs."""
        items = [(source, cases)]
        judging = self._judging(items, limits, timeout, shuffle, stop_at_first_failure)
        try:
            (verdict,) = await asyncio.to_thread(judging.run)
        except asyncio.CancelledError:
            judging.cancel()
            raise
        return verdict

    def _judging(
        self,
        items: Iterable[tuple[str | bytes | Program, Iterable[Case]]],
        limits: Limits | None,
        timeout: float | None = None,
        shuffle: bool | int = False,
        stop_at_first_failure: bool = False,
        on_result: OnResult | None = None,
    ) -> Judging:
        own = judging_limits(self.limits, limits, timeout)
        planned = [
            Item(
                source,
                cases,
                limits=own,
                shuffle=shuffle,
                stop_at_first_failure=stop_at_first_failure,
            )
            for source, cases in items
        ]
        ahead = _LOOK_AHEAD * len(self._engine.workers)
        return Judging(self._queue_work, planned, ahead, on_result)

    def _queue_work(self, work: Work) -> RunFuture:
        self._require_room()
        task = Task(work.job, None, trial=work.trial)
        self._queue.put(task)
        return task.future

    def session(self, *, limits: Limits | None = None, history: int = 16) -> Session:
        """Return a new session: an interpreter whose state persists from call to call.

        limits: instead of the pool's, for the session as a whole, its times for each call.
        history: how many earlier states `rollback` can go back to; each costs a parked process,
            and from about twenty on the next fork becomes slower.
        """
        _require_count("history", history, 0, 1000)
        limits = self.limits if limits is None else limits
        if not isinstance(limits, Limits):
            raise TypeError(f"limits must be a sandbox.Limits, not {limits!r}")
        if self.tier == "none":
            raise PolicyError('session: tier="none" has no sessions; use another tier')
        self._require_room()
        try:
            family = Family(self._engine.nursery(), limits)
            try:
                head = family.first()
            except BaseException:
                family.close()
                raise
        except JailLost as lost:
            raise PoolError(f"a session could not be made: {lost}") from None
        head.park()
        return self._adopt(Session(self, family, head, history))

    def _adopt(self, session: Session) -> Session:
        return self._engine.sessions.add(session)

    def _forget(self, session: Session) -> None:
        self._engine.sessions.discard(session)

    def _queue_call(
        self,
        program: Program,
        timeout: float | None,
        limits: Limits,
        queue_timeout: float | None,
        on_output: OnOutput | None,
        call: Callable[[Task], Result],
    ) -> RunFuture:
        self._require_room()
        limits = limits if program.limits is None else program.limits
        if timeout is not None:
            limits = limits.replace(wall_s=timeout)
        task = Task(program.job(limits), _expiry(queue_timeout), on_output, call)
        self._queue.put(task)
        return task.future

    def stats(self) -> Stats:
        """Return the counters as they are now."""
        workers = self._engine.workers
        return self._counters.snapshot(
            tier=self.tier,
            workers=len(workers),
            alive=sum(worker.is_alive for worker in workers),
            busy=sum(worker.state is State.RUNNING for worker in workers),
            queued=len(self._queue),
        )

    def close(self) -> None:
        """End everything: waiting runs resolve with `PoolClosed`, running ones as `cancelled`.

        Returns when all processes of the pool are gone and all that it made is removed.
        Idempotent, also from several threads: each returns when all is done.
        """
        self._finalizer()
        if os.getpid() == self._pid:
            self._engine.closed.wait()

    def __enter__(self) -> "Pool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Engine:
    """What must be taken apart when a pool ends. Knows no `Pool`, so that one can be collected."""

    def __init__(
        self,
        queue: Queue,
        counters: Counters,
        closing: threading.Event,
        runtime: Runtime,
        plan: Plan,
    ) -> None:
        self.queue = queue
        self.counters = counters
        self.closing = closing
        self.runtime = runtime
        self.plan = plan
        self.workers: list[Worker] = []
        self._nursery: Nursery | None = None
        self.sessions = Sessions()
        self._lock = threading.Lock()  # guards _nursery
        self.closed = threading.Event()

    def nursery(self) -> Nursery:
        """The jail of all sessions, made when the first one is wanted."""
        with self._lock:
            if self.closing.is_set():
                raise PoolClosed("the pool is closed")
            if self._nursery is None:
                nursery = Nursery(self.plan)
                nursery.start()
                self._nursery = nursery
            return self._nursery

    def hopeless(self, why: str) -> None:
        """Answer what waits with an infra error, if no worker is there to take it."""
        if any(worker.is_alive for worker in self.workers):
            return
        for task in self.queue.drain():
            if task.begin():
                detail = f"no worker can be started: {why}"
                result = Result.internal(
                    detail, tier=self.plan.tier, queue_s=task.queue_s(), id=task.job.id
                )
                self.counters.ended(result)
                task.answer(result)

    def close(self, pid: int) -> None:
        if os.getpid() != pid:
            return  # a forked child: nothing here is its own
        try:
            self._take_apart()
        finally:
            self.closed.set()

    def _take_apart(self) -> None:
        self.closing.set()
        self.queue.close()
        for worker in self.workers:
            worker.end()
        deadline = time.monotonic() + _JOIN_PATIENCE_S
        for worker in self.workers:
            if not worker.join(max(deadline - time.monotonic(), 0.1)):
                logger.error("%r did not end", worker)
        self.sessions.close()
        with self._lock:
            if self._nursery is not None:
                self._nursery.close()
        self.plan.launcher.close()
        self.runtime.close()


def _expiry(queue_timeout: float | None) -> float | None:
    """When a wait of `queue_timeout` seconds that begins now is over."""
    if queue_timeout is None:
        return None
    if isinstance(queue_timeout, bool) or not isinstance(queue_timeout, (int, float)):
        raise TypeError(f"queue_timeout must be seconds or None, not {queue_timeout!r}")
    if not queue_timeout >= 0:
        raise ValueError(f"queue_timeout={queue_timeout!r}: must be 0 or more")
    return time.monotonic() + queue_timeout


def _require_count(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number or None, not {value!r}")
    if not least <= value <= most:
        raise ValueError(f"{name}={value!r}: must be {least} to {most}")


def _names(name: str, value: Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError(f"{name} must be a sequence of names, not the string {value!r}")
    try:
        return tuple(value)
    except TypeError:
        raise TypeError(f"{name} must be a sequence of names, not {value!r}") from None
