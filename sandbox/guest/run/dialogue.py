"""A test that calls, and a program that answers: two processes, and the host between them.

Each of the two holds one end of a stream to the host, which passes on what may be passed on. What
crosses is a frame: a `HEADER` with the size of the body, and what kind it is, and the body.

=================  =========  ======================================================================
test -> host       CALL       (args, kwargs) of the entry point, as wire data; is passed on
                   UNFIT      arguments that can't cross, and why: nothing was called
                   TOO_LARGE  the same, for their size alone
                   GARBLED    the answer can't be read, and why
                   WELL       the end of the test
                   FAILED     the end of the test, by an exception
                   PART       one of several tests has ended, well (no body) or by an ordinary
                              exception (a `Claim`, as wire data): is there to be another?
host -> test       NEXT       yes: run the next one
                   LAST       no: end, as if there were no other
program -> host    VALUE      what it returned, as wire data; is passed on
                   RAISED     (type, args) of a built-in exception, as wire data; is passed on
                   UNFIT      it returned what can't cross, and why
=================  =========  ======================================================================

What the program's process says is its word, and only data: it can return what it likes, and so fail
or pass a test, but end none. The test's process runs no code of the program's, and it alone says
which of its tests has ended; the host counts them.
"""

import _thread
import atexit
import builtins
import linecache
import os
import struct
from collections.abc import Callable
from typing import Any, NoReturn

from ..jail import wire
from . import furnishing as furnishing
from . import uncaught

FD = 3
"""Where a process has its end of the stream."""

HEADER = struct.Struct("<IB")

CALL, UNFIT, TOO_LARGE, GARBLED, WELL, FAILED, VALUE, RAISED, PART, NEXT, LAST = range(1, 12)

MAX_CALL = 16 << 20
MAX_ANSWER, MAX_ANSWER_DEPTH, MAX_ANSWER_NODES = 8 << 20, 48, 500_000
"""Less than what a call may hold: a test can hand back what it was given."""
MAX_TRACEBACK = 8 << 10
"""Characters of the traceback of a test that is not the last."""

TEST, PROGRAM = "test", "program"
"""The two roles."""

CHECK = "check"
PRELUDE_FILE = "<prelude>"

Role = tuple[str, str, str, tuple[bytes, ...], bool]
"""TEST or PROGRAM, the name of the entry point, a test's prelude, the tests that come after the
first, which is the job's source, and whether one that fails is the last.
"""

EXCEPTIONS: dict[str, type[Exception]] = {
    name: kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type)
    and issubclass(kind, Exception)
    and kind.__name__ == name
    and kind not in (StopIteration, StopAsyncIteration)
}
"""What a call can raise in a test. Not SystemExit and its like: a program could end a test. Nor
what ends an iteration: `all(map(...))` would take it for the end of what is to be looked at.
"""

_MAX_MESSAGE = 4096
_READ = 1 << 16

__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
"""As in `program.py`: a program that takes away its own builtins keeps these."""

_read, _write, _leave = os.read, os.write, os._exit  # programs replace these, too


class Test:
    """The test's end: a stand-in for the program's entry point, and how the test went."""

    def __init__(self, role: Role, namespace: dict[str, Any]) -> None:
        _, self._name, self._prelude, _, self._stops = role
        self._namespace = namespace
        self._turn = _thread.allocate_lock()  # tests may have threads
        self._checks: object = None

    def before(self) -> None:
        """Run the prelude as a module, and put the stand-in where its entry point was."""
        namespace = self._namespace
        name = namespace["__name__"]
        namespace["__name__"] = PROGRAM
        lines = self._prelude.splitlines(True)
        linecache.cache[PRELUDE_FILE] = (len(self._prelude), None, lines, PRELUDE_FILE)
        exec(compile(self._prelude, PRELUDE_FILE, "exec", dont_inherit=True), namespace)
        namespace["__name__"] = name
        self._candidate = self._stand_in()
        first = self._name.partition(".")[0].removesuffix("()")
        namespace[first] = _leading_to(self._candidate, self._name)
        self._checks = namespace.get(CHECK)

    def after(self) -> None:
        """Call `check`, if the test has defined one."""
        check = self._namespace.get(CHECK)
        known = check is self._checks or check is self._candidate
        if not known and callable(check):
            check(self._candidate)

    def end(self, error: BaseException | None) -> None:
        """Say how the test has ended."""
        with self._turn:
            _send(WELL if error is None else FAILED)

    def goes_on(self, exit_code: int, error: BaseException | None) -> bool:
        """Whether this process is to run another test: where this one has left nothing behind that
        would be the next one's, and the host agrees.
        """
        if _thread._count() or atexit._ncallbacks():
            return False
        if error is None:
            if exit_code:
                return False
            body = b""
        else:
            claim = uncaught.describe(error)
            # Of what is no ordinary exception, the result of the process says more.
            ordinary = isinstance(error, Exception) and not isinstance(error, ImportError)
            if self._stops or not ordinary or claim.memory_error:
                return False
            body = wire.encode(claim.shortened(MAX_TRACEBACK).exception)
        with self._turn:
            _send(PART, body)
            return _receive()[0] == NEXT

    def _stand_in(self) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                request = wire.encode((args, kwargs), max_bytes=MAX_CALL, bases=True)
            except wire.WireError as error:
                why = f"an argument of {self._name} can't cross: {error}"
                with self._turn:
                    _give_up(TOO_LARGE if isinstance(error, wire.TooMuch) else UNFIT, why)
            with self._turn:
                _send(CALL, request)
                kind, body = _receive()
                answer = _read_answer(kind, body)
            if kind == VALUE:
                return answer
            raise answer

        call.__name__ = call.__qualname__ = self._name.rpartition(".")[2]
        return call


