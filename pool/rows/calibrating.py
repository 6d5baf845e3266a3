"""Calibrating: the rows' own solutions are judged, and programs that solve nothing."""

import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..checks import require_count
from ..judge.cases import Call
from ..judge.plan import judging_limits
from ..judge.verdict import CaseResult, Verdict
from .batch import Judge, Judged, attempt, judge_readings
from .calibration import Calibration, Kind, RowReport, digest_of
from .cheats import IN_WORDS, Answers, cheats_for
from .read import read_row
from .reading import Reading, Unreadable
from .solutions import solutions_of
from .tables import name_of

_AT_ONCE = 24
"""Rows whose programs are judged together: enough to keep workers busy, and few enough that an
interruption loses little."""

_MOST_SOLUTIONS = 3
"""Of a row: if one is wrong, as some are in APPS, the next is tried."""

_MOST_REPEATS = 1000

_TIMEOUTS = ("cpu_timeout", "wall_timeout")


def calibrate(
    pool: Judge,
    rows: Iterable[Mapping[str, Any]],
    *,
    solution: str | None = None,
    repeats: int = 2,
    slow: float = 0.5,
    on_row: Callable[[RowReport], None] | None = None,
    **judging: Any,
) -> Calibration:
    """Judge the rows' own solutions, and programs that solve nothing; return which rows to keep.

    A row is kept if its solution passes each time, in time, and no such program scores above 0.

    rows: as for `read_row`, with the columns that the trainer will see.
    solution: the column of the solutions; None: those that known data sets have for them.
    repeats: how many times a solution is judged. slow: the share of a case's CPU time that it may
        take. on_row: called with each `RowReport` as it comes.
    judging: as for `CodeRewardFunction`: compare, timeout, limits, recursion_limit,
        function_imports, stop_at_first_timeout, runtime (a name). Rows must be judged as they will
        be in training.

    Raises ValueError for arguments that make no sense, and where no row has the column `solution`.
    """
    reports = []
    for report in calibrating(
        pool, list(rows), solution=solution, repeats=repeats, slow=slow, **judging
    ):
        reports.append(report)
        if on_row is not None:
            on_row(report)
    return Calibration(reports)


def calibrating(
    pool: Judge,
    rows: Sequence[Mapping[str, Any] | Unreadable],
    *,
    solution: str | None = None,
    repeats: int = 2,
    slow: float = 0.5,
    known: Collection[tuple[int, str]] = (),
    compare: str | None = None,
    function_imports: str | None = None,
    **judging: Any,
) -> Iterator[RowReport]:
    """Yield a report on each row, in their order, as they come; see `calibrate`. known: number and
    digest of those that need no report.
    """
    require_count("repeats", repeats, 1, _MOST_REPEATS)
    if isinstance(slow, bool) or not isinstance(slow, (int, float)) or not 0 < slow <= 1:
        raise ValueError(f"slow={slow!r:.80}: must be a share, more than 0 and at most 1")
    if solution is not None and not any(
        isinstance(row, Mapping) and solution in row for row in rows
    ):
        raise ValueError(f"solution={solution!r:.80}: no row has this column")
    if function_imports is not None:
        judging["imports"] = function_imports
    judging.setdefault("stop_at_first_timeout", True)  # as trainers have it
    most = judging_limits(pool.limits, judging.get("limits"), judging.get("timeout"))
    answers = Answers()
    numbered = iter(enumerate(rows))
    while slice := list(itertools.islice(numbered, _AT_ONCE)):
        each = [_Row(number, row, solution, compare) for number, row in slice]
        for row in each:
            answers.note(row.reading)
        each = [row for row in each if (row.number, row.digest) not in known]
        for row in each:
            row.plan(answers, repeats)
        while pairs := [pair for row in each for pair in row.wanted()]:
            judged = iter(judge_readings(pool, pairs, **judging))
            for row in each:
                row.take(judged)
        for row in each:
            cpu_s = row.reading.limits(most).cpu_s
            yield row.report(None if cpu_s is None else slow * cpu_s)


