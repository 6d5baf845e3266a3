"""What is to be run for an item, in which order, and under which limits: decided before anything
is run.
"""

import dataclasses
import random
from collections.abc import Iterable, Iterator, Sequence

from ...sandbox.errors import PolicyError
from ...sandbox.guest.run.dialogue import PROGRAM, TEST, Role
from ...sandbox.limits import MAX_SECONDS, Limits, require_limit
from ...sandbox.reasons import ExitReason
from ...sandbox.result import Result
from ...sandbox.run.files import Pattern, check_files, in_pages
from ...sandbox.run.job import Job
from ..checks import each_of, naming
from ..program import RECURSION_LIMIT, Program
from ..runner import Runner
from .cases import Asserts, Call, Case, Interactive, Stdio, TestModule, kind_of
from .checker import EXPECTED, INPUT, CheckerProgram, with_room
from .text import least_bytes, to_bytes
from .verdict import CHECKER, INTERACTOR, CaseResult, Outcome, Verdict
from .wanted import (
    RUNS_CODE,
    RUNS_FILES,
    classes_in,
    holders,
    imports_module,
    looks_at_files,
    looks_at_output,
    seeds,
)

WALL_FACTOR = 6
"""How many times its CPU time a judged program may take by the clock on the wall: enough that a
loaded machine fails no right program, little enough that one that sleeps is ended."""


def judging_limits(pool: Limits, given: Limits | None, timeout: float | None) -> Limits:
    """Return the limits of each case's process: those that were given; else the pool's, with its
    wall time taken for CPU time (or `timeout`), and `WALL_FACTOR` times that for the wall.
    """
    if given is not None:
        if not isinstance(given, Limits):
            raise TypeError(f"limits must be a sandbox.Limits, not {given!r}")
        if timeout is not None:
            raise PolicyError("give limits or timeout, not both: timeout sets two of the limits")
        return given
    if timeout is None and pool.cpu_s is not None:
        return pool
    if timeout is not None:
        require_limit("timeout", timeout)
    cpu_s = pool.wall_s if timeout is None else timeout
    return pool.replace(cpu_s=cpu_s, wall_s=wall_for(cpu_s))


def wall_for(cpu_s: float | None) -> float | None:
    """How long a program that may take `cpu_s` of CPU time may take by the wall."""
    return None if cpu_s is None else min(WALL_FACTOR * cpu_s, MAX_SECONDS)


_DEFAULT_OUTPUT_BYTES = Limits().output_bytes
MAX_OUTPUT_BYTES = 64 << 20
_SPARE_OUTPUT_BYTES = 64 << 10
"""An output may be twice as large as expected and this: white space and zeros may come on top. It
is held in the host's memory, so there is an end to that."""

_MOST_TESTS = 16
_MOST_BYTES = 32 << 10
"""Tests that share a process: so many, of so much text. The more, the longer does a row that takes
long keep one worker busy while others have nothing to do."""

_TIMEOUTS = (str(ExitReason.WALL_TIMEOUT), str(ExitReason.CPU_TIMEOUT))


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """The runs of a case: a program's job, and, of asserts, that of the test which calls it, or of
    several tests, one after the other; or that of the interactor which talks to it.
    """

    job: Job
    test: Job | None = None


