"""What a judge has found. Nothing here knows of processes."""

import dataclasses
import enum
import math
from collections.abc import Iterable
from typing import Any

CHECKER = "checker"
"""The reason of a case that failed because its checker did, on what the program gave."""

CHECKERS_RUN = "the checker's run "
"""How `detail` begins then, where the checker is a program: not one of the caller's functions."""

INTERACTOR = "interactor"
"""The reason of a case that failed because its interactor did, on what the program said."""


class Outcome(enum.StrEnum):
    """What a case says about the program."""

    PASS = "pass"
    FAIL = "fail"
    HARNESS_ERROR = "harness_error"
    """The case's test is at fault, by itself: it says nothing about the program."""
    INFRA_ERROR = "infra_error"
    """We are at fault: it says nothing about the program."""
    SKIPPED = "skipped"
    """Not judged, since an earlier one did not pass."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """How one case went.

    index: its place among the cases, from 0. kind: "stdio", "call", "asserts", "module" or
        "interactive".
    reason: "ok"; or what it failed for: "wrong_output", "wrong_value", "assertion", "incomplete",
        "checker" (it raised, or gave no score), "interactor" (the same), "skipped_timeout" (an
        earlier case ran out of time), or the reason for which the program's run ended
        (`ExitReason`); of errors that are not the program's, "harness" or "internal"; "skipped",
        "missing", "duplicate".
    detail: the same for people. diff: where what came out differs from what was expected, first.
        Both are short; they hold parts of what was expected, and are not for the program's author.
    score: 1 or 0, or what a checker gave.
    wall_s, cpu_s, peak_memory_bytes: of the program's process, by the host's clock and the kernel;
        None where nothing is known. Asserts that share a process each have their own part of the
        time, the first that of loading the program too, and all the same peak.
    queue_s: seconds spent waiting for a worker.
    weak: it passed, and all that its test has looked at is what the program says of itself, as by
        its own `==`: any program can say so.
    not_offered: the installed package for want of which the program or its test failed, or None
        (`Result.not_offered`).
    """

    index: int
    kind: str
    outcome: Outcome
    reason: str
    detail: str = ""
    diff: str = ""
    score: float = 0.0
    wall_s: float | None = None
    cpu_s: float | None = None
    queue_s: float = 0.0
    peak_memory_bytes: int | None = None
    not_offered: str | None = None
    weak: bool = False

    @property
    def passed(self) -> bool:
        return self.outcome is Outcome.PASS

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON data."""
        found = dataclasses.asdict(self)
        return {**found, "outcome": str(self.outcome), "score": _finite(self.score)}


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Verdict:
    """What a program's cases say about it; made by `Verdict.of`.

    cases: one result for each case, in the order of the cases.
    passed: all of them passed. score: the share of those that did, from 0 to 1 (a checker may give
        parts). infra_error: of at least one case we are to blame. harness_error: of at least one
        case the test is, and this is what it says; else None. Where either is the case,
        `conclusive` is false, and the score is not to be used: it says nothing of the program.
    shape: of the row that the cases were read from (`read_row`); "" where it was none.
    """

    cases: tuple[CaseResult, ...]
    shape: str = ""

    @classmethod
    def of(cls, kinds: Iterable[str], results: Iterable[CaseResult]) -> "Verdict":
        """Return the verdict on cases of these kinds: a case passes if it has one result, which
        says so. Missing and duplicate results are failures; one for no case is refused.
        """
        kinds = tuple(kinds)
        if not kinds:
            raise ValueError("cases: none; without a case there is nothing to judge")
        found: dict[int, CaseResult] = {}
        for result in results:
            if not 0 <= result.index < len(kinds):
                raise ValueError(f"a result for case {result.index}, of {len(kinds)} cases")
            if result.index in found:
                result = _failure(result.index, kinds[result.index], "duplicate", "two results")
            found[result.index] = result
        return cls(
            tuple(
                found.get(index) or _failure(index, kind, "missing", "no result")
                for index, kind in enumerate(kinds)
            )
        )

    @property
    def passed(self) -> bool:
        return bool(self.cases) and all(case.passed for case in self.cases)

    @property
    def score(self) -> float:
        return sum(_finite(case.score) for case in self.cases) / len(self.cases)

    @property
    def infra_error(self) -> bool:
        return any(case.outcome is Outcome.INFRA_ERROR for case in self.cases)

    @property
    def harness_error(self) -> str | None:
        for case in self.cases:
            if case.outcome is Outcome.HARNESS_ERROR:
                return f"case {case.index}: {case.detail}"
        return None

    @property
    def not_offered(self) -> frozenset[str]:
        """The installed packages for want of which a case failed."""
        return frozenset(case.not_offered for case in self.cases if case.not_offered is not None)

    @property
    def conclusive(self) -> bool:
        return not self.infra_error and self.harness_error is None

    def __repr__(self) -> str:
        passed = sum(case.passed for case in self.cases)
        text = f"{'passed' if self.passed else 'failed'} {passed}/{len(self.cases)}"
        if self.infra_error:
            text = f"infra error {passed}/{len(self.cases)}"
        elif self.harness_error is not None:
            text = f"harness error {passed}/{len(self.cases)}"
        first = next((case for case in self.cases if not case.passed), None)
        text += f" ({self.shape})" if self.shape else ""
        return f"<Verdict {text}{'' if first is None else f': case {first.index} {first.reason}'}>"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON data."""
        return {
            "passed": self.passed,
            "score": self.score,
            "infra_error": self.infra_error,
            "harness_error": self.harness_error,
            "conclusive": self.conclusive,
            "shape": self.shape,
            "cases": [case.to_dict() for case in self.cases],
        }


def _failure(index: int, kind: str, reason: str, detail: str) -> CaseResult:
    return CaseResult(index=index, kind=kind, outcome=Outcome.FAIL, reason=reason, detail=detail)


def _finite(score: float) -> float:
    return min(max(float(score), 0.0), 1.0) if math.isfinite(score) else 0.0
