"""A session: an interpreter whose state persists, and can be rolled back and branched."""

import dataclasses
import functools
import time
from collections.abc import Callable
from concurrent.futures import wait
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

from ..sandbox import descriptors
from ..sandbox.call import Call
from ..sandbox.errors import PolicyError
from ..sandbox.family import Family
from ..sandbox.jail import JailLost
from ..sandbox.job import Job
from ..sandbox.limits import Limits, require_limit
from ..sandbox.reasons import ExitReason
from ..sandbox.result import Result
from ..sandbox.state import State, StateLost, Unfaithful
from .errors import PoolClosed, SessionLost
from .function import check_name, pack_call, value_of
from .holding import Holding
from .program import Program
from .task import OnOutput, RunFuture, Task

if TYPE_CHECKING:
    from .pool import Pool

_OF_A_CALL = ("wall_s", "cpu_s", "output_bytes")
"""Limits that each call can have its own of; the others are the session's, from its beginning."""


class CallOptions(TypedDict, total=False):
    """What a session's call may be given besides its code; as for `Pool.run`."""

    stdin: str | bytes
    timeout: float | None
    limits: Limits | None
    queue_timeout: float | None
    on_output: OnOutput | None


class Session:
    """An interpreter whose state persists from call to call. Made by `Pool.session`, and by `fork`.

    Before a call the state is forked, and the fork parked. If the call ends by itself, the fork is
    an earlier state, which `rollback` can go back to. If a limit or a signal ends it, the fork
    takes its place, and the state is as before the call. Memory is rolled back; files are not. With
    `rollback=False` nothing is forked: a call is quicker, and one that is ended takes the session
    with it. Calls of one session are made one at a time. Thread-safe; a context manager.
    """

    def __init__(self, pool: "Pool", held: Holding, *, history: int, rollback: bool) -> None:
        self._pool = pool
        self._held = held
        self._limits = held.family.limits
        self._history = history
        self._keeps = rollback
        self._turn = held.turn  # one call, or change of state, at a time
        self._closed = False
        self._future: RunFuture | None = None  # of the call that is made

    def __repr__(self) -> str:
        if self._head is None:
            return f"<Session {'closed' if self._closed else 'lost'}>"
        return f"<Session {len(self._held.past)} back>"

    @property
    def _family(self) -> Family:
        return self._held.family

    @property
    def _head(self) -> State | None:
        """The present state; None where it is lost."""
        return self._held.head

    def run(self, code: str | bytes, **options: Unpack[CallOptions]) -> Result:
        """Run `code` where the last call left off, and return its result.

        options: stdin, timeout, queue_timeout, on_output, as for `Pool.run`; limits: of time and
            output, for this call (what else is in them must be as the session's).

        A trailing expression's repr is `Result.value`. SystemExit ends the call, not the session.
        `Result.rolled_back` tells that a limit or a signal ended it, and nothing of it has stayed.
        What a call does to the interpreter so that it can't be forked ends the next one: `denied`,
        and both are undone. Raises `SessionLost` where the state is gone, `PolicyError` for a state
        that can't be forked (its live threads would be lost).
        """
        return self._make(code, None, options)

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function `name` of the session's namespace and return what it returns.

        Arguments and result cross as data, as with `Pool.function`; its errors are the same:
        `ProgramError`, `LimitExceeded` (the session is then as before), `PoolError`, and TypeError
        for arguments that are no plain data. `run` is for calls with a time-out of their own.
        """
        return value_of(self._make(b"", pack_call(check_name(name), args, kwargs), {}))

    async def arun(self, code: str | bytes, **options: Unpack[CallOptions]) -> Result:
        """`run` for asyncio, without a thread that waits: as many calls of different sessions run
        at once as the pool has workers. Cancelling the task kills the call, or, as long as it waits
        for its turn, takes it back.
        """
        import asyncio  # costs 12 ms, and its loop is there already

        job = self._job_of(code, None, options)
        await self._turn.take()
        try:
            future = self._begin(job, options)
        finally:
            # Not by this coroutine: a call that is cancelled goes on until its process has ended.
            if self._future is not None:
                self._future.add_done_callback(self._end_turn)
            else:
                self._turn.give_back()
        return await asyncio.wrap_future(future)

    def _end_turn(self, _: object) -> None:
        self._end()
        self._turn.give_back()

    def rollback(self, steps: int = 1) -> None:
        """Go back to the state before the last `steps` calls that ended by themselves."""
        self._require_open()
        with self._turn.then_wake, self._turn.lock:
            self._require_head()
            past = self._held.past
            if isinstance(steps, bool) or not isinstance(steps, int):
                raise TypeError(f"steps must be a whole number, not {steps!r}")
            if not 1 <= steps <= len(past):
                raise ValueError(
                    f"steps={steps!r}: {len(past)} earlier states are kept "
                    f"(history={self._history if self._keeps else 0})"
                )
            for _ in range(steps):
                self._require_head().close()
                self._held.head = past.pop()

    @overload
    def fork(self, n: None = None) -> "Session": ...
    @overload
    def fork(self, n: int) -> "list[Session]": ...
    def fork(self, n: int | None = None) -> "Session | list[Session]":
        """Return `n` sessions that go on from this state, each on its own; without `n`, one.

        Each has its own memory, randomness, and copy of the files, and none of the history. Raises
        `PolicyError` for a state that can't be forked as it is: with live threads, shared memory,
        or open files; `PoolFull` where there is no room for more sessions.
        """
        count = 1 if n is None else n
        if isinstance(count, bool) or not isinstance(count, int):
            raise TypeError(f"n must be a whole number or None, not {n!r}")
        if not 1 <= count <= 1000:
            raise ValueError(f"n={n!r}: must be 1 to 1000")
        branches: list[Session] = []
        self._require_open()
        with self._turn.then_wake, self._turn.lock:
            head = self._require_head()
            try:
                with self._pool._session_room(count) as adopt:
                    for _ in range(count):
                        descriptors.require()
                        branches.append(self._branch(head, adopt))
                    self._family.move_away(head.home)
            except BaseException as error:
                for branch in branches:
                    branch.close()
                if isinstance(error, Unfaithful):
                    raise error.as_policy() from None
                if isinstance(error, StateLost):
                    self._set_back(error)
                    raise PolicyError(
                        f"this state can't be forked: {error}; what its last call did is undone"
                    ) from None
                if isinstance(error, JailLost):
                    raise self._lose(str(error)) from None
                raise
        return branches[0] if n is None else branches

    def reset(self) -> None:
        """Begin anew, with an interpreter and files as of a new session; also where it was lost."""
        self._require_open()
        with self._turn.then_wake, self._turn.lock:
            self._require_open()
            with self._pool._session_room(0 if self._head is not None else 1) as adopt:
                family, head = self._pool._engine.new_family(self._limits)
                self._held.drop("it is reset")
                self._held.take(family, head)
                adopt(self._held)

    def close(self) -> None:
        """End it, and give back all that it holds; a call under way is cancelled. Its branches live
        on. Idempotent.
        """
        if not self._pool._is_ours():
            return  # a forked child: the processes are its parent's
        self._closed = True
        future = self._future
        if future is not None:
            future.cancel()
        with self._turn.then_wake, self._turn.lock:
            self._held.drop("it was closed")

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def states(self) -> list[State]:
        """Its processes, as they are now."""
        return self._held.states()

    # ---- calls

    def _make(
        self,
        code: str | bytes,
        call: bytes | None,
        options: CallOptions,
        *,
        insist: bool = True,
    ) -> Result:
        """Have a worker make one call. insist: on a state to go back to, where one is kept."""
        job = self._job_of(code, call, options)
        with self._turn.then_wake, self._turn.lock:
            try:
                return self._begin(job, options, insist=insist).result()
            except BaseException:
                future = self._future
                if future is not None:
                    future.cancel()
                    if not future.cancelled():  # it has begun
                        wait([future])  # where we were interrupted: a worker may still be at it
                raise
            finally:
                self._end()

    def _job_of(self, code: str | bytes, call: bytes | None, options: CallOptions) -> Job:
        self._require_open()
        limits = self._limits_of(options)
        program = Program(code, stdin=options.get("stdin", b""))
        return dataclasses.replace(program.job(limits), call=call)

    def _begin(self, job: Job, options: CallOptions, *, insist: bool = True) -> RunFuture:
        """Queue a call. Whoever calls has the turn, and keeps it until the future is done."""
        self._require_head()
        self._future = future = self._pool._queue_call(
            job,
            options.get("queue_timeout"),
            options.get("on_output"),
            functools.partial(self._call, insist=insist),
        )
        if self._closed:
            future.cancel()
        return future

    def _end(self) -> None:
        """Note that a call is over."""
        self._future = None
        self._held.used_at = time.monotonic()

    def _run_anyway(self, code: str) -> Result:
        """`run`, also where no state can be kept to go back to; what is lost then begins anew."""
        result = self._make(code, None, {}, insist=False)
        if self._head is None and not self._closed:
            self.reset()
        return result

    def _limits_of(self, options: CallOptions) -> Limits:
        unknown = options.keys() - CallOptions.__annotations__.keys()
        if unknown:
            names = ", ".join(CallOptions.__annotations__)
            raise TypeError(f"unexpected argument {sorted(unknown)[0]!r}; there are {names}")
        limits = options.get("limits") or self._limits
        if not isinstance(limits, Limits):
            raise TypeError(f"limits must be a sandbox.Limits, not {limits!r}")
        if options.get("timeout") is not None:
            require_limit("timeout", options["timeout"])
            limits = limits.replace(wall_s=options["timeout"])
        for field in dataclasses.fields(Limits):
            own, wanted = getattr(self._limits, field.name), getattr(limits, field.name)
            if own != wanted and field.name not in _OF_A_CALL:
                raise PolicyError(
                    f"limits: {field.name}={wanted!r}, but the session has {own!r} from its "
                    f"beginning; a call can have its own {', '.join(_OF_A_CALL)}"
                )
        return limits

    def _call(self, task: Task, *, insist: bool) -> Result:
        """In a worker's thread: make one call; a fork of the state is kept, if one is wanted."""
        head = self._require_head()
        descriptors.require()
        twin = None
        try:
            if self._keeps:
                twin = self._twin(head, insist)
            call = Call(self._family, head, task.job, task.stop, on_output=task.on_output)
            result = call.drive(task.queue_s())
        except Unfaithful as error:
            raise error.as_policy() from None
        except StateLost as error:
            return self._refuse(task, error)
        except BaseException as error:
            if twin is not None:
                twin.close()
            lost = self._lose(str(error) or f"{type(error).__name__}: {error}")
            if isinstance(error, JailLost):
                raise lost from None
            raise
        # One that ends itself between its answer and its stop would be lost as by our failure.
        if call.survived and (twin is None or head.is_at_rest()):
            if twin is not None:
                self._held.past.append(twin)
            while len(self._held.past) > self._history:
                self._held.past.popleft().close()
            return result
        if call.survived or result.reason is ExitReason.INTERNAL:  # what it said made no sense
            result = dataclasses.replace(result, reason=ExitReason.DENIED)
        if twin is None:
            self._held.drop(
                f"its last call ended with {result.reason}, and no earlier state was kept"
            )
            return result
        head.close()
        self._held.head = twin
        return dataclasses.replace(result, rolled_back=True)

    def _twin(self, head: State, insist: bool) -> State | None:
        try:
            return self._family.fork(head)
        except Unfaithful:
            if insist:
                raise
            return None

    def _refuse(self, task: Task, error: StateLost) -> Result:
        """The result of a call that is not made: the last one has left an interpreter that can't be
        forked. That is its doing, and no failure of ours.
        """
        self._set_back(error)
        result = Result.refused(
            f"the session could not be kept as it was: {error}; what its last call did is undone",
            tier=self._family.nursery.plan.tier,
            queue_s=task.queue_s(),
            id=task.job.id,
        )
        return dataclasses.replace(result, rolled_back=True)

    # ---- what it holds

    def _set_back(self, error: StateLost) -> None:
        """Go on from before the last call; where nothing is kept of that, not at all."""
        past = self._held.past
        if not past:
            self._held.drop(f"{error}, and no earlier state was kept")
            return
        self._require_head().close()
        self._held.head = past.pop()

    def _branch(self, head: State, adopt: Callable[[Holding], None]) -> "Session":
        state = self._family.branch(head)
        held = Holding(self._family, state, self._pool._engine.sessions.discard)
        adopt(held)
        return Session(self._pool, held, history=self._history, rollback=self._keeps)

    def _require_open(self) -> None:
        """Asked before a turn is waited for, too: in a forked child nobody may ever end it."""
        if not self._pool._is_ours():
            raise PoolClosed("this session belongs to another process; make one in this process")
        if self._closed:
            raise SessionLost("this session is gone: it was closed")

    def _require_head(self) -> State:
        self._require_open()
        if self._head is None:
            raise SessionLost(f"this session is gone: {self._held.why_lost}; `reset` begins anew")
        return self._head

    def _lose(self, why: str) -> SessionLost:
        self._held.drop(why)
        return SessionLost(f"this session is gone: {why}; `reset` begins anew")
