"""A client's side of one executor: what is in flight there, and the thread that takes answers."""

import dataclasses
import logging
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from ..errors import PoolClosed
from . import messages
from .messages import Described, Load, Nonsense, Reply, Request, Sent
from .order import Order

logger = logging.getLogger(__name__)

DESCRIBE_S = 30.0

_TO_TAKE_S = 1.0
"""For an answer that should be here already."""

_PATIENCE_S = 0.1
_BUSY, _LITTLE_PATIENCE_S = 8, 0.02
"""Where so many orders for each worker are in flight, somebody waits longer than this anyway."""


class Reach(Protocol):
    """How one executor is reached: calls a method of it by name, and waits for what it returns.
    Both raise where the executor is gone.
    """

    def __call__(self, method: str, *args: Any) -> Any: ...

    def result(self, call: Any, timeout: float) -> Any: ...


class _Nothing:
    """How an executor is reached that is no longer to be."""

    def __call__(self, method: str, *args: Any) -> Any:
        raise PoolClosed("this client is closed")

    def result(self, call: Any, timeout: float) -> Any:
        raise PoolClosed("this client is closed")


class Link:
    """One executor, as one client sees it. Its fields are guarded by the router's lock.

    key: by which the registry knows it. silent_s: how long it may leave a request unanswered.
    in_flight: orders that were sent, by number. outbox: orders that will be sent with the next
    request. requests: how many have no reply yet. kept: how many sessions and snapshots are there.
    took, lost, unfit: called with replies, with why it is lost, and with an order that can't be
    sent, and why.
    """

    MOST_REQUESTS = 2
    """Without a reply: one that waits there, and one that brings more and has the first come back.
    What comes up meanwhile goes along with the next one."""

    def __init__(
        self,
        key: str,
        reach: Reach,
        *,
        silent_s: float,
        took: "Callable[[Link, Reply], None]",
        lost: "Callable[..., None]",
        unfit: "Callable[[Link, int, str], None]",
    ) -> None:
        self.key = key
        self._reach = reach
        self._client = uuid.uuid4().hex  # another link may lead to the same executor's other desk
        self._silent_s = silent_s
        self._took = took
        self._lost = lost
        self._unfit = unfit
        described: Described = messages.unpack(
            Described, reach.result(reach("describe_executor"), DESCRIBE_S), f"executor {key}"
        )
        self.incarnation = described.incarnation
        self.limits = described.limits
        self.tier = described.tier
        self.runtimes = described.runtimes
        self.load: Load = described.load
        self.in_flight: dict[int, Order] = {}
        self.outbox: deque[Order | Sent] = deque()
        self.requests = 0
        self.desk = ""  # as its last reply had it
        self.kept = 0
        self.known_snapshots: set[str] = set()
        self.full_until = 0.0  # it has refused an order; by the monotonic clock
        self.reserved = False  # for orders that were lost, one at a time
        self.heard_at = time.monotonic()
        self.is_lost = False
        self._sequence = 0
        self._calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def __repr__(self) -> str:
        return f"<Link {self.key}: {len(self.in_flight)} in flight>"

    def start(self) -> None:
        """Begin to send, and to take answers. Raises RuntimeError where threads can't be had."""
        for what, work in (("requests to", self._send), ("answers of", self._take)):
            thread = threading.Thread(target=work, name=f"{what} {self.key}", daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def share(self) -> float:
        """How busy it is: what waits and runs there, for each program that it runs at once. What
        waits there may be this client's, and is not counted twice.
        """
        return max(len(self.in_flight), self.load.queued) / self.load.size

    @property
    def is_due(self) -> bool:
        """Whether a request is to be sent: to bring something, or to have what comes brought."""
        if self.is_lost:
            return False
        if self.outbox:
            return self.requests < self.MOST_REQUESTS
        return not self.requests and bool(self.in_flight or self.kept)

    def next_request(self, *, more_waits: bool) -> Request:
        """Take the outbox for the next request. more_waits: the client has more to do than it can
        send: each answer can wait for others, since a reply costs both sides more than an answer.
        """
        new = {each.number for each in self.outbox}
        if not self.requests and not self.kept and self.in_flight.keys() <= new:
            self.desk = ""  # nothing is left of earlier requests: another one will do
        busy = len(self.in_flight) > _BUSY * self.load.size
        patience_s = _PATIENCE_S if more_waits else _LITTLE_PATIENCE_S if busy else 0.0
        orders = [each.sent() if isinstance(each, Order) else each for each in self.outbox]
        self.outbox.clear()
        oldest = self._sequence - self.requests
        request = Request(
            self._client, self._sequence, self.incarnation, orders, patience_s, oldest
        )
        self._sequence += 1
        self.requests += 1
        return request

    def post(self, request: Request) -> None:
        """Have a request sent, and its reply taken. Waits for nothing."""
        self._requests.put(request)

    def end(self) -> None:
        """Have the threads end when what was posted is sent, and its replies are taken."""
        self._requests.put(None)

    def close(self, timeout_s: float) -> None:
        """Wait for the threads' end, and let go of the connection, whoever still holds this."""
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout_s)
        self._reach = _Nothing()

    def _send(self) -> None:
        """In a thread of its own: an executor that is stopped takes nothing, and can block it."""
        while (request := self._requests.get()) is not None:
            numbers: set[int] = set()
            try:
                try:
                    data = messages.pack_request(request)
                except Exception:  # noqa: BLE001  (pickling raises whatever a class has for it)
                    data = messages.pack_request(self._less_what_is_unfit(request))
                numbers = {each.number for each in request.orders}
                self._calls.put(self._reach("exchange", data))
                del data, request
            except Exception as error:  # noqa: BLE001  (each registry has errors of its own)
                self._lost(self, _first_line(error), broke=True, unsent=numbers)
                break
        self._calls.put(None)

    def _less_what_is_unfit(self, request: Request) -> Request:
        """The request without what can't be pickled, which is told to who wants it."""
        fit = []
        for each in request.orders:
            try:
                messages.pack(each)
                fit.append(each)
            except Exception as error:  # noqa: BLE001
                self._unfit(self, each.number, _first_line(error))
        return dataclasses.replace(request, orders=fit)

    def _take(self) -> None:
        while (call := self._calls.get()) is not None:
            broke = False
            try:
                reply: Reply = messages.unpack(Reply, self._result(call), f"executor {self.key}")
            except TimeoutError:
                why = f"it has not answered for {self._silent_s:g} s"
            except Nonsense as error:
                why = _first_line(error)
            except Exception as error:  # noqa: BLE001
                why, broke = _first_line(error), True
            else:
                del call
                self._took(self, reply)
                del reply
                continue
            self._lost(self, why, broke=broke)
            return

    def _result(self, call: Any) -> Any:
        """What a call returns. Where it is this client that has stood still, the answer is there
        when the time is over, and has only to be taken.
        """
        try:
            return self._reach.result(call, self._silent_s)
        except TimeoutError:
            return self._reach.result(call, _TO_TAKE_S)


def _first_line(error: BaseException) -> str:
    """What went wrong, less the particulars of actors that Ray adds."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]
