"""A head: the process that holds a session's state, parked until the host wants something.

The code here runs in the image of an untrusted program, which may do to it what it likes. So
nothing hangs on it: what a head may do, kernel, family init and host enforce, and what it says is
the program's word. It keeps apart from the program's doings (its own builtins, no module looked up
anew) so that honest programs don't break it by accident.

On a head's socket (a stream): a letter, the size of what follows, and that; descriptors come with
the letter.

=====================  =========================================================================
FORK, BRANCH           fork, as a checkpoint or a branch: `branching.py` has what follows
MOVED                  wire: where the files are now
QUIESCE                end the threads that libraries keep idle; answer QUIESCED, wire: the names of
                       the threads that Python has, and what is open (`open_files.of_this_process`)
JOB + three files      `pack_job`: run it; answer RESULT
HELLO                  from a new process; the first one's brings the listener for notifications
RESULT                 wire: (kind, exit code, value, exception, memory error, returned)
FAULT                  wire: why something could not be done
=====================  =========================================================================
"""

import __future__

import _signal  # type: ignore[import-not-found]
import _socket
import array
import ast
import builtins
import fcntl
import linecache
import os
import signal
import struct
import sys
import traceback
from typing import Any, NoReturn

from ..jail import capabilities, kernel, libraries, rlimits, wire
from ..jail.confine import Confinement
from ..jail.protocol import JobLimits
from ..run import ending, furnishing, program, uncaught
from ..run.program import Program
from . import open_files
from .branching import (
    ARRIVE,
    BRANCH,
    FORK,
    GO,
    HELLO,
    IN_NAMESPACES,
    NEW,
    RENEW,
    RENEWED,
    SETTLE,
    SETTLED,
    SIDE_BY_SIDE,
    STOP,
    WAKE,
    WITH_FILES,
    Walk,
)

__builtins__ = dict(vars(builtins))  # type: ignore[assignment]

JOB, MOVED, QUIESCE = b"j", b"m", b"q"
RESULT, FAULT, QUIESCED = b"r", b"x", b"q"
HEADER = struct.Struct("<cQ")
_JOB = struct.Struct("<?qqqqqqqqq")

MAX_VALUE = 1 << 20
"""Characters of a value's repr."""


_FUTURES = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
_ONLY_AST = ast.PyCF_ONLY_AST

_Socket = _socket.socket
_TIMERS = (_signal.ITIMER_REAL, _signal.ITIMER_VIRTUAL, _signal.ITIMER_PROF)
_ALL_SIGNALS = frozenset(map(int, signal.valid_signals()))
# Less its enums, which cost more than the call.
_set_mask = _signal.pthread_sigmask
_SIG_BLOCK, _SIG_SETMASK = _signal.SIG_BLOCK, _signal.SIG_SETMASK

_ROOM = _socket.CMSG_SPACE(4 * open_files.MOST)

_MOST_DESCRIPTORS = 1024
"""Above that, none is looked for: a branch with such a one is refused."""

ARRIVED = 0x7FFFFFF1
"""No process has this id: who sends it a signal asks the host for a socket of its own."""


