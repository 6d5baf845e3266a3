"""The waiting runs: oldest first, for whichever worker is free first.

Work-conserving: no run is bound to a worker before a worker asks. All decisions are made under
one lock and none of them touches a process.
"""

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable

from ..errors import PoolClosed, PoolFull, PoolTimeout
from .bell import Bell
from .task import Task
from .timer import Timer


class Queue:
    """Tasks in the order of their arrival; safe to use from any thread.

    max_waiting: how many may wait; None: any number. timer: ends waits that take too long.
    """

    def __init__(self, max_waiting: int | None, timer: Timer) -> None:
        self._max = max_waiting
        self._timer = timer
        self._tasks: deque[Task] = deque()  # guarded by _lock, as is everything below
        self._lock = threading.RLock()
        # For takers. Held by its lock alone: a signal's exception within a Condition's own `with`,
        # which is Python, would leave it locked.
        self._changed = threading.Condition(self._lock)
        self._closed = False
        self.takers = 0  # workers that wait for a task
        self._room_wanted: list[Callable[[], None]] = []

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
            if not self._has_room():
                self._drop_done()
                if not self._has_room():
                    raise PoolFull(
                        f"max_queue={self._max} runs are waiting; try again later, "
                        "or give the pool more workers"
                    )

    def when_room(self, call: Callable[[], None]) -> None:
        """Call `call` once, as soon as there may be room again, or the queue is closed: perhaps at
        once, perhaps from a worker's thread, with the queue locked. It must not wait for anything.
        By the time that it has woken somebody, others may have taken the room.
        """
        with self._lock:
            if not self._closed and not self._has_room():
                self._room_wanted.append(call)
                return
        call()

    def put(self, task: Task, *, wait: bool = False) -> None:
        """Add a task at the end. Where the queue is full, wait, or raise `PoolFull`; raise
        `PoolClosed` where it is closed, also meanwhile.
        """
        while not self._try_put(task, insist=not wait):
            room = Bell()
            self.when_room(room.ring)
            room.wait()

    def _try_put(self, task: Task, *, insist: bool) -> bool:
        with self._lock:
            try:
                self.require_room()
            except PoolFull:
                if insist:
                    raise
                return False
            waits = self.takers <= len(self._tasks)
            self._tasks.append(task)
            self._changed.notify()
            if waits and task.expires_at is not None:
                self._watch(task, task.expires_at)
            return True

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
                    self.takers += 1
                    try:
                        self._announce_room()
                        self._changed.wait(left)
                    finally:
                        self.takers -= 1
                task = self._tasks.popleft()
                self._announce_room()
            if task.begin():
                return task

    def close(self) -> None:
        """Refuse new tasks, and resolve those that wait with `PoolClosed`."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
            self._announce_room()
        for task in self.drain():
            if task.begin():
                task.fail(PoolClosed("the pool was closed before the run began"))

    def drain(self) -> list[Task]:
        """Take all tasks at once."""
        with self._lock:
            tasks = list(self._tasks)
            self._tasks.clear()
            self._announce_room()
            return tasks

    def _require_open(self) -> None:
        if self._closed:
            raise PoolClosed("the pool is closed")

    def _has_room(self) -> bool:
        # A task that a worker is waiting for does not wait itself.
        return self._max is None or len(self._tasks) < self._max + self.takers

    def _announce_room(self) -> None:
        """Call those who want room, if there is some: still counted as such when they come."""
        if self._room_wanted and (self._closed or self._has_room()):
            wanted, self._room_wanted = self._room_wanted, []
            for call in wanted:
                call()

    def _drop_done(self) -> None:
        """Take out what was cancelled, and tell those who wait for that."""
        kept = deque(task for task in self._tasks if not task.future.done())
        if len(kept) < len(self._tasks):
            for task in self._tasks:
                if task.future.cancelled():
                    task.begin()
            self._tasks = kept

    def _watch(self, task: Task, expires_at: float) -> None:
        """Have the wait of `task` end in time, while every worker is busy."""
        waiting = weakref.ref(task)  # a program that was run long ago may be large

        def expire() -> None:
            task = waiting()
            if task is not None:
                self._expire(task)

        task.alarm = self._timer.at(expires_at, expire)

    def _expire(self, task: Task) -> None:
        """Take out a task that has waited too long, and resolve it with `PoolTimeout`."""
        with self._lock:
            try:
                self._tasks.remove(task)
            except ValueError:
                return  # a worker has just taken it
            self._announce_room()
        if task.begin():
            task.fail(
                PoolTimeout(f"no worker became free within queue_timeout ({task.queue_s():.3f} s)")
            )
