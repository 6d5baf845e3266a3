"""Which executor gets which order: a client's queue, and what becomes of orders that are lost.

    put ──► queue ──► outbox of a link ──► in flight ──► answer
              ▲                                │
              └── the executor is lost: once more, alone, elsewhere

An executor gets as much as keeps it busy, less towards the end of a batch; so none waits for
another, and a slow one gets less. Of two that are taken at random, the less busy one gets the next.
One thread decides, for all; each link has one that sends, and one that takes answers.
"""

import itertools
import logging
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any, Protocol

from ..engine.bell import Bell
from ..errors import PoolClosed, PoolError, PoolFull, SessionLost
from . import messages
from .link import Link, Reach
from .messages import Answer, Reply, Sent
from .order import Order, RunOrder

logger = logging.getLogger(__name__)

_LEAST_AHEAD, _MOST_AHEAD = 1, 16
"""Orders in flight for each program that an executor runs at once."""

_LOOK_S = 1.0
"""How often it is looked which executors there are, while there is something to do."""

_ALONE_TWICE = 2

_PAUSE_S = 0.1

_FULL_S = 0.05
"""How long nothing is sent to an executor that had no room."""

_LAST_WORD_S = 5.0
"""How long executors may take, at the end, to take note of it."""


class Members(Protocol):
    """Which executors there are now, by key, and how each is reached. May raise what a registry
    raises; that is then taken for "as before".
    """

    def __call__(self) -> dict[str, Reach]: ...


