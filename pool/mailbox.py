"""Turns: who may touch a session's state, one after the other, in the order in which they came."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator

from .engine.bell import Bell

Begin = Callable[[], bool]
"""Begins something whose turn has come; False where there was nothing to begin after all."""


class Mailbox:
    """What is posted begins when all that was posted before is done. No thread waits for its turn,
    unless it wants to (`turn`); whoever has it says so when it is over (`done`).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Begin] = deque()  # guarded by _lock, as is _busy
        self._busy = False

    def __repr__(self) -> str:
        return f"<Mailbox {'busy' if self._busy else 'free'}, {len(self._waiting)} waiting>"

    @property
    def is_busy(self) -> bool:
        return self._busy

    def post(self, begin: Begin) -> None:
        """Have `begin` called in its turn: at once and here, or later, in the thread whose turn is
        over then. It must not raise, and not wait. If it returns True, `done` is to follow.
        """
        with self._lock:
            if self._busy:
                self._waiting.append(begin)
                return
            self._busy = True
        if not begin():
            self.done()

    def done(self) -> None:
        """The turn is over: the next one's begins."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._busy = False
                    return
                begin = self._waiting.popleft()
            if begin():
                return

    def try_begin(self) -> bool:
        """Take the turn if nobody has it; tell whether that is so. Then `done` is to follow."""
        with self._lock:
            free = not self._busy
            self._busy = True
        return free

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, and have it for as long as this lasts."""
        granted = Bell()

        def begin() -> bool:
            granted.ring()
            return True

        self.post(begin)
        try:
            granted.wait()
        except BaseException:  # Ctrl-C
            self._give_up(begin)
            raise
        try:
            yield
        finally:
            self.done()

    def _give_up(self, begin: Begin) -> None:
        with self._lock:
            waits = begin in self._waiting
            if waits:
                self._waiting.remove(begin)
        if not waits:  # it has come in the very moment
            self.done()