class Item:
    """A program and its cases; collects their results.

    order: the indices of the cases, in the order in which they are run. stops_at_timeout: whether
    those that come after one that has run out of time fail without being run.
    """

    def __init__(
        self,
        source: str | bytes | Program,
        cases: Iterable[Case],
        *,
        limits: Limits,
        shuffle: bool | int,
        stop_at_first_failure: bool,
        stop_at_first_timeout: bool = False,
        recursion_limit: int | None = RECURSION_LIMIT,
        runtime: str | None = None,
    ) -> None:
        self.cases: Sequence[Case] = tuple(each_of("cases", cases, "cases"))
        for number, case in enumerate(self.cases):
            if not isinstance(case, Case):
                raise TypeError(
                    f"cases[{number}] must be Stdio, Call, Asserts, TestModule or Interactive, "
                    f"not {case!r:.80}"
                )
        if not self.cases:
            raise ValueError("cases: none; without a case there is nothing to judge")
        self.kinds = tuple(kind_of(case) for case in self.cases)
        if not isinstance(source, Program):
            program = Program(source, recursion_limit=recursion_limit)
        elif source.recursion_limit is None:
            program = dataclasses.replace(source, recursion_limit=recursion_limit)
        else:
            program = source
        self._runtime = runtime if program.runtime is None else program.runtime
        self._limits = limits if program.limits is None else program.limits
        self._most = limits
        self._recursion_limit = recursion_limit
        require_possible(self.cases, self._limits)
        self.refused = ""
        """Why nothing of the program can be run, and all cases fail: who wrote it is to blame."""
        size, most = len(to_bytes(program.code)), self._limits.source_bytes
        if most is not None and size > most:
            self.refused = f"the program has {size} bytes, more than limits.source_bytes={most}"
        else:
            self._job = program.job(self._limits)
            for number, case in enumerate(self.cases):
                if isinstance(case, Stdio) and case.input_file is not None:
                    try:
                        check_files(self._files(case), self._limits, self._job.filename)
                    except ValueError as error:
                        raise ValueError(f"cases[{number}]: {error}") from None
        self.order = list(range(len(self.cases)))
        if shuffle is not False:
            random.Random(None if shuffle is True else shuffle).shuffle(self.order)
        self._stop = stop_at_first_failure
        self.stops_at_timeout = stop_at_first_timeout
        self._results: dict[int, CaseResult] = {}
        # The places in the order of the first that did not pass, and that ran out of time.
        self._stopped_at = self._timed_out_at = len(self.cases)

    def require_fit(self, runner: Runner) -> None:
        """Raise `PolicyError` where `runner` can't hold its processes to their limits, or does not
        have their runtime.
        """
        self._limits.require_fit(runner.tier)
        runner.require_runtime(self._runtime)
        for number, case in enumerate(self.cases):
            with naming(f"cases[{number}]"):
                runner.require_runtime(case.runtime)

    def groups(self) -> Iterator[tuple[int, ...]]:
        """The places of the order, those together whose cases share a test's process and the
        program's: asserts that follow each other, of one entry point and one prelude.
        """
        group: list[int] = []
        size = 0
        for place, index in enumerate(self.order):
            case = self.cases[index]
            its_size = _shared_bytes(case)
            if group and not (
                its_size is not None
                and len(group) < _MOST_TESTS
                and size + its_size <= _MOST_BYTES
                and _share(self.cases[self.order[group[-1]]], case)
            ):
                yield tuple(group)
                group, size = [], 0
            group.append(place)
            size = _MOST_BYTES if its_size is None else size + its_size
        yield tuple(group)

    def tested(self, index: int) -> Asserts | TestModule:
        """The case `index`, which must be a test."""
        case = self.cases[index]
        assert isinstance(case, (Asserts, TestModule))
        return case

    def work(self, index: int, *more: int) -> Work:
        """What is to be run for the case `index`, and for those that share its processes."""
        case = self.cases[index]
        program = self._job
        if (runtime := self._runtime_of(case)) != program.runtime:
            program = dataclasses.replace(program, runtime=runtime)
        if isinstance(case, Stdio):
            return Work(self._of_stdio(case, program))
        if isinstance(case, Call):
            return Work(dataclasses.replace(program, call=case.request))
        if isinstance(case, Interactive):
            return Work(dataclasses.replace(program, stdin=b"", collect=()), self._interactor(case))
        role = _role_for(case)
        source, *others = [to_bytes(self.tested(each).test_source) for each in (index, *more)]
        test = role._replace(kind=TEST, prelude=case.prelude, tests=tuple(others), stops=self._stop)
        return Work(
            dataclasses.replace(program, role=role, collect=()),
            Job(
                source,
                (),
                b"",
                self._limits,
                role=test,
                recursion_limit=program.recursion_limit,
                runtime=runtime,
            ),
        )

    def _runtime_of(self, case: Case) -> str | None:
        """What the program of a case is run in, and whatever judges it: its own, or else its
        program's.
        """
        return self._runtime if case.runtime is None else case.runtime

    def _of_stdio(self, case: Stdio, program: Job) -> Job:
        job = dataclasses.replace(
            program, stdin=to_bytes(case.input), limits=_limits_for(case, self._limits)
        )
        if case.input_file is not None:
            job = dataclasses.replace(job, stdin=b"", files=self._files(case))
        if case.output_file is not None:
            job = dataclasses.replace(job, collect=(Pattern.parse(case.output_file),))
        return job

    def _files(self, case: Stdio) -> dict[str, bytes]:
        """The files of the program, where its input is one."""
        assert case.input_file is not None
        return {**self._job.files, case.input_file: to_bytes(case.input)}

    def _interactor(self, case: Interactive) -> Job:
        """The run of an interactor. It may take as long as the program, and what judging allows
        more: where both wait, it is the program whose time is over first.
        """
        files = {INPUT: to_bytes(case.input), EXPECTED: to_bytes(case.expected)}
        limits = with_room(self._most, files.values())
        if limits.wall_s is not None:
            its_s = self._limits.wall_s
            wall_s = None if its_s is None else min(limits.wall_s + its_s, MAX_SECONDS)
            limits = limits.replace(wall_s=wall_s)
        if limits.output_bytes is not None:
            room = 2 * len(files[INPUT]) + _SPARE_OUTPUT_BYTES
            if room > limits.output_bytes == _DEFAULT_OUTPUT_BYTES:
                limits = limits.replace(output_bytes=min(room, MAX_OUTPUT_BYTES))
        interactor = Program(
            case.interactor,
            args=[INPUT, "output.txt", EXPECTED],
            files=files,
            recursion_limit=self._recursion_limit,
            runtime=self._runtime_of(case),
        )
        return interactor.job(limits)

    def checking(self, case: Stdio, output: bytes) -> Job:
        """The run of a case's checker, which must be a program, on an output: under the limits of
        judging, whatever the judged program's are.
        """
        assert isinstance(case.checker, CheckerProgram)
        expected = b"" if case.expected is None else to_bytes(case.expected)
        return case.checker.job(
            *(to_bytes(case.input), expected, output, self._most, self._recursion_limit),
            self._runtime_of(case),
        )

    def most_output(self, case: Stdio) -> int | None:
        """How many bytes the program may write."""
        return _limits_for(case, self._limits).output_bytes

    def wants(self, place: int) -> bool:
        """Whether the case at this place of the order is still to be judged."""
        if self._stop and place > self._stopped_at:
            return False
        return not self.stops_at_timeout or place <= self._timed_out_at

    def settle(self, place: int, result: CaseResult, *, judge: Result | None = None) -> None:
        """Take the result of the case at this place of the order. judge: of the run of its checker
        or interactor, whose time counts as the program's where that makes it fail.
        """
        index = self.order[place]
        if index != result.index or index in self._results:
            raise AssertionError(f"a result for {result.index} where {index} was expected, once")
        self._results[index] = result
        if not result.passed:
            self._stopped_at = min(self._stopped_at, place)
        by_judge = (
            judge is not None
            and judge.reason in _TIMEOUTS
            and result.reason in (CHECKER, INTERACTOR)
        )
        if result.outcome is Outcome.FAIL and (result.reason in _TIMEOUTS or by_judge):
            self._timed_out_at = min(self._timed_out_at, place)

    def verdict(self) -> Verdict:
        """The verdict, when all cases that are wanted have been settled."""
        results = []
        for place, index in enumerate(self.order):
            if self._stop and place > self._stopped_at:
                results.append(self.case_result(index, Outcome.SKIPPED, "skipped"))
            elif not self.wants(place):
                why = f"case {self.order[self._timed_out_at]} ran out of time"
                results.append(self.case_result(index, Outcome.FAIL, "skipped_timeout", why))
            elif self.refused:
                reason = "source_bytes"
                results.append(self.case_result(index, Outcome.FAIL, reason, self.refused))
            elif index in self._results:
                results.append(self._results[index])
        return Verdict.of(self.kinds, results)

    def case_result(
        self, index: int, outcome: Outcome, reason: str, detail: str = ""
    ) -> CaseResult:
        kind = self.kinds[index]
        return CaseResult(index=index, kind=kind, outcome=outcome, reason=reason, detail=detail)


