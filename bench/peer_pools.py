"""A pool of Python's own, a process for every program: what a user would write without ours.

Executed in a process of its own, so that what it forks is no larger than it must be, and never
beside our threads:

    python -m bench.peer_pools KIND WORKERS MODULE...

KIND is a key of `KINDS`; the modules are imported before programs begin, where the kind can do
that. It answers requests on its standard input, one JSON array a line, [duration_s, in_flight],
with the runs per second that it came to, one number a line.
"""

import contextlib
import importlib
import io
import json
import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor

from .harness import rate

PROGRAM = "print(1)"

Submit = Callable[[], "Future[str]"]


def run(program: str) -> str:
    """Run `program` in this process; return what it printed. Nothing confines it."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(program, "main.py", "exec"), {"__name__": "__main__"})
    return output.getvalue()


def _pool(method: str, workers: int, preload: list[str]) -> Submit:
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([__name__, *preload])
    pool = context.Pool(workers, maxtasksperchild=1)

    def submit() -> "Future[str]":
        future: Future[str] = Future()
        pool.apply_async(run, (PROGRAM,), {}, future.set_result, future.set_exception)
        return future

    return submit


def _executor(workers: int, preload: list[str]) -> Submit:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *preload])
    executor = ProcessPoolExecutor(workers, context, max_tasks_per_child=1)
    return lambda: executor.submit(run, PROGRAM)


KINDS: dict[str, Callable[[int, list[str]], Submit]] = {
    "multiprocessing, fork": lambda workers, preload: _pool("fork", workers, preload),
    "multiprocessing, forkserver": lambda workers, preload: _pool("forkserver", workers, preload),
    "executor, forkserver": _executor,
}


def main() -> None:
    kind, workers, preload = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    if kind == "multiprocessing, fork":
        for name in preload:
            importlib.import_module(name)
    submit = KINDS[kind](workers, preload)

    def checked() -> "Future[str]":
        future = submit()
        future.add_done_callback(_check)
        return future

    for line in sys.stdin:
        duration_s, in_flight = json.loads(line)
        print(rate(checked, in_flight=in_flight, duration_s=duration_s), flush=True)
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(0)  # such pools may wait for ever for the ends of tasks


def _check(future: "Future[str]") -> None:
    if future.result() != "1\n":
        raise SystemExit(f"a program printed {future.result()!r}")


if __name__ == "__main__":
    main()
