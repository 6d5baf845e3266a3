"""Running a program in a child of the zygote as `python -u file.py` runs it.

`-u` because output must be complete and in order whatever ends the program: what was printed
has left the process, also when a limit kills it. The interpreter is not finalised: threads are
joined, atexit callbacks called, open files flushed, objects with a finaliser finalised, and
then the process leaves; taking a warm interpreter apart would cost several times the run.
"""

import _random
import _signal  # type: ignore[import-not-found]
import _thread
import abc
import atexit
import builtins
import enum
import functools
import gc
import importlib.machinery
import io
import os
import signal
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

from . import dialogue, furnish
from .confine import PROGRAM_FILE
from .protocol import Extras
from .report import Claim, Report

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

_OURS = (__file__, furnish.__file__, dialogue.__file__)

MODULE = "program"
"""What a source is called that is loaded for a call, so that its main part does not run."""

_dict_of = vars(type)["__dict__"].__get__
"""A class's own dictionary, whatever its metaclass says to being asked."""

_FILES = frozenset((io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom))
"""Files that may hold what has not been written yet."""

_SUSPENDED = frozenset((types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType))

_WORTH_A_LOOK = _FILES | _SUSPENDED | {type, abc.ABCMeta, enum.EnumType}
"""Without any of these (a metaclass of the program's own is a `type`), nothing is left to do."""

_Module = types.ModuleType

_Ended = tuple[int, BaseException | None]


class Program:
    """The way from a program's source to its end, prepared in the zygote as far as it goes.

    Made once: it turns the zygote itself into what a program expects around it (`__main__`,
    sys.argv, the standard streams), so that the children find it ready, in pages they share.
    `home` is the working directory, where the program's file will be. keeps_main: what
    runs in `main` stays, and others go on from there.
    """

    def __init__(self, home: str, report: Report) -> None:
        self.path = os.path.join(home, PROGRAM_FILE)
        self.report = report
        self.keeps_main = False
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
        self._seeders = seeders()
        install_streams()

    def _renew_main(self) -> None:
        main = sys.modules["__main__"] = self.main = _Module("__main__")
        names = main.__dict__
        names.update(self._names)
        names["__annotations__"] = {}

    def move(self, old: str, new: str) -> None:
        """Know that what was in the folder `old` is in the folder `new` now."""
        self.path = moved(self.path, old, new)
        sys.path[:] = [moved(each, old, new) for each in sys.path]
        for name, text in os.environ.items():
            if text != moved(text, old, new):
                os.environ[name] = moved(text, old, new)
        tempfile: Any = sys.modules.get("tempfile")
        if tempfile is not None and tempfile.tempdir:
            tempfile.tempdir = moved(tempfile.tempdir, old, new)

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

    def furnish(self, extras: Extras, descriptors: list[int]) -> None:
        """Give the program what few have: files, an environment, a seed."""
        if extras.files:
            furnish.place(extras.files, descriptors[0])
        if extras.env is not None:
            furnish.set_environment(extras.env)
        if extras.seed is not None:
            furnish.seed(extras.seed)

    def run(
        self,
        source: bytes,
        argv: list[str],
        call: bytes | None = None,
        role: dialogue.Role | None = None,
    ) -> None:
        """Run the program as `__main__`; never return. With a `call`, load it as a module, make
        the call, and leave what it returns in the report. With a `role`, be a test that calls, or
        a module that answers.
        """
        sys.argv = [PROGRAM_FILE, *argv]
        sys.orig_argv = ["python", PROGRAM_FILE, *argv]
        namespace = self.main.__dict__
        first: Callable[[], object] | None = None
        then: Callable[[], object] | None = None
        test = None
        if call is not None:
            then = functools.partial(self._make, namespace, call)
        elif role is not None and role[0] == dialogue.TEST:
            test = dialogue.Test(role, namespace, self.path)
            first, then = test.before, test.after
        elif role is not None:
            then = functools.partial(dialogue.serve, role[1], namespace)
        if then is not None and test is None:
            namespace["__name__"] = MODULE
            sys.modules[MODULE] = self.main
        leader = _own_id()
        exit_code, error = _execute(source, self.path, namespace, then, first)
        try:
            sys.settrace(None)  # the program's own: from here on it would trace us
        except BaseException:  # an audit hook's opinion
            pass
        claim = _NOTHING if error is None else _describe(error)
        interrupted = type(error) is KeyboardInterrupt  # of a subclass, Python does not die
        if test is None:
            # What we hold is no longer to be what keeps the program's objects alive.
            del namespace, first, then, error
        exit_code = _finish(exit_code, self._forget_main)
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

    def _forget_main(self) -> "weakref.ref[types.ModuleType]":
        """Give up `__main__`; return what tells whether it lives on."""
        main = weakref.ref(self.main)
        for name in ("__main__", MODULE):
            if sys.modules.get(name) is self.main:
                del sys.modules[name]
        sys.excepthook, sys.displayhook = sys.__excepthook__, sys.__displayhook__
        self.main = types.ModuleType("__main__")
        return main

    def _make(self, namespace: dict[str, Any], call: bytes) -> None:
        self.report.write_value(furnish.call(namespace, call))


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
        return _exit_code(error), None
    except BaseException as error:
        uncaught = error
    else:
        return 0, None
    # Outside of the handler: a hook finds no exception being handled.
    _strip(uncaught)
    return _print(uncaught), uncaught


