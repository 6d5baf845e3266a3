"""What judging and fuzzing need of whoever runs programs."""

from collections.abc import Callable
from typing import Any, Protocol

from ..sandbox.limits import Limits
from ..sandbox.run.job import Job
from .engine.task import OnOutput, RunFuture


class Runner(Protocol):
    """Makes runs of jobs, and pairs of runs that talk to each other. `Engine` is one.

    limits: what a job is held to that has no limits of its own. tier: how it confines. ahead: how
    many runs one caller should have under way.
    """

    @property
    def limits(self) -> Limits: ...

    @property
    def tier(self) -> str: ...

    @property
    def ahead(self) -> int: ...

    def submit(
        self,
        job: Job,
        *,
        test: Job | None = None,
        source: Any = None,
        expires_at: float | None = None,
        on_output: OnOutput | None = None,
        wait: bool = False,
    ) -> RunFuture:
        """Queue a run; test: of a program that a test calls, the test's job, which runs beside it,
        and of which the future's `record` then tells. source: of a run that is forked from a
        snapshot, what that is made of. expires_at: the monotonic time until which it
        may wait; then it resolves with `PoolTimeout`. Where the queue is full, wait for room, or
        raise `PoolFull`.
        """
        ...

    def require_runtime(self, runtime: str | None) -> None:
        """Raise `PolicyError` for a runtime that it does not have."""
        ...

    def is_ours(self) -> bool:
        """Whether it was made in this process, and not in one that this was forked from."""
        ...

    def require_room(self) -> None:
        """Raise `PoolFull` or `PoolClosed`, as `submit` would now."""
        ...

    def when_room(self, call: Callable[[], None]) -> None:
        """Call `call` once when there may be room in the queue; it must not wait for anything."""
        ...
