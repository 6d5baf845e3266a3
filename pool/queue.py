"""The waiting runs: oldest first, for whichever worker is free first.

Work-conserving: no run is bound to a worker before a worker asks. All decisions are made under
one lock and none of them touches a process.
"""

import threading
import time
from collections import deque

from .errors import PoolClosed, PoolFull, PoolTimeout
from .task import Task


class Queue:
    """Tasks in the order of their arrival; safe to use from any thread."""

    def __init__(self, max_waiting: int | None) -> None:
        self._max = max_waiting
        self._tasks: deque[Task] = deque()  # guarded by _changed, as is everything below
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        # For the reaper alone: workers are not woken in its place, nor it in theirs.
        self._sooner = threading.Condition(lock)
        self._closed = False
        self._takers = 0  # workers that wait for a task
        self._reaper: threading.Thread | None = None
        self._reaps_at = 0.0

    def __len__(self) -> int:
        return len(self._tasks)

    def __repr__(self) -> str:
        return f"<Queue {len(self._tasks)} waiting{', closed' if self._closed else ''}>"

    def put(self, task: Task) -> None:
        """Add a task at the end; raise `PoolFull` or `PoolClosed`."""
        with self._changed:
            self._require_open()
            # A task that a worker is waiting for does not wait itself.
            if self._max is not None and len(self._tasks) >= self._max + self._takers:
                self._drop_done()
                if len(self._tasks) >= self._max + self._takers:
                    raise PoolFull(
                        f"max_queue={self._max} runs are waiting; try again later, "
                        "or give the pool more workers"
                    )
            self._tasks.append(task)
            self._changed.notify()
            if task.expires_at is not None:
                self._watch_expiry(task.expires_at)

    def put_back(self, task: Task) -> None:
        """Return a task that was taken but not run to the front; it keeps its turn."""
        with self._changed:
            if not self._closed:
                self._tasks.appendleft(task)
                self._changed.notify()
                return
        task.future.set_exception(PoolClosed("the pool was closed before the run could begin"))

    def take(self, timeout_s: float) -> Task | None:
        """Return the oldest task, or None after `timeout_s` without one; raise `PoolClosed`."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self._changed:
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
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._sooner.notify_all()
        for task in self.drain():
            if task.begin():
                task.future.set_exception(PoolClosed("the pool was closed before the run began"))

    def drain(self) -> list[Task]:
        """Take all tasks at once."""
        with self._changed:
            tasks = list(self._tasks)
            self._tasks.clear()
            return tasks

    def _require_open(self) -> None:
        if self._closed:
            raise PoolClosed("the pool is closed")

    def _drop_done(self) -> None:
        self._tasks = deque(task for task in self._tasks if not task.future.done())

    def _watch_expiry(self, task_expires_at: float) -> None:
        if self._reaper is None:
            self._reaper = threading.Thread(target=self._expire_loop, name="expiry", daemon=True)
            self._reaper.start()
        elif task_expires_at < self._reaps_at:
            self._sooner.notify()

    def _expire_loop(self) -> None:
        """Resolve tasks that have waited too long while every worker is busy."""
        while True:
            with self._changed:
                if self._closed:
                    return
                waiting = [task for task in self._tasks if task.expires_at is not None]
                if not waiting:
                    self._reaper = None
                    return
                now = time.monotonic()
                due = [task for task in waiting if (task.expires_at or now) <= now]
                if not due:
                    self._reaps_at = min(task.expires_at or now for task in waiting)
                    self._sooner.wait(self._reaps_at - now)
                    continue
                for task in due:
                    self._tasks.remove(task)
            for task in due:
                _expire(task)


def _expire(task: Task) -> bool:
    """Resolve `task` with `PoolTimeout` if it has waited too long; tell whether it had."""
    if task.expires_at is None or time.monotonic() < task.expires_at:
        return False
    if task.begin():
        task.future.set_exception(
            PoolTimeout(f"no worker became free within queue_timeout ({task.queue_s():.3f} s)")
        )
    return True
