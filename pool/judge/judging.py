"""Judging: many cases of many items, under way at once, and what became of them."""

import contextlib
import dataclasses
import functools
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from typing import TypedDict

from ...sandbox.limits import Limits
from ...sandbox.result import Result
from ...sandbox.run.record import Record
from ..checks import each_of, naming, pair_of
from ..engine.flights import Flights
from ..program import RECURSION_LIMIT, Program, require_recursion_limit
from ..runner import Runner
from .cases import Case, Stdio
from .checker import CheckerProgram
from .checking import Check, Checks, Found
from .finding import Finding
from .findings import find_all, output_of
from .plan import Item, judging_limits
from .verdict import CaseResult, Outcome, Verdict

OnResult = Callable[[CaseResult], None]

_Places = tuple[int, ...]
"""Of cases in an item's order, which are judged together."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """What is to be run next for some cases of an item: their program, or the checker of one."""

    item: Item
    places: _Places
    check: Check | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether anybody waits for it; of a case's checker on what is expected, others may."""
        for_all = self.check is not None and self.check.program is None
        return for_all or self.item.wants(self.places[0])


class JudgeOptions(TypedDict, total=False):
    """What judging may be told besides programs and cases; as for `Pool.judge`."""

    limits: Limits | None
    timeout: float | None
    recursion_limit: int | None
    runtime: str | None
    shuffle: bool | int
    stop_at_first_failure: bool
    stop_at_first_timeout: bool
    on_result: OnResult | None


class Judging:
    """One call of `judge_many`. `run` does it all, in the caller's thread; checkers run there, too.

    runner: makes the runs of a case. on_result: called with each case's result as it comes.
    `cancel`, from any thread, ends all runs and makes `run` raise CancelledError.
    """

    def __init__(
        self, runner: Runner, items: list[Item], on_result: OnResult | None = None
    ) -> None:
        self._on_result = on_result
        self._runner = runner
        self._items = items
        self._flights: Flights[_Step] = Flights(runner.ahead, runner.when_room)
        self._waiting: deque[_Step] = deque()
        self._checks = Checks()

    def run(self) -> list[Verdict]:
        """Return a verdict for each item, in their order."""
        self._waiting.extend(self._planned())
        try:
            while self._waiting or self._flights:
                while self._waiting and not self._flights.is_full:
                    if not self._launch(self._waiting[0]):
                        break
                    self._waiting.popleft()
                else:
                    if not self._flights:
                        continue
                self._land()
        finally:
            self._flights.end()
        return [item.verdict() for item in self._items]

    def cancel(self) -> None:
        self._flights.cancel()

    def _planned(self) -> list[_Step]:
        """All that is to be run, the first of every item's first where the others may not have to
        be waited for.
        """
        groups = [
            (number if item.stops_at_timeout else 0, item, places)
            for item in self._items
            if not item.refused
            for number, places in enumerate(item.groups())
        ]
        groups.sort(key=lambda each: each[0])
        return [_Step(item, places) for _, item, places in groups]

    def _launch(self, step: _Step) -> bool:
        """Queue what a step has run, if it is wanted; False where the queue is full."""
        if step.check is not None:
            if not step.is_wanted:
                return True
            return self._flights.launch(
                functools.partial(self._runner.submit, step.check.job()), step
            )
        item = step.item
        places = tuple(each for each in step.places if item.wants(each))
        if not places:
            return True
        work = item.work(*(item.order[place] for place in places))
        submit = functools.partial(self._runner.submit, work.job, test=work.test)
        return self._flights.launch(submit, _Step(item, places))

    def _land(self) -> None:
        """Wait for runs to end, and settle their cases; or for room."""
        landed = self._flights.land()
        if landed is None:
            return
        future, step = landed
        item, places = step.item, step.places
        try:
            result = future.result()
        except CancelledError:
            return  # no longer wanted
        if not step.is_wanted:
            return
        case = item.cases[item.order[places[0]]]
        if step.check is not None:
            self._take_check(step, step.check, result)
        elif isinstance(case, Stdio) and isinstance(case.checker, CheckerProgram):
            output = output_of(item, case, result)
            if isinstance(output, Finding):
                self._settle_if_sound(case, Found(item, places[0], result, output))
            else:
                self._do_next(_Step(item, places, Check(item, case, output, result)))
        else:
            self._settle_all(step, result, future.record)

    def _settle_all(self, step: _Step, result: Result, record: Record | None) -> None:
        """Settle cases whose runs tell all."""
        item, places = step.item, step.places
        found = find_all(item, [item.order[place] for place in places], result, record)
        if found is None:
            self._waiting.extendleft(_Step(item, (place,)) for place in reversed(places))
            return
        its_judge = None if record is None else record.test
        for place, its in zip(places, found, strict=False):
            self._settle(item, place, its, its_judge)
        if rest := places[len(found) :]:
            self._do_next(_Step(item, rest))

    def _settle(
        self, item: Item, place: int, result: CaseResult, judge: Result | None = None
    ) -> None:
        """Take the result of a case, and cancel what it makes needless. judge: as for `Item`."""
        if not item.wants(place):
            return
        item.settle(place, result, judge=judge)
        if self._on_result is not None:
            self._on_result(result)
        for other, step in self._flights:
            if step.item is item and not step.is_wanted:
                other.cancel()

    def _do_next(self, step: _Step) -> None:
        self._waiting.appendleft(step)

    def _take_check(self, step: _Step, check: Check, result: Result) -> None:
        """Settle the case whose checker has been run, and those that have waited for it."""
        finding, waiting = self._checks.take(check, result)
        if check.program is not None:
            found = Found(check.item, step.places[0], check.program, finding, result)
            self._settle_if_sound(check.case, found)
        lost = finding if finding.outcome is Outcome.INFRA_ERROR else None
        for each in waiting:
            its = each.result(lost or self._checks.trouble(check.case))
            self._settle(each.item, each.place, its, each.checked)

    def _settle_if_sound(self, case: Stdio, found: Found) -> None:
        """Settle a case with what was found of its program, unless the case itself is at fault:
        this is asked first where it is not known.
        """
        if found.finding.outcome is Outcome.INFRA_ERROR or self._checks.is_known(case):
            trouble = None
            if found.finding.outcome is not Outcome.INFRA_ERROR:
                trouble = self._checks.trouble(case)
            self._settle(found.item, found.place, found.result(trouble), found.checked)
        elif (check := self._checks.wait(case, found)) is not None:
            self._do_next(_Step(found.item, (found.place,), check))


