"""A test that calls, and a program that answers: two processes, and the host between them.

Each of the two holds one end of a stream to the host, which passes on what it has read and found
well-formed. Whatever crosses is a frame: an unsigned 32-bit little-endian length, and so many bytes
of wire data.

=================  ==========================  =====================================================
test -> host       ("call", args, kwargs)      of the entry point; the host passes it on
                   ("unfit", why, size)        arguments that can't cross: nothing was called;
                                               size: for their size alone
                   ("end", "" | "failed" |     the test has come to its end: well, by an exception,
                   "own")                      or by one that is a mistake of its own
program -> host    ("value", value)            what it returned; the host passes it on
                   ("raised", type, args)      a built-in exception, by name; the host passes it on
                   ("unfit", why)              it returned what can't cross
=================  ==========================  =====================================================

What the program's process says is its word, and only data: it can return what it likes, and so fail
or pass a test, but end none. The test's process runs no code of the program's.
"""

import _thread
import builtins
import linecache
import os
import struct
from collections.abc import Callable
from typing import Any, NoReturn

from . import furnish, wire

FD = 3
"""Where a process has its end of the stream."""

HEADER = struct.Struct("<I")

MAX_CALL = 16 << 20
MAX_ANSWER, MAX_ANSWER_DEPTH, MAX_ANSWER_NODES = 8 << 20, 48, 500_000
"""Less than what a call may hold: a test can hand back what it was given."""

TEST, PROGRAM = "test", "program"
"""The two roles."""

CHECK = "check"
PRELUDE_FILE = "<prelude>"

Role = tuple[str, str, str]
"""TEST or PROGRAM, the name of the entry point, and a test's prelude."""

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

__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
"""As in `program.py`: a program that takes away its own builtins keeps these."""

_read, _write, _leave = os.read, os.write, os._exit  # programs replace these, too


class Test:
    """The test's end: a stand-in for the program's entry point, and how the test went."""

    def __init__(self, role: Role, namespace: dict[str, Any], path: str) -> None:
        _, self._name, self._prelude = role
        self._namespace = namespace
        self._path = path
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
        if check is not self._checks and callable(check):
            check(self._candidate)

    def end(self, error: BaseException | None) -> None:
        """Say how the test has ended."""
        word = "" if error is None else "own" if self._is_own(error) else "failed"
        with self._turn:
            _send(wire.encode(("end", word)))

    def _is_own(self, error: BaseException) -> bool:
        """Whether the test's own text has named what is not there: no answer can make it do so."""
        if type(error) not in (NameError, ImportError, ModuleNotFoundError):
            return False
        traceback = error.__traceback__
        while traceback is not None and traceback.tb_next is not None:
            traceback = traceback.tb_next
        where = None if traceback is None else traceback.tb_frame.f_code.co_filename
        return where in (self._path, PRELUDE_FILE)

    def _stand_in(self) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                request = wire.encode(("call", args, kwargs), max_bytes=MAX_CALL, bases=True)
            except wire.WireError as error:
                why = f"an argument of {self._name} can't cross: {error}"
                with self._turn:
                    _send(wire.encode(("unfit", why, isinstance(error, wire.TooMuch))))
                raise TypeError(why) from None
            with self._turn:
                _send(request)
                answer: Any = wire.decode(_receive())
            if answer[0] == "value":
                return answer[1]
            raise _exception(answer[1], answer[2])

        call.__name__ = call.__qualname__ = self._name.rpartition(".")[2]
        return call


def _leading_to(target: Any, name: str) -> Any:
    """What the name's first part must stand for, so that the whole name leads to `target`."""
    parts = name.split(".")
    for place in range(len(parts) - 1, 0, -1):
        holder = type("StandIn", (), {parts[place].removesuffix("()"): staticmethod(target)})
        # With a "()" before it, the holder is what calling the part before makes.
        target = holder if parts[place - 1].endswith("()") else holder()
    return target


def serve(name: str, namespace: dict[str, Any]) -> NoReturn:
    """In the program's process, when it has been loaded: answer calls for as long as any come.

    What is no Exception (SystemExit, say) is not caught: it ends the program, and with it the test.
    """
    furnish.require(namespace, name)
    while True:
        call: Any = wire.decode(_receive())
        target = furnish.find(namespace, name)
        try:
            value = target(*call[1], **call[2])
        except Exception as error:
            answer = _raised(error)
        else:
            answer = _value(value)
        _send(answer)


def _value(value: object) -> bytes:
    try:
        return _answer("value", value)
    except wire.WireError as error:
        return wire.encode(("unfit", f"{error}"))


def _raised(error: Exception) -> bytes:
    """An exception as the nearest built-in type that it is of, with its arguments if they are plain
    data, else with its text.
    """
    kind: type[Exception] = RuntimeError  # as PEP 479 has it
    if not isinstance(error, (StopIteration, StopAsyncIteration)):
        kind = next(base for base in type(error).__mro__ if EXCEPTIONS.get(base.__name__) is base)
    try:
        return _answer("raised", kind.__name__, tuple(error.args))
    except wire.WireError:
        return _answer("raised", kind.__name__, ("" + str(error)[:_MAX_MESSAGE],))


def _answer(*parts: object) -> bytes:
    return wire.encode(
        parts,
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


def _send(body: bytes) -> None:
    left = memoryview(HEADER.pack(len(body)) + body)
    while left:
        try:
            left = left[_write(FD, left) :]
        except OSError:
            _leave(0)  # the host no longer listens


def _receive() -> bytes:
    (size,) = HEADER.unpack(_take(HEADER.size))
    return _take(size)


def _take(size: int) -> bytes:
    pieces = []
    while size:
        try:
            piece = _read(FD, min(size, 1 << 20))
        except OSError:
            piece = b""
        if not piece:
            _leave(0)  # the host no longer asks
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
