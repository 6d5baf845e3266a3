"""Counters of a pool."""

import dataclasses
import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from ...sandbox.result import Result
from .buckets import Buckets
from .exposition import COUNTER, GAUGE, HISTOGRAM, Metric, Value, exposition

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
    not_offered: programs that failed for want of an installed package that the pool does not offer,
    by its name. warmed: runs that began with a module imported that they import, by its name;
    not_warmed: modules that can't be imported ahead, and why; imported: runs that had to import a
    module by themselves, by its name, the hundred most frequent.
    queue_s_buckets, run_s_buckets: by upper bound in seconds, as text, how many runs
    waited, or ran, no longer than that.
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
    not_offered: dict[str, int]
    warmed: dict[str, int]
    not_warmed: dict[str, str]
    imported: dict[str, int]
    queue_s_buckets: dict[str, int]
    run_s_buckets: dict[str, int]

    def plus(self, other: "Stats") -> "Stats":
        """Return the counters of two pools together."""
        found: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            mine, its = getattr(self, field.name), getattr(other, field.name)
            if field.name == "not_warmed":
                found[field.name] = {**its, **mine}
            elif isinstance(mine, dict):
                found[field.name] = {
                    key: mine.get(key, 0) + its.get(key, 0) for key in {**mine, **its}
                }
            elif isinstance(mine, str):
                found[field.name] = mine if its in mine.split(", ") else f"{mine}, {its}"
            else:
                found[field.name] = mine + its
        return Stats(**found)

    def prometheus(self) -> str:
        """Return all of it as Prometheus reads it (text format 0.0.4), under the names that it has
        as metrics of Ray's.
        """
        values: dict[str, Value] = {
            "pool_runs": {("reason", reason): n for reason, n in self.runs_by_reason.items()},
            "pool_queue_s": (self.queue_s_buckets, self.queue_s),
            "pool_run_s": (self.run_s_buckets, self.run_s),
            "pool_cpu_s": self.cpu_s,
            "pool_workers": self.workers,
            "pool_workers_alive": self.workers_alive,
            "pool_workers_busy": self.workers_busy,
            "pool_queued": self.queued,
            "pool_replaced": self.replaced,
            "pool_retried": self.retried,
            "pool_sessions_parked": self.sessions,
            "pool_session_bytes": self.session_bytes,
            "pool_sessions_evicted": self.sessions_evicted,
            "pool_not_offered": {("package", name): n for name, n in self.not_offered.items()},
            "pool_warmed": {("module", name): n for name, n in self.warmed.items()},
            "pool_imported": {("module", name): n for name, n in self.imported.items()},
        }
        return exposition((METRICS[name], value) for name, value in values.items())


METRICS = {
    metric.name: metric
    for metric in (
        Metric("pool_runs", COUNTER, "Runs that ended, by reason."),
        Metric("pool_queue_s", HISTOGRAM, "Seconds that runs waited."),
        Metric("pool_run_s", HISTOGRAM, "Seconds that runs took."),
        Metric("pool_cpu_s", COUNTER, "CPU seconds of all runs."),
        Metric("pool_workers", GAUGE, "Workers that there are."),
        Metric("pool_workers_alive", GAUGE, "Workers that have a jail."),
        Metric("pool_workers_busy", GAUGE, "Workers that run a program now."),
        Metric("pool_queued", GAUGE, "Runs that wait."),
        Metric("pool_replaced", GAUGE, "Jails that were taken away and replaced, so far."),
        Metric("pool_retried", COUNTER, "Runs that were lost with their jail and tried again."),
        Metric("pool_sessions_parked", GAUGE, "Sessions that hold a state."),
        Metric("pool_session_bytes", GAUGE, "Bytes that all sessions hold in memory."),
        Metric("pool_sessions_evicted", COUNTER, "Sessions that were taken away by a limit."),
        Metric(
            "pool_not_offered",
            COUNTER,
            "Programs that failed for want of an installed package, by what is not offered.",
        ),
        Metric("pool_warmed", COUNTER, "Runs that began with a module that they import."),
        Metric("pool_imported", COUNTER, "Runs that had to import a module by themselves."),
    )
}
"""Their names, kinds and meanings, also for Ray."""


class Counters:
    """What a pool counts; safe to use from any thread.

    on_result: called with the result of every program, in the thread that has it.
    """

    def __init__(self, on_result: Callable[[Result], object] | None = None) -> None:
        self._on_result = on_result
        self._lock = threading.Lock()
        self.by_reason: Counter[str] = Counter()  # guarded by _lock, as is everything below
        self.replaced = 0
        self.retried = 0
        self.queue_s = 0.0
        self.run_s = 0.0
        self.cpu_s = 0.0
        self._not_offered: Counter[str] = Counter()
        self._queue_buckets = Buckets()
        self._run_buckets = Buckets()

    def ended(self, result: Result, *, of_test: bool = False) -> None:
        """Count a result. of_test: it is that of a test, of which only the judge is told."""
        with self._lock:
            self._queue_buckets.add(result.queue_s)
            self._run_buckets.add(result.wall_s)
            if result.not_offered is not None:
                self._not_offered[result.not_offered] += 1
            self.by_reason[str(result.reason)] += 1
            self.queue_s += result.queue_s
            self.run_s += result.wall_s
            self.cpu_s += result.cpu_s or 0.0
        if logger.isEnabledFor(logging.DEBUG):
            kind = "test" if of_test else "run"
            said = (kind, result.id, result.reason, result.wall_s, result.queue_s, result.detail)
            logger.debug("%s %s ended: %s after %.3f s, queued for %.3f s; %r", *said)
        if self._on_result is not None and not of_test:
            try:
                self._on_result(result)
            except BaseException:  # whatever it raises, it costs neither a result nor a worker
                logger.exception("on_result failed; the result goes to its caller all the same")

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
                not_offered=dict(self._not_offered),
                queue_s_buckets=self._queue_buckets.to_dict(),
                run_s_buckets=self._run_buckets.to_dict(),
            )
