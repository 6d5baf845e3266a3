"""A pool for many callers in other processes: what it takes and gives is plain data."""

import contextlib
import dataclasses
import functools
import os
import weakref
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar

from ..sandbox.limits import Limits, require_limit
from .checks import each_of, naming, pair_of
from .errors import SessionLost
from .judge import Case, case_from_dict
from .metrics import Metrics
from .pool import Pool
from .program import Program, limits_from_dict
from .remote.desk import Desks
from .rows import Reading, Unreadable, read_row
from .rows.batch import attempt, judge_readings
from .runtime import Runtime
from .session import Session
from .session_ids import SessionIds, require_count

_SESSION_IDLE_S = 3600.0
"""Whoever opened a session may have died: one that nobody has used for so long is taken away."""


class PythonExecutorService:
    """Runs programs for whoever calls. A plain class; as a Ray actor or a local service, give it
    `max_concurrency`: so many calls are in it at once, the others wait before it.

    pool_size: how many programs run at once. timeout: seconds for each, short for limits.wall_s
        and wins over it; None: as `limits` say, which is 10 unless they say otherwise.
    limits, packages, preload, python, runtimes, tier, require, max_queue: as for `Pool`; limits
        also as a mapping of their names.
    max_sessions, session_idle_s, session_memory_bytes: as for `Pool`; a session that nobody used
        for an hour is taken away, unless told otherwise.

    What a program does is a dict (`Result.to_dict`), never an error. When its process is killed,
    every process that it started ends by itself.

    >>> service = PythonExecutorService(pool_size=1)
    >>> service.execute("print(6 * 7)")["stdout"]
    '42\\n'
    >>> service.cleanup()
    """

    service_options: ClassVar[dict[str, Any]] = {"max_concurrency": 128}
    """For a registry: each client of `connect` has a call or two that wait."""

    def __init__(
        self,
        pool_size: int = 32,
        timeout: float | None = None,
        *,
        limits: Limits | Mapping[str, Any] | None = None,
        packages: Sequence[str] = (),
        preload: Sequence[str] | None = None,
        python: str | os.PathLike[str] | None = None,
        runtimes: Mapping[str, Runtime] | None = None,
        tier: str = "auto",
        require: str | None = None,
        max_queue: int | None = None,
        max_sessions: int | None = None,
        session_idle_s: float | None = _SESSION_IDLE_S,
        session_memory_bytes: int | None = None,
    ) -> None:
        limits = Limits() if limits is None else _limits(limits)
        if timeout is not None and isinstance(limits, Limits):
            require_limit("timeout", timeout)
            limits = limits.replace(wall_s=timeout)
        self._metrics = Metrics()
        self.pool = Pool(
            pool_size,
            limits=limits,
            packages=packages,
            preload=preload,
            python=python,
            runtimes=runtimes,
            tier=tier,
            require=require,
            max_queue=max_queue,
            max_sessions=max_sessions,
            session_idle_s=session_idle_s,
            session_memory_bytes=session_memory_bytes,
            on_result=self._metrics.ended,
        )
        # What the pool calls must not know it, or it would never be freed.
        self._metrics.stats = weakref.WeakMethod(self.pool.stats)
        self.sessions = SessionIds(pool_size)
        self.desks = Desks(self.pool)

    def __repr__(self) -> str:
        return f"<PythonExecutorService of {self.pool!r}>"

    def execute(self, code: str | bytes | Mapping[str, Any], **options: Any) -> dict[str, Any]:
        """Run a program and return its result, with at least success, stdout, stderr, returncode.

        code: its source, or a program as `Program.from_dict` takes it. options: as for `Pool.run`;
        limits also as a mapping.
        """
        return self.pool.run(_program(code), **_options(options)).to_dict()

    def execute_many(
        self, programs: Iterable[str | bytes | Mapping[str, Any]], **options: Any
    ) -> list[dict[str, Any]]:
        """Run programs, as many at once as the pool has workers, and return their results in
        their order. One call for a batch costs far less than one for each program.

        If one of them makes no sense, none is run.
        """
        options = _options(options)
        checked = []
        for number, each in enumerate(each_of("programs", programs, "programs")):
            with naming(f"programs[{number}]"):
                program = _program(each)
                self.pool.check(program, **options)
                checked.append(program)
        return [result.to_dict() for result in self.pool.map(checked, **options)]

    def judge_many(
        self,
        items: Iterable[
            tuple[str | bytes | Mapping[str, Any], Iterable[Mapping[str, Any]] | Mapping[str, Any]]
        ],
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Return a verdict (`Verdict.to_dict`) for each of `items`, pairs of a program and its
        cases, these as `case_from_dict` takes them. options: as for `Pool.judge_many`.

        A mapping in place of the cases is a row of a data set, as for `read_row`. One that can't be
        read, or judged, raises nothing: its verdict is not conclusive, and `unjudged` says why.
        """
        checked: dict[int, tuple[Program, list[Case]]] = {}
        readings: dict[int, tuple[str, Reading | Unreadable]] = {}
        for number, each in enumerate(each_of("items", items, "pairs of a program and its cases")):
            place = f"items[{number}]"
            code, cases = pair_of(place, each, "a program and its cases")
            with naming(place):
                if isinstance(cases, Mapping):
                    text = _text(code)
                    readings[number] = text, attempt(functools.partial(read_row, cases, text))
                else:
                    checked[number] = _program(code), _cases(cases)
        options = _options(options)
        found: dict[int, dict[str, Any]] = {}
        verdicts = self.pool.judge_many(checked.values(), **options)
        for number, verdict in zip(checked, verdicts, strict=True):
            found[number] = verdict.to_dict()
        if readings:
            judged = judge_readings(self.pool, readings.values(), **options)
            for number, of_row in zip(readings, judged, strict=True):
                found[number] = of_row.to_dict()
        return [found[number] for number in sorted(found)]

    # ---- sessions: an interpreter whose state persists, by its id

    def open_session(self, **options: Any) -> str:
        """Return the id of a new session. options: as for `Pool.session`; limits also a mapping."""
        return self.sessions.add(self.pool.session(**_options(options)))

    def open_sessions(self, n: int, **options: Any) -> list[str]:
        """Return the ids of `n` new sessions: of all, or of none if one can't be had."""
        opened: list[str] = []
        try:
            for _ in range(require_count(n)):
                opened.append(self.open_session(**options))
        except BaseException:
            self.close_sessions(opened)
            raise
        return opened

    def execute_in(self, session_id: str, code: str | bytes, **options: Any) -> dict[str, Any]:
        """Run `code` where the session's last call left off; options as for `Session.run`.
        Collected files are base64, as in `Result.to_dict`.
        """
        return self._session(session_id).run(code, **_options(options)).to_dict()

    def write_in(self, session_id: str, name: str, data: str | bytes) -> None:
        """Write a file of the session's; as `Session.write`."""
        self._session(session_id).write(name, data)

    def read_in(self, session_id: str, name: str) -> bytes:
        """Return what is in a file of the session's; as `Session.read`."""
        return self._session(session_id).read(name)

    def listdir_in(self, session_id: str, path: str = ".") -> list[str]:
        """Return the names in a folder of the session's; as `Session.listdir`."""
        return self._session(session_id).listdir(path)

    def execute_in_many(
        self, chains: Iterable[tuple[str, Sequence[str | bytes]]]
    ) -> list[list[dict[str, Any]]]:
        """Run each session's codes in their order, different sessions at the same time; return
        their results in the same order. A session that is lost answers with infra errors; with
        `denied`, if that is its program's doing.
        """
        found = self.sessions.run_chains(each_of("chains", chains, "ids and their codes"))
        return [[result.to_dict() for result in results] for results in found]

    def fork_session(self, session_id: str, n: int | None = None) -> str | list[str]:
        """Return the ids of `n` sessions that go on from this one's state; without `n`, one id."""
        branches = self._session(session_id).fork(n)
        if isinstance(branches, Session):
            return self.sessions.add(branches)
        return [self.sessions.add(branch) for branch in branches]

    def rollback_session(self, session_id: str, steps: int = 1) -> None:
        """Go back to the state before the last `steps` calls."""
        self._session(session_id).rollback(steps)

    def reset_session(self, session_id: str) -> None:
        """Begin anew, with an interpreter and files as of a new session."""
        self._session(session_id).reset()

    def close_session(self, session_id: str) -> None:
        """End it. Raises `SessionLost` for one that is not there."""
        self._session(session_id)
        self.sessions.close(session_id)

    def close_sessions(self, session_ids: Iterable[str]) -> None:
        """End those of them that are there."""
        for session_id in session_ids:
            with contextlib.suppress(SessionLost):
                self.close_session(session_id)

    def _session(self, session_id: str) -> Session:
        if not isinstance(session_id, str):
            raise TypeError(
                f"session_id must be the text that open_session returned, not {session_id!r:.80}"
            )
        session: Session = self.sessions[session_id]
        return session

    # ---- for clients that `connect` makes

    def describe_executor(self) -> bytes:
        """Say what this is, to a client of ours."""
        return self.desks.describe()

    def exchange(self, data: bytes) -> bytes:
        """Take a client's orders, and return answers when there are some."""
        return self.desks.exchange(data)

    def drain(self) -> None:
        """Have clients send nothing new; what they have begun comes to its end, sessions too."""
        self.desks.draining = True

    def fleet_state(self) -> tuple[float, bool, bool]:
        """Return what waits and runs here, for each that can run at once; whether it takes nothing
        new; and whether nothing is left of what clients have begun. For fleets.
        """
        now = self.pool.engine.now()
        load = (now["queued"] + now["workers_busy"] + self.desks.waiting()) / now["workers"]
        return load, self.desks.draining, not self.desks.under_way()

    # ---- all of it

    def stats(self) -> dict[str, Any]:
        """Return the pool's counters (`Stats`), as plain data."""
        return dataclasses.asdict(self.pool.stats())

    def metrics(self) -> str:
        """Return them as Prometheus reads them (`Stats.prometheus`)."""
        return self.pool.stats().prometheus()

    def cleanup(self) -> None:
        """End everything: the sessions, and all processes. Idempotent."""
        self.desks.close()
        self.pool.close()
        self.sessions.clear()

    def __enter__(self) -> "PythonExecutorService":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cleanup()


def _limits(limits: Limits | Mapping[str, Any] | None) -> Limits | None:
    return limits_from_dict(limits) if isinstance(limits, Mapping) else limits


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(options)
    if "limits" in found:
        found["limits"] = _limits(found["limits"])
    return found


def _program(code: object) -> Program:
    if isinstance(code, Program):
        return code
    if isinstance(code, Mapping):
        return Program.from_dict(dict(code))
    return Program(code)  # type: ignore[arg-type]  # which it checks


def _text(code: object) -> str:
    if isinstance(code, bytes):
        code = code.decode("utf-8")
    if not isinstance(code, str):
        raise TypeError(f"a program that is judged by a row must be its source, not {code!r:.80}")
    return code


def _cases(cases: Iterable[object]) -> list[Case]:
    found = []
    for number, case in enumerate(each_of("cases", cases, "cases")):
        with naming(f"cases[{number}]"):
            found.append(case if isinstance(case, Case) else case_from_dict(case))
    return found
