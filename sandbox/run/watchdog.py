"""The clocks of one run: when a limit is passed, it is stopped."""

import math
import os
import time
from collections.abc import Callable

from ..jail.jail import KILL_PATIENCE_S, START_PATIENCE_S
from ..jail.messages import JailLost
from ..limits import Limits
from ..reasons import ExitReason
from .resource_monitor import ResourceMonitor
from .stop import Stop

_LONGEST_LOOK_S = 60.0
"""Between two looks at a run that has no limit: its end is told, and wakes us."""

_REPORT_PATIENCE_S = 5.0
"""A run that has ended, and whose zygote has not said how by then, is lost with its jail."""


class Watchdog:
    """Enforces the limits on time, and what a `ResourceMonitor` sees, on the process `pid` (on the
    host).

    has_started: whether the program has been given control; before that, its time has not begun.
    has_ended: whether its process has: then it can pass no limit, and only the word is missing.
    The clock starts with `begin`; `look` is to be called at least every `until_next_look` seconds.
    """

    def __init__(
        self,
        limits: Limits,
        stop: Stop,
        has_started: Callable[[], bool] = lambda: True,
        has_ended: Callable[[], bool] = lambda: False,
    ) -> None:
        self._limits = limits
        self._stop = stop
        self._has_started = has_started
        self._has_ended = has_ended
        self._ended_at: float | None = None  # when that was first seen
        self._pid = 0
        self._monitor: ResourceMonitor | None = None
        self._deadline = math.inf
        self._give_up_at: float | None = None
        self._of_all: Callable[[], float] | None = None
        self.began = 0.0
        self.before_s = 0.0  # CPU time that is not this run's
        self.detail = ""

    def begin(
        self,
        pid: Callable[[], int],
        monitor: ResourceMonitor | None,
        *,
        used_before: bool = False,
        of_all: Callable[[], float] | None = None,
    ) -> None:
        """Start the clocks. used_before: of a process that has used CPU time for others already.
        of_all: tells the CPU seconds of a run that may have several processes.
        """
        self._pid_of = pid
        self._of_all = of_all
        self._monitor = monitor
        if used_before:
            self.before_s = self.cpu_s()
        self.began = time.monotonic()
        if self._limits.wall_s is not None:
            self._deadline = self.began + self._limits.wall_s

    def until_next_look(self) -> float:
        """Seconds until a limit can be reached at the earliest."""
        limits = self._limits
        now = time.monotonic()
        if self._stop.reason is not None:
            return max(self._patience_ends() - now, 0.0)
        waits = [_LONGEST_LOOK_S, self._deadline - now]
        if self._ended_at is not None:
            return 0.02
        if limits.cpu_s is not None:
            # With every CPU at work, the limit can't come sooner than this.
            waits.append(max((limits.cpu_s - self.cpu_s()) / (os.cpu_count() or 1), 0.001))
        if self._monitor is not None:
            waits.append(self._monitor.interval_s)
        return max(min(waits), 0.0)

    def look(self) -> None:
        """Stop the run if it has passed a limit; raise `JailLost` if it does not obey."""
        limits = self._limits
        now = time.monotonic()
        if self._stop.reason is not None:
            if now >= self._patience_ends():
                raise JailLost(f"killed, but not gone after {KILL_PATIENCE_S:g} s")
        elif self._has_ended():
            self._ended_at = self._ended_at or now
            if now >= self._ended_at + _REPORT_PATIENCE_S:
                raise JailLost("the zygote does not say how the run ended")
        elif now >= self._deadline:
            if self._has_started():
                self._stop(ExitReason.WALL_TIMEOUT)
            elif now >= self.began + START_PATIENCE_S:
                raise JailLost("the prewarmed process did not start its program")
            else:  # what went by was our time: the program's begins now
                self._deadline = now + (limits.wall_s or 0.0)
        elif limits.cpu_s is not None and self.cpu_s() >= limits.cpu_s and self._has_started():
            self._stop(ExitReason.CPU_TIMEOUT)
        elif self._monitor is not None and (found := self._monitor.check()):
            self.detail = found[1]
            self._stop(found[0])

    def _patience_ends(self) -> float:
        """When a run that was told to end, and its jail with it, are given up."""
        if self._give_up_at is None:
            self._give_up_at = time.monotonic() + KILL_PATIENCE_S
        return self._give_up_at

    def cpu_s(self) -> float:
        """CPU time of the run so far; of a process that has just gone, none is known."""
        if self._of_all is not None:
            return self._of_all()
        if not self._pid:
            self._pid = self._pid_of()
        try:
            return time.clock_gettime(_process_cpu_clock(self._pid)) - self.before_s
        except OSError:
            return 0.0


def _process_cpu_clock(pid: int) -> int:
    """The clock of a process's CPU time, all threads (clock_getcpuclockid(3), CPUCLOCK_SCHED)."""
    return (~pid << 3) | 2
