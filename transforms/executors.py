"""Where the code blocks of a batch of environments run. Knows nothing of TorchRL."""

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from pool import Pool, PoolError, Session, SessionLost
from sandbox import Result

Blocks = Mapping[int, Sequence[str]]
"""Code blocks by environment; those of one are in their order."""

Outcomes = dict[int, list[dict[str, Any]]]
"""What `Result.to_dict` gives, for each of them."""

_MOST_THREADS = 64
"""That wait for sessions' calls; how many run at once is for the pool to say."""


class Executor(Protocol):
    """Runs blocks: those of different environments at the same time, those of one in their order.

    A failure of ours is an outcome with `infra_error`; nothing waits for ever.
    """

    def run(self, blocks: Blocks) -> Outcomes: ...
    def reset(self, environments: Iterable[int] | None = None) -> None:
        """Forget what these environments (None: all) have done."""

    def close(self) -> None:
        """Give back everything; the next `run` begins anew."""


class LocalPool:
    """A pool made when it is first used, in each process that uses it."""

    def __init__(self, make: Callable[[], Pool]) -> None:
        self._make = make
        self._pool: Pool | None = None
        self._pid = 0

    def get(self) -> Pool:
        if self._pool is None or self._pid != os.getpid():
            self._pool, self._pid = self._make(), os.getpid()
        return self._pool

    def close(self) -> None:
        if self._pool is not None and self._pid == os.getpid():
            self._pool.close()
        self._pool = None


class FreshRuns:
    """Each block is a fresh run on a pool of this process."""

    def __init__(self, pool: LocalPool) -> None:
        self._pool = pool

    def run(self, blocks: Blocks) -> Outcomes:
        pool = self._pool.get()
        futures = {at: [pool.submit(code) for code in codes] for at, codes in blocks.items()}
        return {at: [each.result().to_dict() for each in runs] for at, runs in futures.items()}

    def reset(self, environments: Iterable[int] | None = None) -> None:
        pass

    def close(self) -> None:
        self._pool.close()


class LocalSessions:
    """Each environment has a session on a pool of this process."""

    def __init__(self, pool: LocalPool) -> None:
        self._pool = pool
        self.sessions: dict[int, Session] = {}
        self._owner = 0

    def run(self, blocks: Blocks) -> Outcomes:
        pool = self._pool.get()
        if self._owner != os.getpid():  # after a fork, those are somebody else's
            self.sessions, self._owner = {}, os.getpid()
        for at in blocks.keys() - self.sessions.keys():
            self.sessions[at] = pool.session(history=0)
        if not blocks:
            return {}
        with ThreadPoolExecutor(min(len(blocks), _MOST_THREADS)) as threads:
            found = threads.map(self._run_in_turn, blocks.keys(), blocks.values())
            return dict(zip(blocks, found, strict=True))

    def _run_in_turn(self, at: int, codes: Sequence[str]) -> list[dict[str, Any]]:
        return [self._run_one(self.sessions[at], code) for code in codes]

    def _run_one(self, session: Session, code: str) -> dict[str, Any]:
        try:
            return session.run(code).to_dict()
        except SessionLost as lost:
            session.reset()  # what comes next begins anew; that this was lost is not the model's
            return unavailable(str(lost))
        except PoolError as error:
            return unavailable(str(error))
        except ValueError as error:  # PolicyError: a state with live threads can't be forked
            return refused(str(error))

    def reset(self, environments: Iterable[int] | None = None) -> None:
        wanted = list(self.sessions) if environments is None else environments
        for at in wanted:
            session = self.sessions.pop(at, None)
            if session is not None and self._owner == os.getpid():
                session.close()

    def close(self) -> None:
        self.reset()
        self._pool.close()


class ServiceRuns:
    """Each block is a fresh run on a shared service; one call for a batch.

    call: `call(method, *args, timeout=seconds)` makes a call of the service and waits for it.
    """

    def __init__(self, call: Callable[..., Any], patience_s: Callable[[int], float]) -> None:
        self._call = call
        self._patience_s = patience_s

    def run(self, blocks: Blocks) -> Outcomes:
        codes = list(itertools.chain.from_iterable(blocks.values()))
        if not codes:
            return {}
        try:
            found = iter(self._call("execute_many", codes, timeout=self._patience_s(len(codes))))
        except Exception as error:  # noqa: BLE001  (whatever the backend raises: the service failed)
            found = itertools.repeat(unavailable(f"the service failed: {error}"))
        return {at: list(itertools.islice(found, len(each))) for at, each in blocks.items()}

    def reset(self, environments: Iterable[int] | None = None) -> None:
        pass

    def close(self) -> None:
        pass


class ServiceSessions:
    """Each environment has a session on a shared service; one call for a batch."""

    def __init__(self, call: Callable[..., Any], patience_s: Callable[[int], float]) -> None:
        self._call = call
        self._patience_s = patience_s
        self._ids: dict[int, str] = {}

    def run(self, blocks: Blocks) -> Outcomes:
        count = sum(map(len, blocks.values()))
        if not count:
            return {}
        timeout = self._patience_s(count)
        try:
            new = sorted(blocks.keys() - self._ids.keys())
            if new:
                opened = self._call("open_sessions", len(new), timeout=timeout)
                self._ids.update(zip(new, opened, strict=True))
            chains = [(self._ids[at], list(codes)) for at, codes in blocks.items()]
            found = self._call("execute_in_many", chains, timeout=timeout)
        except Exception as error:  # noqa: BLE001  (whatever the backend raises: the service failed)
            lost = unavailable(f"the service failed: {error}")
            self._forget(blocks)
            return {at: [lost] * len(codes) for at, codes in blocks.items()}
        outcomes = dict(zip(blocks, found, strict=True))
        # A session that is lost answers so for ever: the environment's next block has a new one.
        self._forget([at for at, ends in outcomes.items() if any(e["infra_error"] for e in ends)])
        return outcomes

    def reset(self, environments: Iterable[int] | None = None) -> None:
        self._forget(list(self._ids) if environments is None else environments)

    def _forget(self, environments: Iterable[int]) -> None:
        ids = [self._ids.pop(at) for at in list(environments) if at in self._ids]
        if ids:
            try:
                self._call("close_sessions", ids, timeout=self._patience_s(1))
            except Exception:  # noqa: BLE001  (the service is gone, and they are with it)
                pass

    def close(self) -> None:
        self.reset()


def unavailable(detail: str) -> dict[str, Any]:
    """An outcome that is a failure of ours."""
    return Result.internal(detail, tier="", queue_s=0.0).to_dict()


def refused(detail: str) -> dict[str, Any]:
    """An outcome of code that could not be run, for a reason of its own making."""
    refused = unavailable(detail)
    return refused | {"reason": "denied", "infra_error": False, "stderr": f"{detail}\n"}
