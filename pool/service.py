"""A pool for many callers in other processes: what it takes and gives is plain data."""

import dataclasses
import os
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from sandbox.limits import Limits

from .errors import SessionLost
from .metrics import Metrics
from .pool import Pool
from .program import Program
from .session import Session

_SESSION_IDLE_S = 3600.0
"""Whoever opened a session may have died: one that nobody has used for so long is taken away."""


class PythonExecutorService:
    """Runs programs for whoever calls. A plain class; as a Ray actor or a local service, give it
    `max_concurrency`: so many calls are in it at once, the others wait before it.

    pool_size: how many programs run at once. timeout: seconds for each, short for limits.wall_s
        and wins over it; None: as `limits` say, which is 10 unless they say otherwise.
    limits, packages, preload, python, tier, require, max_queue: as for `Pool`; limits also as a
        mapping of their names.
    max_sessions, session_idle_s, session_memory_bytes: as for `Pool`; a session that nobody used
        for an hour is taken away, unless told otherwise.

    What a program does is a dict (`Result.to_dict`), never an error. When its process is killed,
    every process that it started ends by itself.

    >>> service = PythonExecutorService(pool_size=1)
    >>> service.execute("print(6 * 7)")["stdout"]
    '42\\n'
    >>> service.cleanup()
    """

    def __init__(
        self,
        pool_size: int = 32,
        timeout: float | None = None,
        *,
        limits: Limits | Mapping[str, Any] | None = None,
        packages: Sequence[str] = (),
        preload: Sequence[str] = (),
        python: str | os.PathLike[str] | None = None,
        tier: str = "auto",
        require: str | None = None,
        max_queue: int | None = None,
        max_sessions: int | None = None,
        session_idle_s: float | None = _SESSION_IDLE_S,
        session_memory_bytes: int | None = None,
    ) -> None:
        limits = _limits(limits) or Limits()
        if timeout is not None:
            limits = limits.replace(wall_s=timeout)
        self._pool = Pool(
            pool_size,
            limits=limits,
            packages=packages,
            preload=preload,
            python=python,
            tier=tier,
            require=require,
            max_queue=max_queue,
            max_sessions=max_sessions,
            session_idle_s=session_idle_s,
            session_memory_bytes=session_memory_bytes,
        )
        self._metrics = Metrics(self._pool.stats)
        self._pool._counters.on_ended = self._metrics.ended
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}  # guarded by _lock

    def __repr__(self) -> str:
        return f"<PythonExecutorService of {self._pool!r}>"

    def execute(self, code: str | bytes | Mapping[str, Any], **options: Any) -> dict[str, Any]:
        """Run a program and return its result, with at least success, stdout, stderr, returncode.

        code: its source, or a program as `Program.from_dict` takes it. options: as for `Pool.run`;
        limits also as a mapping.
        """
        return self._pool.run(_program(code), **_options(options)).to_dict()

    def execute_many(
        self, programs: Iterable[str | bytes | Mapping[str, Any]], **options: Any
    ) -> list[dict[str, Any]]:
        """Run programs, as many at once as the pool has workers, and return their results in
        their order. One call for a batch costs far less than one for each program.

        If one of them makes no sense, none is run.
        """
        if isinstance(programs, (str, bytes, Mapping)):
            raise TypeError(f"programs must be a sequence of programs, not one: {programs!r:.80}")
        checked = [_program(each, f"programs[{number}]") for number, each in enumerate(programs)]
        return [result.to_dict() for result in self._pool.map(checked, **_options(options))]

    # ---- sessions: an interpreter whose state persists, by its id

    def open_session(self, **options: Any) -> str:
        """Return the id of a new session. options: as for `Pool.session`; limits also a mapping."""
        return self._keep(self._pool.session(**_options(options)))

    def execute_in(self, session_id: str, code: str | bytes, **options: Any) -> dict[str, Any]:
        """Run `code` where the session's last call left off; options as for `Session.run`."""
        return self._session(session_id).run(code, **_options(options)).to_dict()

    def fork_session(self, session_id: str, n: int | None = None) -> str | list[str]:
        """Return the ids of `n` sessions that go on from this one's state; without `n`, one id."""
        branches = self._session(session_id).fork(n)
        if isinstance(branches, Session):
            return self._keep(branches)
        return [self._keep(branch) for branch in branches]

    def rollback_session(self, session_id: str, steps: int = 1) -> None:
        """Go back to the state before the last `steps` calls."""
        self._session(session_id).rollback(steps)

    def reset_session(self, session_id: str) -> None:
        """Begin anew, with an interpreter and files as of a new session."""
        self._session(session_id).reset()

    def close_session(self, session_id: str) -> None:
        """End it. Raises `SessionLost` for one that is not there."""
        session = self._session(session_id)
        with self._lock:
            self._sessions.pop(session_id, None)
        session.close()

    # ---- all of it

    def stats(self) -> dict[str, Any]:
        """Return the pool's counters (`Stats`) and its times in buckets, as plain data."""
        return dataclasses.asdict(self._pool.stats()) | self._metrics.to_dict()

    def cleanup(self) -> None:
        """End everything: the sessions, and all processes. Idempotent."""
        self._pool.close()
        with self._lock:
            self._sessions.clear()

    def __enter__(self) -> "PythonExecutorService":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cleanup()

    def _keep(self, session: Session) -> str:
        """Give a session its id, which nobody can guess: callers share the service."""
        session_id = secrets.token_hex(16)
        with self._lock:
            self._forget_lost()
            self._sessions[session_id] = session
        return session_id

    def _session(self, session_id: str) -> Session:
        with self._lock:
            session = self._sessions.get(session_id)
        if session is None:
            raise SessionLost(
                f"there is no session {session_id!r}: it was closed or taken away, or the service "
                f"was started again since"
            )
        return session

    def _forget_lost(self) -> None:
        """Drop the names of sessions that hold nothing any more; under the lock."""
        for session_id, session in list(self._sessions.items()):
            if not session.states():
                del self._sessions[session_id]


def _limits(limits: Limits | Mapping[str, Any] | None) -> Limits | None:
    return Limits(**limits) if isinstance(limits, Mapping) else limits


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(options)
    if "limits" in found:
        found["limits"] = _limits(found["limits"])
    return found


def _program(code: object, where: str = "code") -> Program:
    if isinstance(code, Program):
        return code
    try:
        if isinstance(code, Mapping):
            return Program.from_dict(dict(code))
        return Program(code)  # type: ignore[arg-type]  # which it checks
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}: {error}") from None
