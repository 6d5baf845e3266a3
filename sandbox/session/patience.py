"""How long to wait for a process that may be hostile, and may as well be starved."""

import time

from ..guest.jail import proc

LONGEST_S = 10.0
"""An answer that takes longer will never come, whatever the load."""

LOOK_S = 0.1
"""How often to ask whether it `is_over`, where nothing else happens."""

_FIRST_LOOK_S, _BETWEEN_LOOKS_S = 0.3, 0.15
_MOST_OWN_S = 2.0
"""A fork of 10 GB takes 0.1 s, and many times that where the kernel is short of memory."""

_MOST_AT_ONCE_S = 0.15
"""Between two questions whether it is over. If it was longer, we did not get to ask: for want of a
CPU, or of the interpreter's lock, and could not answer it, either."""


class Patience:
    """Of whoever has asked the process `pid` (on the host) something that takes milliseconds, and
    asks several times a second whether it `is_over`.

    What it takes itself, computing and sleeping, is two seconds at most: a caller waits for it.
    When it wanted a CPU and had none, or a page that had to be read first, or we did not attend to
    it, is not its own time.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._began = self._asked_at = time.monotonic()
        self._attended_s = 0.0
        self._look_at_s = _FIRST_LOOK_S
        self._starved_before_s = _without_cpu_s(pid)

    def is_over(self) -> bool:
        now = time.monotonic()
        if not _waits_for_the_disk(self._pid):
            self._attended_s += min(now - self._asked_at, _MOST_AT_ONCE_S)
        self._asked_at = now
        if now - self._began >= LONGEST_S:
            return True
        if self._attended_s < self._look_at_s:
            return False
        self._look_at_s = self._attended_s + _BETWEEN_LOOKS_S
        starved_s = _without_cpu_s(self._pid)
        if starved_s is None or self._starved_before_s is None:
            return False  # it is gone, or this kernel does not tell
        return self._attended_s - (starved_s - self._starved_before_s) > _MOST_OWN_S


def _waits_for_the_disk(pid: int) -> bool:
    """Whether a process waits in a sleep that it has not asked for (D in proc_pid_stat(5))."""
    found = proc.stat(pid)
    return found is not None and found.state == "D"


def _without_cpu_s(pid: int) -> float | None:
    """Seconds in which a process's first thread could have run and had no CPU; None where the
    kernel does not tell.

    The second number of schedstat, in nanoseconds (Documentation/scheduler/sched-stats.rst).
    """
    try:
        return int(proc.read(f"/proc/{pid}/task/{pid}/schedstat").split()[1]) / 1e9
    except (OSError, IndexError):
        return None
