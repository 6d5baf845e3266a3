"""A warm interpreter that forks without any confinement: what hardening is compared with.

Executed in an interpreter of its own, never imported by a bench. It loads what the jail's
zygote loads, from the same files, in the same order, prepares itself likewise, and then answers
requests on its standard input, one JSON array a line: [kind, count]. The reply, on what was its
standard output, is one JSON object a line: "wall_ms", one value a fork, and "cpu_ms", of all of
them together, parent and children (getrusage(2)).

Kinds: "os.fork" and "libc fork" run print(1) in the child and leave with os._exit; "c fork"
leaves at once. With the rules and the filter of runs in its configuration there is a kind for
each step of a run's confinement, too: there, a child forked by libc goes through that step and
all before it, by the functions of the jail itself, and then does the same. Times are taken here,
so the pipe to the bench is in none of them.
"""

import base64
import ctypes
import functools
import gc
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

PROGRAM = b"print(1)"

_GUEST = (
    "confine", "kernel", "landlock", "program", "protocol", "report", "rlimits",
    "syscall_filter", "zygote",
)  # fmt: skip

_LIMITS = (600 << 20, -1, 64 << 20, 256, -1)
"""Of a run with the usual limits: memory, address space, size of a file, descriptors, CPU time."""

_Fork = Callable[[], int]
_Kinds = dict[str, Callable[[], None]]


def main() -> None:
    guest_parent, configuration = sys.argv[1], json.loads(sys.argv[2])
    sys.path.insert(0, guest_parent)
    # By name, since this is what the jail does: `guest` stands at the top level there.
    guest = SimpleNamespace(**{name: importlib.import_module(f"guest.{name}") for name in _GUEST})
    sys.path[:] = configuration["path"]
    for name in (*guest.zygote.WARM_MODULES, *configuration["preload"]):
        importlib.import_module(name)
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    output, write_end = os.pipe()
    os.dup2(write_end, 1)
    os.close(write_end)
    kinds: _Kinds = {
        "os.fork": lambda: _print_in_child(os.fork, output),
        "libc fork": lambda: _print_in_child(guest.kernel.fork, output),
        "c fork": _fork_in_c(),
    }
    if "filter" in configuration:
        kinds |= _confined(guest, configuration, output)
    else:
        guest.program.install_streams()
    for _ in range(guest.zygote.REHEARSALS):
        _print_in_child(guest.kernel.fork, output)
        exec(compile("x = [len(str(x)) for x in (1,)]", "<warm>", "exec"), {})
    gc.collect()
    kept = guest.zygote.occupy_free_blocks()
    gc.freeze()
    for line in requests:
        kind, count = json.loads(line)
        replies.write(json.dumps(_measure(kinds[kind], count)).encode() + b"\n")
        replies.flush()
    del kept


def _confined(guest: SimpleNamespace, configuration: dict[str, Any], output: int) -> _Kinds:
    """A kind for each step, by its name: a child that goes through it and through all before."""
    scratch = configuration["scratch"]
    memory = os.memfd_create("report")
    os.ftruncate(memory, guest.report.REGION)
    confinement = guest.confine.Confinement("landlock", scratch, [], b"")
    shape = guest.protocol.Shape(None, None, None, False)
    own = guest.program.Program(confinement.home, guest.report.Report(memory))
    os.close(memory)
    guest.kernel.no_new_privs()
    ruleset = guest.landlock.create(configuration["rules"], scope_signals=True)
    calls = dict(guest.confine.calls_of_runs(ruleset))
    filter_ = guest.syscall_filter.Filter(base64.b64decode(configuration["filter"]))

    def seccomp() -> None:
        filter_.mark(os.getpid())
        filter_.install()

    def be_program() -> NoReturn:
        own.prepare()
        own.write(PROGRAM)
        own.run(PROGRAM, [])
        raise AssertionError("a program has come back from its end")

    steps = {
        **calls,
        "seccomp": seccomp,
        "rlimits": lambda: guest.rlimits.apply(_LIMITS),
        "descriptors": lambda: os.closerange(3, 1 << 20),
    }
    kinds: _Kinds = {}
    before: list[Callable[[], object]] = []
    for name, step in steps.items():
        before.append(step)
        kinds[name] = functools.partial(
            _print_in_child, guest.kernel.fork, output, _be_child, tuple(before)
        )

    def as_program() -> None:
        confinement.lay_out(shape)
        _print_in_child(guest.kernel.fork, output, be_program, tuple(before))
        confinement.take_away()

    return {**kinds, "as a program": as_program}


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


def _be_child() -> NoReturn:
    exec(compile(PROGRAM, "main.py", "exec"), {"__name__": "__main__"})
    sys.stdout.flush()
    os._exit(0)


def _print_in_child(
    fork: _Fork,
    output: int,
    be_child: Callable[[], NoReturn] = _be_child,
    steps: tuple[Callable[[], object], ...] = (),
) -> None:
    """Fork, go through `steps`, print(1), leave, wait, and take what was printed from the pipe."""
    pid = fork()
    if pid == 0:
        try:
            for step in steps:
                step()
            be_child()
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    if status or os.read(output, 16) != b"1\n":
        raise RuntimeError(f"the child printed something else, or failed ({status})")


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
