"""Cases whose checker is a program: what is still to be run for one, and what is known of it.

A checker that gives no verdict on what is expected is at fault by itself: no program is then judged
by the case, whatever it has done. So whether a case counts follows from its text alone.
"""

import dataclasses

from ...sandbox.result import Result
from ...sandbox.run.job import Job
from . import findings
from .cases import Stdio
from .checker import CheckerProgram, said
from .finding import Finding
from .plan import Item
from .text import to_bytes
from .verdict import CaseResult, Outcome


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """A run of a case's checker.

    output: what it is to look at. program: the result of the program's run that wrote it; None: it
    is what the case expects.
    """

    item: Item
    case: Stdio
    output: bytes
    program: Result | None = None

    def job(self) -> Job:
        return self.item.checking(self.case, self.output)


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What is found of a program in a case, as long as it is not known whether the case counts.

    checked: the result of its checker's run, if there was one.
    """

    item: Item
    place: int
    program: Result
    finding: Finding
    checked: Result | None = None

    def result(self, trouble: Finding | None = None) -> CaseResult:
        """The case's result; trouble: found of the case itself."""
        index = self.item.order[self.place]
        found = trouble or self.finding
        return findings.with_finding(self.item, index, self.program, found)


class Checks:
    """What the checkers of one call of `judge_many` have made of expected outputs; each is asked
    once.
    """

    def __init__(self) -> None:
        self._known: dict[Stdio, Finding | None] = {}
        self._waiting: dict[Stdio, list[Found]] = {}

    def trouble(self, case: Stdio) -> Finding | None:
        """What is wrong with a case by itself, as far as that is known."""
        return self._known.get(case)

    def is_known(self, case: Stdio) -> bool:
        return case.expected is None or case in self._known

    def wait(self, case: Stdio, found: Found) -> Check | None:
        """Keep what was found until it is known whether the case counts. Return the run that tells,
        for the first that asks.
        """
        first = case not in self._waiting
        self._waiting.setdefault(case, []).append(found)
        return Check(found.item, case, to_bytes(case.expected)) if first else None

    def take(self, check: Check, result: Result) -> tuple[Finding, list[Found]]:
        """Return what a checker's run says, and, if it was of an expected output, what has waited
        for it.
        """
        assert isinstance(check.case.checker, CheckerProgram)
        its = said(check.case.checker, result)
        finding = findings.of_check(its, result)
        lost = finding.outcome is Outcome.INFRA_ERROR
        if check.case.expected is None or check.output != to_bytes(check.case.expected):
            return finding, []
        if not lost:
            trouble = None
            if its.score is None:
                words = f"the checker gives no verdict on what is expected: it {its.why}"
                trouble = Finding(Outcome.HARNESS_ERROR, "harness", words)
            self._known.setdefault(check.case, trouble)
        waiting = self._waiting.pop(check.case, []) if check.program is None or not lost else []
        return finding, waiting