def _strip(error: BaseException, ours: tuple[str, ...] = _OURS) -> None:
    """Take our own frames off the traceback: the program's begins with its own first line."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code.co_filename in ours:
        traceback = traceback.tb_next
    error.__traceback__ = traceback


def _print(error: BaseException) -> int:
    """Show an uncaught exception, through the program's own hook; return the exit code."""
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except SystemExit as second:
        return _exit_code(second)
    except BaseException as second:
        _strip(second)
        try:
            print("Error in sys.excepthook:", file=sys.stderr)
            sys.__excepthook__(type(second), second, second.__traceback__)
            print("\nOriginal exception was:", file=sys.stderr)
            sys.__excepthook__(type(error), error, error.__traceback__)
        except BaseException:
            pass
    return 1


def _exit_code(error: SystemExit) -> int:
    try:
        code: Any = error.code
        if code is None:
            return 0
        if issubclass(type(code), int):
            number = int.__index__(code)  # of a subclass, the number and not its opinion
            return number if -(1 << 63) <= number < 1 << 63 else -1
        print(code, file=sys.stderr)
    except BaseException:
        pass
    return 1


_Forget = Callable[[], "weakref.ref[types.ModuleType]"]


def _finish(exit_code: int, forget_main: _Forget) -> int:
    """Do what Python does at the end of a program, in its order; return the exit code.

    Python goes on whatever a step raises, and so does this: modules may be fakes, audit hooks
    object, memory may be short.
    """
    threading = sys.modules.get("threading")
    if _thread._count() or getattr(threading, "_threading_atexits", None):
        _guarded(lambda: threading._shutdown())  # type: ignore[union-attr]
    if atexit._ncallbacks():
        _guarded(atexit._run_exitfuncs)
    try:
        _settle(forget_main)
    except BaseException:
        pass
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        if stream is not None and not _is_closed(stream):
            try:
                stream.flush()
            except BaseException:
                exit_code = exit_code or 120
    return exit_code


def _settle(forget_main: _Forget) -> None:
    """Finalise objects and flush files, where there are any that need it."""
    # Only what was made since the fork is tracked: the zygote froze the rest.
    made = gc.get_objects()
    if _WORTH_A_LOOK.isdisjoint(map(type, made)):
        return
    if _has_finaliser(made):
        made.clear()
        _guarded(lambda: _finalise(forget_main()))
        made = gc.get_objects()
    for each in made:
        if type(each) in _FILES:
            try:
                each.flush()
            except BaseException:  # closed, or its device is full: as at Python's end
                pass


def _is_closed(stream: Any) -> bool:
    try:
        return bool(stream.closed)
    except BaseException:
        return False


def _has_finaliser(made: list[Any]) -> bool:
    """Whether among the objects `made` is one that has something to do at its end: one that is
    suspended, or a class with a `__del__` of its own.
    """
    return any(
        type(each) in _SUSPENDED or (issubclass(type(each), type) and "__del__" in _dict_of(each))
        for each in made
    )


def _finalise(main: "weakref.ref[types.ModuleType]") -> None:
    """Have the program's objects end as Python has them end: by the collector, which finds a module
    and what is in it, all of it still there; then, of a module that something holds, name by name.
    """
    gc.collect()
    module = main()
    if module is None:
        return
    namespace = module.__dict__
    for name in [name for name in namespace if name.startswith("_") and name[1:2] != "_"]:
        namespace[name] = None
    for name in [name for name in namespace if name != "__builtins__"]:
        namespace[name] = None
    gc.collect()


def _guarded(step: Callable[[], object]) -> None:
    """Do `step`; report what it raises as Python reports what can no longer be caught."""
    try:
        step()
    except SystemExit:
        pass
    except BaseException as error:
        _print(error)


def _describe(error: BaseException) -> Claim:
    texts = []
    for describe in (_name, str, _format):
        try:
            texts.append("" + describe(error))  # a subclass of str would not be plain data
        except BaseException as second:
            texts.append(f"<{describe.__name__.strip('_')} raised {type(second).__name__}>")
    return Claim((texts[0], texts[1], texts[2]), issubclass(type(error), MemoryError))


def _name(error: BaseException) -> str:
    kind = type(error)
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _format(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error))


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
