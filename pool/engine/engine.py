"""What a pool is made of: it takes jobs, keeps the jails, and is taken apart as a whole."""

import contextlib
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from ...sandbox.errors import SetupError
from ...sandbox.host.probe import Probed
from ...sandbox.jail import descriptors
from ...sandbox.jail.folder import HostFolder
from ...sandbox.jail.plan import Plan
from ...sandbox.limits import Limits
from ...sandbox.result import Result
from ...sandbox.run.job import Job
from ..checks import require_runtime
from ..errors import PoolClosed, PoolError
from . import lifecycle
from .families import Families
from .ground import Ground
from .jails import Jails, Source, Zygotes
from .queue import Queue
from .stats import Counters
from .task import OnOutput, RunFuture, Task
from .timer import Timer
from .worker import Worker

logger = logging.getLogger(__name__)

_JOIN_PATIENCE_S = 10.0

_MOST_IMPORTED = 100
"""Modules that programs import by themselves: the most frequent are told."""

_LOOK_AHEAD = 4
"""Runs in flight for each worker, of whoever has many: enough that none is idle while one takes
long."""


class Engine:
    """Makes runs of jobs, at most `size` at a time. Knows no `Pool`, so that one can be collected.

    limits: what jobs are held to as a rule; jails are prewarmed for these. ground: a plan that
    works here, and its first jail, both of which it owns from now on. folder: the folder of all.
    on_result: called with every program's result.
    Raises `SetupError` where the threads or descriptors that it needs are not to be had; all is
    given back then. It belongs to the process that made it: in a fork it answers `PoolClosed`.
    """

    def __init__(
        self,
        probed: Probed,
        folder: HostFolder,
        limits: Limits,
        size: int,
        max_queue: int | None,
        on_result: Callable[[Result], object] | None = None,
    ) -> None:
        self.limits = limits
        self.tier = probed.plan.tier
        self.ahead = _LOOK_AHEAD * size
        self.timer = Timer()
        self.counters = Counters(on_result)
        zygotes = Zygotes(probed.plan)
        self.jails = Jails(zygotes, size, self.counters)
        self.closing = threading.Event()
        basis = limits, self.jails, size, self.closing
        self._own = Ground(probed.plan, *basis, zygotes)
        self._grounds: dict[str | None, Ground] = {None: self._own}
        self._grounds |= {name: Ground(plan, *basis) for name, plan in probed.runtimes.items()}
        self._pid = os.getpid()
        self.folder = folder
        self.queue = Queue(max_queue, self.timer)
        self._closers: dict[Callable[[], None], None] = {}
        self._ending = threading.Lock()  # one thread takes it apart
        self._closed = threading.Event()
        self.workers = [
            Worker(
                self._grounds,
                limits,
                self.queue,
                self.jails,
                self.counters,
                self.closing,
                self._hopeless,
                self.jails.adopt(probed.jail) if number == 0 else None,
            )
            for number in range(size)
        ]
        try:
            grouped = probed.plan.cgroup_parents is not None
            descriptors.require_for_workers(size, grouped=grouped)
            self.timer.start()
            for worker in self.workers:
                worker.start()
        except BaseException as error:
            self.close()
            if isinstance(error, RuntimeError):  # no more threads
                raise SetupError("workers", str(error)) from error
            raise

    def __repr__(self) -> str:
        states = [worker.state.value for worker in self.workers]
        counts = ", ".join(f"{states.count(name)} {name}" for name in dict.fromkeys(states))
        return f"<Engine {self.tier}: {counts}; {len(self.queue)} queued>"

    # ---- runtimes

    @property
    def plan(self) -> Plan:
        """That of runs which name no runtime."""
        return self._own.plan

    @property
    def families(self) -> Families:
        """Those of sessions which name no runtime."""
        return self._own.families

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Their names, but for that of the pool itself, which has none."""
        return tuple(name for name in self._grounds if name is not None)

    def ground(self, runtime: str | None) -> Ground:
        """What the runs of a runtime are made from. Raises `PolicyError` for one that is not
        there.
        """
        require_runtime(runtime, self.runtimes)
        return self._grounds[runtime]

    def require_runtime(self, runtime: str | None) -> None:
        """Raise `PolicyError` for a runtime that is not there."""
        require_runtime(runtime, self.runtimes)

    def held_bytes(self, enough: int | None = None) -> int | None:
        """What all sessions hold in memory, as cgroups count it; as `Families.held_bytes`."""
        found = [each.families.held_bytes(enough) for each in self._grounds.values()]
        counted = [each for each in found if each is not None]
        return sum(counted) if len(counted) == len(found) else None

    # ---- runs

    def submit(
        self,
        job: Job,
        *,
        test: Job | None = None,
        source: Source | None = None,
        expires_at: float | None = None,
        on_output: OnOutput | None = None,
        wait: bool = False,
    ) -> RunFuture:
        """Queue a job and return a future of its result.

        test: of a program that a test calls, the test's job, which runs beside it; the future's
        `record` then tells how that went. source: where its jail comes from, if not from where all
        do. expires_at: the monotonic time until which it may wait; then it resolves with
        `PoolTimeout`. on_output: called with each piece of output. wait: for room in the queue,
        where else `PoolFull` is raised. Raises `PolicyError` for a runtime that is not there.
        """
        for each in (job, test):
            if each is not None and each.runtime not in self._grounds:
                self.require_runtime(each.runtime)
        task = Task(job, expires_at=expires_at, on_output=on_output, source=source, test=test)
        return self.put(task, wait=wait)

    def when_room(self, call: Callable[[], None]) -> None:
        """Call `call` once when there may be room in the queue; it must not wait for anything."""
        self.queue.when_room(call)

    def require_room(self) -> None:
        """Raise `PoolFull` or `PoolClosed`, as `submit` would now."""
        if not self.is_ours():
            raise PoolClosed(f"this pool belongs to process {self._pid}; make one in this process")
        self.queue.require_room()

    def is_ours(self) -> bool:
        """Whether this is the process that made it, and not a fork of that."""
        return os.getpid() == self._pid

    def put(self, task: Task, *, wait: bool = False) -> RunFuture:
        """Queue a task and return its future; as `submit`."""
        if not wait or not self.is_ours():
            self.require_room()
        try:
            self.queue.put(task, wait=wait)
            return task.future
        except PoolError:
            raise
        except BaseException:  # Ctrl-C, when it is in the queue already: nobody has its future
            task.future.cancel()
            raise

    def _hopeless(self, why: str) -> None:
        """Answer what waits with an infra error, if no worker is there to take it."""
        if any(worker.is_alive for worker in self.workers):
            return
        for task in self.queue.drain():
            if task.begin():
                detail = f"no worker can be started: {why}"
                result = Result.internal(
                    detail, tier=self.tier, queue_s=task.queue_s(), id=task.job.id
                )
                self.counters.ended(result)
                task.answer(result)

    # ---- what it has

    def now(self) -> dict[str, int]:
        """How many workers there are, have a jail, and run a program; and how many runs wait."""
        return {
            "workers": len(self.workers),
            "workers_alive": sum(worker.is_alive for worker in self.workers),
            "workers_busy": sum(worker.state is lifecycle.State.RUNNING for worker in self.workers),
            "queued": len(self.queue),
        }

    def imports(self) -> dict[str, Any]:
        """What of the modules that programs import is imported ahead, and what is not."""
        warms = [each.warm for each in self._grounds.values()]
        warmed, imported, not_warmed = Counter[str](), Counter[str](), dict[str, str]()
        for warm in warms:
            warmed.update(warm.used())
            imported.update(warm.cold())
            not_warmed |= warm.refused()
        return {
            "warmed": dict(warmed),
            "not_warmed": not_warmed,
            "imported": dict(imported.most_common(_MOST_IMPORTED)),
        }

    def is_settled(self) -> bool:
        """Whether every worker waits for work, nothing is queued, and every jail has a prewarmed
        process, and of sessions that have ended nothing is left: what there is now, stays.
        """
        idle = all(worker.state is lifecycle.State.IDLE for worker in self.workers)
        grounds = self._grounds.values()
        settled = all(not each.warm.is_busy and each.families.are_settled() for each in grounds)
        return idle and settled and not self.queue and self.jails.are_settled()

    # ---- the end

    def before_end(self, close: Callable[[], None]) -> None:
        """Have `close` called when no run is made any more, and before the jails are taken away.
        Where that is over, it is called at once, and `PoolClosed` raised.
        """
        with self._ending:
            if not self.closing.is_set():
                self._closers[close] = None
                return
        close()
        raise PoolClosed("the pool is closed")

    def not_before_end(self, close: Callable[[], None]) -> None:
        """What `before_end` was told is done already."""
        with self._ending:
            self._closers.pop(close, None)

    def close(self) -> None:
        """End everything: waiting runs resolve with `PoolClosed`, running ones as `cancelled`.
        Returns when all is gone. Idempotent, also from several threads. In a fork, nothing is done.
        """
        if not self.is_ours():
            return
        with self._ending:
            first = not self.closing.is_set()
            self.closing.set()
        if not first:
            self._closed.wait()
            return
        try:
            self._take_apart()
        finally:
            self._closed.set()

    def _take_apart(self) -> None:
        steps = (
            self.queue.close,
            self._end_workers,
            self.timer.close,
            *self._closers,
            *(each.warm.close for each in self._grounds.values()),
            self.jails.close,
            *(each.families.close for each in self._grounds.values()),
            *(each.plan.launcher.close for each in self._grounds.values()),
            self.folder.close,
        )
        with contextlib.ExitStack() as owed:  # every step is taken, whatever another one raises
            for step in reversed(steps):
                owed.callback(step)

    def _end_workers(self) -> None:
        for ground in self._grounds.values():
            ground.families.kill()  # who waits for one of its processes need not come to an end
        for worker in self.workers:
            worker.end()
        self.jails.kill()
        deadline = time.monotonic() + _JOIN_PATIENCE_S
        for worker in self.workers:
            if not worker.join(max(deadline - time.monotonic(), 0.1)):
                logger.error("%r did not end", worker)
