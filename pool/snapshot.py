"""A snapshot: what trusted set-up code has made, from which every run is forked."""

import dataclasses
from types import TracebackType
from typing import Any, Unpack

from ..sandbox.errors import PolicyError
from ..sandbox.result import Result
from .checks import expiry
from .engine.task import OnOutput, RunFuture
from .function import check_name, pack_call, value_of
from .program import Options, Program, limits_for
from .runner import Runner


class Snapshot:
    """A state made once by trusted set-up code. Every run and call is a fresh, confined process
    that is forked from it, and sees nothing of the others. Made by `Pool.snapshot`. Thread-safe; a
    context manager.
    """

    def __init__(self, pool: object, engine: Runner, origin: Any) -> None:
        self._pool = pool  # which is not collected, and so not closed, before this is
        self.engine = engine
        self.origin = origin

    def __repr__(self) -> str:
        return f"<Snapshot {'closed' if self.origin.closed else 'open'}>"

    def run(
        self,
        code: str | bytes | Program,
        *,
        queue_timeout: float | None = None,
        on_output: OnOutput | None = None,
        **options: Unpack[Options],
    ) -> Result:
        """Run a program that finds in its `__main__` what the set-up code made; as `Pool.run`."""
        return self.submit(code, queue_timeout=queue_timeout, on_output=on_output, **options).wait()

    def submit(
        self,
        code: str | bytes | Program,
        *,
        queue_timeout: float | None = None,
        on_output: OnOutput | None = None,
        **options: Unpack[Options],
    ) -> RunFuture:
        """Queue a program and return a future of its result; as `Pool.submit`."""
        program = Program.of(code, options)
        return self._submit(program, options.get("timeout"), queue_timeout, on_output, None)

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function `name` of the set-up code in a fresh process; errors as those of
        `Pool.function`.
        """
        call = pack_call(check_name(name), args, kwargs)
        return value_of(self._submit(Program(b""), None, None, None, call).wait())

    def close(self) -> None:
        """End it, and give back all that it holds; runs that have begun come to their end.
        Idempotent.
        """
        if self.engine.is_ours():  # else the processes are its parent's
            self.origin.close()

    def __enter__(self) -> "Snapshot":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _submit(
        self,
        program: Program,
        timeout: float | None,
        queue_timeout: float | None,
        on_output: OnOutput | None,
        call: bytes | None,
    ) -> RunFuture:
        self.origin.require_open()
        if program.runtime not in (None, self.origin.runtime):
            raise PolicyError(
                f"runtime={program.runtime!r}: the runs of a snapshot have its own, "
                f"{self.origin.runtime!r}"
            )
        job = program.job(limits_for(program, self.engine, timeout))
        job = dataclasses.replace(job, runtime=self.origin.runtime)
        if call is not None:
            job = dataclasses.replace(job, call=call)
        return self.engine.submit(
            job, source=self.origin, expires_at=expiry(queue_timeout), on_output=on_output
        )
