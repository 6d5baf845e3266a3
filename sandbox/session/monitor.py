"""The one thread that reads what families say and answers what they ask: one for each fork server.

Guarantees:

- A descriptor is looked at when it is ready, and a bounded part is taken of it at a time; the rest
  waits until others have been served (epoll is level-triggered, and goes round).
- The thread waits for nothing else. A program that asks without end costs some time in every round,
  and can't keep other families waiting.
- It outlives every family: a failure in one ends that one (`Watched` sees to it).
- When `remove` has returned, the caller may close the descriptor. Its number, which may be that of
  another by then, may be looked at once more: `attend` finds nothing there, and does nothing.
"""

import os
import select
import threading
from typing import Protocol

from ..jail.messages import JailLost


class Watched(Protocol):
    """The owner of watched descriptors. Neither method may raise or wait."""

    def attend(self, fd: int) -> None:
        """Take some of what is there; `remove` it, if nothing will come any more."""
        ...

    def lose(self, why: str) -> None:
        """Learn that nothing of it is watched any more."""
        ...


class Monitor:
    """A thread, from the beginning until `close`. Thread-safe.

    Raises `OSError` or RuntimeError where there can be no such thread; then nothing is left.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closing = False  # guarded by _lock; from then on the thread owns the descriptors
        self._watched: dict[int, Watched] = {}
        self._epoll = select.epoll()
        self._wake = -1
        try:
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._epoll.register(self._wake, select.EPOLLIN)
            self._thread = threading.Thread(target=self._live, name="monitor", daemon=True)
            self._thread.start()
        except BaseException:
            self._close_descriptors()
            raise

    def __repr__(self) -> str:
        return f"<Monitor {len(self._watched)} watched{' closed' if self._closing else ''}>"

    def add(self, fd: int, watched: Watched) -> None:
        """Watch `fd`, until `remove`. Raises `JailLost` when this is closed."""
        with self._lock:
            if self._closing:
                raise JailLost("the jail of sessions is closed")
            self._epoll.register(fd, select.EPOLLIN)
            self._watched[fd] = watched

    def remove(self, fd: int) -> None:
        """Watch `fd` no longer. Idempotent, if it has not been closed in between."""
        with self._lock:
            # By hand, as closing is not enough: a forked process of the host may have a copy of it.
            if self._watched.pop(fd, None) is not None and not self._closing:
                self._epoll.unregister(fd)

    def close(self) -> None:
        """End the thread; what is still watched is lost. Idempotent."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            os.eventfd_write(self._wake, 1)
        self._thread.join()

    def release_after_fork(self) -> None:
        """In a forked child, which has no such thread: let go of the descriptors."""
        if not self._closing:
            self._closing = True
            self._close_descriptors()

    def _live(self) -> None:
        try:
            while not self._closing:
                for fd, _ in self._epoll.poll():
                    watched = self._watched.get(fd)
                    if watched is not None:
                        watched.attend(fd)
        finally:
            with self._lock:
                self._closing = True
                left = set(self._watched.values())
                self._close_descriptors()
            for watched in left:
                watched.lose("the jail of sessions is closed")

    def _close_descriptors(self) -> None:
        self._epoll.close()
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1
