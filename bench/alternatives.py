"""The ways of running one program that a pool is compared with.

Each class is one of them, warm and ready; `close` gives back what it holds. All of them run the
same program text, with the same interpreter, and check what it printed.
"""

import contextlib
import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from interpreter_pool import Pool
from interpreter_pool.sandbox import Limits, Result, SetupError
from interpreter_pool.sandbox.host.distributions import find_packages
from interpreter_pool.sandbox.host.interpreter import current
from interpreter_pool.sandbox.host.probe import Offer, Requirements, probe_host
from interpreter_pool.sandbox.jail import layout, nsjail
from interpreter_pool.sandbox.jail.folder import HostFolder

EXPECTED = b"1\n"
_QUIET_S = 0.01
"""After the last run of a block: the pool forks its next prewarmed process in that time."""


class WrongAnswer(Exception):
    """A run did not do what it should: its time means nothing."""


@contextlib.contextmanager
def skipping(tier: str) -> Iterator[None]:
    """Go on without a tier that this host can't have, and say why."""
    try:
        yield
    except SetupError as error:
        Console().print(f"skipped: {tier}: {error}", markup=False)


def program(preload: tuple[str, ...], path: list[str]) -> str:
    """What a fresh interpreter must be given to do what a warm one does with print(1)."""
    if not preload:
        return "print(1)\n"
    imports = "".join(f"import {name}\n" for name in preload)
    return f"import sys\nsys.path += {path!r}\n{imports}print(1)\n"


class Ours:
    """A pool of `size` workers in `tier`, for runs of `source`, which prints `printed`."""

    def __init__(
        self,
        tier: str,
        preload: tuple[str, ...] = (),
        size: int = 1,
        *,
        source: str = "print(1)",
        printed: bytes = EXPECTED,
    ) -> None:
        self._source, self._printed = source, printed
        before = set(_descendants())
        self.pool = Pool(size, tier=tier, packages=preload, preload=preload)
        for future in [self.submit() for _ in range(8 * size)]:
            self.check(future.result())
        time.sleep(_QUIET_S)
        started = set(_descendants()) - before
        self.run()
        time.sleep(_QUIET_S)
        # Those that live through a run: the zygotes, and the nsjails that wait for them.
        self._residents = started & set(_descendants())

    def check(self, result: Result) -> None:
        if not result.ok or result.stdout_bytes != self._printed:
            raise WrongAnswer(repr(result))

    def run(self) -> None:
        self.check(self.pool.run(self._source))

    def row_ms(self, count: int) -> float:
        """Run `count` programs, each as soon as the last is done; return ms of wall time each."""
        began = time.perf_counter()
        for _ in range(count):
            self.run()
        return (time.perf_counter() - began) / count * 1e3

    def submit(self) -> "Future[Result]":
        return self.pool.submit(self._source)

    def cpu_ms(self, count: int, *, with_host: bool = False) -> float:
        """Run `count` programs; return ms of CPU time each: in the jail, or with the host's.

        In the jail: what each result says of its process (wait4(2), from its fork on, so its
        confinement is in it), and the zygote's own clock. On the host: all threads of this
        process. The pause at the end puts the last prewarmed process's fork into the count; the
        first was made before.
        """
        host, residents, runs = _own_cpu_s(), self._residents_cpu_s(), 0.0
        for _ in range(count):
            result = self.pool.run(self._source)
            self.check(result)
            runs += result.cpu_s or 0.0
        time.sleep(_QUIET_S)
        jail = self._residents_cpu_s() - residents + runs
        host = _own_cpu_s() - host
        return (jail + host if with_host else jail) / count * 1e3

    def _residents_cpu_s(self) -> float:
        # clock_getcpuclockid(3): the CPU clock of another process, all threads, in nanoseconds.
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self._residents)

    def close(self) -> None:
        self.pool.close()


class Subprocess:
    """A fresh interpreter for every run: subprocess.run([python, "-I", "-S", file])."""

    def __init__(self, preload: tuple[str, ...]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name, "main.py")
        path = [packages.site for packages in find_packages(preload, current())]
        file.write_text(program(preload, path), encoding="utf-8")
        self._command = [current().executable, "-I", "-S", str(file)]

    def run(self) -> None:
        done = subprocess.run(self._command, capture_output=True)
        if done.returncode or done.stdout != EXPECTED:
            raise WrongAnswer(repr(done))

    def close(self) -> None:
        self._folder.cleanup()


