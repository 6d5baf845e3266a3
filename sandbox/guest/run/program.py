"""Running a program in a child of the zygote as `python -u file.py` runs it.

`-u` because output must be complete and in order whatever ends the program: what was printed
has left the process, also when a limit kills it.
"""

import _random
import _signal  # type: ignore[import-not-found]
import builtins
import functools
import importlib.machinery
import io
import linecache
import os
import signal
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from ..jail.confine import PROGRAM_FILE
from ..jail.protocol import Extras, JobLimits
from ..jail.report import Claim, Report
from . import answering, ending, threads, uncaught
from . import furnishing as furnishing
from .calling import Test
from .dialogue import TEST, Role
from .standins import StandIns

__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
"""The builtins of this module's functions: a program that takes away its own keeps its end."""

_leave, _own_id = os._exit, os.getpid  # programs replace these, too

_REHEARSAL = b"""
def f(x, *y, **z):
    return [len(str(x)) for x in range(x)]
try:
    f(2)
finally:
    pass
"""

_NOTHING = Claim()

MODULE = "program"
"""What a source is called that is loaded for a call, so that its main part does not run."""

_Module = types.ModuleType

_Ended = tuple[int, BaseException | None]


class Program:
    """The way from a program's source to its end, prepared in the zygote as far as it goes.

    Made once: it turns the zygote itself into what a program expects around it (`__main__`,
    sys.argv, the standard streams), so that the children find it ready, in pages they share.
    `home` is the working directory, where the program's file will be. keeps_main: what
    runs in `main` stays, and others go on from there. limits: of the present job, once it is known.
    """

    def __init__(
        self, home: str, report: Report, more_seeders: Sequence[Callable[[], object]] = ()
    ) -> None:
        self.path = os.path.join(home, PROGRAM_FILE)
        self._name = PROGRAM_FILE
        self.report = report
        self.keeps_main = False
        self.limits = JobLimits()
        self._earlier = types.ModuleType("__main__")
        self._names = {
            "__builtins__": sys.modules["builtins"],
            "__file__": self.path,
            "__cached__": None,
            "__loader__": importlib.machinery.SourceFileLoader("__main__", self.path),
        }
        self._renew_main()
        for name in [name for name in sys.modules if name.partition(".")[0] == "guest"]:
            del sys.modules[name]
        self._sites = sys.path[2:]  # behind the standard library's: packages
        sys.path.insert(0, home)
        self._seeders = [*seeders(), *more_seeders]
        threads.install(lambda: self.limits.memory)
        install_streams()

    def _renew_main(self) -> None:
        main = sys.modules["__main__"] = self.main = _Module("__main__")
        names = main.__dict__
        names.update(self._names)
        names["__annotations__"] = {}

    def move(self, old: str, new: str) -> None:
        """Know that what was in the folder `old` is in the folder `new` now."""
        self._know_path(moved(self.path, old, new))
        sys.path[:] = [moved(each, old, new) for each in sys.path]
        for name, text in os.environ.items():
            if text != moved(text, old, new):
                os.environ[name] = moved(text, old, new)
        tempfile: Any = sys.modules.get("tempfile")
        if tempfile is not None and tempfile.tempdir:
            tempfile.tempdir = moved(tempfile.tempdir, old, new)

    def rename(self, name: str) -> None:
        """Have the program's file be called `name`."""
        self._name = name
        self._know_path(os.path.join(os.path.dirname(self.path), name))

    def _know_path(self, path: str) -> None:
        self.path = path
        names = self.main.__dict__
        names["__file__"] = path
        names["__loader__"] = importlib.machinery.SourceFileLoader("__main__", path)

    def prepare(self) -> None:
        """In the child, before its job is known: Python's handler of Ctrl-C, its own randomness, a
        `__main__` that the collector has not frozen, so that it can be collected at the end.
        """
        if not self.keeps_main:
            self._earlier = self.main  # to take it apart would touch all that it names
            self._renew_main()
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)  # less its enum
        for seed in self._seeders:
            seed()

    def let_execute(self) -> None:
        """In a child that may start interpreters: have them find the packages, too."""
        if self._sites:
            os.environ["PYTHONPATH"] = os.pathsep.join(self._sites)

    def rehearse(self) -> None:
        """Run a small program: in the zygote, and in a child that has to wait, to touch the pages
        that every program touches.
        """
        _execute(_REHEARSAL, self.path, {})

    def write(self, source: bytes) -> None:
        """Write the program's file."""
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(file, source)
        os.close(file)

    def furnishing(self, extras: Extras, descriptors: list[int]) -> None:
        """Give the program what few have: files, an environment, a seed."""
        if extras.files:
            furnishing.place(extras.files, descriptors[0])
        if extras.env is not None:
            furnishing.set_environment(extras.env)
        if extras.seed is not None:
            furnishing.seed(extras.seed)

    def run(
        self,
        source: bytes,
        argv: list[str],
        limits: JobLimits,
        call: bytes | None = None,
        role: Role | None = None,
    ) -> None:
        """Run the program as `__main__`; never return. With a `call`, load it as a module, make
        the call, and leave what it returns in the report. With a `role`, be a test that calls, or
        a module that answers.
        """
        self.limits = limits
        if limits.recursion >= 0:
            sys.setrecursionlimit(limits.recursion)
        sys.argv = [self._name, *argv]
        sys.orig_argv = ["python", self._name, *argv]
        namespace = self.main.__dict__
        then: Callable[[], object] | None = None
        tests: tuple[bytes, ...] = ()
        if call is not None:
            then = functools.partial(self._make, namespace, call)
        elif role is not None and role.kind == TEST:
            tests = source, *role.tests
        elif role is not None:
            recorders = record_streams() if role.prints else ()
            then = functools.partial(answering.serve, role, namespace, recorders)
        if then is not None:
            namespace["__name__"] = MODULE
            sys.modules[MODULE] = self.main
        leader = _own_id()
        test = None
        if tests:
            assert role is not None
            exit_code, error, test = self._run_tests(tests, role)
        else:
            exit_code, error = _execute(source, self.path, namespace, then)
        try:
            sys.settrace(None)  # the program's own: from here on it would trace us
        except BaseException:  # an audit hook's opinion
            pass
        claim = _NOTHING if error is None else uncaught.describe(error)
        interrupted = type(error) is KeyboardInterrupt  # of a subclass, Python does not die
        if test is None:
            # What we hold is no longer to be what keeps the program's objects alive.
            del namespace, then, error
        exit_code = ending.finish(exit_code, self._release_main, frozen=self.keeps_main)
        if _own_id() != leader:  # a process that the program has forked
            _leave(exit_code & 0xFF)
        if test is not None:
            test.end(error)
        self.report.write(claim)
        if interrupted:
            # Python dies of the signal, so that a shell sees an interrupted program.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        _leave(exit_code & 0xFF)

    def _run_tests(
        self, sources: tuple[bytes, ...], role: Role
    ) -> tuple[int, BaseException | None, Test]:
        """Run tests one after the other, each as the file of a `__main__` of its own; return how
        the last of those that were run has ended, and that test. They share what is imported, and
        their files.
        """
        recursion_limit = sys.getrecursionlimit()
        streams: Any = sys.stdin, sys.stdout, sys.stderr
        stand_ins = StandIns(role)
        for number, source in enumerate(sources, 1):
            if number > 1:
                self._renew_main()
                sys.setrecursionlimit(recursion_limit)
                sys.stdin, sys.stdout, sys.stderr = streams
                _rewrite(self.path, source)
            test = Test(role, self.main.__dict__, stand_ins, source)
            ended = _execute(test.rewritten, self.path, self.main.__dict__, test.after, test.before)
            closed = any(stream.closed for stream in streams)
            if number == len(sources) or closed or not test.goes_on(*ended):
                break
        return *ended, test

    def _release_main(self) -> list[types.ModuleType]:
        """Let go of `__main__`: what is returned has the only reference of ours."""
        main, self.main = self.main, self._earlier
        for name in ("__main__", MODULE):
            if sys.modules.get(name) is main:
                del sys.modules[name]
        return [main]

    def _make(self, namespace: dict[str, Any], call: bytes) -> None:
        self.report.write_value(furnishing.call(namespace, call))