class Router:
    """Has orders made by the executors that there are. Thread-safe.

    retries: how often an order may be made again after its executor was lost. patience_s: how long
    orders wait where there is no executor at all. silent_s: as for `Link`. hedge_after: seconds
    without a word from an executor after which what is in flight there is made elsewhere as well;
    None: never. max_queue: orders that may wait here.
    """

    def __init__(
        self,
        name: str,
        members: Members,
        *,
        retries: int = 2,
        patience_s: float = 60.0,
        silent_s: float = 30.0,
        hedge_after: float | None = None,
        max_queue: int | None = None,
    ) -> None:
        self.name = name
        self._members = members
        self._retries = retries
        self._patience_s = patience_s
        self._silent_s = silent_s
        self._hedge_after = hedge_after
        self._max_queue = max_queue
        self._numbers = itertools.count(1)
        # Held by itself: a signal's exception within a Condition's own `with` leaves that locked.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        # Guarded by _lock, as is everything below.
        self.links: dict[str, Link] = {}
        self._queue: deque[Order] = deque()
        self._suspects: deque[Order] = deque()
        self._expiring: list[RunOrder] = []  # of those that wait, perhaps with some that do not
        self._room_wanted: list[Callable[[], None]] = []
        self._closed = False
        self._none_since = time.monotonic()  # since when none could take what waits
        self._why_none = ""
        self._watch_now = False
        self.retried = 0
        self._sender = threading.Thread(target=self._send, name=f"sender of {name}", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name=f"{name}: members", daemon=True)

    def __repr__(self) -> str:
        links = len(self.links)
        return f"{self.name}: {links} executors; {self.waiting} waiting"

    def start(self) -> None:
        """Find the executors; raise what kept it from finding one."""
        deadline = time.monotonic() + self._patience_s
        self.look()
        while not self.links:  # a fleet, none of whose members is ready
            if time.monotonic() > deadline:
                raise PoolError(
                    f"no executor of {self.name} was ready within {self._patience_s:g} s"
                )
            time.sleep(_PAUSE_S)
            self.look()
        self._sender.start()
        self._watcher.start()

    # ---- what there is

    @property
    def waiting(self) -> int:
        return len(self._queue) + len(self._suspects)

    @property
    def size(self) -> int:
        """How many programs all of them run at once."""
        return sum(link.load.size for link in list(self.links.values())) or 1

    @property
    def ahead(self) -> int:
        """How many orders one caller should have under way."""
        return _MOST_AHEAD * self.size

    def executors(self) -> list[Link]:
        with self._lock:
            return [link for link in self.links.values() if not link.is_lost]

    # ---- orders

    def put(self, order: Order, *, wait: bool = False) -> None:
        """Queue an order. Where `max_queue` wait: wait for room, or raise `PoolFull`."""
        while True:
            room = Bell()
            with self._lock:
                self.require_open()
                if order.link is not None or self._has_room():
                    self._put(order)
                    return
                if not wait:
                    self.require_room()
                self._room_wanted.append(room.ring)
            room.wait()

    def require_room(self) -> None:
        with self._lock:
            self.require_open()
            if not self._has_room():
                seconds = self._patience()
                raise PoolFull(
                    f"max_queue={self._max_queue} runs wait for {self.name}; try again in about "
                    f"{seconds:.1f} s",
                    retry_after_s=seconds,
                )

    def when_room(self, call: Callable[[], None]) -> None:
        """Call `call` once when there may be room."""
        with self._lock:
            if not self._closed and not self._has_room():
                self._room_wanted.append(call)
                return
        call()

    def ask(self, order: Order) -> Any:
        """Have an order made, and return its answer."""
        self.put(order)
        return order.future.wait()

    def least_busy(self, turn: int = 0) -> Link:
        """Return the executor for something that stays where it is. turn: of several at once, which
        it is.
        """
        with self._lock:
            self.require_open()
            links = [link for link in self.links.values() if not link.load.draining]
            if not links:
                self._watch_now = True
                self._changed.notify_all()
                why = "all are draining" if self.links else self._why_none or "none is known"
                raise PoolError(f"no executor of {self.name} is there: {why}")
            links.sort(key=lambda link: (link.kept, link.share))
            return links[turn % len(links)]

    def hold(self, link: Link, more: int) -> None:
        """Something of this client's, more or less, stays at an executor: which is told that the
        client lives.
        """
        with self._lock:
            link.kept += more
            self._changed.notify_all()

    def tell(self, link: Link, kind: int, body: Any) -> None:
        """Have something done at an executor, and wait for nothing."""
        with self._lock:
            if not link.is_lost and not self._closed:
                link.outbox.append(Sent(0, kind, body))
                self._changed.notify_all()

    def close(self) -> None:
        """End all that is under way, and let go of the executors. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            links = list(self.links.values())
            orders = [*self._queue, *self._suspects]
            for link in links:
                orders += link.in_flight.values()
                for number in link.in_flight:
                    link.outbox.append(Sent(0, messages.CANCEL, number))
                link.outbox.append(Sent(0, messages.LEAVE, None))
                link.in_flight = {}
            self._queue.clear()
            self._suspects.clear()
            self._announce_room()
            self._changed.notify_all()
        for order in orders:
            order.fail(PoolClosed("the client of this executor was closed"))
        for thread in (self._sender, self._watcher):
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join(_LAST_WORD_S)
        for link in links:
            link.close(_LAST_WORD_S)
        with self._lock:
            self.links.clear()  # and with them the connections

    # ---- under the lock

    def require_open(self) -> None:
        if self._closed:
            raise PoolClosed(f"this client of {self.name} is closed")

    def _has_room(self) -> bool:
        return self._max_queue is None or self.waiting < max(self._max_queue, 1)

    def _announce_room(self) -> None:
        if self._room_wanted and (self._closed or self._has_room()):
            wanted, self._room_wanted = self._room_wanted, []
            for call in wanted:
                call()

    def _patience(self) -> float:
        """About how long it takes until there is room."""
        in_flight = sum(len(link.in_flight) for link in self.links.values())
        return max(0.1, (self.waiting + in_flight) * self._mean_s / self.size)

    _mean_s = 0.05  # a guess, until something is known

    def _put(self, order: Order) -> None:
        order.cancel = self._cancel
        link = order.link
        if link is None:
            if not self.waiting:  # from now on it is waited for who could take it
                self._none_since = time.monotonic()
                self._watch_now = self._watch_now or not self.links
            self._queue.append(order)
            if isinstance(order, RunOrder) and order.expires_at is not None:
                self._expiring.append(order)
        elif link.is_lost:
            raise SessionLost(f"executor {link.key} was lost")
        elif order.begin():
            self._give(link, order)
        self._changed.notify_all()

    def _give(self, link: Link, order: Order) -> None:
        order.number = next(self._numbers)
        order.sent_at = time.monotonic()
        link.in_flight[order.number] = order
        snapshot = order.snapshot
        if snapshot is not None and snapshot.key not in link.known_snapshots:
            link.known_snapshots.add(snapshot.key)
            link.kept += 1
            link.outbox.append(Sent(0, messages.SNAPSHOT, snapshot.order))
        link.outbox.append(order)

    def _cancel(self, order: Order) -> None:
        with self._lock:
            for link in self.links.values():
                if order.number in link.in_flight:
                    link.outbox.append(Sent(0, messages.CANCEL, order.number))
                    self._changed.notify_all()

    # ---- sending

    def _send(self) -> None:
        """In the sender's thread: have every executor get what it is to have."""
        while True:
            with self._lock:
                while True:
                    self._assign()
                    due = [link for link in self.links.values() if link.is_due]
                    if due or self._closed:
                        break
                    self._changed.wait(self._nap_s())
                over = self._closed
                if over:  # the last word, however many requests are on their way
                    due = [link for link in self.links.values() if link.outbox]
                batches = [(link, link.next_request(more_waits=bool(self._queue))) for link in due]
            for link, request in batches:
                link.post(request)
            del batches
            if over:
                for link in self.links.values():
                    link.end()
                return

    def _unfit(self, link: Link, number: int, why: str) -> None:
        with self._lock:
            order = link.in_flight.pop(number, None)
        if order is not None:
            order.fail(TypeError(f"it can't be sent to an executor: {why}"))

    def _nap_s(self) -> float | None:
        """How long nothing need be done unless something happens."""
        if not self.waiting and self._hedge_after is None:
            return None
        return 0.1 if self.waiting else 1.0

    def _assign(self) -> None:
        """Move orders from the queue to executors that have room for them."""
        now = time.monotonic()
        self._expire(now)
        if self._hedge_after is not None:
            self._hedge(now)
        able = [
            link
            for link in self.links.values()
            if not (link.is_lost or now < link.full_until or link.load.draining)
        ]
        self._assign_suspects(able)
        most = self._most_ahead()
        open_ = [link for link in able if not link.reserved and _room(link, most) > 0]
        while self._queue and open_:
            link = open_[0] if len(open_) == 1 else min(random.sample(open_, 2), key=_share)
            order = self._queue.popleft()
            if not order.begin() or order.future.done():
                continue
            self._give(link, order)
            if _room(link, most) <= 0:
                open_.remove(link)
        self._announce_room()

    def _most_ahead(self) -> float:
        """How many orders for each program that an executor runs at once may be in flight there:
        of what there is, half is held back, so that who is quick can have more of it.
        """
        total = len(self._queue) + sum(len(link.in_flight) for link in self.links.values())
        fair = total / (2 * self.size)
        return max(_LEAST_AHEAD, min(_MOST_AHEAD, math.ceil(fair)))

    def _assign_suspects(self, able: list[Link]) -> None:
        """Orders that were lost are made one at a time: what is lost with another one may not be to
        blame. Half of the executors take them, the others go on with the rest.
        """
        if not self._suspects:
            for link in self.links.values():
                link.reserved = any(order.lost for order in link.in_flight.values())
            return
        wanted = max(1, len(able) // 2)
        reserved = [link for link in able if link.reserved]
        others = sorted((link for link in able if not link.reserved), key=_share)
        for link in others[: max(wanted - len(reserved), 0)]:
            link.reserved = True
            reserved.append(link)
        for link in reserved:
            while self._suspects and not any(each.repeatable for each in link.in_flight.values()):
                order = self._suspects.popleft()
                if order.unwanted:
                    order.fail(CancelledError())
                elif not order.future.done():
                    self._give(link, order)

    def _expire(self, now: float) -> None:
        """Answer what has waited for too long."""
        if self._expiring:
            self._expiring = [
                each for each in self._expiring if not (each.begun or each.future.done())
            ]
            for late in [each for each in self._expiring if _is_over(each, now)]:
                late.expire()
        if any(not link.load.draining for link in self.links.values()):
            self._none_since = now
        if now - self._none_since < self._patience_s:
            return
        why = "all are draining" if self.links else self._why_none or "none is known"
        why = f"no executor of {self.name} is there: {why}"
        waiting = [*self._suspects, *self._queue]
        self._suspects.clear()
        self._queue.clear()
        for order in waiting:
            order.give_up(why)

    def _hedge(self, now: float) -> None:
        """Have orders of executors that have gone silent made by others as well."""
        assert self._hedge_after is not None
        for link in self.links.values():
            silent_s = now - link.heard_at
            if not link.requests or silent_s < self._hedge_after or len(self.links) < 2:
                continue
            for order in link.in_flight.values():
                if order.repeatable and not order.hedged:
                    order.hedged = True
                    self._queue.appendleft(order)

    # ---- what comes back

    def _took(self, link: Link, reply: Reply) -> None:
        answered: list[tuple[Order, Answer]] = []
        with self._lock:
            if link.desk not in ("", reply.desk):
                self._lost(link, "it has not heard of this client for too long")
                return
            link.desk = reply.desk
            link.requests -= 1
            link.load = reply.load
            link.heard_at = now = time.monotonic()
            for answer in reply.answers:
                order = link.in_flight.pop(answer.number, None)
                if order is None:
                    continue
                if isinstance(answer.error, PoolFull) and order.repeatable and not order.unwanted:
                    link.full_until = now + _FULL_S
                    self._queue.appendleft(order)
                    continue
                self._mean_s += 0.05 * (now - order.sent_at - self._mean_s)
                if order.hedged:
                    self._cancel_copies(order)
                answered.append((order, answer))
            self._changed.notify_all()
        for order, answer in answered:
            try:
                order.take(answer)
            except Exception as error:  # noqa: BLE001  (it makes no sense; the others do)
                order.fail(messages.Nonsense(f"executor {link.key}: {error!r}"))

    def _is_elsewhere(self, order: Order) -> bool:
        """Whether a hedged order is still to be answered by somebody."""
        links = self.links.values()
        return order in self._queue or any(order in each.in_flight.values() for each in links)

    def _cancel_copies(self, order: Order) -> None:
        for link in self.links.values():
            for number, each in list(link.in_flight.items()):
                if each is order:
                    del link.in_flight[number]
                    link.outbox.append(Sent(0, messages.CANCEL, number))

    def _lost(self, link: Link, why: str) -> None:
        """An executor does not answer any more: what is in flight there goes elsewhere."""
        with self._lock:
            if link.is_lost:
                return
            link.is_lost = True
            if self.links.get(link.key) is link:
                del self.links[link.key]
            if not self.links:
                self._none_since = time.monotonic()
                self._why_none = f"executor {link.key} was lost ({why})"
            orders = list(link.in_flight.values())
            link.in_flight = {}
            link.outbox.clear()
            link.end()
            over = self._closed
            done: list[tuple[Order, str, bool]] = []
            for order in orders:
                said = f"executor {link.key} was lost while this was under way: {why}"
                if order.hedged and self._is_elsewhere(order):
                    continue
                order.lost += 1
                if not order.repeatable or over:
                    done.append((order, said, False))
                    continue
                order.lost_alone += len(orders) == 1
                if order.lost_alone >= _ALONE_TWICE:
                    said = f"the program brought down {_ALONE_TWICE} executors, each time alone"
                    done.append((order, said, True))
                elif order.lost > self._retries:
                    done.append((order, f"{said} ({order.lost} in all)", False))
                else:
                    self.retried += 1
                    self._suspects.append(order)
            self._watch_now = True
            self._changed.notify_all()
        logger.warning("%s: executor %s is lost: %s", self.name, link.key, why)
        for order, said, denied in done:
            order.give_up(said, denied=denied)

    # ---- which executors there are

    def _watch(self) -> None:
        """In the watcher's thread: look which executors there are, while that matters."""
        while True:
            with self._lock:
                while not (self._closed or self._is_active()):
                    self._changed.wait()
                if self._closed:
                    return
                if not self._watch_now:
                    self._changed.wait_for(lambda: self._closed or self._watch_now, _LOOK_S)
                self._watch_now = False
                if self._closed:
                    return
            try:
                self.look()
            except Exception as error:  # noqa: BLE001
                with self._lock:
                    self._why_none = f"{type(error).__name__}: {error}"
            time.sleep(0.05)

    def _is_active(self) -> bool:
        links = self.links.values()
        return bool(
            self._watch_now or self.waiting or any(each.in_flight or each.kept for each in links)
        )

    def look(self) -> None:
        """Make links to executors that are new. Raises what kept it from all of them."""
        members = self._members()
        error: BaseException | None = None
        for key, reach in members.items():
            with self._lock:
                if key in self.links or self._closed:
                    continue
            try:
                link = Link(
                    key,
                    reach,
                    silent_s=self._silent_s,
                    took=self._took,
                    lost=self._lost,
                    unfit=self._unfit,
                )
                link.start()
            except Exception as failed:  # noqa: BLE001
                error = failed
                continue
            with self._lock:
                if not self._closed:
                    self.links[key] = link
                    self._changed.notify_all()
                    continue
            link.end()
        with self._lock:
            if error is not None and not self.links:
                raise error


def _room(link: Link, most: float) -> float:
    return most * link.load.size - len(link.in_flight)


def _share(link: Link) -> float:
    return link.share


def _is_over(order: Order, now: float) -> bool:
    return order.expires_at is not None and now >= order.expires_at
