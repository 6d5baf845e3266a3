"""A warm interpreter that forks without any confinement: what hardening is compared with.

Executed in an interpreter of its own, never imported by a bench. It loads what the jail's
zygote loads, from the same files, in the same order, prepares itself likewise, and then answers
requests on its standard input, one JSON array a line: [kind, count]. The reply, on what was its
standard output, is one JSON object a line: "wall_ms", one value a fork, and "cpu_ms", of all of
them together, parent and children (getrusage(2)).

Kinds: "os.fork" and "libc fork" run print(1) in the child and leave with os._exit; "c fork"
leaves at once. Times are taken here, so the pipe to the bench is in none of them.
"""

import ctypes
import gc
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

PROGRAM = b"print(1)"


def main() -> None:
    guest_parent, configuration = sys.argv[1], json.loads(sys.argv[2])
    sys.path.insert(0, guest_parent)
    # By name, since this is what the jail does: `guest` stands at the top level there.
    names = ("kernel", "pages", "program", "zygote")
    kernel, pages, program, zygote = (importlib.import_module(f"guest.{name}") for name in names)
    sys.path[:] = configuration["path"]
    for name in (*zygote.WARM_MODULES, *configuration["preload"]):
        importlib.import_module(name)
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    output, write_end = os.pipe()
    os.dup2(write_end, 1)
    os.close(write_end)
    kinds: dict[str, Callable[[], None]] = {
        "os.fork": lambda: _print_in_child(os.fork, output),
        "libc fork": lambda: _print_in_child(kernel.fork, output),
        "c fork": _fork_in_c(),
    }
    program.install_streams()
    for _ in range(zygote.REHEARSALS):
        _print_in_child(kernel.fork, output)
        exec(compile("x = [len(str(x)) for x in (1,)]", "<warm>", "exec"), {})
    gc.collect()
    kept = pages.occupy_free_blocks()
    gc.freeze()
    pages.HugePages().gather()
    for line in requests:
        kind, count = json.loads(line)
        replies.write(json.dumps(_measure(kinds[kind], count)).encode() + b"\n")
        replies.flush()
    del kept


def _measure(fork_once: Callable[[], None], count: int) -> dict[str, Any]:
    wall_ms = []
    cpu_before = _cpu_s()
    for _ in range(count):
        began = time.perf_counter()
        fork_once()
        wall_ms.append((time.perf_counter() - began) * 1e3)
    return {"wall_ms": wall_ms, "cpu_ms": (_cpu_s() - cpu_before) * 1e3}


def _cpu_s() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _print_in_child(fork: Callable[[], int], output: int) -> None:
    """Fork, print(1), leave, wait, and take what was printed from the pipe."""
    pid = fork()
    if pid == 0:
        _be_child()
    _, status = os.waitpid(pid, 0)
    if status or os.read(output, 16) != b"1\n":
        raise RuntimeError(f"the child printed something else, or failed ({status})")


def _be_child() -> NoReturn:
    try:
        exec(compile(PROGRAM, "main.py", "exec"), {"__name__": "__main__"})
        sys.stdout.flush()
        os._exit(0)
    finally:
        os._exit(1)


def _fork_in_c() -> Callable[[], None]:
    """fork(2) and _exit(2) with nothing but ctypes between them.

    Safe as in `guest.kernel.fork`: one thread, GIL held (PyDLL), and the child only leaves.
    """
    libc = ctypes.PyDLL(None)
    fork, leave = libc.fork, libc._exit

    def once() -> None:
        pid = fork()
        if pid == 0:
            leave(0)
        os.waitpid(pid, 0)

    return once


if __name__ == "__main__":
    main()
