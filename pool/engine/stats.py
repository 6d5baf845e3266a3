"""Counters of a pool."""

import dataclasses
import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from ...sandbox.result import Result

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """A pool at one moment; counters run from its beginning.

    workers: how many there are; workers_alive: have a jail; workers_busy: run a program now.
    queued: runs that wait. runs: runs that ended; runs_by_reason: the same, by reason.
    replaced: jails that died or misbehaved and were taken away. retried: runs that were lost
    with their jail and tried again. queue_s, run_s, cpu_s: seconds of waiting, running and CPU,
    sums over all ended runs.
    sessions: those that hold a state now, branches included; session_bytes: what they hold in
    memory (their cgroup's count, else an estimate); sessions_evicted: taken away by a limit.
    """

    tier: str
    workers: int
    workers_alive: int
    workers_busy: int
    queued: int
    runs: int
    runs_by_reason: dict[str, int]
    replaced: int
    retried: int
    queue_s: float
    run_s: float
    cpu_s: float
    sessions: int
    session_bytes: int
    sessions_evicted: int


class Counters:
    """What a pool counts; safe to use from any thread.

    on_ended: called with every result, in the thread that has it.
    """

    def __init__(self) -> None:
        self.on_ended: Callable[[Result], None] | None = None
        self._lock = threading.Lock()
        self.by_reason: Counter[str] = Counter()  # guarded by _lock, as is everything below
        self.replaced = 0
        self.retried = 0
        self.queue_s = 0.0
        self.run_s = 0.0
        self.cpu_s = 0.0

    def ended(self, result: Result) -> None:
        with self._lock:
            self.by_reason[str(result.reason)] += 1
            self.queue_s += result.queue_s
            self.run_s += result.wall_s
            self.cpu_s += result.cpu_s or 0.0
        if self.on_ended is not None:
            try:
                self.on_ended(result)
            except Exception:  # who counts must not keep a run from its caller
                logger.exception("the metrics of a run could not be counted")

    def was_replaced(self) -> None:
        with self._lock:
            self.replaced += 1

    def was_retried(self) -> None:
        with self._lock:
            self.retried += 1

    def snapshot(self, **now: Any) -> Stats:
        """Return all of it; now: what is not counted from the beginning."""
        with self._lock:
            return Stats(
                **now,
                runs=self.by_reason.total(),
                runs_by_reason=dict(self.by_reason),
                replaced=self.replaced,
                retried=self.retried,
                queue_s=self.queue_s,
                run_s=self.run_s,
                cpu_s=self.cpu_s,
            )