class Head:
    """Holds the namespace of a session and serves one socket."""

    def __init__(self, jobs: Any, confinement: Confinement, own: Program) -> None:
        self._jobs = _Socket(fileno=jobs.detach())
        self._confinement = confinement
        self._program = own
        own.keeps_main = True
        self._namespace = own.main.__dict__
        self._calls = 0
        self._flags = 0
        self._mask: Any = set()
        self._is_silent = True
        # Made ready, so that a fork touches few pages before the host stops it.
        namespaces = kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS
        self._clone = kernel.prepare_clone(kernel.CLONE_PARENT)
        self._clone_branch = kernel.prepare_clone(
            kernel.CLONE_PARENT | (namespaces if confinement.has_namespaces else 0)
        )
        self._die_too = kernel.Prepared("prctl", kernel.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        self._arrive = kernel.prepare_question(ARRIVED)
        # Python's own reads source lines from files; those of earlier calls are only remembered.
        sys.excepthook = traceback.print_exception

    def begin(self, numeric_threads: int) -> NoReturn:
        """In the first head: be confined, and serve."""
        try:
            _silence()
            if numeric_threads > 1:  # the fork server's libraries have one
                libraries.allow(numeric_threads)
            if self._confinement.family:
                self._move(self._confinement.scratch, self._confinement.top)
            self._program.prepare()
            _set_mask(_SIG_BLOCK, _ALL_SIGNALS)
            listener = self._confinement.head()
            self._send(HELLO, b"", (listener,))
            own = self._jobs.fileno()
            os.closerange(3, own)
            os.closerange(own + 1, 1 << 20)
        except BaseException as error:
            self._send(FAULT, wire.encode(f"{type(error).__name__}: {error}"))
            os._exit(1)
        self._serve()

    def _serve(self) -> NoReturn:
        """Do what the host says. All signals are blocked but while a program runs: parked, its
        handlers are not called, and no signal comes between a fork and its being asked for.
        """
        while True:
            try:
                kind, payload, fds = self._receive()
                if kind == JOB:
                    self._run(payload, fds)
                elif kind == FORK:
                    self._fork()
                elif kind == BRANCH:
                    self._fork(branch=True, with_files=wire.decode(payload) is True)
                elif kind == MOVED:
                    self._move(str(wire.decode(payload)))
                elif kind == QUIESCE:
                    self._quiesce()
            except (EOFError, OSError):
                os._exit(0)  # nobody wants this state any more

    def _fork(self, *, branch: bool = False, with_files: bool = False) -> None:
        if not self._is_silent:  # of the last call, which nobody reads any more
            _silence()
            self._is_silent = True
        try:
            if self._clone_branch() if branch else self._clone():
                return
        except OSError as error:
            self._send(FAULT, wire.encode(str(error)))
            return
        self._die_too()
        # A socket of our own comes from the host: what passed through the forerunner it could keep.
        fd = self._arrive()
        os.close(self._jobs.detach())
        self._jobs = _Socket(fileno=fd)
        if branch:
            try:
                self._settle(with_files)
            except BaseException as error:
                self._send(FAULT, wire.encode(f"{type(error).__name__}: {error}"))
                os._exit(1)
        self._send(HELLO, b"")

    def _quiesce(self) -> None:
        libraries.quiesce()
        if not self._is_silent:
            _silence()
            self._is_silent = True
        most = min(os.sysconf("SC_OPEN_MAX"), _MOST_DESCRIPTORS)
        files = open_files.of_this_process(self._jobs.fileno(), most)
        self._send(QUIESCED, wire.encode((libraries.names(), files)))

    def _settle(self, with_files: bool) -> None:
        """In a branch: stand in its own files, give up what its user namespace gave it, take its
        own copies of what is open, let the family init look at it, and draw its own random numbers.
        """
        _silence()  # anew: the family init knows /dev/null by the mounts that are the branch's own
        way = IN_NAMESPACES if self._confinement.has_namespaces else SIDE_BY_SIDE
        walk = Walk(way + WITH_FILES if with_files else way, NEW)
        walk.take(ARRIVE)
        where: Any = wire.decode(self._expect(walk, SETTLE)[0])
        here, old = os.getcwd(), self._confinement.scratch
        if where is not None:
            self._move(where)
        else:
            capabilities.drop_bounding_set()
            capabilities.apply()
        os.chdir(program.moved(here, old, where or old))
        if where is not None:
            kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
        walk.take(SETTLED)
        self._send(SETTLED, b"")
        if with_files:
            payload, fds = self._expect(walk, RENEW)
            numbers: Any = wire.decode(payload)
            for number, fd in zip(numbers, fds, strict=True):
                os.dup2(fd, number, inheritable=False)
                os.close(fd)
            walk.take(RENEWED)
            self._send(RENEWED, b"")
        walk.take(STOP)  # which it does not notice
        walk.take(WAKE)
        self._expect(walk, GO)
        if where is not None:
            kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        for seed in program.seeders():
            seed()

    def _expect(self, walk: Walk, word: bytes) -> tuple[bytes, list[int]]:
        kind, payload, fds = self._receive()
        walk.take(kind)
        assert kind == word
        return payload, fds

    def _move(self, new: str, old: str | None = None) -> None:
        old = old or self._confinement.scratch
        self._confinement.stand_in(new)
        self._program.move(old, new)

    # ---- calls

    def _run(self, payload: bytes, fds: list[int]) -> None:
        content, limits, is_call = _unpack_job(payload)
        # Where a program has closed its streams, they come under the numbers that they replace.
        fds = [fcntl.fcntl(fd, fcntl.F_DUPFD, 3) if fd < 3 else fd for fd in fds]
        for target, fd in enumerate(fds):
            os.dup2(fd, target)
            os.close(fd)
        if limits != self._program.limits:
            rlimits.apply(limits)
            self._program.limits = limits
        program.renew_stdin()
        self._is_silent = False
        _set_mask(_SIG_SETMASK, self._mask)
        outcome = self._execute(content, is_call)
        self._mask = _set_mask(_SIG_BLOCK, _ALL_SIGNALS)
        for timer in _TIMERS:  # they end with the call that set them
            _signal.setitimer(timer, 0)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BaseException:
                pass
        ending.flush_stdio()
        self._send(RESULT, wire.encode(outcome))

    def _execute(self, content: bytes, is_call: bool) -> wire.Value:
        value = returned = None
        try:
            if is_call:
                returned = furnishing.call(self._namespace, content)
            else:
                value = self._evaluate_as_file(content)
        except SystemExit as error:
            return ("exit", uncaught.exit_code(error) & 0xFF, None, None, False, None)
        except BaseException as error:
            missed = error
        else:
            return ("ok", 0, value, None, False, returned)
        uncaught.strip(missed)
        uncaught.show(missed)
        claim = uncaught.describe(missed).shortened()
        return ("exception", 1, None, claim.exception, claim.memory_error, None)

    def _evaluate_as_file(self, source: bytes) -> str | None:
        self._calls += 1
        name = f"<call {self._calls}>"
        text = source.decode("utf-8", "replace")
        # Without a time of change, an entry is never looked for in a file.
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        try:
            return self._evaluate(source, name)
        except ValueError as error:
            if "null bytes" not in str(error):
                raise
            raise SyntaxError(str(error)) from None

    def _evaluate(self, source: bytes, name: str) -> str | None:
        """Run the statements; return the repr of a last one that is an expression."""
        tree = compile(source, name, "exec", self._flags | _ONLY_AST, dont_inherit=True)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        code = compile(tree, name, "exec", self._flags, dont_inherit=True)
        self._flags |= code.co_flags & _FUTURES
        exec(code, self._namespace)
        if last is None:
            return None
        expression = ast.Expression(last.value)
        value = eval(
            compile(expression, name, "eval", self._flags, dont_inherit=True), self._namespace
        )
        if value is None:
            return None
        vars(builtins)["_"] = value
        return shortened_value("" + repr(value))

    # ---- the wire

    def _send(self, kind: bytes, payload: bytes, fds: tuple[int, ...] = ()) -> None:
        data = memoryview(HEADER.pack(kind, len(payload)) + payload)
        rights = array.array("i", fds)
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if fds else []
        sent = self._jobs.sendmsg([data], ancillary)
        while sent < len(data):
            sent += self._jobs.send(data[sent:])

    def _receive(self) -> tuple[bytes, bytes, list[int]]:
        header, ancillary, _, _ = self._jobs.recvmsg(HEADER.size, _ROOM)
        if len(header) < HEADER.size:
            raise EOFError
        fds = array.array("i")
        for level, kind, data in ancillary:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                fds.frombytes(data)
        kind, size = HEADER.unpack(header)
        pieces = []
        while size:
            piece = self._jobs.recv(min(size, 1 << 20))
            if not piece:
                raise EOFError
            pieces.append(piece)
            size -= len(piece)
        return kind, b"".join(pieces), list(fds)


def pack_job(source: bytes, limits: tuple[int, ...], call: bytes | None = None) -> bytes:
    """What follows JOB: the rlimits of `protocol.JobLimits`, and a source, or what to call instead
    of running one (`furnishing.call`).
    """
    return _JOB.pack(call is not None, *limits) + (source if call is None else call)


def _unpack_job(payload: bytes) -> tuple[bytes, JobLimits, bool]:
    is_call, *limits = _JOB.unpack_from(payload)
    return payload[_JOB.size :], JobLimits(*limits), is_call


def _silence() -> None:
    """Put nothing in place of the standard streams, before they would be shared with a fork."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        if fd != null:
            os.dup2(null, fd)
    if null > 2:  # else a program had closed that one, and what comes next would get its number
        os.close(null)


def shortened_value(text: str) -> str:
    """A value's repr, cut to its cap; what is cut already stays as it is."""
    return text if len(text) <= MAX_VALUE else text[:MAX_VALUE] + "..."
