"""Fleets of 1, 2, 4 and 8 executors on this machine: what the router and the hosts cost a run.

    python -m bench.scale [--rounds N]

Executors of two workers each, as local services, and one client (`connect`). Programs that sleep
20 ms ask for no CPU to speak of, so that twice as many executors should do twice as many, as long
as two cores have the CPU that confined processes cost. Executors that run nothing (`Noop`: each
order is answered at once) show what the way there and back costs alone. CPU is that of the client's
process, and of the executors' own processes, without their jails. Writes bench/results/scale.json.
"""

import argparse
import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import psutil
from rich.console import Console

from interpreter_pool import (
    ExitReason,
    Limits,
    PythonExecutorService,
    Result,
    connect,
    get_services,
)
from interpreter_pool.pool.remote import messages
from interpreter_pool.pool.remote.messages import Answer, Described, Load, Reply

from .harness import Alternative, Samples, interleave, ratios
from .results import Aim, Measurement, machine, show, write

COUNTS = (1, 2, 4, 8)
SIZE = 2
SLEEP_S = 0.02
SLEEPER = f"import time; time.sleep({SLEEP_S}); print(1)"
BATCH = 128
BATCHES_OF_NOOPS = 8
"""Of a round; one of them would be over too soon to be measured."""


class Noop:
    """An executor that says of every run that it has printed 1."""

    def describe_executor(self) -> bytes:
        return messages.pack(Described("noop", Limits(), "namespaces", Load(SIZE, 0)))

    def exchange(self, data: bytes) -> bytes:
        request = messages.unpack_request(data)
        ended = dataclasses.replace(
            Result.internal("", tier="namespaces", queue_s=0.0),
            reason=ExitReason.OK,
            stdout_bytes=b"1\n",
        )
        runs = [order.number for order in request.orders if order.kind == messages.RUN]
        answers = [Answer(number, (ended, None)) for number in runs]
        return messages.pack(Reply(answers, Load(SIZE, 0), "noop"))


class Fleet:
    """A fleet and its client. `rate` has batches run; what each cost in CPU is kept."""

    def __init__(self, executor: Any, pids: list[int], batches: int) -> None:
        self._executor = executor
        self._processes = [psutil.Process(pid) for pid in pids]
        self._batches = batches
        self.client_ms: list[float] = []
        self.executors_ms: list[float] = []

    def rate(self) -> float:
        """Return runs a second."""
        before, began = self._cpu(), time.perf_counter()
        client = time.process_time()
        for _ in range(self._batches):
            results = list(self._executor.map([SLEEPER] * BATCH))
            if any(result.stdout != "1\n" for result in results):
                raise RuntimeError(f"a run failed: {results}")
        took_s = time.perf_counter() - began
        runs = BATCH * self._batches
        self.client_ms.append((time.process_time() - client) / runs * 1e3)
        self.executors_ms.append((self._cpu() - before) / runs * 1e3)
        return runs / took_s

    def _cpu(self) -> float:
        return sum(sum(each.cpu_times()[:2]) for each in self._processes)


@contextlib.contextmanager
def fleets(cls: type, batches: int, **options: Any) -> Iterator[dict[int, Fleet]]:
    """A fleet of each size, all of them idle but for whose turn it is."""
    with contextlib.ExitStack() as stack:
        found = {}
        for count in COUNTS:
            namespace = f"bench-{os.getpid()}-{cls.__name__}-{count}"
            services = stack.enter_context(get_services("local", namespace=namespace))
            before = {child.pid for child in psutil.Process().children()}
            services.register_fleet("fleet", cls, min=count, **options)
            pids = [each.pid for each in psutil.Process().children() if each.pid not in before]
            executor = stack.enter_context(connect(f"local://fleet?namespace={namespace}"))
            list(executor.map([SLEEPER] * BATCH))
            found[count] = Fleet(executor, pids, batches)
        yield found


def measure(
    what: str, about: str, by_count: dict[int, Fleet], rounds: int
) -> tuple[list[Measurement], Samples]:
    compared = [
        Alternative(f"{count} executors", about, partial(fleet.rate))
        for count, fleet in by_count.items()
    ]
    samples = interleave(compared, rounds=rounds, warm_up=1, budget_s=120)
    base = compared[0].name
    costs = {}
    for name in ("client_ms", "executors_ms"):
        costs[name] = {
            each.name: getattr(fleet, name)[-len(samples[each.name]) :]
            for each, fleet in zip(compared, by_count.values(), strict=True)
        }
    return [
        Measurement(what, "runs/s", base, compared, samples),
        Measurement(f"{what}, client", "ms of CPU a run", base, compared, costs["client_ms"]),
        Measurement(f"{what}, executors", "ms of CPU a run", base, compared, costs["executors_ms"]),
    ], samples


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    facts = {"machine": machine(), "size": SIZE, "sleep_s": SLEEP_S, "batch": BATCH}
    with fleets(PythonExecutorService, 1, pool_size=SIZE) as by_count:
        asleep, samples = measure("runs that sleep 20 ms", "confined runs", by_count, rounds)
    with fleets(Noop, BATCHES_OF_NOOPS) as by_count:
        nothing, _ = measure("runs of executors that run nothing", "no runs", by_count, rounds)
    measurements = [*asleep, *nothing]
    found = ratios(samples, "1 executors")
    client = {
        "4": asleep[1].summaries()["4 executors"],
        "noop": nothing[1].summaries()["4 executors"],
    }
    aims = [
        Aim("4 executors / 1, runs that sleep", 3.6, True, found["4 executors"]),
        Aim("ms of the client's CPU a run, 4 executors", 0.1, False, client["4"]),
        Aim("the same, of runs that are none", 0.1, False, client["noop"]),
    ]
    show(measurements, aims)
    for line in write("scale", facts, measurements, aims):
        Console().print(line)


if __name__ == "__main__":
    main()
