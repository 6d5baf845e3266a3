"""Importing what programs are seen to import, before they are forked.

Nobody asked for these modules by name, so a run must not be able to tell, but by the time that it
saves: a module is refused that does more, when it is imported, than to be there afterwards.
"""

import builtins
import contextlib
import importlib
import locale
import os
import random
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from . import confine

MOST_BYTES = 256 << 20
"""Memory, that of files not included, that all of them may take: every zygote has it, and a fork
copies its page tables, at some 0.1 ms for 4 MiB."""

MOST_CPU_S = 20.0
"""CPU time that all of them may take."""

_DATA_BYTES = 2 << 30
"""What they may reserve meanwhile: OpenBLAS maps 32 MiB for each thread that it may have."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


def load(names: list[str]) -> list[Callable[[], object]]:
    """Import the modules `names`; return what each child is to call so that their generators of
    random numbers are its own. Raises `ConfineError`: its step is "warm NAME", and its cause tells
    what keeps that module from being imported ahead; or "warm all", where they are too large
    together.
    """
    with _generators() as found:
        _load(names)
    return [each.seed for each in found]


@contextlib.contextmanager
def _generators() -> Iterator[list[random.Random]]:
    """Collect the generators of `random` that are made meanwhile, but for those with a seed that
    somebody has chosen.
    """
    made: list[random.Random] = []
    seed = random.Random.seed

    def noting(self: random.Random, a: Any = None, version: int = 2) -> None:
        seed(self, a, version)
        made[:] = [each for each in made if each is not self]
        if a is None and type(self) is random.Random:
            made.append(self)

    random.Random.seed = noting  # type: ignore[method-assign]
    try:
        yield made
    finally:
        random.Random.seed = seed  # type: ignore[method-assign]


def _load(names: list[str]) -> None:
    for name in names:
        before, held = _state(), _held_bytes()
        try:
            with _within_bounds():
                importlib.import_module(name)
        except BaseException as error:
            why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise _refused(name, why) from error
        _settle_streams()
        after = _state()
        changed = next((what for what in before if before[what] != after[what]), None)
        if changed is not None:
            raise _refused(name, f"it changes {changed} when it is imported")
        if not confine.becomes_single_threaded():
            raise _refused(name, "it starts threads when it is imported, and they do not end")
        took = _held_bytes() - held
        if held + took > MOST_BYTES:
            step, size = (name, took) if took > MOST_BYTES else ("all", held + took)
            raise _refused(step, f"it takes {size >> 20} MiB, more than {MOST_BYTES >> 20}")


def _refused(name: str, why: str) -> confine.ConfineError:
    return confine.ConfineError(f"warm {name}", RuntimeError(why))


def _state() -> dict[str, Any]:
    """What a module may not change that another program, which does not import it, would see."""
    return {
        "the output": [os.fstat(fd).st_size for fd in (1, 2)],
        "the working directory": os.getcwd(),
        "the search path": list(sys.path),
        "how exceptions are shown": (sys.excepthook, threading.excepthook, sys.unraisablehook),
        "how deep programs may recurse": sys.getrecursionlimit(),
        "the standard streams": (sys.stdin, sys.stdout, sys.stderr, sys.displayhook),
        "the built-in names": dict(vars(builtins)),
        "the locale": locale.setlocale(locale.LC_ALL),
        "how programs are traced": (sys.gettrace(), sys.getprofile()),
        "signals": [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGALRM)],
    }


def _settle_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


@contextlib.contextmanager
def _within_bounds() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    before = signal.signal(signal.SIGPROF, _out_of_time)
    signal.setitimer(signal.ITIMER_PROF, MOST_CPU_S)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (_DATA_BYTES, limits[1]))
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_DATA, limits)


def _out_of_time(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"it takes more than {MOST_CPU_S:g} s of CPU time to import")


def _held_bytes() -> int:
    with open("/proc/self/statm", "rb") as statm:
        fields = statm.read().split()
    return (int(fields[1]) - int(fields[2])) * _PAGE