class Nsjail:
    """A fresh jail with a fresh interpreter for every run.

    The same nsjail, root, mounts, namespaces and identity as a pool's worker, but the program
    is what is executed inside. No limits, no filter: this is its fastest.
    """

    def __init__(self, preload: tuple[str, ...]) -> None:
        self._stack = contextlib.ExitStack()
        with self._stack as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            ours = stack.enter_context(HostFolder())
            probed = probe_host(
                Requirements(tier="namespaces", offer=Offer(preload)), Limits(), ours
            )
            stack.callback(probed.plan.launcher.close)
            probed.jail.close()
            self._launcher = probed.plan.launcher
            where, mounts = layout.in_namespaces(current(), find_packages(preload, current()))
            file = Path(folder, "main.py")
            file.write_text(program(preload, where.path[2:]), encoding="utf-8")
            Path(folder).chmod(0o755)
            file.chmod(0o644)
            mounts.binds.append((folder, "/program"))
            nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, nothing)
            user = 1_500_000_000 if probed.plan.own_ids else os.geteuid()
            command = nsjail.command(
                where,
                self._launcher.mounts(mounts),
                outer_id=(user, user if probed.plan.own_ids else os.getegid()),
                control_fd=nothing,
            )
            options = command[: command.index("--") + 1]
            self._command = [*options, where.executable, "-I", "-S", "/program/main.py"]
            self._stack = stack.pop_all()

    def run(self) -> None:
        pipe = subprocess.PIPE
        process = self._launcher.start(
            self._command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
        output, errors = process.communicate()
        if process.returncode or output != EXPECTED:
            raise WrongAnswer(f"{process.returncode}, {output!r}, {errors!r}")

    def close(self) -> None:
        self._stack.close()


class PlainZygote:
    """The helper of `plain_zygote.py`: the same warm image, forked without confinement."""

    def __init__(self, preload: tuple[str, ...]) -> None:
        where = layout.in_place(current(), (), "/nonexistent", "/nonexistent")
        path = [*where.path, *(package.site for package in find_packages(preload, current()))]
        configuration = {"path": path, "preload": preload}
        helper = Path(__file__).with_name("plain_zygote.py")
        command = [where.executable, "-I", "-S", "-B", str(helper), where.guest_parent]
        self._process = subprocess.Popen(
            [*command, json.dumps(configuration)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"LD_BIND_NOW": "1"},  # as a zygote's
        )

    def wall_ms(self, kind: str) -> float:
        """Fork once; return the wall time in ms."""
        return float(self._ask(kind, 1)["wall_ms"][0])

    def row_ms(self, kind: str, count: int) -> float:
        """Fork `count` times, one after the other; return ms of wall time each."""
        return float(sum(self._ask(kind, count)["wall_ms"])) / count

    def cpu_ms(self, kind: str, count: int) -> float:
        """Fork `count` times; return ms of CPU time each, parent and child together."""
        return float(self._ask(kind, count)["cpu_ms"]) / count

    def _ask(self, kind: str, count: int) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([kind, count]).encode() + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        self._process.communicate()


class Echo:
    """cat(1), at the other end of two pipes: what any way of asking another process costs."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def run(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(EXPECTED)
        if self._process.stdout.read(len(EXPECTED)) != EXPECTED:
            raise WrongAnswer("cat")

    def close(self) -> None:
        self._process.communicate()


def children_cpu_ms(run: Callable[[], None], count: int) -> float:
    """Call `run` `count` times; return ms of CPU time each: this process and what it reaped."""
    before = _own_cpu_s() + _reaped_cpu_s()
    for _ in range(count):
        run()
    return (_own_cpu_s() + _reaped_cpu_s() - before) / count * 1e3


def _own_cpu_s() -> float:
    return time.process_time()


def _reaped_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _descendants() -> list[int]:
    return [process.pid for process in psutil.Process().children(recursive=True)]