def _rewrite(path: str, source: bytes) -> None:
    """Put another source into the program's file, in place of which a test may have put anything:
    tracebacks show its lines.
    """
    linecache.cache.pop(path, None)
    try:
        os.unlink(path)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(file, source)
        os.close(file)
    except OSError:  # a test has filled the disk, say: the lines are for people only
        pass


def moved(path: str, old: str, new: str) -> str:
    """`path`, in the folder `new` if it was in the folder `old`."""
    return new + path[len(old) :] if path == old or path.startswith(old + "/") else path


def seeders() -> list[Callable[[], object]]:
    """What gives a child randomness of its own: it was forked with its siblings' state.

    Only generators with global state that may have been imported before the fork need it;
    os.urandom, secrets and uuid4 ask the kernel.
    """
    seeders: list[Callable[[], object]] = []
    if "random" in sys.modules:
        generator = sys.modules["random"]._inst
        # What random.seed() comes to without arguments, less its Python part.
        seeders.append(lambda: _random.Random.seed(generator))
    if "numpy.random" in sys.modules:
        seeders.append(sys.modules["numpy.random"].seed)
    return seeders


def install_streams() -> None:
    """Make sys.stdin, stdout and stderr anew, on whatever 0, 1 and 2 will be when they are used.

    They are made while pipes stand there, so that they remember no position and no terminal.
    """
    saved = [os.dup(fd) for fd in range(3)]
    read_end, write_end = os.pipe()
    try:
        for fd, end in enumerate((read_end, write_end, write_end)):
            os.dup2(end, fd)
        sys.stdin = _reader()
        sys.stdout = _writer(1, "<stdout>", "strict")
        sys.stderr = _writer(2, "<stderr>", "backslashreplace")
    finally:
        for fd, copy in enumerate(saved):
            os.dup2(copy, fd)
        for fd in (*saved, read_end, write_end):
            os.close(fd)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]


