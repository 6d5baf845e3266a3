"""All sessions of a pool: how many there may be, for how long, and which has to go."""

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator

from .checks import require_count, require_seconds
from .engine.timer import Timer
from .errors import PoolClosed, PoolFull
from .processes import SessionProcesses

logger = logging.getLogger(__name__)

_PERIOD_S = 1.0
"""How often memory is looked at; sessions that are idle too long go within a quarter of their time,
or this."""

_LEAST_PERIOD_S = 0.02

_FEW_BYTES = 32 << 20
"""What a session holds is not looked at closely where it can't be more."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SessionPolicy:
    """How many sessions a pool may have (most), how long one may be idle (idle_s), and how much all
    of them may hold (memory_bytes); None: without limit. Over a limit, the one goes that was used
    longest ago; over that on memory, first of those that hold more than their share of it.
    """

    most: int | None = None
    idle_s: float | None = None
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.most is not None:
            require_count("max_sessions", self.most, 1, 1 << 62)
        if self.memory_bytes is not None:
            require_count("session_memory_bytes", self.memory_bytes, 1, 1 << 62)
        require_seconds("session_idle_s", self.idle_s)


class Sessions:
    """What the sessions of a pool hold. What nobody closes is closed with the pool.

    held_bytes: what all of them hold, where cgroups count it, or somewhat more where that is still
    enough; else it returns None, and it is estimated. timer: has their limits kept.
    """

    def __init__(
        self, policy: SessionPolicy, held_bytes: Callable[[int | None], int | None], timer: Timer
    ) -> None:
        self._policy = policy
        self._timer = timer
        self._held_bytes = held_bytes
        self._lock = threading.Lock()
        self._open: set[SessionProcesses] = set()  # guarded by _lock, as is everything below
        self._coming = 0  # sessions that are being made, and have been given room
        self._closed = threading.Event()
        self._watched = False  # the timer is to look at them
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._open)

    @contextlib.contextmanager
    def room(self, count: int) -> Iterator[Callable[[SessionProcesses], None]]:
        """Hold room for `count` more sessions, and yield what takes in what one holds. Raises
        `PoolFull` where all are in use.
        """
        self._make_room(count)
        left = count

        def add(processes: SessionProcesses) -> None:
            nonlocal left
            with self._lock:
                if not self._closed.is_set():
                    self._open.add(processes)
                    self._coming -= left > 0
                    left -= left > 0
                    self._watch()
                    return
            processes.drop("its pool was closed")
            raise PoolClosed("the pool is closed")

        try:
            yield add
        finally:
            with self._lock:
                self._coming -= left

    def _make_room(self, count: int) -> None:
        most = self._policy.most
        if most is not None and count > most:
            raise PoolFull(f"{count} more sessions, but max_sessions={most}")
        while True:
            with self._lock:
                if most is None or len(self._open) + self._coming + count <= most:
                    self._coming += count
                    return
            if not self._evict_oldest(f"the pool has max_sessions={most}, and this one was idle"):
                raise PoolFull(f"max_sessions={most} are in use; close some, or give the pool more")

    def discard(self, processes: SessionProcesses) -> None:
        with self._lock:
            self._open.discard(processes)

    def bytes(self, enough: int | None = None) -> int:
        """What all of them hold in memory. enough: up to that, somewhat more may be returned."""
        with self._lock:
            all_processes = list(self._open)
        held = self._held_bytes(enough) if all_processes else 0
        if held is not None:
            return held
        return sum(each.held_bytes(_FEW_BYTES) for each in all_processes)

    def close(self) -> None:
        with self._lock:
            self._closed.set()
            all_processes = list(self._open)
        with contextlib.ExitStack() as owed:  # all are ended, whatever one of them raises
            for processes in all_processes:
                owed.callback(processes.abandon, "its pool was closed")

    # ---- eviction

    def _evict_oldest(self, why: str) -> bool:
        """Evict the session that was used longest ago and is not in use; tell whether one was."""
        return any(self._evict(processes, why) for processes in self._oldest_first())

    def _trim(self, memory_bytes: int) -> None:
        """Evict sessions, until what they held makes up for what is too much: first those that hold
        more than their share, then the oldest. What is freed shows late: to look again after each
        would evict too many.
        """
        excess = self.bytes(memory_bytes) - memory_bytes
        if excess <= 0:
            return
        why = f"all sessions held more than session_memory_bytes={memory_bytes}"
        oldest = [(processes, processes.held_bytes()) for processes in self._oldest_first()]
        share = memory_bytes // max(len(oldest), 1)
        oldest.sort(key=lambda each: each[1] <= share)
        for processes, held in oldest:
            over = held > share
            more = f", and this one {held}, more than its share of {share}" if over else ""
            # One that is in use and over its share goes when its call has ended; others stay.
            if self._evict(processes, why + more, by_program=over) or (
                over and self._doom(processes, why + more, share)
            ):
                excess -= held
            if excess <= 0:
                return

    def _doom(self, processes: SessionProcesses, why: str, share: int) -> bool:
        def count() -> None:
            logger.debug("session %x was evicted: %s", id(processes), why)
            with self._lock:
                self.evicted += 1

        processes.doom(f"it was evicted: {why}", share, count)
        return True

    def _oldest_first(self) -> list[SessionProcesses]:
        with self._lock:
            return sorted(self._open, key=SessionProcesses.idle_s, reverse=True)

    def _evict(self, processes: SessionProcesses, why: str, *, by_program: bool = False) -> bool:
        gone = processes.evict(f"it was evicted: {why}", by_program=by_program)
        if gone:
            logger.debug("session %x was evicted: %s", id(processes), why)
            with self._lock:
                self.evicted += 1
        return gone

    def _watch(self) -> None:
        """Have the timer look at them from now on, if there are limits to be kept."""
        policy = self._policy
        if not self._watched and not (policy.idle_s is policy.memory_bytes is None):
            self._watched = True
            self._timer.at(time.monotonic() + self._period_s(), self._look_after)

    def _period_s(self) -> float:
        idle_s = self._policy.idle_s
        return _PERIOD_S if idle_s is None else max(min(_PERIOD_S, idle_s / 4), _LEAST_PERIOD_S)

    def _look_after(self) -> None:
        with self._lock:
            self._watched = bool(self._open) and not self._closed.is_set()
        if not self._watched:
            return
        try:
            self._keep_limits()
        except Exception:  # such as no descriptors, for now: the limits hold for later, too
            logger.exception("a session could not be ended; it is tried again")
        self._timer.at(time.monotonic() + self._period_s(), self._look_after)

    def _keep_limits(self) -> None:
        idle_s, memory_bytes = self._policy.idle_s, self._policy.memory_bytes
        with self._lock:
            all_processes = list(self._open)
        if idle_s is not None:
            for processes in all_processes:
                if processes.idle_s() > idle_s:
                    self._evict(processes, f"it was idle for session_idle_s={idle_s:g}")
        if memory_bytes is not None:
            self._trim(memory_bytes)
