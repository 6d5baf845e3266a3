"""The waiting runs: oldest first, for whichever worker is free first.

Work-conserving: no run is bound to a worker before a worker asks. All decisions are made under
one lock and none of them touches a process.
"""

import heapq
import itertools
import threading
import time
import weakref
from collections import deque

from .errors import PoolClosed, PoolError, PoolFull, PoolTimeout
from .task import Task

_LEAST_NAP_S = 0.005
"""Between two looks for waits that are over: under overload they end by the hundred."""

_LONGEST_NAP_S = 3600.0
"""However far away the next deadline is: a wait over threading.TIMEOUT_MAX raises, and would end
the one thread that all deadlines hang on."""

_LEAST_DEADLINES = 64
"""Below that many, deadlines of waits that were won are not worth being cleared away."""


class Queue:
    """Tasks in the order of their arrival; safe to use from any thread."""

    def __init__(self, max_waiting: int | None) -> None:
        self._max = max_waiting
        self._tasks: deque[Task] = deque()  # guarded by _lock, as is everything below
        self._lock = threading.RLock()
        # For takers. Held by its lock alone: a signal's exception within a Condition's own `with`,
        # which is Python, would leave it locked.
        self._changed = threading.Condition(self._lock)
        self._closed = False
        self._takers = 0  # workers that wait for a task
        # When waits end, soonest first; those that were won stay for a while.
        self._deadlines: list[_Deadline] = []
        self._numbers = itertools.count()
        self._reaper: threading.Thread | None = None
        # For the reaper alone: what is meant for a worker must not wake it instead.
        self._sooner = threading.Condition(self._lock)

    def __len__(self) -> int:
        return len(self._tasks)

    def __repr__(self) -> str:
        return f"<Queue {len(self._tasks)} waiting{', closed' if self._closed else ''}>"

    def require_room(self) -> None:
        """Raise `PoolFull` or `PoolClosed`, as `put` would now: to be asked before work is done
        that would be in vain. Under overload most callers are refused.
        """
        with self._lock:
            self._require_open()
            # A task that a worker is waiting for does not wait itself.
            if self._max is not None and len(self._tasks) >= self._max + self._takers:
                self._drop_done()
                if len(self._tasks) >= self._max + self._takers:
                    raise PoolFull(
                        f"max_queue={self._max} runs are waiting; try again later, "
                        "or give the pool more workers"
                    )

    def put(self, task: Task) -> None:
        """Add a task at the end; raise `PoolFull` or `PoolClosed`, and `PoolError` where nobody
        could end its wait in time.
        """
        with self._lock:
            self.require_room()
            if self._takers > len(self._tasks):
                task.expires_at = None  # a worker is free: there is nothing to wait for
            if task.expires_at is not None:
                self._require_reaper()
                self._watch(task.expires_at, task)
            self._tasks.append(task)
            self._changed.notify()

    def put_back(self, task: Task) -> None:
        """Return a task that was taken but not run to the front; it keeps its turn."""
        with self._lock:
            if not self._closed:
                self._tasks.appendleft(task)
                self._changed.notify()
                return
        task.fail(PoolClosed("the pool was closed before the run could begin"))

    def take(self, timeout_s: float) -> Task | None:
        """Return the oldest task, or None after `timeout_s` without one; raise `PoolClosed`."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self._lock:
                while not self._tasks:
                    self._require_open()
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return None
                    self._takers += 1
                    try:
                        self._changed.wait(left)
                    finally:
                        self._takers -= 1
                task = self._tasks.popleft()
            if not _expire(task) and task.begin():
                return task

    def close(self) -> None:
        """Refuse new tasks, and resolve those that wait with `PoolClosed`."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
            self._sooner.notify()
        for task in self.drain():
            if task.begin():
                task.fail(PoolClosed("the pool was closed before the run began"))

    def drain(self) -> list[Task]:
        """Take all tasks at once."""
        with self._lock:
            tasks = list(self._tasks)
            self._tasks.clear()
            return tasks

    def _require_open(self) -> None:
        if self._closed:
            raise PoolClosed("the pool is closed")

    def _drop_done(self) -> None:
        """Take out what was cancelled, and tell those who wait for that."""
        kept = deque(task for task in self._tasks if not task.future.done())
        if len(kept) < len(self._tasks):
            for task in self._tasks:
                if task.future.cancelled():
                    task.begin()
            self._tasks = kept

    def _watch(self, expires_at: float, task: Task) -> None:
        """Have the wait of `task` end in time, while every worker is busy."""
        if len(self._deadlines) > 2 * len(self._tasks) + _LEAST_DEADLINES:
            self._deadlines = [each for each in self._deadlines if _waiting(each)]
            heapq.heapify(self._deadlines)
        soonest = self._deadlines[0][0] if self._deadlines else None
        heapq.heappush(self._deadlines, (expires_at, next(self._numbers), weakref.ref(task)))
        if soonest is None or expires_at < soonest:
            self._sooner.notify()

    def _require_reaper(self) -> None:
        """Start the thread that ends waits, where there is none."""
        if self._reaper is not None:
            return
        reaper = threading.Thread(target=self._expire_loop, name="expiry", daemon=True)
        try:
            reaper.start()
        except RuntimeError as error:  # no more threads, for now: the next task tries again
            raise PoolError(f"queue_timeout can't be kept: {error}") from error
        self._reaper = reaper

    def _expire_loop(self) -> None:
        """Resolve tasks that have waited too long; end when none has a deadline."""
        while True:
            with self._lock:
                if self._closed:
                    return
                due = self._take_due()
                if not due and not self._deadlines:
                    self._reaper = None
                    return
                if not due:
                    nap_s = max(self._deadlines[0][0] - time.monotonic(), _LEAST_NAP_S)
                    self._sooner.wait(min(nap_s, _LONGEST_NAP_S))
            for task in due:
                _expire(task)

    def _take_due(self) -> list[Task]:
        """Take out tasks that have waited too long."""
        now = time.monotonic()
        due = []
        while self._deadlines and self._deadlines[0][0] <= now:
            task = _waiting(heapq.heappop(self._deadlines))
            if task is not None:
                try:
                    self._tasks.remove(task)
                except ValueError:
                    continue  # a worker has just taken it
                due.append(task)
        return due


_Deadline = tuple[float, int, "weakref.ref[Task]"]
"""When a wait ends, a number in place of what can't be compared, and whose wait it is."""


def _waiting(deadline: _Deadline) -> Task | None:
    """Return the task, unless its wait was won, or it is gone altogether."""
    task = deadline[2]()
    return None if task is None or task.expires_at is None else task


def _expire(task: Task) -> bool:
    """Resolve `task` with `PoolTimeout` if it has waited too long; tell whether it had."""
    if task.expires_at is None or time.monotonic() < task.expires_at:
        return False
    if task.begin():
        task.fail(
            PoolTimeout(f"no worker became free within queue_timeout ({task.queue_s():.3f} s)")
        )
    return True