def _execute(
    source: bytes,
    path: str,
    namespace: dict[str, Any],
    then: Callable[[], object] | None = None,
    first: Callable[[], object] | None = None,
) -> _Ended:
    """Compile and run, and do what is to be done `first` and `then`; return the exit code and the
    uncaught exception, which is printed.
    """
    try:
        if first is not None:
            first()
        try:
            code = compile(source, path, "exec", dont_inherit=True)
        except ValueError as error:  # before 3.12 a NUL is a ValueError here, for files it is not
            raise SyntaxError(str(error)) from None
        exec(code, namespace)
        if then is not None:
            then()
    except SystemExit as error:
        return uncaught.exit_code(error), None
    except BaseException as error:
        missed = error
    else:
        return 0, None
    # Outside of the handler: a hook finds no exception being handled.
    uncaught.strip(missed)
    return uncaught.show(missed), missed


def record_streams() -> tuple[answering.Recorder, ...]:
    """Make sys.stdout and stderr anew, so that they remember what is written."""
    found = []
    for fd, name, errors in ((1, "stdout", "strict"), (2, "stderr", "backslashreplace")):
        recorder = answering.Recorder(fd, f"<{name}>")
        stream = io.TextIOWrapper(recorder, encoding="utf-8", errors=errors, write_through=True)
        stream.mode = "w"  # type: ignore[misc]
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
        found.append(recorder)
    return tuple(found)


def _raw(fd: int, mode: str, name: str) -> io.FileIO:
    raw = io.FileIO(fd, mode, closefd=False)
    raw.name = name
    return raw


def renew_stdin() -> None:
    """Forget what was read ahead of another call's input, unless sys.stdin is the program's own."""
    if sys.stdin is sys.__stdin__:
        sys.stdin = sys.__stdin__ = _reader()  # type: ignore[misc]


def _reader() -> io.TextIOWrapper:
    stream = io.TextIOWrapper(
        io.BufferedReader(_raw(0, "rb", "<stdin>")),
        encoding="utf-8",
        errors="strict",
        newline="\n",  # as Python's own: what ends a line is the program's business
    )
    stream.mode = "r"  # type: ignore[misc]
    return stream


def _writer(fd: int, name: str, errors: str) -> io.TextIOWrapper:
    stream = io.TextIOWrapper(
        _raw(fd, "wb", name),
        encoding="utf-8",
        errors=errors,
        write_through=True,
    )
    stream.mode = "w"  # type: ignore[misc]
    return stream
