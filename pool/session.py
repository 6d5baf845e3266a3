"""A session: an interpreter whose state persists, and can be rolled back and branched."""

import contextlib
import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol, TypedDict, Unpack, overload

from ..sandbox.errors import PolicyError
from ..sandbox.jail import descriptors
from ..sandbox.jail.messages import JailLost
from ..sandbox.limits import Limits, require_limit
from ..sandbox.result import Result
from ..sandbox.run.files import check_name as check_file_name
from ..sandbox.run.files import most_bytes
from ..sandbox.session.family import Family
from ..sandbox.session.files import folder_of, names_in, read, write
from ..sandbox.session.state import NotForkable, State, StateLost
from .checks import expiry, require_seconds
from .engine.engine import Engine
from .engine.task import OnOutput, RunFuture, Task
from .errors import PoolClosed, PoolError, SessionLost
from .function import check_name, pack_call, value_of
from .processes import SessionProcesses
from .program import Program
from .session_calls import Calls, how_many
from .session_files import CallFiles, checked_content

_OF_A_CALL = ("wall_s", "cpu_s", "output_bytes")
"""Limits that each call can have its own of; the others are the session's, from its beginning."""


class CallOptions(TypedDict, total=False):
    """What a session's call may be given besides its code; as for `Pool.run`."""

    stdin: str | bytes
    files: Mapping[str, str | bytes] | None
    collect: Sequence[str]
    timeout: float | None
    limits: Limits | None
    queue_timeout: float | None
    on_output: OnOutput | None


class Room(Protocol):
    """Where it is counted how many sessions there are, and what they hold."""

    def room(self, count: int) -> AbstractContextManager[Callable[[SessionProcesses], None]]:
        """Hold room for `count` more, and yield what takes in what one holds."""
        ...

    def discard(self, processes: SessionProcesses) -> None:
        """It holds nothing any more."""
        ...