def _read_answer(kind: int, body: bytes) -> Any:
    """The value in an answer, or the exception."""
    try:
        answer: Any = wire.decode(
            body,
            max_bytes=MAX_ANSWER,
            max_depth=MAX_ANSWER_DEPTH,
            max_nodes=MAX_ANSWER_NODES,
        )
        if kind == VALUE:
            return answer
        match answer:
            case (str(name), tuple(args)) if name in EXCEPTIONS:
                return _exception(name, args)
        raise wire.WireError("it names no exception")
    except wire.WireError as error:
        _give_up(GARBLED, str(error))


def _leading_to(target: Any, name: str) -> Any:
    """What the name's first part must stand for, so that the whole name leads to `target`."""
    parts = name.split(".")
    for place in range(len(parts) - 1, 0, -1):
        holder = type("StandIn", (), {parts[place].removesuffix("()"): staticmethod(target)})
        # With a "()" before it, the holder is what calling the part before makes.
        target = holder if parts[place - 1].endswith("()") else holder()
    return target


def _give_up(kind: int, why: str) -> NoReturn:
    """Say what can't go on; the host then ends this process."""
    _send(kind, why.encode("utf-8", "replace"))
    _receive()
    _leave(1)


def serve(name: str, namespace: dict[str, Any]) -> NoReturn:
    """In the program's process, when it has been loaded: answer calls for as long as any come.

    What is no Exception (SystemExit, say) is not caught: it ends the program, and with it the test.
    """
    furnishing.require(namespace, name)
    while True:
        call: Any = wire.decode(_receive()[1])
        target = furnishing.find(namespace, name)
        try:
            value = target(*call[0], **call[1])
        except Exception as error:
            _send(RAISED, _raised(error))
            continue
        try:
            answer = _encode(value)
        except wire.WireError as error:
            _send(UNFIT, str(error).encode("utf-8", "replace"))
            continue
        _send(VALUE, answer)


def _raised(error: Exception) -> bytes:
    """An exception as the nearest built-in type that it is of, with its arguments if they are plain
    data, else with its text.
    """
    kind: type[Exception] = RuntimeError  # as PEP 479 has it
    if not isinstance(error, (StopIteration, StopAsyncIteration)):
        kind = next(base for base in type(error).__mro__ if EXCEPTIONS.get(base.__name__) is base)
    try:
        return _encode((kind.__name__, tuple(error.args)))
    except wire.WireError:
        return _encode((kind.__name__, ("" + str(error)[:_MAX_MESSAGE],)))


def _encode(value: object) -> bytes:
    return wire.encode(
        value,
        max_bytes=MAX_ANSWER,
        max_depth=MAX_ANSWER_DEPTH,
        max_nodes=MAX_ANSWER_NODES,
        bases=True,
    )


def _exception(name: str, args: tuple[Any, ...]) -> Exception:
    kind = EXCEPTIONS[name]
    try:
        return kind(*args)
    except Exception:
        pass
    try:
        error = kind.__new__(kind)  # some insist on arguments of their own kind
    except Exception:
        error = Exception()
    error.args = args
    return error


def _send(kind: int, body: bytes = b"") -> None:
    data = HEADER.pack(len(body), kind) + body
    try:
        sent = _write(FD, data)
        while sent < len(data):
            sent += _write(FD, memoryview(data)[sent:])
    except OSError:
        _leave(0)  # the host no longer listens


def _receive() -> tuple[int, bytes]:
    """The next frame. There is never more than one on its way: each is an answer to another."""
    data = _take()
    while len(data) < HEADER.size:
        data += _take()
    size, kind = HEADER.unpack_from(data)
    missing = HEADER.size + size - len(data)
    if not missing:
        return kind, data[HEADER.size :]
    pieces = [data[HEADER.size :]]
    while missing > 0:
        pieces.append(_take())
        missing -= len(pieces[-1])
    return kind, b"".join(pieces)


def _take() -> bytes:
    try:
        data = _read(FD, _READ)
    except OSError:
        data = b""
    if not data:
        _leave(0)  # the host is gone
    return data