class _Row:
    """A row on its way: what is to be judged for it, and what became of that."""

    def __init__(
        self,
        number: int,
        row: Mapping[str, Any] | Unreadable,
        column: str | None,
        compare: str | None,
    ) -> None:
        self.number = number
        self.name = name_of(row)
        self._read = functools.partial(_read, row, compare=compare)
        self.solutions: list[str] = []
        self._lacking = "the row has no solution"
        self.error: Unreadable | None = None
        if isinstance(row, Mapping):
            try:
                self.solutions = solutions_of(row, column)[:_MOST_SOLUTIONS]
            except ValueError as error:
                self._lacking = str(error)
        found = attempt(lambda: self._read(self.solutions[0] if self.solutions else ""))
        if isinstance(found, Unreadable):
            self.error = found
            found = Reading(shape="", why=str(found))
        self.reading = found
        self.digest = digest_of(found.cases) if found.cases else ""
        self._cheats: Mapping[str, str] = {}
        self._repeats = 0
        self._next = 0
        self._sent = 0
        self._judged: list[Judged] = []
        self._of_cheats: dict[str, Judged] | None = None
        self._sees_changes: bool | None = None
        """Whether its first solution passes if changes of arguments are seen; None: not tried."""

    def plan(self, answers: Answers, repeats: int) -> None:
        self._repeats = repeats
        if self.reading.cases and self.solutions:
            self._cheats = cheats_for(self.reading, answers)

    def wanted(self) -> list[tuple[str, Reading | Unreadable]]:
        """The programs that are to be judged now: solutions until one passes, and cheats."""
        self._sent = 0
        codes: list[str] = []
        if self.reading.cases and self._next < len(self.solutions) and not self._has_passed():
            codes = [self.solutions[self._next]] * self._repeats
            if self._of_cheats is None:
                codes += self._cheats.values()
        elif self._is_to_see_changes():
            self._sent = 1
            return [(self.solutions[0], self.reading.seeing_changes())]
        self._sent = len(codes)
        return [(code, self._reading_for(code)) for code in codes]

    def _is_to_see_changes(self) -> bool:
        """Whether it is to be tried if that is why all solutions fail: it is proposed then."""
        failed = bool(self._judged) and not self._has_passed()
        return failed and self._sees_changes is None and self.reading.may_see_changes

    def _reading_for(self, code: str) -> Reading | Unreadable:
        """What the row asks of this program, which matters where a function may be a method."""
        if code == self.solutions[0] or not any(isinstance(c, Call) for c in self.reading.cases):
            return self.reading
        return attempt(functools.partial(self._read, code))

    def take(self, judged: Iterator[Judged]) -> None:
        """Take what became of those."""
        found = list(itertools.islice(judged, self._sent))
        if not found:
            return
        if self._next == len(self.solutions):
            verdict = found[0].verdict
            self._sees_changes = verdict is not None and verdict.passed
            return
        self._next += 1
        before, self._judged = self._judged, found[: self._repeats]
        if before and not self._has_passed():
            self._judged = before  # what is said is said of the first
        if self._of_cheats is None:
            self._of_cheats = dict(zip(self._cheats, found[self._repeats :], strict=True))

    def _has_passed(self) -> bool:
        """Whether a solution passes, if only at times."""
        return any(each.verdict is not None and each.verdict.passed for each in self._judged)

    def report(self, most_cpu_s: float | None) -> RowReport:
        kind, why = self._kind(most_cpu_s)
        verdicts = [each.verdict for each in self._judged if each.verdict is not None]
        return RowReport(
            row=self.number,
            kind=kind,
            why=why,
            shape=self.reading.shape,
            digest=self.digest,
            name=self.name,
            cpu_s=_cpu_s(verdicts),
            cheats=self._scores(),
        )

    def _scores(self) -> dict[str, float]:
        """The scores of the cheats that got something."""
        found = {}
        for cheat, judged in (self._of_cheats or {}).items():
            if judged.verdict is not None and judged.verdict.score > 0:
                found[cheat] = round(judged.verdict.score, 4)
        return found

    def _kind(self, most_cpu_s: float | None) -> tuple[Kind, str]:
        if self.error is not None:
            return Kind.UNREADABLE, self.reading.why
        if self.reading.why:
            return Kind.UNJUDGED, self.reading.why
        if not self.solutions:
            return Kind.NO_SOLUTION, self._lacking
        unjudged = next((each for each in self._judged if each.verdict is None), None)
        if unjudged is not None:  # not under these limits
            return Kind.UNREADABLE, unjudged.why
        verdicts = [each.verdict for each in self._judged if each.verdict is not None]
        others = {name: each.verdict for name, each in (self._of_cheats or {}).items()}
        if any(verdict.infra_error for verdict in (*verdicts, *filter(None, others.values()))):
            return Kind.INFRA_ERROR, "a failure of the pool's; nothing is known of the row"
        failed = [verdict for verdict in verdicts if not verdict.passed]
        if failed and len(failed) < len(verdicts):
            return Kind.FLAKY, (
                f"its solution fails {len(failed)} of {len(verdicts)} times: {_detail(failed[0])}"
            )
        if failed:
            kind, why = _failure(failed[0])
            if self._sees_changes:
                why += "; it passes if changes of arguments are seen: mutates=true in the row"
            return kind, why
        if all(case.weak for verdict in verdicts for case in verdict.cases):
            return Kind.WEAK, "its tests look at nothing but what a program says of itself (==, in)"
        for name, verdict in others.items():
            if verdict is None or not verdict.conclusive:
                return Kind.WEAK, f"{IN_WORDS[name]} is not counted"
            if verdict.score > 0:
                return Kind.WEAK, f"{IN_WORDS[name]} scores {verdict.score:.3g}"
        cpu_s = _cpu_s(verdicts)
        if cpu_s is not None and most_cpu_s is not None and cpu_s > most_cpu_s:
            return Kind.SLOW, f"its solution takes {cpu_s:.2f} s of CPU, more than {most_cpu_s:g} s"
        return Kind.KEPT, ""


def _read(row: Mapping[str, Any] | Unreadable, code: str, compare: str | None) -> Reading:
    if isinstance(row, Unreadable):
        raise row
    return read_row(row, code, compare=compare)


def _failure(verdict: Verdict) -> tuple[Kind, str]:
    """Why a solution fails each time."""
    if verdict.harness_error is not None:
        return Kind.HARNESS_ERROR, f"its test fails by itself: {verdict.harness_error}"
    for name in sorted(verdict.not_offered):
        return Kind.NOT_OFFERED, f"it imports {name}, which the pool does not offer"
    first = _first(verdict)
    if first.reason in _TIMEOUTS:
        return Kind.SLOW, f"its solution fails: {_detail(verdict)}"
    return Kind.WRONG, f"its solution fails: {_detail(verdict)}"


def _first(verdict: Verdict) -> CaseResult:
    return next(case for case in verdict.cases if not case.passed)


def _detail(verdict: Verdict) -> str:
    first = _first(verdict)
    passed = sum(case.passed for case in verdict.cases)
    said = "; ".join(text for text in (first.detail, first.diff) if text)
    return f"{passed} of {len(verdict.cases)} pass; case {first.index}: {first.reason}: {said}"


def _cpu_s(verdicts: Iterable[Verdict]) -> float | None:
    """The most that a case took."""
    times = [case.cpu_s for verdict in verdicts for case in verdict.cases if case.cpu_s is not None]
    return max(times, default=None)