class Session:
    """An interpreter whose state persists from call to call. Made by `Pool.session`, and by `fork`.

    Before a call the state is forked, and the fork parked: a checkpoint. If the call ends by
    itself, `rollback` can go back to it. If a limit or a signal ends it, the checkpoint takes its
    place, and the state is as before the call. Memory is rolled back; files are not. With
    `rollback=False` nothing is forked: a call is quicker, and one that is ended takes the session
    with it. Calls of one session are made one at a time. Thread-safe; a context manager.

    A fork copies one thread. Numeric libraries have one thread here, unless more are asked for, and
    those that they keep idle are ended before a fork. Where a program has others alive, such as an
    executor's, a call is made without a checkpoint (`Result.checkpointed`); if it is ended, the
    session goes back to the last checkpoint that there is.
    """

    def __init__(
        self,
        pool: object,
        engine: Engine,
        room: Room,
        held: SessionProcesses,
        *,
        history: int,
        rollback: bool,
        numeric_threads: int,
        runtime: str | None,
    ) -> None:
        self._pool = pool  # which is not collected, and so not closed, before this is
        self.engine = engine
        self._room = room
        self.held = held
        self.limits = held.family.limits
        self._history = history
        self._keeps = rollback
        self._numeric_threads = numeric_threads
        self._runtime = runtime
        self._calls = Calls(held, self.limits, history=history, keeps=rollback)
        self._closed = False
        self.current: RunFuture | None = None  # of the call whose turn it is, or was

    def __repr__(self) -> str:
        if self._head is None:
            return f"<Session {'closed' if self._closed else 'lost'}>"
        return f"<Session {len(self.held.past)} back>"

    @property
    def _family(self) -> Family:
        return self.held.family

    @property
    def _head(self) -> State | None:
        """The present state; None where it is lost."""
        return self.held.head

    def run(self, code: str | bytes, **options: Unpack[CallOptions]) -> Result:
        """Run `code` where the last call left off, and return its result.

        options: stdin, timeout, queue_timeout, on_output, as for `Pool.run`; limits: of time and
            output, for this call (what else is in them must be as the session's); files: contents
            by name, written before the code runs, over what is there; collect: which files come
            back in `Result.files`, whatever ended the call.

        A trailing expression's repr is `Result.value`. SystemExit ends the call, not the session.
        If a limit or a signal ended it, `Result.rolled_back` is the number of calls that are
        undone: this one, and those that were made since the last checkpoint. A call that breaks
        the interpreter so that it can't be forked ends the next one: `denied`, and both are undone.
        Raises `SessionLost` where the state is gone, OSError where one of `files` can't be written;
        then the code has not run.
        """
        return self.submit(code, **options).wait()

    def submit(self, code: str | bytes, **options: Unpack[CallOptions]) -> RunFuture:
        """Queue a call and return a future of its result; arguments as for `run`. Calls are made in
        the order in which they were submitted. `cancel()` takes back a call that waits for its turn
        and kills one that is made.
        """
        return self._submit(code, None, options)

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function `name` of the session's namespace and return what it returns.

        Arguments and result cross as data, as with `Pool.function`; its errors are the same:
        `ProgramError`, `LimitExceeded` (the session is then as before), `PoolError`, and TypeError
        for arguments that are no plain data. `run` is for calls with a time-out of their own.
        """
        return value_of(self.submit_request(pack_call(check_name(name), args, kwargs)).wait())

    def submit_request(self, request: bytes, **options: Unpack[CallOptions]) -> RunFuture:
        """Queue the call of a function, as `pack_call` has it; `value_of` has what it returned."""
        return self._submit(b"", request, options)

    async def arun(self, code: str | bytes, **options: Unpack[CallOptions]) -> Result:
        """`run` for asyncio, without a thread that waits: as many calls of different sessions run
        at once as the pool has workers. Cancelling the task kills the call, or, as long as it waits
        for its turn, takes it back.
        """
        import asyncio  # costs 12 ms, and its loop is there already

        return await asyncio.wrap_future(self.submit(code, **options))

    def write(self, name: str, data: str | bytes) -> None:
        """Write the file `name` below the working directory, over one that is there; folders on the
        way are made. It waits for its turn like a call, and is not rolled back.

        Raises OSError with the name where it can't be written: IsADirectoryError, PermissionError,
        ENOSPC where there is no room; ValueError for a name that leads elsewhere.
        """
        check_file_name("name", name)
        content = checked_content(data, self.limits)
        with self._folder() as (family, head, folder):
            write(family, head, folder, {name: content})

    def read(self, name: str) -> bytes:
        """Return what is in the file `name` below the working directory. It waits for its turn like
        a call. Raises OSError with the name where it can't be read: FileNotFoundError,
        IsADirectoryError, ELOOP for a link, which is not followed.
        """
        check_file_name("name", name)
        with self._folder() as (_, _, folder):
            return read(folder, name, most_bytes(self.limits))

    def listdir(self, path: str = ".") -> list[str]:
        """Return the sorted names in the working directory, or in the folder `path` below it. It
        waits for its turn like a call. Raises OSError with the path.
        """
        if path != ".":
            check_file_name("path", path)
        with self._folder() as (_, _, folder):
            return names_in(folder, path)

    def rollback(self, steps: int = 1) -> None:
        """Go back to the state before the last `steps` calls that ended by themselves. Raises
        `ValueError` for more than are kept, `PolicyError` for a state that was not kept, because
        threads were alive.
        """
        self._require_open()
        with self.held.turns.turn():
            self._require_head()
            past = self.held.past
            if isinstance(steps, bool) or not isinstance(steps, int):
                raise TypeError(f"steps must be a whole number, not {steps!r}")
            kept = [self.held.calls - each.calls for each in past] if self._history else []
            if not 1 <= steps <= max(kept, default=0):
                raise ValueError(
                    f"steps={steps!r}: {len(kept)} earlier states are kept "
                    f"(history={self._history if self._keeps else 0})"
                )
            if steps not in kept:
                possible = ", ".join(map(str, sorted(kept)))
                raise PolicyError(
                    f"steps={steps}: that state was not kept, because threads were alive in it; "
                    f"those that were kept are {possible} calls back"
                )
            while self.held.calls - past[-1].calls < steps:
                past.pop().state.close()
            self.held.go_back(past.pop())

    @overload
    def fork(self, n: None = None) -> "Session": ...
    @overload
    def fork(self, n: int) -> "list[Session]": ...
    def fork(self, n: int | None = None) -> "Session | list[Session]":
        """Return `n` sessions that go on from this state, each on its own; without `n`, one.

        Each has its own memory, randomness, and copy of the files, and none of the history. Raises
        `PolicyError` for a state that can't be forked as it is: with live threads (idle ones of
        numeric libraries are ended), shared memory, or open files; `PoolFull` where there is no
        room for more sessions.
        """
        count = 1 if n is None else n
        if isinstance(count, bool) or not isinstance(count, int):
            raise TypeError(f"n must be a whole number or None, not {n!r}")
        if not 1 <= count <= 1000:
            raise ValueError(f"n={n!r}: must be 1 to 1000")
        branches: list[Session] = []
        self._require_open()
        with self.held.turns.turn():
            head = self._require_head()
            try:
                with self._room.room(count) as adopt:
                    files = self._family.quiesce(head)
                    for _ in range(count):
                        descriptors.require()
                        branches.append(self._branch(head, files, adopt))
            except BaseException as error:
                for branch in branches:
                    branch.close()
                if isinstance(error, NotForkable):
                    raise error.as_policy() from None
                if isinstance(error, StateLost):
                    undone = self._calls.set_back(error)
                    raise PolicyError(
                        f"this state can't be forked: {error}; {how_many(undone)}"
                    ) from None
                if isinstance(error, JailLost):
                    raise self.held.lose(str(error)) from None
                raise
        return branches[0] if n is None else branches

    def reset(self) -> None:
        """Begin anew, with an interpreter and files as of a new session; also where it was lost."""
        self._require_open()
        with self.held.turns.turn():
            self._require_open()
            with self._room.room(0 if self._head is not None else 1) as adopt:
                families = self.engine.ground(self._runtime).families
                family, head = families.new_family(self.limits, self._numeric_threads)
                self.held.drop("it is reset")
                self.held.take(family, head)
                adopt(self.held)

    def close(self) -> None:
        """End it, and give back all that it holds; a call under way is cancelled. Its branches live
        on. Idempotent.
        """
        if not self.engine.is_ours():
            return  # a forked child: the processes are its parent's
        self._closed = True
        current = self.current
        if current is not None:
            current.cancel()
        self.held.abandon("it was closed")

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def history(self) -> int:
        """How many earlier states are kept now: as many as were asked for, or fewer, where they
        would hold more than `limits.memory_bytes` beside the present one. Exact between calls.
        """
        return len(self.held.past) if self._history else 0

    def is_lost(self) -> bool:
        """Whether its state is gone, though it was not closed: only `reset` goes on with it."""
        return self._head is None and not self._closed

    @property
    def is_gone(self) -> bool:
        """Whether it holds nothing any more."""
        return not self.held.states()

    def states(self) -> list[State]:
        """Its processes, as they are now."""
        return self.held.states()

    # ---- calls

    def _submit(
        self,
        code: str | bytes,
        request: bytes | None,
        options: CallOptions,
    ) -> RunFuture:
        self._require_open()
        limits = self._limits_of(options)
        queue_timeout = options.get("queue_timeout")
        require_seconds("queue_timeout", queue_timeout)
        program = Program(code, stdin=options.get("stdin", b""), runtime=self._runtime)
        files = CallFiles.of(options.get("files"), options.get("collect", ()), limits)
        task = Task(
            dataclasses.replace(program.job(limits), call=request),
            on_output=options.get("on_output"),
        )
        future = task.future
        self.held.turns.post(functools.partial(self._begin, task, queue_timeout, files))
        if future.done() and not future.cancelled() and (error := future.exception()):
            raise error  # it could not even be queued
        return future

    def _begin(self, task: Task, queue_timeout: float | None, files: CallFiles) -> bool:
        """A call's turn has come: queue it. False where it was taken back before."""
        if task.future.cancelled():
            task.begin()
            return False
        # Before whoever waits for the result has it: they find the session free.
        end = _Once(self._end_turn)
        task.call = functools.partial(self._call, files=files, end=end)
        task.future.add_done_callback(lambda _: end())  # where it was not made at all
        self.current = task.future
        try:
            self._require_head()
            task.queued_at = time.monotonic()
            task.expires_at = expiry(queue_timeout)
            self.engine.put(task)
        except PoolError as error:
            if task.begin():
                task.fail(error)
        return True

    def _end_turn(self) -> None:
        try:
            self.held.go_if_doomed()
        finally:
            self.held.used_at = time.monotonic()
            self.held.turns.done()

    def _limits_of(self, options: CallOptions) -> Limits:
        unknown = options.keys() - CallOptions.__annotations__.keys()
        if unknown:
            names = ", ".join(CallOptions.__annotations__)
            raise TypeError(f"unexpected argument {sorted(unknown)[0]!r}; there are {names}")
        limits = options.get("limits") or self.limits
        if not isinstance(limits, Limits):
            raise TypeError(f"limits must be a sandbox.Limits, not {limits!r}")
        if options.get("timeout") is not None:
            require_limit("timeout", options["timeout"])
            limits = limits.replace(wall_s=options["timeout"])
        for field in dataclasses.fields(Limits):
            own, wanted = getattr(self.limits, field.name), getattr(limits, field.name)
            if own != wanted and field.name not in _OF_A_CALL:
                raise PolicyError(
                    f"limits: {field.name}={wanted!r}, but the session has {own!r} from its "
                    f"beginning; a call can have its own {', '.join(_OF_A_CALL)}"
                )
        return limits

    def _call(self, task: Task, *, files: CallFiles, end: "_Once") -> Result:
        """In a worker's thread: make one call, with its files, and end its turn."""
        try:
            return files.around(self.held, lambda: self._calls.make(self._require_head(), task))
        except JailLost as lost:
            raise self.held.lose(str(lost)) from None
        finally:
            end()

    # ---- what it holds

    @contextlib.contextmanager
    def _folder(self) -> Iterator[tuple[Family, State, int]]:
        """Wait for a turn; yield the working directory of the present state, which is stopped."""
        self._require_open()
        with self.held.turns.turn():
            head = self._require_head()
            descriptors.require()
            try:
                with folder_of(self._family, head) as folder:
                    yield self._family, head, folder
            except JailLost as lost:
                raise self.held.lose(str(lost)) from None
            finally:
                self.held.used_at = time.monotonic()

    def _branch(
        self,
        head: State,
        files: list[tuple[int, str]],
        adopt: Callable[[SessionProcesses], None],
    ) -> "Session":
        state = self._family.branch(head, files)
        held = SessionProcesses(self._family, state, self._room.discard)
        adopt(held)
        return Session(
            self._pool,
            self.engine,
            self._room,
            held,
            history=self._history,
            rollback=self._keeps,
            numeric_threads=self._numeric_threads,
            runtime=self._runtime,
        )

    def _require_open(self) -> None:
        """Asked before a turn is waited for, too: in a forked child nobody may ever end it."""
        if not self.engine.is_ours():
            raise PoolClosed("this session belongs to another process; make one in this process")
        if self._closed:
            raise SessionLost("this session is gone: it was closed")

    def _require_head(self) -> State:
        self._require_open()
        if self._head is None:
            raise SessionLost(
                f"this session is gone: {self.held.why_lost}; `reset` begins anew",
                by_program=self.held.lost_by_program,
            )
        return self._head


class _Once:
    """Calls a function once, whoever comes first."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._first = threading.Lock()

    def __call__(self) -> None:
        if self._first.acquire(blocking=False):  # for good
            self._call()
