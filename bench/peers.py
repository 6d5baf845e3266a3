"""Beside what else people run programs in: pools of Python's own, smolagents, a Jupyter kernel.

    python -m bench.peers [--n N] [--preload MODULE] [--quick]

Programs a second with a fresh process each, of two workers; and what a call costs in an interpreter
that keeps its state, and coming back to an earlier one. Writes bench/results/peers.json, or
peers-MODULE.json.
"""

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from rich.console import Console

from pool import Pool, Session
from sandbox import SetupError

from .alternatives import Ours, WrongAnswer
from .harness import Alternative, interleave, milliseconds, rate, ratios
from .peer_pools import KINDS
from .results import Aim, Measurement, machine, show, write

WORKERS = 2
IN_FLIGHT = 4 * WORKERS
TIERS = ("namespaces", "landlock")
BASE = "multiprocessing, forkserver"
AIM = 6
"""Times the throughput of `BASE`."""
BUDGET_S = 30.0
SETTLE_S = 0.008
_PATIENCE_S = 60.0


class PeerPool:
    """A pool of Python's own, in a process of its own (`peer_pools.py`)."""

    def __init__(self, kind: str, preload: tuple[str, ...]) -> None:
        self._process = subprocess.Popen(
            # Its end is rough, and semaphores that it leaves are told as a warning.
            [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "bench.peer_pools",
                kind,
                str(WORKERS),
                *preload,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def rate(self, duration_s: float, in_flight: int) -> float:
        """Programs a second, with `in_flight` at any time."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([duration_s, in_flight]) + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=_PATIENCE_S)


class Smolagents:
    """smolagents' LocalPythonExecutor: walks the syntax tree, in the caller's own process."""

    def __init__(self) -> None:
        from smolagents.local_python_executor import LocalPythonExecutor

        self._executor = LocalPythonExecutor([])
        self._executor.send_tools({})

    def call(self) -> None:
        if self._executor("x = 20\nx + 1").output != 21:
            raise WrongAnswer("smolagents")


class Kernel:
    """A Jupyter kernel, ipykernel's: a process that keeps its state. Nothing confines it."""

    def __init__(self) -> None:
        from jupyter_client.manager import start_new_kernel

        self._manager, self._client = start_new_kernel(
            kernel_name="python3", extra_arguments=["--log-level=ERROR"]
        )

    def call(self) -> None:
        texts = []

        def take(message: dict[str, dict[str, dict[str, str]]]) -> None:
            if "data" in message["content"]:
                texts.append(message["content"]["data"]["text/plain"])

        self._client.execute_interactive("x = 20\nx + 1", output_hook=take, timeout=_PATIENCE_S)
        if texts != ["21"]:
            raise WrongAnswer(f"the kernel said {texts}")

    def restart(self) -> None:
        """The only way back that a kernel has, if one runs again what came before."""
        self._manager.restart_kernel(now=True)
        self._client.wait_for_ready(timeout=_PATIENCE_S)

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


def _call(session: Session) -> None:
    if session.run("x = 20\nx + 1").value != "21":
        raise WrongAnswer("a session")


def _back(session: Session) -> None:
    session.run("x = 1")
    session.rollback()


def fresh(
    stack: contextlib.ExitStack, preload: tuple[str, ...], duration_s: float
) -> Iterator[Alternative]:
    """A new process for every program, in every way."""
    once = partial(rate, in_flight=IN_FLIGHT, duration_s=duration_s)
    for tier in TIERS:
        try:
            ours = stack.enter_context(contextlib.closing(Ours(tier, preload, WORKERS)))
        except SetupError as error:
            Console().print(f"skipped: {tier}: {error}", markup=False)
            continue
        about = f"Pool({WORKERS}).submit, confined"
        yield Alternative(f"ours, {tier}", about, partial(once, ours.submit))
    for kind in KINDS:
        pool = stack.enter_context(contextlib.closing(PeerPool(kind, preload)))
        about = "one task for each process, unconfined"
        yield Alternative(kind, about, partial(pool.rate, duration_s, IN_FLIGHT))


def kept(stack: contextlib.ExitStack) -> Iterator[Alternative]:
    """A call in an interpreter that keeps its state; and back to where it was."""
    pool = stack.enter_context(Pool(1))
    in_place = stack.enter_context(pool.session(rollback=False))
    rolled = stack.enter_context(pool.session())
    kernel = stack.enter_context(contextlib.closing(Kernel()))
    smolagents = Smolagents()
    for name, about, run in (
        ("ours, in place", "session(rollback=False).run", partial(_call, in_place)),
        ("ours, with rollback", "session().run", partial(_call, rolled)),
        ("jupyter", "execute_interactive on a warm ipykernel", kernel.call),
        ("smolagents", "LocalPythonExecutor, in the caller's process", smolagents.call),
        ("ours, call and back", "session().run, rollback()", partial(_back, rolled)),
        ("jupyter, restart", "restart_kernel, wait_for_ready; its state is gone", kernel.restart),
    ):
        yield Alternative(name, about, milliseconds(run))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--n", type=int, default=10, help="rounds")
    parser.add_argument("--preload", action="append", default=[], help="a module; repeatable")
    parser.add_argument("--quick", action="store_true", help="few rounds: does it work at all?")
    arguments = parser.parse_args()
    preload = tuple(arguments.preload)
    rounds, duration_s = (2, 0.3) if arguments.quick else (arguments.n, 0.7)
    facts = {"machine": machine(), "preload": list(preload), "program": "print(1)"}
    measure = partial(interleave, rounds=rounds, warm_up=1, budget_s=BUDGET_S, settle_s=SETTLE_S)
    with contextlib.ExitStack() as stack:
        found = list(fresh(stack, preload, duration_s))
        samples = measure(found)
    throughput = Measurement("throughput", "runs/s", BASE, found, samples)
    measurements = [throughput]
    if not preload:
        with contextlib.ExitStack() as stack:
            found = list(kept(stack))
            samples = measure(found)
        measurements.append(Measurement("kept state", "ms", "jupyter", found, samples))
    aims = [
        Aim(f"{name} / {BASE}", AIM, True, ratio)
        for name, ratio in ratios(throughput.samples, BASE).items()
        if name.startswith("ours")
    ]
    show(measurements, aims)
    for line in write("-".join(["peers", *preload]), facts, measurements, aims):
        Console().print(line)


if __name__ == "__main__":
    main()
