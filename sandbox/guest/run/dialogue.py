"""A test that calls, and a program that answers: two processes, and the host between them.

Each of the two holds one end of a stream to the host, which passes on what may be passed on. What
crosses is a frame: a `HEADER` with the size of the body, and what kind it is, and the body.

=================  =========  ======================================================================
test -> host       CALL       what is asked of the program, see below; is passed on
                   UNFIT      arguments that can't cross, and why: nothing was called
                   TOO_LARGE  the same, for their size alone
                   GARBLED    the answer can't be read, and why
                   WELL       the end of the test; `WEAK` for a body: see `calling.Test`
                   FAILED     the end of the test, by an exception
                   PART       one of several tests has ended: (None, or an ordinary exception as a
                              `Claim` has it; whether it was weak), as wire data: is there to be
                              another?
host -> test       NEXT       yes: run the next one
                   LAST       no: end, as if there were no other
program -> host    VALUE      the answer; is passed on
                   RAISED     an exception; is passed on
                   UNFIT      it returned what can't cross, and why
=================  =========  ======================================================================

The bodies of CALL, VALUE and RAISED are values as `crossing` writes them:

CALL    (operation, place, target, args, kwargs, files, seeds): one of `answering.OPERATIONS`; of
        the name at this place of the role, or of the target where that is -1
VALUE   the value; of a role that `tells_more`, (value, arguments afterwards, what was printed,
        files)
RAISED  (built-in type, args, places of the role's names that are classes of it, (module, name) of
        its type, its text, its attributes, what was printed, files)

What the program's process says is its word, and only data: it can return what it likes, and so fail
or pass a test, but end none. The test's process runs no code of the program's, and it alone says
which of its tests has ended; the host counts them.
"""

import builtins
import os
import struct
from typing import Any, NamedTuple, NoReturn

FD = 3
"""Where a process has its end of the stream."""

HEADER = struct.Struct("<IB")

CALL, UNFIT, TOO_LARGE, GARBLED, WELL, FAILED, VALUE, RAISED, PART, NEXT, LAST = range(1, 12)

MAX_CALL = 32 << 20
MAX_ANSWER = 16 << 20
"""Less than what a call may hold: a test can hand back what it was given."""
MAX_TRACEBACK = 8 << 10
"""Characters of the traceback of a test that is not the last."""

TEST, PROGRAM = "test", "program"
"""The two roles."""

WEAK = b"w"

FUNCTION, HOLDER, CLASS, ERROR, CONSTANT = "function", "holder", "class", "error", "constant"
"""What a name of the program stands for, by the test's text: something that is called; that may be
a class, whose instances the test then holds by a handle; that is one for sure, so that a handle may
also be reckoned with; a class of exceptions; data."""


class Role(NamedTuple):
    """What one of the two processes is to the other.

    kind: TEST or PROGRAM. names: of the program, which the test uses, each with what it stands for.
    records: the names of classes that both define. module: of which the test imports the names; "":
    it finds them among its own. mutates: changes that the program makes to arguments are made to
    the test's. prints: the test is handed what the program writes to sys.stdout and sys.stderr.
    shares: files of either side are also the other's (`sharing`). seeds: the generators of random
    numbers that all share go on in the program from where they are in the test, if that seeds them.
    holders: attributes and names whose value, or what they return, the test takes for an object by
    its text (`tree.root.left`, `adder(3)(4)`): it may have a handle of that, whatever it is.
    The rest is for the test only. runs: it is a module of tests that are to be found and run.
    prelude: is run before it. tests: the sources of those that come after the first, which is the
    job's. stops: one that fails is the last.
    """

    kind: str
    names: tuple[tuple[str, str], ...]
    records: tuple[str, ...] = ()
    module: str = ""
    mutates: bool = False
    prints: bool = False
    shares: bool = False
    seeds: bool = False
    holders: tuple[str, ...] = ()
    runs: bool = False
    prelude: str = ""
    tests: tuple[bytes, ...] = ()
    stops: bool = False

    def takes_object(self, operation: str, place: int, args: tuple[Any, ...]) -> bool:
        """Whether the test's text takes what comes of this for an object."""
        if operation in ("get", "method"):
            return args[0] in self.holders
        return operation == "call" and place >= 0 and self.names[place][0] in self.holders

    @property
    def tells_more(self) -> bool:
        return self.mutates or self.prints or self.shares


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

_READ = 1 << 16

__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
"""As in `program.py`: a program that takes away its own builtins keeps these."""

_read, _write, _leave = os.read, os.write, os._exit  # programs replace these, too


def leave(code: int) -> NoReturn:
    _leave(code)


def send(kind: int, body: bytes = b"") -> None:
    data = HEADER.pack(len(body), kind) + body
    try:
        sent = _write(FD, data)
        while sent < len(data):
            sent += _write(FD, memoryview(data)[sent:])
    except OSError:
        _leave(0)  # the host no longer listens


def receive() -> tuple[int, bytes]:
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
