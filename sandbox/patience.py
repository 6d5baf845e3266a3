"""How long to wait for a process that may be hostile, and may as well be starved."""

import os
import threading
import time

LONGEST_S = 10.0
"""An answer that takes longer will never come, whatever the load."""

_FIRST_LOOK_S, _BETWEEN_LOOKS_S = 0.5, 0.25
_MOST_OWN_S = 1.0
"""A fork of 10 GB takes a tenth of that."""


class Patience:
    """Of whoever has asked the process `pid` (on the host) something that takes milliseconds.

    What it takes itself, computing and sleeping, is a second at most: a caller waits meanwhile.
    When it wanted a CPU and had none, or we had none and could not answer it, is not its own time.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._began = time.monotonic()
        self._look_at = self._began + _FIRST_LOOK_S
        self._starved_before_s = self._starved_s()

    def is_over(self) -> bool:
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + _BETWEEN_LOOKS_S
        waited_s = now - self._began
        if waited_s >= LONGEST_S:
            return True
        starved_s = self._starved_s()
        if starved_s is None or self._starved_before_s is None:
            return False  # it is gone, or this kernel does not tell
        return waited_s - (starved_s - self._starved_before_s) > _MOST_OWN_S

    def _starved_s(self) -> float | None:
        its = _without_cpu_s(self._pid, self._pid)
        ours = _without_cpu_s(os.getpid(), threading.get_native_id())
        return None if its is None or ours is None else its + ours


def _without_cpu_s(pid: int, thread: int) -> float | None:
    """Seconds in which a thread could have run and had no CPU; None where the kernel does not tell.

    The second number of schedstat, in nanoseconds (Documentation/scheduler/sched-stats.rst).
    """
    try:
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError):
        return None
