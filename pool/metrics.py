"""What a service's runs look like from outside: counts and times, for Prometheus where Ray is.

Times go into buckets of our own, which `stats` shows with or without Ray. In an actor, every run is
passed on to Ray's metrics as well, and what changes by itself (workers, sessions) every
`_GAUGE_PAUSE_S` at most, as runs end. Elsewhere Ray is not even imported.
"""

import sys
import threading
import time
import weakref
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

from ..sandbox.result import Result
from .engine.stats import Stats

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of queue and run times; above is one more."""

_GAUGE_PAUSE_S = 1.0


class Buckets:
    """How many times were no longer than each bound; guarded by whoever owns it."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1

    def to_dict(self) -> dict[str, int]:
        """By upper bound, as text, how many were at most that; "+Inf" is all."""
        found, total = {}, 0
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self._counts, strict=True):
            total += count
            found[bound] = total
        return found


class Metrics:
    """Notes every run of one service. stats: a weak reference to what returns the gauges' values:
    the pool that calls `ended` would otherwise keep itself alive.
    """

    def __init__(self, stats: "weakref.WeakMethod[Callable[[], Stats]]") -> None:
        self._stats = stats
        self._lock = threading.Lock()
        self._queue = Buckets()  # guarded by _lock, as are the others
        self._run = Buckets()
        self._gauges_at = 0.0
        self._ray = RayMetrics() if in_actor() else None

    def ended(self, result: Result) -> None:
        now = time.monotonic()
        with self._lock:
            self._queue.add(result.queue_s)
            self._run.add(result.wall_s)
            due = now - self._gauges_at >= _GAUGE_PAUSE_S
            if due:
                self._gauges_at = now
        if self._ray is not None:
            self._ray.ended(result)
            stats = self._stats() if due else None
            if stats is not None:
                self._ray.at(stats())

    def to_dict(self) -> dict[str, Any]:
        with self._lock:
            return {
                "queue_s_buckets": self._queue.to_dict(),
                "run_s_buckets": self._run.to_dict(),
            }


class RayMetrics:
    """The same as Ray's metrics, which its agent on this machine offers to Prometheus."""

    def __init__(self) -> None:
        from ray.util.metrics import Counter, Gauge, Histogram

        bounds = list(BOUNDS_S)
        self._runs = Counter("pool_runs", "Runs that ended, by reason.", tag_keys=("reason",))
        self._queue_s = Histogram("pool_queue_s", "Seconds that runs waited.", boundaries=bounds)
        self._run_s = Histogram("pool_run_s", "Seconds that runs took.", boundaries=bounds)
        self._gauges = {
            "workers_alive": Gauge("pool_workers_alive", "Workers that have a jail."),
            "workers_busy": Gauge("pool_workers_busy", "Workers that run a program now."),
            "queued": Gauge("pool_queued", "Runs that wait."),
            "replaced": Gauge("pool_replaced", "Jails that were taken away and replaced, so far."),
            "sessions": Gauge("pool_sessions_parked", "Sessions that hold a state."),
        }

    def ended(self, result: Result) -> None:
        self._runs.inc(1, {"reason": str(result.reason)})
        self._queue_s.observe(result.queue_s)
        self._run_s.observe(result.wall_s)

    def at(self, stats: Stats) -> None:
        for name, gauge in self._gauges.items():
            gauge.set(getattr(stats, name))


def in_actor() -> bool:
    """Whether this is the process of a Ray actor; Ray has been imported then."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return False
    return ray.get_runtime_context().get_actor_id() is not None
