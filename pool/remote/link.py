"""A client's side of one executor: what is in flight there, and the thread that takes answers."""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from ..errors import PoolClosed
from . import messages
from .messages import Described, Load, Reply, Request, Sent
from .order import Order

logger = logging.getLogger(__name__)

DESCRIBE_S = 30.0

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
    request. requests: how many have no reply yet. kept: how many sessions and snapshots are.
    """

    MOST_REQUESTS = 2
    """Without a reply: one that waits there, and one that brings more and has the first come back.
    What comes up meanwhile goes along with the next one."""

    def __init__(
        self,
        key: str,
        reach: Reach,
        client: str,
        *,
        silent_s: float,
        took: "Callable[[Link, Reply], None]",
        lost: "Callable[[Link, str], None]",
    ) -> None:
        self.key = key
        self._reach = reach
        self._client = client
        self._silent_s = silent_s
        self._took = took
        self._lost = lost
        described: Described = messages.unpack(
            Described, reach.result(reach("describe_executor"), DESCRIBE_S), f"executor {key}"
        )
        self.incarnation = described.incarnation
        self.limits = described.limits
        self.tier = described.tier
        self.load: Load = described.load
        self.in_flight: dict[int, Order] = {}
        self.outbox: deque[Order | Sent] = deque()
        self.requests = 0
        self.kept = 0
        self.known_snapshots: set[str] = set()
        self.full_until = 0.0  # it has refused an order; by the monotonic clock
        self.reserved = False  # for orders that were lost, one at a time
        self.heard_at = time.monotonic()
        self.is_lost = False
        self._sequence = 0
        self._calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<Link {self.key}: {len(self.in_flight)} in flight>"

    def start(self) -> None:
        """Begin to take answers. Raises RuntimeError where there can't be another thread."""
        self._thread = threading.Thread(
            target=self._take, name=f"answers of {self.key}", daemon=True
        )
        self._thread.start()

    @property
    def share(self) -> float:
        """How busy it is: what waits and runs there, for each program that it runs at once."""
        return (len(self.in_flight) + len(self.outbox) + self.load.queued) / self.load.size

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
        busy = len(self.in_flight) > _BUSY * self.load.size
        patience_s = _PATIENCE_S if more_waits else _LITTLE_PATIENCE_S if busy else 0.0
        orders = [each.packed() if isinstance(each, Order) else each for each in self.outbox]
        self.outbox.clear()
        request = Request(self._client, self._sequence, self.incarnation, orders, patience_s)
        self._sequence += 1
        self.requests += 1
        return request

    def send(self, data: bytes) -> None:
        """Send a request, and have its reply taken. Not under the router's lock."""
        try:
            self._calls.put(self._reach("exchange", data))
        except Exception as error:  # noqa: BLE001  (each registry has errors of its own)
            self._lost(self, _first_line(error))

    def end(self) -> None:
        """Have the thread end when it has taken the replies that are on their way."""
        self._calls.put(None)

    def close(self, timeout_s: float) -> None:
        """Wait for the thread's end, and let go of the connection, whoever still holds this."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        self._reach = _Nothing()

    def _take(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                data = self._reach.result(call, self._silent_s)
                reply: Reply = messages.unpack(Reply, data, f"executor {self.key}")
            except TimeoutError:
                why = f"it has not answered for {self._silent_s:g} s"
            except Exception as error:  # noqa: BLE001
                why = _first_line(error)
            else:
                del data, call
                self._took(self, reply)
                del reply
                continue
            self._lost(self, why)
            return


def _first_line(error: BaseException) -> str:
    """What went wrong, less the particulars of actors that Ray adds."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]
