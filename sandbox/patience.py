"""How long to wait for a process that may be hostile, and may as well be starved."""

import time

from .state import status_of

LONGEST_S = 10.0
"""An answer that takes longer will never come, whatever the load."""

_FIRST_LOOK_S, _BETWEEN_LOOKS_S = 1.0, 0.4
_MOST_CPU_S = 1.0
"""A fork of 10 GB takes a tenth of that."""


class Patience:
    """Of whoever has asked the process `pid` (on the host) something that takes milliseconds. One
    that sleeps, or computes instead of answering, has some 1.5 s; one that waits for a CPU, longer.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ends_at = time.monotonic() + LONGEST_S
        self._look_at = time.monotonic() + _FIRST_LOOK_S
        self._used_s = _cpu_s(pid)
        self._asleep_at: float | None = None  # CPU time when it was last seen asleep

    def is_over(self) -> bool:
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + _BETWEEN_LOOKS_S
        used_s = _cpu_s(self._pid)
        sleeps = status_of(self._pid, "State")[0][:1] not in ("R", "D")
        slept_on = sleeps and used_s == self._asleep_at
        self._asleep_at = used_s if sleeps else None
        return slept_on or used_s > self._used_s + _MOST_CPU_S or now >= self._ends_at


def _cpu_s(pid: int) -> float:
    """CPU time of all its threads; of a process that is gone, none is known."""
    try:
        return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3), CPUCLOCK_SCHED
    except OSError:
        return 0.0
