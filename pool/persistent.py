"""One interpreter with TorchRL's small interface: code in, a dictionary out, state kept."""

from typing import TYPE_CHECKING, Any

from ..sandbox.limits import Limits
from .executor import Executor, require_executor
from .pool import Pool

if TYPE_CHECKING:
    from types import TracebackType


class PersistentPythonProcess:
    """An interpreter whose state persists from one `execute` to the next, with the interface of
    TorchRL's class of this name; confined, and on top of a session.

    timeout: wall-clock seconds of each call; None: no limit.
    pool: a `Pool` or what `connect` returns, whose limits, packages and worker it uses, and which
        is left open; None: a pool of its own, of one worker, which `cleanup` closes.

    What a limit or a signal ends leaves the state as it was before. Thread-safe: calls take turns.
    Also a context manager.

    >>> with PersistentPythonProcess(timeout=5.0) as process:
    ...     process.execute("x = 20")["success"], process.execute("print(x + 1)")["stdout"]
    (True, '21\\n')
    """

    def __init__(self, timeout: float | None = 10.0, *, pool: Executor | None = None) -> None:
        if pool is not None:
            require_executor("pool", pool)
        limits = (Limits() if pool is None else pool.limits).replace(wall_s=timeout)
        self.timeout = timeout
        self._own = Pool(1, limits=limits) if pool is None else None
        self._pool = pool or self._own
        assert self._pool is not None
        try:
            self._session = self._pool.session(limits=limits, history=0)
        except BaseException:
            if self._own is not None:
                self._own.close()
            raise

    def __repr__(self) -> str:
        return f"<PersistentPythonProcess {self._session!r}>"

    def execute(self, code: str) -> dict[str, Any]:
        """Run `code` where the last call left off; return `Result.to_dict()`, of which `success`,
        `stdout`, `stderr` and `returncode` are TorchRL's.

        Where threads were alive from the first call on, there is no earlier state: a call that is
        ended then takes the state with it, and the next one begins anew. Raises `SessionLost` after
        `cleanup`, and where the state was taken away by the pool (`max_sessions` and its like).
        """
        result = self._session.run(code)
        if self._session.is_lost():
            self._session.reset()
        found: dict[str, Any] = result.to_dict()
        return found

    def cleanup(self) -> None:
        """End it, a call under way included, and give back all that it holds. Idempotent."""
        self._session.close()
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> "PersistentPythonProcess":
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        error: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        self.cleanup()
