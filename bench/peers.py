"""Beside what else people run programs in: pools of Python's own, smolagents, a Jupyter kernel.

    python -m bench.peers [--n N] [--preload MODULE] [--quick]

A fresh process for every program: latency of one at a time, beside the floors under any such
thing, and programs a second of two workers. Without a preload also: a program that computes, beside
smolagents, which walks its syntax tree; and what a call costs in an interpreter that keeps its
state, and going back to an earlier one. Writes bench/results/peers.json, or peers-MODULE.json.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from rich.console import Console

from interpreter_pool import Pool, Session

from .alternatives import EXPECTED, Echo, Ours, PlainZygote, Subprocess, WrongAnswer, skipping
from .harness import Alternative, Samples, interleave, milliseconds, rate, ratios
from .peer_pools import KINDS
from .results import Aim, Measurement, machine, show, write

WORKERS = 2
IN_FLIGHT = 4 * WORKERS
TIERS = ("namespaces", "landlock")
BASE = "multiprocessing, forkserver"
AIM = 6
"""Times the throughput of `BASE`."""
FLOORS = {
    "plain fork": ("libc fork", "fork + print + wait of the same zygote, unconfined"),
    "c fork": ("c fork", "fork + _exit + wait of the same zygote: nothing runs in the child"),
}
WORK = "x = 0\nfor n in range(100_000):\n    x += n * n % 7\nprint(x)\n"
WORK_PRINTS = f"{sum(n * n % 7 for n in range(100_000))}\n"
LATENCY_BUDGET_S, RATE_BUDGET_S, WORK_BUDGET_S, KEPT_BUDGET_S = 10.0, 20.0, 5.0, 6.0
"""For each measurement."""
SETTLE_S = 0.008
_PATIENCE_S = 60.0


class PeerPool:
    """A pool of Python's own, or smolagents, in a process of its own (`peer_pools.py`)."""

    def __init__(self, kind: str, preload: tuple[str, ...]) -> None:
        start = "from bench.peer_pools import main; main()"
        # Its end is rough, and semaphores that it leaves are told as a warning.
        options = ["-W", "ignore", "-c", start, kind, str(WORKERS), *preload]
        self._process = subprocess.Popen(
            [sys.executable, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def wall_ms(self, program: str, printed: str) -> float:
        """Run `program` once; return the wall time in ms."""
        return self._ask("wall_ms", program, printed)

    def rate(self, program: str, printed: str, duration_s: float) -> float:
        """Programs a second, with some in flight at any time."""
        return self._ask("rate", program, printed, duration_s, IN_FLIGHT)

    def _ask(self, *request: object) -> float:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=_PATIENCE_S)


class Kernel:
    """A Jupyter kernel, ipykernel's: a process that keeps its state. Nothing confines it."""

    def __init__(self) -> None:
        from jupyter_client.manager import start_new_kernel

        options = ["--log-level=ERROR", "--HistoryManager.enabled=False"]
        self._manager, self._client = start_new_kernel(
            kernel_name="python3", extra_arguments=options
        )

    def call(self) -> None:
        texts = []

        def take(message: dict[str, dict[str, dict[str, str]]]) -> None:
            if "data" in message["content"]:
                texts.append(message["content"]["data"]["text/plain"])

        self._client.execute_interactive(
            "x = 20\nx + 1",
            store_history=False,
            allow_stdin=False,
            output_hook=take,
            timeout=_PATIENCE_S,
        )
        if texts != ["21"]:
            raise WrongAnswer(f"the kernel said {texts}")

    def restart(self) -> None:
        """The only way back that a kernel has, if one runs again what came before."""
        self._manager.restart_kernel(now=True)
        self._client.wait_for_ready(timeout=_PATIENCE_S)

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


class Smolagents:
    """smolagents' LocalPythonExecutor, which keeps its state in the caller's own process."""

    def __init__(self) -> None:
        from smolagents.local_python_executor import LocalPythonExecutor

        self._executor = LocalPythonExecutor([])
        self._executor.send_tools({})

    def call(self) -> None:
        if self._executor("x = 20\nx + 1").output != 21:
            raise WrongAnswer("smolagents")


class Fresh:
    """Ways of running a program in a process of its own, warm, for one set of preloaded modules."""

    def __init__(self, stack: contextlib.ExitStack, preload: tuple[str, ...]) -> None:
        self.source = "".join(f"import {name}\n" for name in preload) + "print(1)\n"
        self._stack = stack
        self.one: dict[str, Ours] = {}
        self.several: dict[str, Ours] = {}
        for tier in TIERS:
            with skipping(tier):
                self.one[tier] = self._kept(Ours(tier, preload, source=self.source))
                self.several[tier] = self._kept(Ours(tier, preload, WORKERS, source=self.source))
        self.peers = {kind: self._kept(PeerPool(kind, preload)) for kind in KINDS}
        self.subprocess = self._kept(Subprocess(preload))
        self.zygote = self._kept(PlainZygote(preload))
        self.echo = self._kept(Echo())
        self.threads = stack.enter_context(ThreadPoolExecutor(WORKERS))

    def _kept(self, thing: Any) -> Any:
        self._stack.callback(thing.close)
        return thing

    def latency(self, rounds: int) -> Measurement:
        found = [
            Alternative(f"ours, {tier}", "Pool(1).run, confined", milliseconds(ours.run))
            for tier, ours in self.one.items()
        ]
        for kind, peer in self.peers.items():
            wall_ms = partial(peer.wall_ms, self.source, EXPECTED.decode())
            found.append(Alternative(kind, f"{KINDS[kind][0]}; unconfined", wall_ms))
        about = 'subprocess.run([python, "-I", "-S", file])'
        found.append(Alternative("subprocess", about, milliseconds(self.subprocess.run)))
        for name, (kind, about) in FLOORS.items():
            found.append(Alternative(name, about, partial(self.zygote.wall_ms, kind)))
        about = "two bytes to cat(1) and back: no process at all"
        found.append(Alternative("pipe round trip", about, milliseconds(self.echo.run)))
        samples = interleave(
            found, rounds=rounds, warm_up=2, budget_s=LATENCY_BUDGET_S, settle_s=SETTLE_S
        )
        return Measurement("latency", "ms", BASE, found, samples)

    def throughput(self, rounds: int, duration_s: float) -> Measurement:
        once = partial(rate, in_flight=IN_FLIGHT, duration_s=duration_s)
        found = [
            Alternative(
                f"ours, {tier}", f"Pool({WORKERS}).submit, confined", partial(once, ours.submit)
            )
            for tier, ours in self.several.items()
        ]
        for kind, peer in self.peers.items():
            run = partial(peer.rate, self.source, EXPECTED.decode(), duration_s)
            found.append(Alternative(kind, f"{KINDS[kind][0]}; unconfined", run))
        submit = partial(self.threads.submit, self.subprocess.run)
        about = f"{WORKERS} threads that call subprocess.run"
        found.append(Alternative("subprocess", about, partial(once, submit)))
        samples = interleave(
            found, rounds=rounds, warm_up=1, budget_s=RATE_BUDGET_S, settle_s=SETTLE_S
        )
        return Measurement("throughput", "runs/s", BASE, found, samples)

    def work(self, rounds: int) -> Measurement:
        """A program that computes: what it costs to walk a syntax tree instead of a process."""
        found = []
        for tier in self.one:
            ours = self._kept(Ours(tier, source=WORK, printed=WORK_PRINTS.encode()))
            found.append(Alternative(f"ours, {tier}", "Pool(1).run", milliseconds(ours.run)))
        for kind in (BASE, "smolagents"):
            wall_ms = partial(self.peers[kind].wall_ms, WORK, WORK_PRINTS)
            found.append(Alternative(kind, KINDS[kind][0], wall_ms))
        samples = interleave(
            found, rounds=rounds, warm_up=1, budget_s=WORK_BUDGET_S, settle_s=SETTLE_S
        )
        return Measurement("100,000 steps", "ms", "smolagents", found, samples)


def _call(session: Session) -> None:
    if session.run("x = 20\nx + 1").value != "21":
        raise WrongAnswer("a session")


def _back_ms(session: Session) -> float:
    """Spoil the state; return the ms until the one before has answered a call."""
    session.run("x = 20")
    session.run("x = 0")
    began = time.perf_counter()
    session.rollback()
    value = session.run("x").value
    took_s = time.perf_counter() - began
    if value != "20":
        raise WrongAnswer("a session's state")
    return took_s * 1e3


def kept(stack: contextlib.ExitStack, rounds: int) -> tuple[Measurement, Measurement]:
    """Calls in an interpreter that keeps its state; and going back to an earlier one."""
    kernel = stack.enter_context(contextlib.closing(Kernel()))
    calls, back = [], []
    for tier in TIERS:
        with skipping(tier):
            pool = stack.enter_context(Pool(1, tier=tier))
            in_place = stack.enter_context(pool.session(rollback=False))
            rolled = stack.enter_context(pool.session())
            for name, about, session in (
                ("in place", "session(rollback=False).run", in_place),
                ("with rollback", "session().run: the state before it is kept", rolled),
            ):
                run = milliseconds(partial(_call, session))
                calls.append(Alternative(f"ours, {name}, {tier}", about, run))
            run = partial(_back_ms, rolled)
            back.append(
                Alternative(f"ours, {tier}", "rollback(), and a call that finds the state", run)
            )
    about = "execute_interactive on a warm ipykernel"
    calls.append(Alternative("jupyter", about, milliseconds(kernel.call)))
    about = "LocalPythonExecutor, in the caller's own process"
    calls.append(Alternative("smolagents", about, milliseconds(Smolagents().call)))
    about = "restart_kernel, wait_for_ready: the state is gone, and must be made again"
    back.append(Alternative("jupyter, restart", about, milliseconds(kernel.restart)))
    measure = partial(interleave, warm_up=1, budget_s=KEPT_BUDGET_S, settle_s=SETTLE_S)
    call_ms: Samples = measure(calls, rounds=10 * rounds)
    back_ms: Samples = measure(back, rounds=rounds)
    return (
        Measurement("call that keeps its state", "ms", "jupyter", calls, call_ms),
        Measurement("back to an earlier state", "ms", "jupyter, restart", back, back_ms),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--n", type=int, default=10, help="rounds of throughput; others have more")
    parser.add_argument("--preload", action="append", default=[], help="a module; repeatable")
    parser.add_argument("--quick", action="store_true", help="few rounds: does it work at all?")
    arguments = parser.parse_args()
    preload = tuple(arguments.preload)
    rounds, duration_s = (2, 0.3) if arguments.quick else (arguments.n, 0.6)
    facts: dict[str, Any] = {"machine": machine(), "preload": list(preload)}
    with contextlib.ExitStack() as stack:
        fresh = Fresh(stack, preload)
        facts["program"] = fresh.source
        latency = fresh.latency(5 * rounds)
        throughput = fresh.throughput(rounds, duration_s)
        measurements = [latency, throughput]
        if not preload:
            measurements.append(fresh.work(2 * rounds))
    if not preload:
        with contextlib.ExitStack() as stack:
            measurements += kept(stack, rounds)
    aims = [
        Aim(f"throughput: {name} / {BASE}", AIM, True, ratio)
        for name, ratio in ratios(throughput.samples, BASE).items()
        if name.startswith("ours")
    ]
    show(measurements, aims)
    for line in write("-".join(["peers", *preload]), facts, measurements, aims):
        Console().print(line)


if __name__ == "__main__":
    main()