def plan(
    runner: Runner,
    items: Iterable[tuple[str | bytes | Program, Iterable[Case]]],
    *,
    numbered: bool,
    limits: Limits | None = None,
    timeout: float | None = None,
    recursion_limit: int | None = RECURSION_LIMIT,
    runtime: str | None = None,
    shuffle: bool | int = False,
    stop_at_first_failure: bool = False,
    stop_at_first_timeout: bool = False,
    on_result: OnResult | None = None,
) -> Judging:
    """Return the judging of `items`, pairs of a program and its cases; raise for invalid ones.
    numbered: whether the caller gave a sequence of items, so that errors name which.
    """
    own = judging_limits(runner.limits, limits, timeout)
    require_recursion_limit(recursion_limit)
    runner.require_runtime(runtime)
    if not isinstance(shuffle, int):
        raise TypeError(f"shuffle must be True, False or a whole number, not {shuffle!r:.80}")
    planned = []
    for number, each in enumerate(each_of("items", items, "pairs of a program and its cases")):
        place = f"items[{number}]"
        source, cases = pair_of(place, each, "a program and its cases")
        with naming(place) if numbered else contextlib.nullcontext():
            item = Item(
                source,
                cases,
                limits=own,
                recursion_limit=recursion_limit,
                runtime=runtime,
                shuffle=shuffle,
                stop_at_first_failure=stop_at_first_failure,
                stop_at_first_timeout=stop_at_first_timeout,
            )
            item.require_fit(runner)
        planned.append(item)
    return Judging(runner, planned, on_result)
