"""A snapshot: what trusted set-up code has made, from which every run is forked."""

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack

from ..sandbox import descriptors
from ..sandbox.errors import PolicyError, SetupError
from ..sandbox.jail import JailLost
from ..sandbox.nursery import Nursery
from ..sandbox.plan import shape_of
from ..sandbox.reasons import ExitReason
from ..sandbox.result import Result
from ..sandbox.run import NotStarted, Run, RunLost
from ..sandbox.template import SetupFailed, SetupRefused, SetupTimeout, Template, TemplateJail
from .errors import PoolClosed, PoolError, ProgramError, SessionLost
from .function import check_name, pack_call, value_of
from .program import Options, Program
from .task import OnOutput, RunFuture, Task

if TYPE_CHECKING:
    from .pool import Pool

logger = logging.getLogger(__name__)

_TRIES = 5
"""Of a run, before it is answered as an error of ours: an idle zygote, its template, and the jail
of them all may be found dead one after the other."""


class Snapshot:
    """A state made once by trusted set-up code. Every run and call is a fresh, confined process
    that is forked from it, and sees nothing of the others. Made by `Pool.snapshot`. Thread-safe; a
    context manager.
    """

    def __init__(self, pool: "Pool", origin: "Origin") -> None:
        self._pool = pool
        self._origin = origin

    def __repr__(self) -> str:
        return f"<Snapshot {'closed' if self._origin.closed else 'open'}>"

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
        if self._pool._is_ours():  # else the processes are its parent's
            self._origin.close()

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
        self._origin.require_open()
        job = program.job(self._pool._limits_of(program, timeout))
        if call is not None:
            job = dataclasses.replace(job, call=call)
        return self._pool._queue_call(job, queue_timeout, on_output, self._origin.run)


class Origin:
    """Where the runs of a snapshot come from: a template, made anew if it dies, and jails of runs
    that are forked from it and are idle. nursery: gives the one that lives now. Knows no pool.
    """

    def __init__(
        self,
        nursery: Callable[[], Nursery],
        setup: bytes,
        timeout_s: float | None,
        origins: "Origins",
    ) -> None:
        self._nursery = nursery
        self._setup = setup
        self._timeout_s = timeout_s
        self._origins = origins
        self._lock = threading.Lock()  # guards _template: it forks one zygote at a time
        self._template: Template | None = None
        self.closed = False
        with self._lock:
            try:
                self._make()
            except JailLost as lost:
                raise PoolError(f"a snapshot could not be made: {lost}") from None

    def _make(self) -> Template:
        descriptors.require()
        try:
            self._template = Template(self._nursery(), self._setup, self._timeout_s)
        except SetupFailed as failed:
            error = failed.exception
            result = Result.internal(
                "the set-up code failed", tier=self._nursery().plan.tier, queue_s=0.0
            )
            raise ProgramError(error.type, error.message, error.traceback, result) from None
        except SetupRefused as refused:
            raise PolicyError(f"what the set-up code made can't be shared: {refused}") from None
        except SetupTimeout as timeout:
            raise PoolError(f"timeout={self._timeout_s!r}: {timeout}") from None
        return self._template

    def require_open(self) -> None:
        if self.closed:
            raise SessionLost("this snapshot is gone: it was closed")

    def run(self, task: Task) -> Result:
        """In a worker's thread: make one run, on a jail of this snapshot; retried as any run is."""
        so_far: Result | None = None
        why = ""
        for _ in range(_TRIES):
            try:
                jail = self._jail(task)
            except (JailLost, SetupError) as error:
                why = str(error)
                continue
            try:
                run = Run(jail, jail.next_spare(), task.job, task.stop, task.on_output)
                result = run.drive(task.queue_s())
            except RunLost as lost:
                jail.close()
                if so_far is not None:
                    detail = f"brought down its worker twice: {lost}"
                    return dataclasses.replace(so_far, reason=ExitReason.DENIED, detail=detail)
                so_far = lost.so_far
                continue
            except (NotStarted, JailLost) as error:
                jail.close()
                why = str(error)
                continue
            except BaseException:
                jail.close()
                raise
            if run.jail_lost or self.closed:
                jail.close()
            else:
                self._origins.put(self, jail)
            return result
        raise PoolError(f"a run of a snapshot could not be started: {why}")

    def _jail(self, task: Task) -> TemplateJail:
        """A jail of this snapshot, with a spare for the task under way."""
        self.require_open()
        descriptors.require()
        # First, since the nursery may be gone, and another not to be had.
        shape = shape_of(task.job.limits, len(task.job.source), self._nursery().plan)
        jail = self._origins.take(self)
        if jail is not None:
            try:
                if jail.shape != shape:
                    jail.reshape(shape)
            except JailLost:
                jail.close()
                raise
            return jail
        with self._lock:
            self.require_open()
            template = self._template or self._make()
            jail = TemplateJail(template)
            try:
                jail.start(shape)
            except (JailLost, SetupError):
                template.close()  # whatever it was, another one is made
                self._template = None
                raise
        return jail

    def close(self) -> None:
        self.closed = True
        self._origins.drop(self)
        with self._lock:
            if self._template is not None:
                self._template.close()
                self._template = None


class Origins:
    """The idle jails of all snapshots of a pool, at most `most`: those used last are kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._idle: list[tuple[Origin, TemplateJail]] = []  # guarded by _lock, as is _open
        self._open: set[Origin] = set()
        self._closed = False

    def add(self, origin: Origin) -> None:
        with self._lock:
            if not self._closed:
                self._open.add(origin)
                return
        origin.close()
        raise PoolClosed("the pool is closed")

    def take(self, origin: Origin) -> TemplateJail | None:
        with self._lock:
            for place in range(len(self._idle) - 1, -1, -1):
                if self._idle[place][0] is origin:
                    jail = self._idle.pop(place)[1]
                    if jail.is_alive():
                        return jail
                    jail.close()
        return None

    def put(self, origin: Origin, jail: TemplateJail) -> None:
        with self._lock:
            keep = not self._closed and not origin.closed
            if keep:
                self._idle.append((origin, jail))
            dropped = [self._idle.pop(0)[1] for _ in range(len(self._idle) - self._most)]
        for each in dropped if keep else [jail]:
            each.close()

    def drop(self, origin: Origin) -> None:
        """Close what is idle of `origin`, and forget it."""
        with self._lock:
            self._open.discard(origin)
            own = [jail for each, jail in self._idle if each is origin]
            self._idle = [item for item in self._idle if item[0] is not origin]
        for jail in own:
            jail.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            origins = list(self._open)
        for origin in origins:
            with contextlib.suppress(OSError):
                origin.close()
