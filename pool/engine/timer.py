"""One thread that calls functions when their time has come: all deadlines of a pool."""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

_LEAST_NAP_S = 0.005
"""Between two looks at what is due: under overload, waits end by the hundred."""

_LONGEST_NAP_S = 3600.0
"""However far away the next alarm is: a wait over threading.TIMEOUT_MAX raises."""

_LEAST_CANCELLED = 64
"""Fewer alarms that were cancelled are not worth being cleared away."""


class Alarm:
    """A call that is to come. `cancel` takes it back, unless it has begun."""

    __slots__ = ("_timer", "call")

    def __init__(self, timer: "Timer", call: Callable[[], None]) -> None:
        self._timer = timer
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        if self.call is not None:
            self.call = None  # and with it whatever it would have kept alive
            self._timer.count_cancelled()


class Timer:
    """Calls functions at their time, one after the other, in a thread of its own.

    The thread is there from `start` on, which raises RuntimeError where there can't be another:
    a deadline that is accepted later will be kept. What a function raises is logged.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sooner = threading.Condition(self._lock)
        # Guarded by _lock, as is everything below: when, a number in place of what can't be
        # compared, and what.
        self._alarms: list[tuple[float, int, Alarm]] = []
        self._numbers = itertools.count()
        self._cancelled = 0
        self._closed = False
        self._thread = threading.Thread(target=self._live, name="timer", daemon=True)

    def __len__(self) -> int:
        """How many alarms are kept, some of them perhaps taken back."""
        return len(self._alarms)

    def __repr__(self) -> str:
        return f"<Timer {len(self._alarms) - self._cancelled} alarms>"

    def start(self) -> None:
        self._thread.start()

    def at(self, when: float, call: Callable[[], None]) -> Alarm:
        """Have `call` called at the time `when`, by the monotonic clock, or soon after."""
        alarm = Alarm(self, call)
        with self._lock:
            soonest = self._alarms[0][0] if self._alarms else None
            heapq.heappush(self._alarms, (when, next(self._numbers), alarm))
            if soonest is None or when < soonest:
                self._sooner.notify()
        return alarm

    def count_cancelled(self) -> None:
        with self._lock:
            self._cancelled += 1
            if self._cancelled > max(_LEAST_CANCELLED, len(self._alarms) // 2):
                self._alarms = [each for each in self._alarms if each[2].call is not None]
                heapq.heapify(self._alarms)
                self._cancelled = 0

    def close(self) -> None:
        """Call nothing any more, and wait for the thread's end, unless this is it."""
        with self._lock:
            self._closed = True
            self._alarms.clear()
            self._sooner.notify()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _live(self) -> None:
        while True:
            with self._lock:
                if self._closed:
                    return
                due = self._take_due()
                if not due:
                    nap_s = _LONGEST_NAP_S
                    if self._alarms:
                        nap_s = max(self._alarms[0][0] - time.monotonic(), _LEAST_NAP_S)
                    self._sooner.wait(min(nap_s, _LONGEST_NAP_S))
            for alarm in due:
                self._ring(alarm)

    def _take_due(self) -> list[Alarm]:
        now = time.monotonic()
        due = []
        while self._alarms and self._alarms[0][0] <= now:
            due.append(heapq.heappop(self._alarms)[2])
        self._cancelled -= sum(alarm.call is None for alarm in due)
        return due

    def _ring(self, alarm: Alarm) -> None:
        call, alarm.call = alarm.call, None
        if call is None:
            return
        try:
            call()
        except Exception:  # one deadline's fault must not cost the others theirs
            logger.exception("a deadline could not be kept")
