"""What libraries do by themselves: the threads that they start and keep, and what they look at.

A fork copies one thread. Numeric libraries keep the others of theirs idle between two
calculations, and start them again for the next one, so a process can be forked in between if they
are ended first:

- OpenBLAS does it before libc's fork (pthread_atfork);
- OpenMP on request (omp_pause_resource_all, OpenMP 5.0), which is how PyTorch and scikit-learn
  calculate.

In the landlock tier neither /proc nor /dev/shm is there for programs, which two libraries that
scikit-learn has can do without: threadpoolctl finds what is loaded in /proc/self/maps, and joblib
makes semaphores.

tqdm has a thread that looks after its progress bars, also when there are none, and a lock in
memory that would be shared.
"""

import _thread
import contextlib
import ctypes
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from . import kernel

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""The environment variables that the numeric libraries read when they are loaded."""

_QUIET = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""pyarrow's allocator otherwise has a thread that nothing ends."""

_OPENBLAS, _OPENMP, _MKL = ("openblas",), ("libgomp", "libiomp", "libomp"), ("mkl_rt",)

_SETTERS = (
    *(
        (_OPENBLAS, f"{prefix}openblas_set_num_threads{suffix}")
        for prefix in ("", "scipy_")
        for suffix in ("", "64_", "_64")
    ),
    (_OPENMP, "omp_set_num_threads"),
    (_MKL, "MKL_Set_Num_Threads"),
)

_PAUSE = ((_OPENMP, "omp_pause_resource_all"),)
_SOFT = 1
"""omp_pause_soft: what a program has set for its threads stays."""

_MOST_NAMES = 10
_LONGEST_NAME = 60


class _Library(ctypes.Structure):
    """The beginning of a `struct dl_phdr_info`."""

    _fields_ = (("address", ctypes.c_void_p), ("name", ctypes.c_char_p))


_paths: list[str] = []


def _note(library: Any, size: int, data: object) -> int:
    _paths.append(os.fsdecode(library.contents.name or b""))
    return 0


_VISITOR = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(_Library), ctypes.c_size_t, ctypes.c_void_p
)
_note_each = _VISITOR(_note)


def allow(count: int) -> None:
    """Have numeric libraries use `count` threads at most: those that are loaded, and others."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(count)
    for set_threads in _functions(_SETTERS):
        set_threads(count)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Have libraries that are imported meanwhile start no threads that nothing ends."""
    earlier = {name: os.environ.get(name) for name in _QUIET}
    os.environ.update(_QUIET)
    try:
        yield
    finally:
        for name, value in earlier.items():
            if value is None:
                del os.environ[name]


def allow_no_idle() -> None:
    """Before anything is loaded: have libraries start none that would be idle for good."""
    os.environ.update(_QUIET)
    allow(1)


def do_without_proc_and_shm() -> None:
    """In the landlock tier: have threadpoolctl, if it is offered, ask the loader, as it does on
    other systems; have joblib not try what it would only warn of.
    """
    os.environ["JOBLIB_MULTIPROCESSING"] = "0"
    try:
        module: Any = importlib.import_module("threadpoolctl")
    except ImportError:
        return
    if hasattr(module, "_HAS_PROCFS"):  # since 3.7
        module._HAS_PROCFS = False


def limit(most: int) -> None:
    """Have numeric libraries use `most` threads at most, if the environment allows them more; to be
    called before the number of threads is limited.
    """
    try:
        allowed = int(os.environ.get(THREAD_VARIABLES[0], ""))
    except ValueError:  # trusted set-up code has changed it
        allowed = most + 1
    if allowed > most:
        allow(most)
        quiesce()  # when it is told a number, OpenBLAS first starts as many threads as before


def quiesce() -> None:
    """Have libraries end the threads that they keep idle; they start them again when needed.

    With threads of Python's left this would be in vain, and could wait for what they compute.

    libc's fork has OpenBLAS do so, also where the kernel then refuses the fork, as it does in a
    session's state.
    """
    _settle_progress_bars()
    if _count():
        return
    for pause in _functions(_PAUSE):
        pause(_SOFT)
    try:
        pid = kernel.fork()
    except OSError:
        return
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _settle_progress_bars() -> None:
    module: Any = sys.modules.get("tqdm.std")
    tqdm: Any = getattr(module, "tqdm", None)
    monitor = getattr(tqdm, "monitor", None)
    if monitor is not None:
        tqdm.monitor = None  # the next bar makes another
        monitor.exit()
    lock: Any = getattr(module, "TqdmDefaultWriteLock", None)
    if getattr(lock, "mp_lock", None) is not None:
        # Shared memory, for other processes, which a state has none of.
        lock.mp_lock = None
        tqdm.set_lock(lock())


def names() -> list[str]:
    """The names of the other threads that Python knows, as many as fit a message for people."""
    threading = sys.modules.get("threading")
    if threading is None:
        return []
    main = threading.main_thread()
    found = [each for each in threading.enumerate() if each is not main]
    return [str(each.name)[:_LONGEST_NAME] for each in found[:_MOST_NAMES]]


def _functions(wanted: tuple[tuple[tuple[str, ...], str], ...]) -> list[Callable[[int], int]]:
    """Those of the functions that are loaded; each is called with a whole number.

    The loader is asked: /proc/self/maps can't be read where Landlock holds. A library that is
    loaded is opened by the name that it has, which opens no file. Safe, as all of these functions
    take an int by their documentation.
    """
    _paths.clear()
    _dl_iterate_phdr(_note_each, None)
    found: list[Callable[[int], int]] = []
    for path in _paths:
        file = os.path.basename(path)
        for places, name in wanted:
            if any(place in file for place in places):
                function = getattr(ctypes.PyDLL(path), name, None)
                if function is not None:
                    found.append(function)
    return found


_count = _thread._count  # of Python's threads, the main one not included
_dl_iterate_phdr = ctypes.PyDLL(None).dl_iterate_phdr
