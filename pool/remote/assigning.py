"""Which executor gets which order that waits. The router's lock is held in all of this."""

import functools
import math
import random
from collections.abc import Callable
from concurrent.futures import CancelledError

from ..errors import SessionLost
from .backlog import Backlog
from .link import Link
from .order import Order

LEAST_AHEAD, MOST_AHEAD = 1, 16
"""Orders in flight for each program that an executor runs at once."""


class Assigner:
    """Moves orders from the backlog to executors that have room for them.

    give: sends an order to an executor. ended: gets what tells that orders are over, for others to
    call when the lock is free. hedge_after: as for `Router`.
    """

    def __init__(
        self,
        backlog: Backlog,
        links: dict[str, Link],
        give: Callable[[Link, Order], None],
        ended: list[Callable[[], None]],
        hedge_after: float | None,
    ) -> None:
        self._backlog = backlog
        self._links = links
        self._give = give
        self._ended = ended
        self._hedge_after = hedge_after

    def assign(self, now: float) -> None:
        if self._hedge_after is not None:
            self._hedge(now, self._hedge_after)
        able = [
            link
            for link in self._links.values()
            if not (link.is_lost or now < link.full_until or link.load.draining)
        ]
        self._assign_suspects(able)
        most = self._most_ahead()
        open_ = [link for link in able if not link.reserved and _room(link, most) > 0]
        queue = self._backlog.queue
        waits = []
        while queue and open_:
            order = queue.popleft()
            if not self._is_wanted(order):
                continue
            choice = open_
            if order.failed_at:  # by another one than those that could not make it
                choice = [link for link in open_ if link.key not in order.failed_at]
                if not choice and any(link.key not in order.failed_at for link in able):
                    waits.append(order)
                    continue
                choice = choice or open_
            link = choice[0] if len(choice) == 1 else min(random.sample(choice, 2), key=_share)
            self._give(link, order)
            if _room(link, most) <= 0:
                open_.remove(link)
        self._backlog.put_back(waits)

    def _is_wanted(self, order: Order) -> bool:
        """Claim an order, unless nobody waits for it any more, or it can't be made."""
        if not order.begin() or order.future.done():
            return False
        if order.unwanted:
            self._ended.append(functools.partial(order.fail, CancelledError()))
            return False
        if order.snapshot is not None and order.snapshot.closed:
            closed = SessionLost("this snapshot is gone: it was closed")
            self._ended.append(functools.partial(order.fail, closed))
            return False
        return True

    def _most_ahead(self) -> float:
        """How many orders for each program that an executor runs at once may be in flight there:
        of what there is, half is held back, so that who is quick can have more of it.
        """
        links = self._links.values()
        total = len(self._backlog.queue) + sum(len(link.in_flight) for link in links)
        fair = total / (2 * size_of(self._links))
        return max(LEAST_AHEAD, min(MOST_AHEAD, math.ceil(fair)))

    def _assign_suspects(self, able: list[Link]) -> None:
        """Orders that were lost are made one at a time: what is lost with another one may not be to
        blame. Half of the executors take them, the others go on with the rest.
        """
        suspects = self._backlog.suspects
        if not suspects:
            for link in self._links.values():
                link.reserved = any(order.lost for order in link.in_flight.values())
            return
        wanted = max(1, len(able) // 2)
        reserved = [link for link in able if link.reserved]
        others = sorted((link for link in able if not link.reserved), key=_share)
        for link in others[: max(wanted - len(reserved), 0)]:
            link.reserved = True
            reserved.append(link)
        for link in reserved:
            while suspects and not any(each.repeatable for each in link.in_flight.values()):
                order = suspects.popleft()
                if self._is_wanted(order):
                    self._give(link, order)

    def _hedge(self, now: float, after_s: float) -> None:
        """Have orders of executors that have gone silent made by others as well."""
        for link in self._links.values():
            silent_s = now - link.heard_at
            if not link.requests or silent_s < after_s or len(self._links) < 2:
                continue
            for order in link.in_flight.values():
                if order.repeatable and not order.hedged:
                    order.hedged = True
                    self._backlog.put_back([order])


def size_of(links: dict[str, Link]) -> int:
    """How many programs all of them run at once."""
    return sum(link.load.size for link in list(links.values())) or 1


def _room(link: Link, most: float) -> float:
    return most * link.load.size - len(link.in_flight)


def _share(link: Link) -> float:
    return link.share
