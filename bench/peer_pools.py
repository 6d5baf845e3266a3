"""What a user would run programs with instead of ours: pools of Python's own, and smolagents.

Executed in a process of its own, so that what it forks is no larger than it must be, and never
beside our threads:

    python -c "from bench.peer_pools import main; main()" KIND WORKERS MODULE...

(With -m, every process of a pool that does not fork would import this file again.) KIND is a key of
`KINDS`; the modules are imported before programs begin, where the kind can do that. Each is at its
best: whatever its processes need has been imported before they are forked, which is checked. It
answers requests on its standard input, one JSON array a line, with a number a line:

    ["wall_ms", program, printed]                  ms from handing a program over to its result
    ["rate", program, printed, duration_s, n]      programs a second with n in flight
"""

import importlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from .harness import rate

TASK = "bench.peer_task"
_MACHINERY = ("multiprocessing.pool", "concurrent.futures.process")
"""What the processes of such pools import."""

_PATIENCE_S = 60

Submit = Callable[[str], "Future[str]"]


def _context(method: str, preload: list[str]) -> Any:
    modules = [*_MACHINERY, *preload, TASK]
    context = multiprocessing.get_context(method)
    if method == "fork":
        for name in modules:
            importlib.import_module(name)
    elif method == "forkserver":
        context.set_forkserver_preload(modules)
    return context


def _pool(method: str, workers: int, preload: list[str]) -> Submit:
    pool = _context(method, preload).Pool(workers, maxtasksperchild=1)
    run = importlib.import_module(TASK).run

    def submit(program: str) -> "Future[str]":
        future: Future[str] = Future()
        pool.apply_async(run, (program,), {}, future.set_result, future.set_exception)
        return future

    return submit


def _executor(method: str, workers: int, preload: list[str]) -> Submit:
    context = _context(method, preload)
    executor = ProcessPoolExecutor(workers, context, max_tasks_per_child=1)
    run = importlib.import_module(TASK).run
    return lambda program: executor.submit(run, program)


def _smolagents(_: int, preload: list[str]) -> Submit:
    """A fresh LocalPythonExecutor each; it walks the syntax tree, in this very process."""
    from smolagents.local_python_executor import LocalPythonExecutor

    def submit(program: str) -> "Future[str]":
        executor = LocalPythonExecutor(preload)
        executor.send_tools({})
        future: Future[str] = Future()
        future.set_result(executor(program).logs)
        return future

    return submit


KINDS: dict[str, tuple[str, Callable[[int, list[str]], Submit]]] = {
    # name: (about, how to make one)
    "multiprocessing, fork": (
        "multiprocessing.Pool(maxtasksperchild=1)",
        lambda workers, preload: _pool("fork", workers, preload),
    ),
    "multiprocessing, forkserver": (
        "the same, forked from a server that has imported what can be",
        lambda workers, preload: _pool("forkserver", workers, preload),
    ),
    "executor, forkserver": (
        "ProcessPoolExecutor(max_tasks_per_child=1), likewise",
        lambda workers, preload: _executor("forkserver", workers, preload),
    ),
    "executor, spawn": (
        "the same, with a fresh interpreter each",
        lambda workers, preload: _executor("spawn", workers, preload),
    ),
    "smolagents": ("a fresh LocalPythonExecutor, no process of its own", _smolagents),
}
WARM = ("multiprocessing, fork", "multiprocessing, forkserver", "executor, forkserver")
"""Those whose processes have been forked from one that has imported what they need."""


def main() -> None:
    kind, workers, preload = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    submit = KINDS[kind][1](workers, preload)
    if kind in WARM:
        names = [*_MACHINERY, *preload, TASK]
        missing = f"import sys; print([name for name in {names} if name not in sys.modules])"
        _check("[]\n", submit(missing))
    # Not by sys.stdin: what is forked while it is being read can't close it, and hangs.
    for line in os.fdopen(os.dup(0)):
        signal.alarm(_PATIENCE_S)  # a pool that hangs ends this process, and with it the bench
        what, program, printed, *options = json.loads(line)
        answer = (_wall_ms if what == "wall_ms" else _rate)(submit, program, printed, *options)
        print(answer, flush=True)
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(0)  # such pools may wait for ever for the ends of tasks


def _wall_ms(submit: Submit, program: str, printed: str) -> float:
    began = time.perf_counter()
    _check(printed, submit(program))
    return (time.perf_counter() - began) * 1e3


def _rate(submit: Submit, program: str, printed: str, duration_s: float, in_flight: int) -> float:
    def checked() -> "Future[str]":
        future = submit(program)
        future.add_done_callback(lambda done: _check(printed, done))
        return future

    return rate(checked, in_flight=in_flight, duration_s=duration_s)


def _check(printed: str, future: "Future[str]") -> None:
    if future.result() != printed:
        os.write(2, f"a program printed {future.result()!r}\n".encode())
        os._exit(1)  # whatever thread this is
