"""A session: an interpreter whose state persists, and can be rolled back and branched."""

import asyncio
import dataclasses
import threading
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING

from sandbox.call import Call
from sandbox.errors import PolicyError
from sandbox.family import Family, State, StateLost, Unfaithful
from sandbox.jail import JailLost
from sandbox.reasons import ExitReason
from sandbox.result import Result

from .errors import PoolClosed, SessionLost
from .program import Program
from .task import OnOutput, Task

if TYPE_CHECKING:
    from .pool import Pool


class Session:
    """An interpreter whose state persists from call to call. Made by `Pool.session`, and by `fork`.

    Every call runs in a fork of the present state. If it ends by itself, the fork is the new state
    and the old one is kept, so that `rollback` can go back to it. If a limit or a signal ends it,
    the fork is dropped, and the state is as before the call. Memory is rolled back; files are not.
    Calls of one session are made one at a time. Thread-safe; a context manager.
    """

    def __init__(self, pool: "Pool", family: Family, head: State, history: int) -> None:
        family.use()
        self._pool = pool
        self._family = family
        self._history = history
        self._turn = threading.Lock()  # one call, or change of state, at a time
        self._head: State | None = head
        self._past: deque[State] = deque()
        self._why_lost = ""

    def __repr__(self) -> str:
        return "<Session closed>" if self._head is None else f"<Session {len(self._past)} back>"

    def run(
        self,
        code: str | bytes,
        *,
        stdin: str | bytes = b"",
        timeout: float | None = None,
        queue_timeout: float | None = None,
        on_output: OnOutput | None = None,
    ) -> Result:
        """Run `code` where the last call left off, and return its result; arguments as for
        `Pool.run`.

        A trailing expression's repr is `Result.value`. SystemExit ends the call, not the session.
        `Result.rolled_back` tells that a limit or a signal ended it, and nothing of it has stayed.
        Raises `SessionLost` where the state is gone, `PolicyError` for a state that can't be forked
        (its live threads would be lost).
        """
        program = Program(code, stdin=stdin)
        with self._turn:
            self._require_head()
            future = self._pool._queue_call(
                program, timeout, self._family.limits, queue_timeout, on_output, self._call
            )
            return future.wait()

    async def arun(self, code: str | bytes, **options: object) -> Result:
        """`run` for asyncio, in a thread of the loop's."""
        return await asyncio.to_thread(lambda: self.run(code, **options))  # type: ignore[arg-type]

    def rollback(self, steps: int = 1) -> None:
        """Go back to the state before the last `steps` calls that ended by themselves."""
        with self._turn:
            self._require_head()
            if isinstance(steps, bool) or not isinstance(steps, int):
                raise TypeError(f"steps must be a whole number, not {steps!r}")
            if not 1 <= steps <= len(self._past):
                raise ValueError(
                    f"steps={steps!r}: {len(self._past)} earlier states are kept "
                    f"(history={self._history})"
                )
            for _ in range(steps):
                self._require_head().close()
                self._head = self._past.pop()

    def fork(self, n: int | None = None) -> "Session | list[Session]":
        """Return `n` sessions that go on from this state, each on its own; without `n`, one.

        Each has its own memory, randomness, and copy of the files. Raises `PolicyError` for a state
        that can't be forked as it is: with live threads, shared memory, or open files.
        """
        count = 1 if n is None else n
        if isinstance(count, bool) or not isinstance(count, int):
            raise TypeError(f"n must be a whole number or None, not {n!r}")
        if not 1 <= count <= 1000:
            raise ValueError(f"n={n!r}: must be 1 to 1000")
        if self._pool.tier != "namespaces":
            raise PolicyError(
                f"fork: the {self._pool.tier} tier has no branches yet; use the namespaces tier"
            )
        branches: list[Session] = []
        with self._turn:
            head = self._require_head()
            try:
                for _ in range(count):
                    branches.append(self._branch(head))
            except (Unfaithful, StateLost, JailLost) as error:
                for branch in branches:
                    branch.close()
                if isinstance(error, Unfaithful):
                    raise PolicyError(f"this state can't be forked: {error}") from None
                raise self._lose(str(error)) from None
        return branches[0] if n is None else branches

    def close(self) -> None:
        """End it, and give back all that it holds. Its branches live on. Idempotent."""
        with self._turn:
            self._drop("it was closed")

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _branch(self, head: State) -> "Session":
        state = self._family.branch(head)
        state.park()
        return self._pool._adopt(Session(self._pool, self._family, state, self._history))

    def _call(self, task: Task) -> Result:
        """In a worker's thread: make one call; its fork is the new state, if it survived."""
        head = self._require_head()
        try:
            state = self._family.fork(head)
        except Unfaithful as error:
            raise PolicyError(f"this state can't be forked: {error}") from None
        except (JailLost, StateLost) as lost:
            raise self._lose(str(lost)) from None
        call = Call(self._family, state, task.job, task.stop, on_output=task.on_output)
        try:
            result = call.drive(task.queue_s())
        except BaseException as error:
            state.close()
            if isinstance(error, JailLost):
                raise self._lose(str(error)) from None
            raise
        if not call.survived:
            state.close()
            if result.reason is ExitReason.INTERNAL:  # what it said of its end made no sense
                result = dataclasses.replace(result, reason=ExitReason.DENIED)
            return dataclasses.replace(result, rolled_back=True)
        self._past.append(head)
        self._head = state
        while len(self._past) > self._history:
            self._past.popleft().close()
        return result

    def _require_head(self) -> State:
        if self._head is None:
            raise SessionLost(f"this session is gone: {self._why_lost}")
        return self._head

    def _lose(self, why: str) -> SessionLost:
        self._drop(why)
        return SessionLost(f"this session is gone: {why}")

    def _drop(self, why: str) -> None:
        if self._head is None:
            return
        for state in (*self._past, self._head):
            state.close()
        self._past.clear()
        self._head = None
        self._why_lost = why
        self._family.unuse()
        self._pool._forget(self)


class Sessions:
    """All sessions of a pool that hold something, so that what nobody closes is closed with it.

    They know their pool, which is therefore not collected before they are closed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[Session] = set()  # guarded by _lock, as is _closed
        self._closed = False

    def add(self, session: Session) -> Session:
        with self._lock:
            if not self._closed:
                self._open.add(session)
                return session
        session.close()
        raise PoolClosed("the pool is closed")

    def discard(self, session: Session) -> None:
        with self._lock:
            self._open.discard(session)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            sessions = list(self._open)
        for session in sessions:
            with session._turn:
                session._drop("its pool was closed")
