"""Which executor gets which order: a client's queue, and what becomes of orders that are lost.

    put ──► queue ──► outbox of a link ──► in flight ──► answer
              ▲                                │
              └── the executor is lost: once more, alone, elsewhere

An executor gets as much as keeps it busy, less towards the end of a batch; so none waits for
another, and a slow one gets less. Of two that are taken at random, the less busy one gets the next.
One thread decides, for all; each link has one that sends, and one that takes answers.
"""

import functools
import itertools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Protocol

from ...sandbox.reasons import ExitReason
from ..engine.bell import Bell
from ..errors import PoolClosed, PoolError, PoolFull, SessionLost
from . import messages
from .assigning import MOST_AHEAD, Assigner, size_of
from .backlog import Backlog, Ended
from .link import Link, Reach
from .messages import Answer, Reply, Sent, Unreadable
from .order import Order, RunOrder

logger = logging.getLogger(__name__)

_LOOK_S = 1.0
"""How often it is looked which executors there are, while there is something to do."""

_PAUSE_S = 0.1

_FULL_S = 0.05
"""How long nothing is sent to an executor that had no room."""

_LATELY_S = 10.0

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
    orders wait where there is no executor at all; None: for ever. silent_s: as for `Link`.
    hedge_after: seconds without a word from an executor after which what is in flight there is made
    elsewhere as well; None: never. max_queue: orders that may wait here.
    """

    def __init__(
        self,
        name: str,
        members: Members,
        *,
        retries: int = 2,
        patience_s: float | None = 60.0,
        silent_s: float = 30.0,
        hedge_after: float | None = None,
        max_queue: int | None = None,
    ) -> None:
        self.name = name
        self._members = members
        self._patience_s = math.inf if patience_s is None else patience_s
        self._silent_s = silent_s
        self._max_queue = max_queue
        self._numbers = itertools.count(1)
        # Held by itself: a signal's exception within a Condition's own `with` leaves that locked.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        # Guarded by _lock, as is everything below.
        self.links: dict[str, Link] = {}
        self._backlog = Backlog(retries)
        self._ended: list[Callable[[], None]] = []  # what tells that orders are over, unlocked
        # Of what is collected, wherever that happens: without the lock.
        self._later: deque[Callable[[], None]] = deque()
        self._assigner = Assigner(self._backlog, self.links, self._give, self._ended, hedge_after)
        self._room_wanted: list[Callable[[], None]] = []
        self._closed = False
        self._none_since = time.monotonic()  # since when none could take what waits
        self._why_none = ""
        self._watch_now = False
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
        return len(self._backlog)

    @property
    def retried(self) -> int:
        """How many orders were made again."""
        return self._backlog.retried

    @property
    def size(self) -> int:
        """How many programs all of them run at once."""
        return size_of(self.links)

    @property
    def ahead(self) -> int:
        """How many orders one caller should have under way."""
        return MOST_AHEAD * self.size

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

    def later(self, call: Callable[[], None]) -> None:
        """Have `call` called soon, by another thread. For what is done when something is collected,
        which may be at any place, also in the midst of a change here.
        """
        self._later.append(call)

    def close(self) -> None:
        """End all that is under way, and let go of the executors. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            links = list(self.links.values())
            orders = self._backlog.clear()
            for link in links:
                orders += link.in_flight.values()
                for number in link.in_flight:
                    link.outbox.append(Sent(0, messages.CANCEL, number))
                link.outbox.append(Sent(0, messages.LEAVE, None))
                link.in_flight = {}
            self._announce_room()
            self._changed.notify_all()
        for order in orders:
            order.fail(PoolClosed("the client of this executor was closed"))
        for thread in (self._sender, self._watcher):
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join(_LAST_WORD_S)
        deadline = time.monotonic() + _LAST_WORD_S  # for all of them together
        for link in links:
            link.close(max(deadline - time.monotonic(), 0.0))
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
            self._backlog.add(order)
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
                for number, each in link.in_flight.items():  # a hedged one has several
                    if each is order:
                        link.outbox.append(Sent(0, messages.CANCEL, number))
                        self._changed.notify_all()

    # ---- sending

    def _send(self) -> None:
        """In the sender's thread: have every executor get what it is to have."""
        try:
            while self._send_once():
                pass
        except BaseException as error:  # ours, and unforeseen: nobody must wait for ever
            logger.exception("a client of %s failed", self.name)
            with self._lock:
                self._closed = True
                orders = self._backlog.clear()
                for link in self.links.values():
                    orders += link.in_flight.values()
                    link.in_flight = {}
                    link.end()
                self._announce_room()
                self._changed.notify_all()
            for order in orders:
                order.give_up(f"the client failed: {type(error).__name__}: {error}")

    def _send_once(self) -> bool:
        """Send what there is to be sent now, or will be; False where that was the last."""
        while self._later:
            self._later.popleft()()
        with self._lock:
            while True:
                self._assign()
                due = [link for link in self.links.values() if link.is_due]
                if due or self._closed or self._ended or self._later:
                    break
                self._changed.wait(self._nap_s())
            over = self._closed
            if over:  # the last word, however many requests are on their way
                due = [link for link in self.links.values() if link.outbox]
            more_waits = bool(self._backlog.queue)
            batches = [(link, link.next_request(more_waits=more_waits)) for link in due]
            ended = list(self._ended)
            self._ended.clear()
        for link, request in batches:
            link.post(request)
        del batches
        for tell in ended:
            tell()
        if over:
            for link in self.links.values():
                link.end()
        return not over

    def _unfit(self, link: Link, number: int, why: str) -> None:
        with self._lock:
            order = link.in_flight.pop(number, None)
        if order is not None:
            order.fail(TypeError(f"it can't be sent to an executor: {why}"))

    def _nap_s(self) -> float:
        """How long nothing need be done unless something happens."""
        return 0.1 if self.waiting else _LOOK_S

    def _assign(self) -> None:
        """Have orders that wait be sent, as far as there is room for them, or be answered."""
        now = time.monotonic()
        self._expire(now)
        self._assigner.assign(now)
        self._announce_room()

    def _expire(self, now: float) -> None:
        """Answer what has waited for too long."""
        self._ended += [late.expire for late in self._backlog.late(now)]
        if any(not link.load.draining for link in self.links.values()):
            self._none_since = now
        if now - self._none_since < self._patience_s:
            return
        why = "all are draining" if self.links else self._why_none or "none is known"
        why = f"no executor of {self.name} is there: {why}"
        for order in self._backlog.clear():
            self._ended.append(functools.partial(order.give_up, why))

    # ---- what comes back

    def _took(self, link: Link, reply: Reply) -> None:
        answered: list[tuple[Order, Answer]] = []
        back: list[Order] = []
        with self._lock:
            if link.desk not in ("", reply.desk):
                self._lost(link, "it has not heard of this client for too long", broke=False)
                return
            link.desk = reply.desk
            link.requests -= 1
            link.load = reply.load
            link.heard_at = now = time.monotonic()
            for answer in reply.answers:
                order = link.in_flight.pop(answer.number, None)
                if order is None:
                    continue
                if isinstance(answer.error, Unreadable) and not order.apart:
                    order.apart = True  # from others, one of which may be what can't be read
                    self._give(link, order)
                    continue
                if (
                    order.repeatable
                    and not order.unwanted
                    and self._is_to_go_on(link, order, answer)
                ):
                    back.append(order)
                    continue
                self._mean_s += 0.05 * (now - order.sent_at - self._mean_s)
                if order.hedged:
                    self._cancel_copies(order)
                answered.append((order, answer))
            self._backlog.put_back(back)
            self._changed.notify_all()
        for order, answer in answered:
            try:
                order.take(answer)
            except Exception as error:  # noqa: BLE001  (it makes no sense; the others do)
                order.fail(messages.Nonsense(f"executor {link.key}: {error!r}"))

    def _is_to_go_on(self, link: Link, order: Order, answer: Answer) -> bool:
        """Whether an order is to be made by another executor, or later: this one has no room, is
        about to go, or has failed itself.
        """
        if isinstance(answer.error, PoolFull):
            link.full_until = time.monotonic() + _FULL_S
            return True
        failed = isinstance(answer.error, PoolClosed)
        if isinstance(order, RunOrder) and answer.error is None:
            failed = answer.value[0].reason is ExitReason.INTERNAL
        order.failed_at += (link.key,) if failed else ()
        # Not at each that there is: it may be the program that makes them fail.
        again = len(order.failed_at) <= self._backlog.retries
        return failed and again and any(key not in order.failed_at for key in self.links)

    def _is_elsewhere(self, order: Order) -> bool:
        """Whether a hedged order is still to be answered by somebody."""
        links = self.links.values()
        return order in self._backlog or any(order in each.in_flight.values() for each in links)

    def _cancel_copies(self, order: Order) -> None:
        for link in self.links.values():
            for number, each in list(link.in_flight.items()):
                if each is order:
                    del link.in_flight[number]
                    link.outbox.append(Sent(0, messages.CANCEL, number))

    def _lost(
        self, link: Link, why: str, *, broke: bool, unsent: Collection[int] = frozenset()
    ) -> None:
        """An executor does not answer any more: what is in flight there goes elsewhere. broke: it
        is gone, as far as can be told, and not only silent, or strange. unsent: numbers of orders
        that it can't have taken.
        """
        with self._lock:
            if link.is_lost:
                return
            link.is_lost = True
            if self.links.get(link.key) is link:
                del self.links[link.key]
            if not self.links:
                self._none_since = time.monotonic()
                self._why_none = f"executor {link.key} was lost ({why})"
            unsent = {*unsent, *(each.number for each in link.outbox)}
            orders = {number: each for number, each in link.in_flight.items() if number}
            link.in_flight = {}
            link.outbox.clear()
            link.end()
            said = f"executor {link.key} was lost while this was under way: {why}"
            gone = [
                each
                for number, each in orders.items()
                if number not in unsent and not (each.hedged and self._is_elsewhere(each))
            ]
            back = [each for number, each in orders.items() if number in unsent]
            if self._closed:
                ended = [Ended(each, said) for each in (*gone, *back)]
            else:
                # An executor that nobody has heard of lately may have been gone before.
                lived = time.monotonic() - link.heard_at < _LATELY_S
                alone = broke and lived and link.load.clients <= 1
                ended = self._backlog.take_lost(gone, said, alone=alone)
                ended += [Ended(each, said) for each in back if not each.repeatable]
                self._backlog.put_back(each for each in back if each.repeatable)
            self._watch_now = True
            self._changed.notify_all()
        logger.warning("%s: executor %s is lost: %s", self.name, link.key, why)
        for order, why_ended, denied in ended:
            order.give_up(why_ended, denied=denied)

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
