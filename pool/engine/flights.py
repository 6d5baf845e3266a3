"""Many runs of one caller on their way: begun as there is room, taken as they end."""

import functools
import math
import queue
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from typing import Generic, TypeVar

from ...sandbox.result import Result
from ..errors import PoolFull
from .bell import LOOK_S
from .task import RunFuture

_T = TypeVar("_T")

WhenRoom = Callable[[Callable[[], None]], None]
"""`Engine.when_room`, or what does the same elsewhere."""


class Flights(Generic[_T]):
    """At most `most` runs under way, each with what its caller knows it by. For one thread, but for
    `cancel`. when_room: calls back when a full queue may have room again.
    """

    def __init__(self, most: int, when_room: WhenRoom) -> None:
        self._most = most
        self._when_room = when_room
        self._flying: dict[RunFuture, _T] = {}
        self._landed: queue.SimpleQueue[RunFuture | None] = queue.SimpleQueue()
        self._cancelled = False

    def __len__(self) -> int:
        return len(self._flying)

    def __iter__(self) -> Iterator[tuple[RunFuture, _T]]:
        return iter(list(self._flying.items()))

    @property
    def is_full(self) -> bool:
        return len(self._flying) >= self._most

    def launch(self, submit: Callable[[], RunFuture], what: _T) -> bool:
        """Begin a run; False where the pool's queue is full. `land` then waits for room as well.
        Raises CancelledError once `cancel` was called.
        """
        self._require_wanted()
        try:
            future = submit()
        except PoolFull:
            self._when_room(lambda: self._landed.put(None))
            return False
        self._flying[future] = what
        future.add_done_callback(lambda _: self._landed.put(future))
        return True

    def land(
        self, *, wait: bool = True, timeout_s: float | None = None
    ) -> tuple[RunFuture, _T] | None:
        """Return a run that has ended, waiting for one (`timeout_s`, or as long as it takes); None
        where there may be room for another instead, or where none has ended. Raises CancelledError
        once `cancel` was called.
        """
        self._require_wanted()
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = max(deadline - time.monotonic(), 0.0) if wait else 0.0
            try:
                future = self._landed.get(left > 0, min(left, LOOK_S))
                break
            except queue.Empty:
                if left <= LOOK_S:
                    return None
        self._require_wanted()
        return None if future is None else (future, self._flying.pop(future))

    def cancel(self) -> None:
        """Have nothing begun any more, and nobody wait in `land`, now or later; from any thread."""
        self._cancelled = True
        self._landed.put(None)

    def _require_wanted(self) -> None:
        if self._cancelled:
            raise CancelledError

    def end(self) -> None:
        """Cancel all that is under way."""
        for future in list(self._flying):
            future.cancel()


def in_order(
    submit: Callable[[_T], RunFuture], programs: Iterable[_T], most: int, when_room: WhenRoom
) -> Generator[Result, None, None]:
    """Yield the results of `programs` in their order, with at most `most` of them under way, or
    ended and not yet taken.
    """
    flights: Flights[int] = Flights(most, when_room)
    ended: dict[int, RunFuture] = {}
    begun = taken = 0

    def land(*, wait: bool) -> Iterator[Result]:
        """Take what has ended, and yield what comes next in order."""
        nonlocal taken
        while (landed := flights.land(wait=wait)) is not None:
            future, number = landed
            ended[number] = future
            wait = False
        while (next_ := ended.get(taken)) is not None:
            result = next_.result()
            del ended[taken]
            taken += 1
            yield result

    try:
        for program in programs:
            while not flights.launch(functools.partial(submit, program), begun):
                yield from land(wait=True)
            begun += 1
            # What has ended is not held back while there is more to begin.
            yield from land(wait=begun - taken >= most)
            while begun - taken >= most:
                yield from land(wait=True)
        while taken < begun:
            yield from land(wait=True)
    finally:
        flights.end()
