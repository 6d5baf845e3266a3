"""Waiting for another thread so that Ctrl-C ends the wait."""

import threading
import time

LOOK_S = 0.2
"""How often the main thread looks up."""


class Bell:
    """Rings once; any number of threads can wait for it, before and after.

    A lock, not an Event or a Condition: an exception of a signal handler in the wrong moment leaves
    those locked, and nobody could ring any more. The kernel may give a signal of the process to any
    thread of it, and where a busy worker takes it, the main thread, which alone runs handlers, goes
    on to sleep (4 of 10 times that Ctrl-C comes right behind input). So that one wakes up, now and
    then.
    """

    def __init__(self) -> None:
        self._silence = silence = threading.Lock()
        silence.acquire()
        self.ring = silence.release  # of no `self`: where it is a callback, that would be a cycle

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it rings, or `timeout_s`; tell whether it has rung."""
        left = -1.0 if timeout_s is None else max(timeout_s, 0.0)
        if threading.current_thread() is not threading.main_thread():
            rung = self._silence.acquire(timeout=min(left, threading.TIMEOUT_MAX))
        else:
            deadline = None if timeout_s is None else time.monotonic() + left
            rung = False
            while not rung:
                nap_s = LOOK_S
                if deadline is not None:
                    nap_s = min(nap_s, max(deadline - time.monotonic(), 0.0))
                rung = self._silence.acquire(timeout=nap_s)
                if deadline is not None and time.monotonic() >= deadline:
                    break
        if rung:
            self._silence.release()  # for the next one who waits
        return rung
