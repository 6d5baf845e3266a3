"""What a pool is made of, and how it is taken apart."""

import contextlib
import logging
import os
import threading
import time

from ..sandbox import descriptors
from ..sandbox.family import Family
from ..sandbox.jail import JailLost
from ..sandbox.limits import Limits
from ..sandbox.nursery import Nursery
from ..sandbox.plan import Plan
from ..sandbox.result import Result
from ..sandbox.runtime import Runtime
from ..sandbox.state import State
from .errors import PoolClosed, PoolError
from .lifecycle import State as WorkerState
from .queue import Queue
from .sessions import SessionPolicy, Sessions
from .snapshot import Origins
from .stats import Counters, Stats
from .worker import Worker

logger = logging.getLogger(__name__)

_JOIN_PATIENCE_S = 10.0


class Engine:
    """What must be taken apart when a pool ends. Knows no `Pool`, so that one can be collected."""

    def __init__(
        self,
        queue: Queue,
        counters: Counters,
        closing: threading.Event,
        runtime: Runtime,
        plan: Plan,
        policy: SessionPolicy,
        size: int,
    ) -> None:
        self.queue = queue
        self.counters = counters
        self.closing = closing
        self.runtime = runtime
        self.plan = plan
        self.workers: list[Worker] = []
        self._nursery: Nursery | None = None
        self.sessions = Sessions(policy, self._held_bytes)
        self.origins = Origins(size)
        self._lock = threading.Lock()  # guards _nursery
        self.closed = threading.Event()

    def nursery(self) -> Nursery:
        """The jail of all sessions, made when the first one is wanted."""
        with self._lock:
            if self.closing.is_set():
                raise PoolClosed("the pool is closed")
            if self._nursery is not None and not self._nursery.is_alive():
                logger.info("the jail of sessions was lost and is replaced")
                self._nursery.close()
                self._nursery = None
            if self._nursery is None:
                nursery = Nursery(self.plan)
                nursery.start()
                self._nursery = nursery
            return self._nursery

    def new_family(self, limits: Limits) -> tuple[Family, State]:
        """Return a family, and a first head of it, which is parked. Raises `PoolError`."""
        for last in (False, True):  # the first try may find that the jail of sessions is dead
            try:
                return self._try_new_family(limits)
            except JailLost as lost:
                if last:
                    raise PoolError(f"a session could not be made: {lost}") from None
        raise AssertionError

    def _try_new_family(self, limits: Limits) -> tuple[Family, State]:
        descriptors.require()
        family = Family(self.nursery(), limits)
        try:
            head = family.first()
        except BaseException:
            family.close()
            raise
        head.park()
        return family, head

    def _held_bytes(self) -> int | None:
        nursery = self._nursery
        try:
            return nursery.held_bytes() if nursery is not None else 0
        except (OSError, ValueError):  # its cgroup is gone, or being taken away with it
            return None

    def hopeless(self, why: str) -> None:
        """Answer what waits with an infra error, if no worker is there to take it."""
        if any(worker.is_alive for worker in self.workers):
            return
        for task in self.queue.drain():
            if task.begin():
                detail = f"no worker can be started: {why}"
                result = Result.internal(
                    detail, tier=self.plan.tier, queue_s=task.queue_s(), id=task.job.id
                )
                self.counters.ended(result)
                task.answer(result)

    def stats(self) -> Stats:
        """Return the counters as they are now."""
        return self.counters.snapshot(
            tier=self.plan.tier,
            workers=len(self.workers),
            alive=sum(worker.is_alive for worker in self.workers),
            busy=sum(worker.state is WorkerState.RUNNING for worker in self.workers),
            queued=len(self.queue),
            sessions=len(self.sessions),
            session_bytes=self.sessions.bytes(),
            sessions_evicted=self.sessions.evicted,
        )

    def close(self, pid: int) -> None:
        if os.getpid() != pid:
            return  # a forked child: nothing here is its own
        try:
            self._take_apart()
        finally:
            self.closed.set()

    def _take_apart(self) -> None:
        self.closing.set()
        steps = (
            self.queue.close,
            self._end_workers,
            self.sessions.close,
            self.origins.close,
            self._close_nursery,
            self.plan.launcher.close,
            self.runtime.close,
        )
        with contextlib.ExitStack() as owed:  # every step is taken, whatever another one raises
            for step in reversed(steps):
                owed.callback(step)

    def _end_workers(self) -> None:
        nursery = self._nursery
        if nursery is not None:
            nursery.kill()  # who waits for one of its processes need not come to an end
        for worker in self.workers:
            worker.end()
        deadline = time.monotonic() + _JOIN_PATIENCE_S
        for worker in self.workers:
            if not worker.join(max(deadline - time.monotonic(), 0.1)):
                logger.error("%r did not end", worker)

    def _close_nursery(self) -> None:
        with self._lock:
            if self._nursery is not None:
                self._nursery.close()
