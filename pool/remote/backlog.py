"""What waits in a client: orders that no executor has, those that were lost among them."""

import math
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from .order import Order, RunOrder

_ALONE_TWICE = 2


class Ended(NamedTuple):
    """An order that is not made again, and why; denied: its program is to blame."""

    order: Order
    why: str
    denied: bool = False


class Backlog:
    """Orders that wait for an executor. Not safe to use from several threads: the router's lock is
    held.

    suspects: those that were in flight where an executor was lost. What is lost with another one
    may not be to blame, so they are made one at a time. retries: how often each.
    """

    def __init__(self, retries: int) -> None:
        self.retries = retries
        self.queue: deque[Order] = deque()
        self.suspects: deque[Order] = deque()
        self._expiring: list[RunOrder] = []  # of those that wait, perhaps with some that do not
        self.retried = 0

    def __len__(self) -> int:
        return len(self.queue) + len(self.suspects)

    def __contains__(self, order: Order) -> bool:
        return order in self.queue or order in self.suspects

    def add(self, order: Order) -> None:
        self.queue.append(order)
        if isinstance(order, RunOrder) and order.expires_at is not None:
            self._expiring.append(order)

    def put_back(self, orders: Iterable[Order]) -> None:
        """Have orders be the next that are made, in the order in which they are given."""
        self.queue.extendleft(reversed(list(orders)))

    def clear(self) -> list[Order]:
        """Take all out."""
        found = [*self.suspects, *self.queue]
        self.suspects.clear()
        self.queue.clear()
        return found

    def late(self, now: float) -> list[RunOrder]:
        """Those that have waited for too long; they are told once."""
        if not self._expiring:
            return []
        waiting = [each for each in self._expiring if not (each.begun or each.future.done())]
        late = [each for each in waiting if now >= (each.expires_at or math.inf)]
        self._expiring = [each for each in waiting if each not in late]
        return late

    def take_lost(self, orders: list[Order], why: str, *, alone: bool) -> list[Ended]:
        """Take orders that were sent to an executor which is lost, and return those that are not
        made again. alone: it broke down, and nobody else had anything in flight there.
        """
        ended = []
        for order in orders:
            order.lost += 1
            order.lost_alone += alone and len(orders) == 1
            if not order.repeatable:
                ended.append(Ended(order, why))
            elif order.lost_alone >= _ALONE_TWICE:
                said = f"the program brought down {_ALONE_TWICE} executors, each time alone"
                ended.append(Ended(order, said, denied=True))
            elif order.lost > self.retries:
                ended.append(Ended(order, f"{why} ({order.lost} in all)"))
            else:
                self.retried += 1
                self.suspects.append(order)
        return ended
