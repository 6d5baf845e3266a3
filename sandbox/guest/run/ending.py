"""What Python does when a program has run off its end, as far as the program can notice.

The interpreter is not finalised: threads are joined, atexit callbacks called, objects with
something to do at their end finalised, files flushed; taking a warm interpreter apart would cost
several times the run.
"""

import _io
import _thread
import abc
import atexit
import builtins
import enum
import gc
import io
import sys
import types
from collections.abc import Callable
from typing import Any

from ..jail import kernel
from . import uncaught

__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
"""As in `program.py`: a program that takes away its own builtins keeps these."""

_dict_of = vars(type)["__dict__"].__get__
"""A class's own dictionary, whatever its metaclass says to being asked."""

_FILES = frozenset((io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom))
"""Files that may hold what has not been written yet."""

_SUSPENDED = frozenset((types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType))

_WORTH_A_LOOK = _FILES | _SUSPENDED | {type, abc.ABCMeta, enum.EnumType}
"""Without any of these (a metaclass of the program's own is a `type`), nothing is left to do."""


def finish(exit_code: int, release: Callable[[], list[types.ModuleType]], *, frozen: bool) -> int:
    """Do what Python does at the end of a program, in its order; return the exit code.

    release: lets go of the program's `__main__` and returns it, in a list that then has the only
    reference of ours. frozen: the collector does not see it, since it was there before the fork.

    Python goes on whatever a step raises, and so does this: modules may be fakes, audit hooks
    object, memory may be short.
    """
    _flush_streams()  # as it does behind `__main__`, whatever comes of it
    threading = sys.modules.get("threading")
    if _thread._count() or getattr(threading, "_threading_atexits", None):
        _guarded(lambda: threading._shutdown())  # type: ignore[union-attr]
    if atexit._ncallbacks():
        _guarded(atexit._run_exitfuncs)
    # A stream of the program's own may need what is in `main`, which is taken apart next.
    flushed = _flush_streams()
    try:
        _restore_streams()
        _settle(release, frozen)
    except BaseException:
        pass
    flushed &= _flush_streams()
    flush_stdio()
    return exit_code if flushed else exit_code or 120


def _flush_streams() -> bool:
    """Flush standard output and errors; tell whether that went well."""
    well = True
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        if stream is not None and not _is_closed(stream):
            try:
                stream.flush()
            except BaseException:
                well = False
    return well


def _restore_streams() -> None:
    """Put Python's own streams in the place of the program's, which end now if nothing else has
    them.
    """
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, name, getattr(sys, f"__{name}__", None))


def flush_stdio() -> None:
    """Flush the files that C code has open, unless a thread that is still there may be at work on
    one, and hold its lock for as long as it likes.
    """
    if not _thread._count():
        kernel.flush_stdio()


def _settle(release: Callable[[], list[types.ModuleType]], frozen: bool) -> None:
    """Finalise objects and flush files, where there are any that need it."""
    # Only what was made since the fork is tracked: the zygote froze the rest.
    made = gc.get_objects()
    if _WORTH_A_LOOK.isdisjoint(map(type, made)):
        return
    if _has_finaliser(made):
        made.clear()
        _guarded(lambda: _finalise(release(), frozen))
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
    suspended, or a class with a `__del__` of its own, or of files of its own, which are closed, and
    so flushed, by what they inherit.
    """
    return any(
        type(each) in _SUSPENDED
        or (
            issubclass(type(each), type)
            and ("__del__" in _dict_of(each) or issubclass(each, _io._IOBase))
        )
        for each in made
    )


def _finalise(main: list[types.ModuleType], frozen: bool) -> None:
    """Have the objects in `main` end as Python has them end: by the collector, which finds a module
    and what is in it, all of it still there; where something keeps it, name by name.
    """
    namespace: dict[str, Any] | None = main[0].__dict__
    if not frozen:
        place = id(namespace)
        del namespace
        main.clear()
        gc.collect()
        if _is_kept_by_python():
            return
        namespace = _namespace_at(place)
    if namespace is None:
        return
    for name in [name for name in namespace if name.startswith("_") and name[1:2] != "_"]:
        namespace[name] = None
    for name in [name for name in namespace if name != "__builtins__"]:
        namespace[name] = None
    gc.collect()


def _is_kept_by_python() -> bool:
    """Whether there is a daemon thread, or a hook: Python does not finalise what these keep."""
    hooks = (sys.excepthook, sys.displayhook)
    return bool(_thread._count()) or hooks != (sys.__excepthook__, sys.__displayhook__)


def _namespace_at(place: int) -> dict[str, Any] | None:
    """The program's namespace, if it lives on: dictionaries have no weak references that tell.
    What else may have come to lie there is no namespace.
    """
    for each in gc.get_objects():
        if id(each) == place and type(each) is dict and "__builtins__" in each:
            return each
    return None


def _guarded(step: Callable[[], object]) -> None:
    """Do `step`; report what it raises as Python reports what can no longer be caught."""
    try:
        step()
    except SystemExit:
        pass
    except BaseException as error:
        uncaught.show(error)