def require_possible(cases: Iterable[Case], limits: Limits) -> None:
    """Raise ValueError for a case that no program could pass under these limits."""
    for number, case in enumerate(cases):
        if isinstance(case, (Asserts, TestModule)):
            size = len(case.test_source) + len(case.prelude)
            what, limit, most = "the test", "source_bytes", limits.source_bytes
        elif isinstance(case, Interactive):
            size = len(to_bytes(case.interactor))
            what, limit, most = "the interactor", "source_bytes", limits.source_bytes
        elif isinstance(case.checker, CheckerProgram):
            size = len(to_bytes(case.checker.source))
            what, limit, most = "the checker", "source_bytes", limits.source_bytes
        elif case.checker is not None:
            size, what, limit, most = 0, "", "", None
        elif isinstance(case, Stdio):
            size = least_bytes(to_bytes(case.expected), case.compare)
            most = _limits_for(case, limits).output_bytes
            what, limit = "the expected output", "output_bytes"
            disk = limits.disk_bytes
            if case.output_file is not None and disk is not None and in_pages(size) > disk:
                most, limit = disk, "disk_bytes"
        else:
            size = case.least_bytes
            what, limit, most = "the expected value", "memory_bytes", limits.memory_bytes
        if isinstance(case, Stdio) and case.input_file is not None:
            its, disk = len(to_bytes(case.input)), limits.disk_bytes
            if disk is not None and in_pages(its) > disk:
                what, size, limit, most = "the input", its, "disk_bytes", disk
        if most is not None and size > most:
            raise ValueError(
                f"cases[{number}]: {what} has {size} bytes, more than limits.{limit}={most}: "
                "no program could pass; raise the limit, or leave the case out"
            )


