"""Where the code blocks of a batch of environments run. Knows nothing of TorchRL.

All of them run on a `PythonExecutorService`, one that is shared, or one in this process; or on an
executor. A batch is one call of it.
"""

import contextlib
import itertools
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from ..pool import Executor, SessionLost
from ..pool.session_ids import SessionIds
from ..sandbox import PolicyError, Result, SandboxError

Blocks = Mapping[int, Sequence[str]]
"""Code blocks by environment; those of one are in their order."""

Outcomes = dict[int, list[dict[str, Any]]]
"""What `Result.to_dict` gives, for each of them."""


class ServiceFailed(Exception):
    """A shared service did not answer, or is gone."""


class CallService(Protocol):
    """Makes a call of the service, and waits for its answer."""

    def __call__(self, method: str, *args: Any, timeout_s: float | None, **options: Any) -> Any: ...


_MOST_CHAINS = 4096
"""Environments of a batch whose calls are under way at the same time."""


class OnExecutor:
    """Those calls of a service that a batch needs, made on any executor. get: returns it. It needs
    no `timeout_s`: an executor answers, or has failed, by time limits of its own.
    """

    def __init__(self, get: Callable[[], Executor]) -> None:
        self._get = get
        self._ids: SessionIds | None = None
        self._owner = os.getpid()

    def __call__(self, method: str, *args: Any, timeout_s: float | None, **options: Any) -> Any:
        try:
            return getattr(self, method)(*args, **options)
        except PolicyError:
            raise  # what was asked for can't be had, ever
        except SandboxError as error:
            raise ServiceFailed(f"the executor failed: {error}") from error

    def execute_many(self, programs: Sequence[str]) -> list[dict[str, Any]]:
        return [result.to_dict() for result in self._get().map(programs)]

    def open_sessions(self, n: int, **options: Any) -> list[str]:
        return [self._sessions.add(each) for each in self._get().sessions(n, **options)]

    def execute_in_many(
        self, chains: Iterable[tuple[str, Sequence[str]]]
    ) -> list[list[dict[str, Any]]]:
        found = self._sessions.run_chains(chains)
        return [[result.to_dict() for result in results] for results in found]

    def close_sessions(self, session_ids: Iterable[str]) -> None:
        for session_id in session_ids:
            with contextlib.suppress(SessionLost):
                self._sessions.close(session_id)

    @property
    def _sessions(self) -> SessionIds:
        if self._ids is None or self._owner != os.getpid():  # after a fork: none of this process's
            self._ids, self._owner = SessionIds(_MOST_CHAINS), os.getpid()
        return self._ids


T = TypeVar("T")


class PerProcess(Generic[T]):
    """Something that each process makes for itself, when it first needs it: one, whichever of its
    threads ask. Thread-safe.
    """

    def __init__(self, make: Callable[[], T], end: Callable[[T], None]) -> None:
        self._make = make
        self._end = end
        self._lock = threading.Lock()  # held while it is made or ended; guards the rest
        self._made: T | None = None
        _all.add(self)

    def get(self) -> T:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def close(self) -> None:
        """End it, if this process has made it; it is made anew when it is needed again."""
        with self._lock:
            if self._made is not None:
                self._end(self._made)
            self._made = None

    @property
    def is_made(self) -> bool:
        return self._made is not None

    def _forget(self) -> None:
        """In a forked child: what was made is its parent's, and so is whoever held the lock."""
        self._lock = threading.Lock()
        self._made = None


_all: "weakref.WeakSet[PerProcess[Any]]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for each in list(_all):
        each._forget()


os.register_at_fork(after_in_child=_after_fork_in_child)


class Runs:
    """Runs each block afresh.

    patience_s: how long the service may take for so many blocks.
    """

    def __init__(self, call: CallService, patience_s: Callable[[int], float | None]) -> None:
        self._call = call
        self._patience_s = patience_s

    def run(self, blocks: Blocks) -> Outcomes:
        """Run the blocks: those of different environments at the same time, those of one in their
        order. A failure of ours is an outcome with `infra_error`; nothing waits for ever.
        """
        codes = list(itertools.chain.from_iterable(blocks.values()))
        if not codes:
            return {}
        timeout_s = self._patience_s(len(codes))
        try:
            found = iter(self._call("execute_many", codes, timeout_s=timeout_s))
        except ServiceFailed as error:
            found = itertools.repeat(unavailable(str(error)))
        return {at: list(itertools.islice(found, len(each))) for at, each in blocks.items()}

    def reset(self, environments: Iterable[int] | None = None) -> None:
        """Forget what these environments (None: all) have done."""


class Sessions(Runs):
    """Each environment has a session of its own."""

    def __init__(self, call: CallService, patience_s: Callable[[int], float | None]) -> None:
        super().__init__(call, patience_s)
        self.ids: dict[int, str] = {}
        self._owner = os.getpid()

    def run(self, blocks: Blocks) -> Outcomes:
        if self._owner != os.getpid():  # after a fork, those are somebody else's
            self.ids, self._owner = {}, os.getpid()
        count = sum(map(len, blocks.values()))
        if not count:
            return {}
        timeout_s = self._patience_s(count)
        try:
            new = sorted(blocks.keys() - self.ids.keys())
            if new:
                # Without earlier states: an environment goes back to none.
                opened = self._call("open_sessions", len(new), history=0, timeout_s=timeout_s)
                self.ids.update(zip(new, opened, strict=True))
            chains = [(self.ids[at], list(codes)) for at, codes in blocks.items()]
            found = self._call("execute_in_many", chains, timeout_s=timeout_s)
        except ServiceFailed as error:
            self.reset(blocks)
            return {at: [unavailable(str(error))] * len(codes) for at, codes in blocks.items()}
        outcomes = dict(zip(blocks, found, strict=True))
        # A session that is lost answers so for ever: the environment's next block has a new one.
        self.reset([at for at, ends in outcomes.items() if any(map(_is_lost, ends))])
        return outcomes

    def reset(self, environments: Iterable[int] | None = None) -> None:
        wanted = list(self.ids) if environments is None else list(environments)
        ids = [self.ids.pop(at) for at in wanted if at in self.ids]
        if ids and self._owner == os.getpid():
            try:
                self._call("close_sessions", ids, timeout_s=self._patience_s(1))
            except ServiceFailed:
                pass  # it is gone, and they are with it


def _is_lost(outcome: Mapping[str, Any]) -> bool:
    """Whether it is of a call that its session did not make: one that was made has a tier."""
    return bool(outcome["infra_error"]) or not outcome["tier"]


def unavailable(detail: str) -> dict[str, Any]:
    """An outcome that is a failure of ours."""
    return Result.internal(detail, tier="", queue_s=0.0).to_dict()
