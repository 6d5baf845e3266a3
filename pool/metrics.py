"""A service's runs as metrics of Ray's, where it is an actor: Ray's agent on this machine offers
them to Prometheus. Elsewhere Ray is not even imported; `Stats.prometheus` has the same.

Every run is passed on, and what changes by itself (workers, sessions) every `_GAUGE_PAUSE_S` at
most, as runs end.
"""

import sys
import threading
import time
import weakref
from collections.abc import Callable

from ..sandbox.result import Result
from .engine.buckets import BOUNDS_S
from .engine.stats import METRICS, Stats

_GAUGE_PAUSE_S = 1.0


class Metrics:
    """Passes every run of one service on. stats: a weak reference to what returns the gauges'
    values, set when there is a pool: the pool that calls `ended` would otherwise keep itself alive.
    """

    def __init__(self) -> None:
        self.stats: weakref.WeakMethod[Callable[[], Stats]] | None = None
        self._lock = threading.Lock()
        self._gauges_at = 0.0  # guarded by _lock
        self._ray = RayMetrics() if in_actor() else None

    def ended(self, result: Result) -> None:
        if self._ray is None:
            return
        self._ray.ended(result)
        now = time.monotonic()
        with self._lock:
            if now - self._gauges_at < _GAUGE_PAUSE_S:
                return
            self._gauges_at = now
        stats = self.stats() if self.stats is not None else None
        if stats is not None:
            self._ray.at(stats())


class RayMetrics:
    """The metrics themselves."""

    def __init__(self) -> None:
        from ray.util.metrics import Counter, Gauge, Histogram

        bounds = list(BOUNDS_S)
        meaning = {name: metric.meaning for name, metric in METRICS.items()}
        self._runs = Counter("pool_runs", meaning["pool_runs"], tag_keys=("reason",))
        self._queue_s = Histogram("pool_queue_s", meaning["pool_queue_s"], boundaries=bounds)
        self._run_s = Histogram("pool_run_s", meaning["pool_run_s"], boundaries=bounds)
        self._gauges = {
            field: Gauge(name, meaning[name])
            for field, name in (
                ("workers_alive", "pool_workers_alive"),
                ("workers_busy", "pool_workers_busy"),
                ("queued", "pool_queued"),
                ("replaced", "pool_replaced"),
                ("sessions", "pool_sessions_parked"),
            )
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
