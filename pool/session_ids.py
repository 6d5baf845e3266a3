"""Sessions for callers who can't hold them: each has an id, which nobody can guess."""

import secrets
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from ..sandbox.errors import PolicyError, SetupError
from ..sandbox.result import Result
from .engine.task import RunFuture
from .errors import PoolError, SessionLost

AnySession = Any
"""A `Session`, or one elsewhere."""

_LEAST_UNDER_WAY = 64
"""Sessions of a batch whose calls are queued at the same time, at least: some may be in others'
use."""


class SessionIds:
    """The sessions of one service, by id; those that hold nothing any more are forgotten.

    size: how many calls the pool can run at once.
    """

    def __init__(self, size: int) -> None:
        self._most = max(size, _LEAST_UNDER_WAY)
        self._lock = threading.Lock()
        self._sessions: dict[str, AnySession] = {}  # guarded by _lock

    def add(self, session: AnySession) -> str:
        session_id = secrets.token_hex(16)
        with self._lock:
            for other, kept in list(self._sessions.items()):
                if kept.is_gone:
                    del self._sessions[other]
            self._sessions[session_id] = session
        return session_id

    def open_ids(self) -> list[str]:
        """Of those that are kept."""
        with self._lock:
            return list(self._sessions)

    def __getitem__(self, session_id: str) -> AnySession:
        with self._lock:
            session = self._sessions.get(session_id)
        if session is None:
            raise SessionLost(
                f"there is no session {session_id!r}: it was closed or taken away, or the service "
                f"was started again since"
            )
        return session

    def close(self, session_id: str) -> None:
        session = self[session_id]
        with self._lock:
            self._sessions.pop(session_id, None)
        session.close()

    def clear(self) -> None:
        """Forget all of them; whoever calls has ended them."""
        with self._lock:
            self._sessions.clear()

    def run_chains(self, chains: Iterable[tuple[str, Sequence[str | bytes]]]) -> list[list[Result]]:
        """Run each session's codes in their order, different sessions at the same time."""
        under_way: deque[list[RunFuture | Result]] = deque()
        found: list[list[Result]] = []
        for session_id, codes in chains:
            if len(under_way) == self._most:
                found.append([_result(call) for call in under_way.popleft()])
            under_way.append([self._submit(session_id, code) for code in codes])
        return found + [[_result(call) for call in calls] for calls in under_way]

    def _submit(self, session_id: str, code: str | bytes) -> RunFuture | Result:
        try:
            call: RunFuture = self[session_id].submit(code)
            return call
        except (PoolError, SetupError, PolicyError) as error:
            return _of_error(error)


def _result(call: RunFuture | Result) -> Result:
    """One session's failure must not cost the others of its batch their results."""
    if isinstance(call, Result):
        return call
    try:
        return call.wait()
    except (PoolError, SetupError, PolicyError) as error:
        return _of_error(error)


def _of_error(error: Exception) -> Result:
    # The program's own doing, such as threads that it left, or a limit that took the session along.
    if isinstance(error, PolicyError) or (isinstance(error, SessionLost) and error.by_program):
        return Result.refused(str(error), tier="", queue_s=0.0)
    return Result.internal(str(error), tier="", queue_s=0.0)


def require_count(n: Any) -> int:
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"n must be a whole number, not {n!r}")
    if not 0 <= n <= 100_000:
        raise ValueError(f"n={n!r}: must be 0 to 100000")
    return n
