"""What is to be run for an item, in which order, and under which limits: decided before anything
is run.
"""

import dataclasses
import random
from collections.abc import Iterable, Sequence

from ...sandbox.errors import PolicyError
from ...sandbox.guest.run.dialogue import PROGRAM, TEST
from ...sandbox.limits import MAX_SECONDS, Limits, require_limit
from ...sandbox.run.job import Job
from ..checks import each_of
from ..program import Program
from .cases import KINDS, Asserts, Call, Case, Stdio
from .text import least_bytes, to_bytes
from .verdict import CaseResult, Outcome, Verdict

WALL_FACTOR = 6
"""How many times its CPU time a judged program may take by the clock on the wall: enough that a
loaded machine fails no right program, little enough that one that sleeps is ended."""

RECURSION_LIMIT = 50_000
"""How deep judged programs, and tests, may recurse: the graders of LiveCodeBench and others call
sys.setrecursionlimit(50000)."""


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


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """One case's runs: a program's job, and, of asserts, that of the test which calls it."""

    job: Job
    test: Job | None = None


class Item:
    """A program and its cases; collects their results.

    order: the indices of the cases, in the order in which they are run.
    """

    def __init__(
        self,
        source: str | bytes | Program,
        cases: Iterable[Case],
        *,
        limits: Limits,
        shuffle: bool | int,
        stop_at_first_failure: bool,
        recursion_limit: int | None = RECURSION_LIMIT,
    ) -> None:
        self.cases: Sequence[Case] = tuple(each_of("cases", cases, "cases"))
        for number, case in enumerate(self.cases):
            if not isinstance(case, (Stdio, Call, Asserts)):
                raise TypeError(f"cases[{number}] must be Stdio, Call or Asserts, not {case!r:.80}")
        if not self.cases:
            raise ValueError("cases: none; without a case there is nothing to judge")
        self.kinds = tuple(_kind_of(case) for case in self.cases)
        if not isinstance(source, Program):
            program = Program(source, recursion_limit=recursion_limit)
        elif source.recursion_limit is None:
            program = dataclasses.replace(source, recursion_limit=recursion_limit)
        else:
            program = source
        self._limits = limits if program.limits is None else program.limits
        self._require_possible()
        self.refused = ""
        """Why nothing of the program can be run, and all cases fail: who wrote it is to blame."""
        size, most = len(to_bytes(program.code)), self._limits.source_bytes
        if most is not None and size > most:
            self.refused = f"the program has {size} bytes, more than limits.source_bytes={most}"
        else:
            self._job = program.job(self._limits)
        self.order = list(range(len(self.cases)))
        if shuffle is not False:
            random.Random(None if shuffle is True else shuffle).shuffle(self.order)
        self._stop = stop_at_first_failure
        self._results: dict[int, CaseResult] = {}
        self._stopped_at = len(self.cases)  # the place in the order of the first that did not pass

    def require_fit(self, tier: str) -> None:
        """Raise `PolicyError` where `tier` can't hold its processes to their limits."""
        self._limits.require_fit(tier)

    def work(self, index: int) -> Work:
        """What is to be run for the case `index`."""
        case = self.cases[index]
        if isinstance(case, Stdio):
            return Work(dataclasses.replace(self._job, stdin=to_bytes(case.input)))
        if isinstance(case, Call):
            return Work(dataclasses.replace(self._job, call=case.request))
        program = (PROGRAM, case.entry_point, "")
        test = (TEST, case.entry_point, case.prelude)
        source = case.test_source.encode("utf-8", "surrogatepass")
        return Work(
            dataclasses.replace(self._job, role=program, collect=()),
            Job(
                source,
                (),
                b"",
                self._limits,
                role=test,
                recursion_limit=self._job.recursion_limit,
            ),
        )

    def wants(self, place: int) -> bool:
        """Whether the case at this place of the order is still to be judged."""
        return place <= self._stopped_at or not self._stop

    def settle(self, place: int, result: CaseResult) -> None:
        """Take the result of the case at this place of the order."""
        index = self.order[place]
        if index != result.index or index in self._results:
            raise AssertionError(f"a result for {result.index} where {index} was expected, once")
        self._results[index] = result
        if not result.passed:
            self._stopped_at = min(self._stopped_at, place)

    def verdict(self) -> Verdict:
        """The verdict, when all cases that are wanted have been settled."""
        results = []
        for place, index in enumerate(self.order):
            if not self.wants(place):
                results.append(self.case_result(index, Outcome.SKIPPED, "skipped"))
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

    def _require_possible(self) -> None:
        """Raise ValueError for a case that no program could pass under these limits."""
        limits = self._limits
        for number, case in enumerate(self.cases):
            if isinstance(case, Asserts):
                size = len(case.test_source) + len(case.prelude)
                what, limit, most = "the test", "source_bytes", limits.source_bytes
            elif case.checker is not None:
                continue
            elif isinstance(case, Stdio):
                size = least_bytes(to_bytes(case.expected), case.compare)
                what, limit, most = "the expected output", "output_bytes", limits.output_bytes
            else:
                size = case.least_bytes
                what, limit, most = "the expected value", "memory_bytes", limits.memory_bytes
            if most is not None and size > most:
                raise ValueError(
                    f"cases[{number}]: {what} has {size} bytes, more than limits.{limit}={most}: "
                    "no program could pass; raise the limit, or leave the case out"
                )


def _kind_of(case: Case) -> str:
    return next(name for name, kind in KINDS.items() if isinstance(case, kind))
