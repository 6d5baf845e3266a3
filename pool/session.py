"""A session: an interpreter whose state persists, and can be rolled back and branched."""

import dataclasses
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Unpack

from sandbox.call import Call
from sandbox.family import Family, State, StateLost
from sandbox.jail import JailLost
from sandbox.limits import Limits
from sandbox.reasons import ExitReason
from sandbox.result import Result

from .errors import PoolError
from .program import Options, Program
from .task import Task

if TYPE_CHECKING:
    from .pool import Pool


class SessionLost(PoolError):
    """The session's state is gone; the message says why."""


class Session:
    """An interpreter whose state persists from call to call. Made by `Pool.session` and `fork`.

    Every call runs in a fork of the present state. If it ends by itself, the fork is the new state,
    and the old one is kept, so that `rollback` can go back to it (`history` of them). If a limit or
    a signal ends it, the fork is dropped: the state is as before the call. Memory is rolled back;
    files are not. Calls of one session are made one at a time, in the order in which they came.
    """

    def __init__(self, pool: "Pool", family: Family, head: State, limits: Limits, history: int):
        self._pool = pool
        self._family = family
        self._limits = limits
        self._lock = threading.Lock()  # one call at a time
        self._head: State | None = head
        self._past: deque[State] = deque()
        self._history = history
        self._why_lost = "it was closed"

    def __repr__(self) -> str:
        state = "closed" if self._head is None else f"{len(self._past)} calls back"
        return f"<Session {state}>"

    def run(
        self,
        code: str | bytes,
        *,
        queue_timeout: float | None = None,
        on_output: Callable[[str, bytes], object] | None = None,
        **options: Unpack[Options],
    ) -> Result:
        """Run `code` in the session's state; arguments as for `Pool.run`. Raises `SessionLost`."""
        program = Program.of(code, options)
        with self._lock:
            self._require_head()
            future = self._pool._queue_call(
                program, options.get("timeout"), self._limits, queue_timeout, on_output, self._call
            )
            try:
                return future.result()
            except BaseException:
                future.cancel()
                raise

    def rollback(self, steps: int = 1) -> None:
        """Go back to the state before the last `steps` calls that ended by themselves."""
        with self._lock:
            self._require_head()
            if not 1 <= steps <= len(self._past):
                raise ValueError(
                    f"steps={steps!r}: there are {len(self._past)} states to go back to"
                )
            for _ in range(steps):
                assert self._head is not None
                self._head.close()
                self._head = self._past.pop()

    def fork(self, n: int | None = None) -> "Session | list[Session]":
        """Return `n` sessions that go on from this state, each on its own; without `n`, one."""
        with self._lock:
            head = self._require_head()
            branches = [self._branch(head) for _ in range(1 if n is None else n)]
        return branches[0] if n is None else branches

    def close(self) -> None:
        """End it. Its branches live on."""
        with self._lock:
            self._drop("it was closed")

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _branch(self, head: State) -> "Session":
        state = self._family.branch(head)
        state.park()
        return Session(self._pool, self._family, state, self._limits, self._history)

    def _require_head(self) -> State:
        if self._head is None:
            raise SessionLost(f"this session is gone: {self._why_lost}")
        return self._head

    def _drop(self, why: str) -> None:
        for state in (*self._past, *([self._head] if self._head else ())):
            state.close()
        self._past.clear()
        self._head = None
        self._why_lost = why

    def _call(self, task: Task, tier: str) -> Result:
        """In a worker's thread: make one call; its fork is the new state, if it survived."""
        head = self._require_head()
        try:
            state = self._family.fork(head)
            call = Call(self._family, state, task.job, task.stop, on_output=task.on_output)
            result = call.drive(task.queue_s(), tier=tier, layers={})
        except (JailLost, StateLost) as lost:
            self._drop(str(lost))
            raise SessionLost(f"this session is gone: {lost}") from None
        if not call.survived:
            state.close()
            if result.reason is ExitReason.INTERNAL:
                result = dataclasses.replace(result, reason=ExitReason.DENIED)
            return dataclasses.replace(result, rolled_back=True)
        self._past.append(head)
        self._head = state
        while len(self._past) > self._history:
            self._past.popleft().close()
        return result
