"""Judging: many cases of many items, under way at once, and what became of them."""

import contextlib
import functools
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from typing import TypedDict

from ...sandbox.limits import Limits
from ..checks import each_of, naming, pair_of
from ..engine.flights import Flights
from ..program import RECURSION_LIMIT, Program, require_recursion_limit
from ..runner import Runner
from .cases import Case
from .findings import find_all
from .plan import Item, judging_limits
from .verdict import CaseResult, Verdict

OnResult = Callable[[CaseResult], None]

_Places = tuple[int, ...]
"""Of cases in an item's order, which are judged together."""


class JudgeOptions(TypedDict, total=False):
    """What judging may be told besides programs and cases; as for `Pool.judge`."""

    limits: Limits | None
    timeout: float | None
    recursion_limit: int | None
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
        self._flights: Flights[tuple[Item, _Places]] = Flights(runner.ahead, runner.when_room)
        self._waiting: deque[tuple[Item, _Places]] = deque()

    def run(self) -> list[Verdict]:
        """Return a verdict for each item, in their order."""
        self._waiting.extend(self._planned())
        try:
            while self._waiting or self._flights:
                while self._waiting and not self._flights.is_full:
                    item, places = self._waiting[0]
                    if not self._launch(item, tuple(each for each in places if item.wants(each))):
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

    def _planned(self) -> list[tuple[Item, _Places]]:
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
        return [(item, places) for _, item, places in groups]

    def _launch(self, item: Item, places: _Places) -> bool:
        """Queue cases, if there are any; False where the queue is full."""
        if not places:
            return True
        work = item.work(*(item.order[place] for place in places))
        submit = functools.partial(self._runner.submit, work.job, test=work.test)
        return self._flights.launch(submit, (item, places))

    def _land(self) -> None:
        """Wait for cases to end, and settle them; or for room."""
        landed = self._flights.land()
        if landed is None:
            return
        future, (item, places) = landed
        try:
            result = future.result()
        except CancelledError:
            return  # no longer wanted
        if not item.wants(places[0]):
            return
        found = find_all(item, [item.order[place] for place in places], result, future.record)
        if found is None:
            self._waiting.extendleft((item, (place,)) for place in reversed(places))
            return
        for place, its in zip(places, found, strict=False):
            if item.wants(place):
                item.settle(place, its)
                if self._on_result is not None:
                    self._on_result(its)
        if rest := places[len(found) :]:
            self._waiting.appendleft((item, rest))
        for other, (whose, at) in self._flights:
            if whose is item and not item.wants(at[0]):
                other.cancel()


def plan(
    runner: Runner,
    items: Iterable[tuple[str | bytes | Program, Iterable[Case]]],
    *,
    numbered: bool,
    limits: Limits | None = None,
    timeout: float | None = None,
    recursion_limit: int | None = RECURSION_LIMIT,
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
                shuffle=shuffle,
                stop_at_first_failure=stop_at_first_failure,
                stop_at_first_timeout=stop_at_first_timeout,
            )
            item.require_fit(runner.tier)
        planned.append(item)
    return Judging(runner, planned, on_result)
