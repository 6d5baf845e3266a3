"""What runs programs, here or elsewhere: the methods that a pool and its clients have in common."""

import dataclasses
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from ..sandbox.errors import PolicyError
from ..sandbox.limits import Limits
from ..sandbox.result import Result
from ..sandbox.run.job import Job
from .checks import each_of, expiry, naming, require_count
from .engine.stats import Stats
from .engine.task import OnOutput, RunFuture
from .errors import PoolError
from .function import Function, check_name
from .program import Options, Program, is_stream, limits_for
from .runner import Runner

if TYPE_CHECKING:  # what not everyone needs is imported when it is first used
    from hypothesis.strategies import SearchStrategy

    from .fuzzing.difference import Difference
    from .fuzzing.search import OnExample
    from .fuzzing.side import Comparison
    from .judge.cases import Call, Case
    from .judge.judging import JudgeOptions, Judging
    from .judge.verdict import Verdict

    Strategy = (
        SearchStrategy[Any] | Sequence[SearchStrategy[Any]] | Mapping[str, SearchStrategy[Any]]
    )


class Executor(ABC):
    """Anything that runs programs: a `Pool`, or what `connect` returns, a client of one elsewhere.
    All methods mean the same on both, results and errors are the same. Thread-safe; a context
    manager.

    limits: what a run may use that is given none of its own. tier: how strongly it is confined.
    """

    limits: Limits
    tier: str

    @property
    @abstractmethod
    def runner(self) -> Runner:
        """What makes the runs; for parts of ours that are built on it."""

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
        options: stdin, args, files, collect, limits, env, seed, recursion_limit, filename, id,
            runtime, as in `Program`, in place of what a program given has; timeout: short for
            `limits.wall_s`, and wins over it.
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
        import asyncio  # costs 12 ms, and its loop is there already

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
        self.runner.require_room()
        if on_output is not None and not callable(on_output):
            raise TypeError(f"on_output must be callable, not {on_output!r}")
        program = Program.of(code, options)
        job = self._job(program, options.get("timeout"), fed=True)
        expires_at = expiry(queue_timeout)
        feed = program.feed()
        if feed is None:
            return self.runner.submit(job, expires_at=expires_at, on_output=on_output)
        job = dataclasses.replace(job, feed=feed)
        try:
            return self.runner.submit(job, expires_at=expires_at, on_output=on_output)
        except (PoolError, PolicyError):  # not queued; else its future closes the feed
            feed.close()
            raise

    def check(self, code: str | bytes | Program, **options: Unpack[Options]) -> None:
        """Raise what `submit` would raise for this program, without queueing it: TypeError,
        ValueError, `PolicyError`.
        """
        self._job(Program.of(code, options), options.get("timeout"))

    def _job(
        self,
        program: Program,
        timeout: float | None,
        request: bytes | None = None,
        *,
        fed: bool = False,
    ) -> Job:
        job = program.job(limits_for(program, self.runner, timeout), fed=fed)
        return job if request is None else dataclasses.replace(job, call=request)

    def map(
        self, programs: Iterable[str | bytes | Program], **options: Unpack[Options]
    ) -> Iterator[Result]:
        """Yield the results of `programs` in their order, while later ones run.

        A few more are taken from `programs` than run at once, so that it may be endless; with a
        bounded queue, `map` waits where `submit` would raise `PoolFull`. options: for all of them,
        as for `run`. When the iterator is closed, or fails, what has not ended is cancelled.
        """
        if is_stream(options.get("stdin")):
            raise TypeError(
                "stdin: a stream can't be the input of many programs; give its contents"
            )
        numbered = enumerate(each_of("programs", programs, "programs"))

        def submit(program: tuple[int, str | bytes | Program]) -> RunFuture:
            number, code = program
            with naming(f"programs[{number}]"):
                return self.submit(code, **options)

        from .engine.flights import in_order

        return in_order(submit, numbered, self.runner.ahead, self.runner.when_room)

    def function(
        self,
        source: str | bytes | Program,
        name: str,
        *,
        shared_load: bool = False,
        queue_timeout: float | None = None,
        **options: Unpack[Options],
    ) -> Function:
        """Return the function `name` of an untrusted program, to be called like any other.

        Every call loads `source` afresh, as a module, in a confined process of its own. `name` may
        lead through attributes and constructors: "Solution().method". options: as for `run`.
        shared_load: load it once, confined as well, and fork every call from there, with a copy of
            the files that it wrote: for what takes long to load. options are then timeout (of a
            call), limits and runtime only. Raises `ProgramError` or `LimitExceeded` if it can't be
            loaded, `PolicyError` for what can't be shared (live threads, shared memory, open
            files).

        >>> with Pool(1) as pool:
        ...     pool.function("def double(x): return 2 * x", "double")([1, 2])
        [1, 2, 1, 2]
        """
        if shared_load:
            return self._loaded_function(source, name, queue_timeout, options)
        program = Program.of(source, options)
        return self._fresh_function(program, name, options.get("timeout"), queue_timeout)

    def _fresh_function(
        self,
        program: Program,
        name: str,
        timeout: float | None,
        queue_timeout: float | None,
        *,
        wait: bool = False,
    ) -> Function:
        """wait: for room in the queue, where else `PoolFull` is raised."""

        def run(request: bytes) -> Result:
            job = self._job(program, timeout, request)
            return self.runner.submit(job, expires_at=expiry(queue_timeout), wait=wait).wait()

        return Function(run, name)

    def _loaded_function(
        self,
        source: str | bytes | Program,
        name: str,
        queue_timeout: float | None,
        options: Options,
    ) -> Function:
        refused = sorted(options.keys() - {"timeout", "limits", "runtime"})
        if refused or isinstance(source, Program):
            what = refused[0] if refused else "a Program"
            raise PolicyError(f"shared_load=True takes no {what}; timeout, limits and runtime only")
        check_name(name)
        limits = options.get("limits") or self.limits
        from .loaded import Loaded

        loaded = Loaded(
            lambda: self.session(
                limits=limits, history=0, rollback=False, runtime=options.get("runtime")
            ),
            source,
            {"timeout": options.get("timeout"), "queue_timeout": queue_timeout},
        )
        return Function(loaded.call, name, loaded.close)

    def _patient_function(
        self, source: str | bytes | Program, name: str, limits: Limits, shared_load: bool
    ) -> Function:
        """A function for those who wait where there is no room."""
        if shared_load:
            return self._loaded_function(source, name, None, {"limits": limits})
        program = Program.of(source, {"limits": limits})
        return self._fresh_function(program, name, None, None, wait=True)

    def judge(
        self,
        source: str | bytes | Program,
        cases: "Iterable[Case]",
        **options: "Unpack[JudgeOptions]",
    ) -> "Verdict":
        """Return the verdict on an untrusted program, by its cases: `Stdio`, `Call`, `Asserts`,
        `Interactive`.

        Every case has a fresh process; asserts that follow each other, with the same entry point
        and prelude, share one, as they share one in other graders. Expected values, tests, checkers
        and comparisons never are in it. Options:
        timeout: CPU seconds that each case may take; None: as many as the pool's limits give, of
            wall time if they name no CPU time. By the wall, six times as long is allowed.
        limits: in place of both, and of the pool's. A program's own limits win over all.
        recursion_limit: of programs and tests, as in `Program`, whose own wins; 50,000, which is
            what other graders set. None: Python's own.
        runtime: of programs that name none, and of the tests, checkers and interactors of their
            cases, as in `Program`; a case may name another.
        shuffle: judge in a random order; a whole number (but no bool): in the same one every time.
        stop_at_first_failure: leave out the cases that come after the first that does not pass.
        stop_at_first_timeout: a program that has run out of time in one case is not waited for in
            those that come after it: they fail, with the reason "skipped_timeout", whether they had
            been run or not.
        on_result: called with each `CaseResult` as it comes.

        A program never makes it raise; ValueError or TypeError are for cases that make no sense.
        Waits where the queue is full. If the wait is interrupted, all that runs is killed.
        """
        (verdict,) = self.judging([(source, cases)], options, numbered=False).run()
        return verdict

    def judge_many(
        self,
        items: "Iterable[tuple[str | bytes | Program, Iterable[Case]]]",
        **options: "Unpack[JudgeOptions]",
    ) -> "list[Verdict]":
        """Return a verdict for each of `items`, pairs of a program and its cases, in their order.
        The cases of all of them share the pool; options as for `judge`.
        """
        return self.judging(items, options).run()

    async def ajudge(
        self,
        source: str | bytes | Program,
        cases: "Iterable[Case]",
        **options: "Unpack[JudgeOptions]",
    ) -> "Verdict":
        """`judge` for asyncio, in a thread of its own; cancelling the task kills what runs."""
        import asyncio

        from .awaited import in_own_thread

        judging = self.judging([(source, cases)], options, numbered=False)
        try:
            (verdict,) = await in_own_thread("judge", judging.run)
        except asyncio.CancelledError:
            judging.cancel()
            raise
        return verdict

    def judging(
        self,
        items: "Iterable[tuple[str | bytes | Program, Iterable[Case]]]",
        options: "JudgeOptions",
        *,
        numbered: bool = True,
    ) -> "Judging":
        from .judge.judging import plan

        return plan(self.runner, items, numbered=numbered, **options)

    def differential(
        self,
        candidate: str | bytes | Program,
        reference: str | bytes | Program,
        function: str,
        strategy: "Strategy | None" = None,
        *,
        max_examples: int = 500,
        seed: int | None = None,
        limits: Limits | None = None,
        timeout: float | None = None,
        database: str | os.PathLike[str] | None = None,
        shared_load: bool = False,
        on_example: "OnExample | None" = None,
        **comparison: "Unpack[Comparison]",
    ) -> "Difference | None":
        """Look for an input on which `function` of an untrusted candidate differs from that of a
        reference; return the simplest that is found, or None. Needs the extra `fuzz` (hypothesis).

        They differ in the value (types count), the type of an exception, or the limit that ends
        them; output is not compared. Both are confined, and every call has a process of its own.
        strategy: of tuples of arguments or dicts of keyword arguments, or a list or dict of
            strategies, one for each argument; None: made from the type hints of the reference's
            function, which are read without running it. ValueError where that can't be done.
        max_examples: how many inputs are drawn; simpler ones than a first that differs come on top,
            for a minute at most.
        seed: a whole number, by which the same inputs are drawn; None: others every time.
        timeout: CPU seconds that each call may take, 1 by default; six times as long by the wall.
        limits: in place of that, and of the pool's.
        database: a folder where what is found is kept, and tried first the next time (for the same
            reference and strategy); None: nowhere.
        shared_load: load each program once, as for `function`: for what takes long to load.
        on_example: called with the number of inputs tried, and the last difference or None.
        comparison: numeric, abs_tol, rel_tol, ordered, as_json, as in `Call`.

        A program never makes it raise; `PoolError` is for failures of ours. What does not come to
        the same each time that it is asked is told by `Difference.flaky`. Waits where the queue is
        full.
        """
        from .fuzzing.differential import differential

        return differential(
            self.runner,
            self._patient_function,
            candidate,
            reference,
            function,
            strategy,
            max_examples=max_examples,
            seed=seed,
            limits=limits,
            timeout=timeout,
            database=database,
            shared_load=shared_load,
            on_example=on_example,
            comparison=comparison,
        )

    def cases_from(
        self,
        reference: str | bytes | Program,
        function: str,
        strategy: "Strategy | None" = None,
        n: int = 100,
        seed: int | None = 0,
        *,
        limits: Limits | None = None,
        timeout: float | None = None,
        **comparison: "Unpack[Comparison]",
    ) -> "list[Call]":
        """Return up to `n` cases for `judge`: inputs, each another, and what `function` of the
        reference returns for them, confined. Needs the extra `fuzz` (hypothesis).

        Inputs on which it raises or exceeds a limit are left out; fewer cases are returned where
        there are no more inputs. ValueError if it returns for none. strategy, seed, limits, timeout
        are as for `differential`; comparison is what each case has: numeric, abs_tol, rel_tol,
        ordered, as_json.
        """
        from .fuzzing.cases import cases_from

        return cases_from(
            self.runner,
            self._patient_function,
            reference,
            function,
            strategy,
            n,
            seed,
            limits=limits,
            timeout=timeout,
            comparison=comparison,
        )

    @abstractmethod
    def session(
        self,
        *,
        limits: Limits | None = None,
        history: int = 16,
        rollback: bool = True,
        numeric_threads: int = 1,
        runtime: str | None = None,
    ) -> Any:
        """Return a new session; as `Pool.session`."""

    def sessions(self, n: int, **options: Any) -> list[Any]:
        """Return `n` new sessions, or raise what kept one of them from being made, and leave none;
        options as for `session`.
        """
        require_count("n", n, 0, 100_000)
        made: list[Any] = []
        try:
            for _ in range(n):
                made.append(self.session(**options))
        except BaseException:
            for session in made:
                session.close()
            raise
        return made

    @abstractmethod
    def snapshot(
        self, setup: str | bytes, *, timeout: float | None = 60.0, runtime: str | None = None
    ) -> Any:
        """Run trusted code once, and return what it made, to fork runs from; as `Pool.snapshot`."""

    @abstractmethod
    def stats(self) -> Stats:
        """Return the counters as they are now."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything that this object holds. Idempotent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def require_executor(name: str, value: object, also: str = "") -> None:
    """Raise TypeError for what runs no programs. also: what else the argument may be."""
    if not isinstance(value, Executor):
        raise TypeError(
            f"{name} must be a Pool, or what connect(url) returns{also}, not {value!r:.80}"
        )
