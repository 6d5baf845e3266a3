"""Judging: many cases of many items, in flight over the pool, and what became of them."""

import concurrent.futures
import dataclasses
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future

from ...sandbox.result import Result
from ..errors import PoolFull
from ..task import RunFuture
from .findings import find
from .plan import Item, Work
from .verdict import CaseResult, Verdict

_PAUSE_S = 0.005
"""Between two tries at a queue that others keep full."""

Submit = Callable[[Work], RunFuture]
OnResult = Callable[[CaseResult], None]


@dataclasses.dataclass(frozen=True, slots=True)
class _Flight:
    """A case on its way: its item, its place in that one's order."""

    item: Item
    place: int
    work: Work
    future: "Future[Result]"


class Judging:
    """One call of `judge_many`. `run` does it all, in the caller's thread; checkers run there, too.

    submit: queues the runs of a case. ahead: how many may be in flight. on_result: called with each
    case's result as it comes. `cancel`, from any thread, ends all runs and makes `run` raise
    CancelledError, whatever it waits for.
    """

    def __init__(
        self, submit: Submit, items: list[Item], ahead: int, on_result: OnResult | None = None
    ) -> None:
        self._on_result = on_result
        self._submit = submit
        self._items = items
        self._ahead = ahead
        self._flying: dict[int, _Flight] = {}
        # Of runs that have ended; None: there is nothing more to wait for.
        self._landed: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._number = 0

    def run(self) -> list[Verdict]:
        """Return a verdict for each item, in their order."""
        waiting = deque(self._planned())
        try:
            while waiting or self._flying:
                while waiting and len(self._flying) < self._ahead:
                    self._require_wanted()
                    item, place = waiting[0]
                    if item.wants(place) and not self._launch(item, place):
                        break
                    waiting.popleft()
                if self._flying:
                    self._land()
                elif waiting:
                    self._cancelled.wait(_PAUSE_S)
        finally:
            for flight in list(self._flying.values()):
                flight.future.cancel()
        return [item.verdict() for item in self._items]

    def cancel(self) -> None:
        self._cancelled.set()
        self._landed.put(None)

    def _require_wanted(self) -> None:
        if self._cancelled.is_set():
            raise CancelledError

    def _planned(self) -> Iterator[tuple[Item, int]]:
        for item in self._items:
            if not item.refused:
                yield from ((item, place) for place in range(len(item.order)))

    def _launch(self, item: Item, place: int) -> bool:
        """Queue a case; False where the pool's queue is full."""
        try:
            work = item.work(item.order[place])
            future = self._submit(work)
        except PoolFull:
            return False
        number = self._number = self._number + 1
        self._flying[number] = _Flight(item, place, work, future)
        future.add_done_callback(lambda _: self._landed.put(number))
        return True

    def _land(self) -> None:
        """Wait for a case to end, and settle it."""
        number = self._landed.get()
        self._require_wanted()
        assert number is not None
        flight = self._flying.pop(number)
        item, place = flight.item, flight.place
        try:
            result = flight.future.result()
        except concurrent.futures.CancelledError:
            return  # no longer wanted
        if not item.wants(place):
            return
        found = find(item, item.order[place], result, flight.work.trial)
        item.settle(place, found)
        if self._on_result is not None:
            self._on_result(found)
        for other in self._flying.values():
            if other.item is item and not item.wants(other.place):
                other.future.cancel()
