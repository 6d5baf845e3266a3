"""Whose order is begun next, where clients have more than can be made at once: they take turns."""

import threading
from collections import deque
from collections.abc import Callable

Begin = Callable[[], bool]
"""Begins something; False where there was nothing to begin after all. Must not raise, or wait."""


class Turns:
    """At most `most` under way. Who has asked for a thousand keeps nobody waiting who asks for one.
    Thread-safe.
    """

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._free = most  # guarded by _lock, as is everything below
        self._waiting: dict[object, deque[Begin]] = {}
        self._round: deque[object] = deque()  # of clients that have something waiting

    def __len__(self) -> int:
        """How many wait."""
        with self._lock:
            return sum(map(len, self._waiting.values()))

    def add(self, client: object, begin: Begin) -> None:
        """Have `begin` called in the client's turn, here or in a thread in which another's work is
        over. If it returns True, `over` is to follow.
        """
        with self._lock:
            if client not in self._waiting:
                self._waiting[client] = deque()
                self._round.append(client)
            self._waiting[client].append(begin)
        self._go_on()

    def over(self) -> None:
        """Something that was begun is over."""
        with self._lock:
            self._free += 1
        self._go_on()

    def _go_on(self) -> None:
        while True:
            with self._lock:
                if not self._free or not self._round:
                    return
                client = self._round.popleft()
                its = self._waiting[client]
                begin = its.popleft()
                if its:
                    self._round.append(client)
                else:
                    del self._waiting[client]
                self._free -= 1
            if not begin():
                with self._lock:
                    self._free += 1