def _limits_for(case: Stdio, limits: Limits) -> Limits:
    """The limits, with room for an output as large as is expected, unless somebody has chosen how
    large it may be.
    """
    most, expected = limits.output_bytes, case.expected
    if most is None or most != _DEFAULT_OUTPUT_BYTES or not isinstance(expected, (str, bytes)):
        return limits
    room = min(2 * len(to_bytes(expected)) + _SPARE_OUTPUT_BYTES, MAX_OUTPUT_BYTES)
    return limits if room <= most else limits.replace(output_bytes=room)


def _role_for(case: Asserts | TestModule) -> Role:
    """What the program's process is to a test, as far as both are told the same."""
    module, runs = "", isinstance(case, TestModule)
    if isinstance(case, TestModule) and imports_module(case.test_source, case.module):
        module = case.module
    prints = looks_at_output(case.test_source)
    # What a program writes into a file may not be executed by a test.
    shares = looks_at_files(case.test_source) and not RUNS_FILES.search(case.test_source)
    return Role(
        PROGRAM,
        case.names,
        classes_in(case.prelude),
        module,
        mutates=case.mutates,
        prints=prints,
        shares=shares,
        seeds=seeds(case.test_source),
        holders=_holders(case, module),
        runs=runs,
    )


def _holders(case: Asserts | TestModule, module: str) -> tuple[str, ...]:
    try:
        return holders(case.test_source, module, tuple(name for name, _ in case.names))
    except ValueError:  # no Python: that will show
        return ()


def _shared_bytes(case: Case) -> int | None:
    """How large the test of a case is, where it may share a process with others; else None."""
    if not isinstance(case, Asserts):
        return None
    if RUNS_CODE.search(case.test_source) or RUNS_CODE.search(case.prelude):
        return None
    return len(case.test_source)


def _share(case: Case, other: Case) -> bool:
    return (
        isinstance(case, Asserts)
        and isinstance(other, Asserts)
        and case.prelude == other.prelude
        and case.runtime == other.runtime
        and _role_for(case) == _role_for(other)
    )
