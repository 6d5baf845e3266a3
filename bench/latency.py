"""What a fresh process for print(1) costs: ours, and every other way of having one.

    python -m bench.latency [--n N] [--preload MODULE] [--quick]

Three measurements, each interleaved (see `harness.py`): wall time of one run, CPU time of one
run, and runs per second. Writes bench/results/latency.json, or latency-MODULE.json.
"""

import argparse
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar

from rich.console import Console

from interpreter_pool import SetupError

from .alternatives import Nsjail, Ours, PlainZygote, Subprocess, children_cpu_ms
from .harness import Alternative, interleave, milliseconds, rate, ratios
from .results import Aim, Measurement, machine, show, write

TIERS = ("namespaces", "landlock")
FORKS = {
    "os.fork": "fork + print + wait of the same zygote, unhardened, by os.fork",
    "libc fork": "the same by libc's fork, without Python's at-fork hooks",
    "c fork": "fork + _exit + wait of the same zygote: nothing runs in the child",
}
WORKERS = 2
IN_FLIGHT = 4 * WORKERS
ROW = 10
"""Runs in a row that make one sample of "in a row"."""
BLOCK = 20
"""Runs that make one sample of CPU time: the clocks are read around them."""
SETTLE_S = 0.008
BUDGET_S = 25.0
"""For each of the three measurements: a busy machine makes fewer rounds, not a longer bench."""


class _Closes(Protocol):
    def close(self) -> None: ...


_Thing = TypeVar("_Thing", bound=_Closes)


class Bench:
    """The alternatives, warm, for one set of preloaded modules. A context manager.

    skipped: alternatives that this host can't have, and why.
    """

    def __init__(self, preload: tuple[str, ...]) -> None:
        self.preload = preload
        self.skipped: dict[str, str] = {}
        self.ours: dict[str, Ours] = {}
        self.jailed: Nsjail | None = None
        with contextlib.ExitStack() as self._stack:
            self.plain = self._kept(PlainZygote(preload))
            self.fresh = self._kept(Subprocess(preload))
            for tier in TIERS:
                with self._where_possible(f"ours, {tier}"):
                    self.ours[tier] = self._kept(Ours(tier, preload))
            with self._where_possible("nsjail"):
                self.jailed = self._kept(Nsjail(preload))
            self._stack = self._stack.pop_all()

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _kept(self, thing: _Thing) -> _Thing:
        self._stack.callback(thing.close)
        return thing

    @contextlib.contextmanager
    def _where_possible(self, name: str) -> Iterator[None]:
        try:
            yield
        except SetupError as error:
            self.skipped[name] = str(error)

    def latency(self, rounds: int) -> Measurement:
        """Wall time of one run, alone with a pause after it, and among others without one."""
        found = []
        for tier, ours in self.ours.items():
            alone = "Pool(1).run, its prewarmed process child waiting"
            found.append(Alternative(f"ours, {tier}", alone, milliseconds(ours.run)))
            row = f"mean of {ROW} Pool(1).run without a pause: every fork is in it"
            found.append(Alternative(f"ours, {tier}, in a row", row, partial(ours.row_ms, ROW)))
        found += [
            Alternative(name, about, milliseconds(run)) for name, about, run in self._processes()
        ]
        found += [
            Alternative(kind, about, partial(self.plain.wall_ms, kind))
            for kind, about in FORKS.items()
        ]
        samples = interleave(found, rounds=rounds, warm_up=3, budget_s=BUDGET_S, settle_s=SETTLE_S)
        return Measurement("latency", "ms a run", found[0].name, found, samples)

    def cpu(self, rounds: int) -> Measurement:
        """CPU time of one run: of everything that works for it, on any core."""
        found = []
        for tier, ours in self.ours.items():
            jail, host = partial(ours.cpu_ms, BLOCK), partial(ours.cpu_ms, BLOCK, with_host=True)
            found.append(Alternative(f"ours, {tier}", "the run and its zygote", jail))
            about = "the run, its zygote, and this process, which drives it"
            found.append(Alternative(f"ours, {tier}, with host", about, host))
        found += [
            Alternative(kind, f"{about}; parent and child", partial(self.plain.cpu_ms, kind, BLOCK))
            for kind, about in FORKS.items()
        ]
        found += [
            Alternative(name, f"{about}; with this process", partial(children_cpu_ms, run, 2))
            for name, about, run in self._processes()
        ]
        samples = interleave(found, rounds=rounds, warm_up=1, budget_s=BUDGET_S, settle_s=SETTLE_S)
        return Measurement("cpu", "ms a run", "libc fork", found, samples)

    def throughput(self, rounds: int, duration_s: float) -> Measurement:
        """Runs per second of two workers with enough to do."""
        once = partial(rate, in_flight=IN_FLIGHT, duration_s=duration_s)
        with contextlib.ExitStack() as stack:
            threads = stack.enter_context(ThreadPoolExecutor(WORKERS))
            found = []
            for tier in self.ours:
                pool = stack.enter_context(contextlib.closing(Ours(tier, self.preload, WORKERS)))
                about = f"Pool({WORKERS}).submit, {IN_FLIGHT} in flight"
                found.append(Alternative(f"ours, {tier}", about, partial(once, pool.submit)))
            for name, about, run in self._processes():
                about = f"{about}; {WORKERS} threads, {IN_FLIGHT} in flight"
                found.append(Alternative(name, about, partial(once, partial(threads.submit, run))))
            samples = interleave(
                found, rounds=rounds, warm_up=1, budget_s=BUDGET_S, settle_s=SETTLE_S
            )
        return Measurement("throughput", "runs/s", "subprocess", found, samples)

    def _processes(self) -> Iterator[tuple[str, str, Callable[[], None]]]:
        """The alternatives that start an interpreter for every run."""
        yield "subprocess", 'subprocess.run([python, "-I", "-S", file])', self.fresh.run
        if self.jailed is not None:
            yield "nsjail", "nsjail + python: a new jail for every run, no limits", self.jailed.run


def aims(latency: Measurement, cpu: Measurement, throughput: Measurement, bare: bool) -> list[Aim]:
    """What was aimed at, for every tier that there is."""
    found = []
    for name in latency.samples:
        if name.startswith("ours") and "nsjail" in latency.samples:
            ratio = ratios(latency.samples, name)["nsjail"]
            found.append(Aim(f"latency: nsjail / {name}", 12 if bare else 50, True, ratio))
    for name, ratio in throughput.ratios().items():
        if name.startswith("ours"):
            found.append(Aim(f"throughput: {name} / subprocess", 6, True, ratio))
    for kind, wanted in (("os.fork", 1.2), ("libc fork", 1.2), ("c fork", 3.0)):
        for name, ratio in ratios(cpu.samples, kind).items():
            if name.startswith("ours"):
                found.append(Aim(f"cpu: {name} / {kind}", wanted, False, ratio))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--n", type=int, default=60, help="rounds of the latency measurement")
    parser.add_argument("--preload", action="append", default=[], help="a module; repeatable")
    parser.add_argument("--quick", action="store_true", help="few rounds: does it work at all?")
    arguments = parser.parse_args()
    preload = tuple(arguments.preload)
    rounds = 10 if arguments.quick else arguments.n
    facts: dict[str, Any] = {"machine": machine(), "preload": list(preload), "program": "print(1)"}
    with Bench(preload) as bench:
        latency = bench.latency(rounds)
        cpu = bench.cpu(3 if arguments.quick else max(rounds // 4, 3))
        throughput = bench.throughput(*((2, 0.3) if arguments.quick else (8, 0.7)))
        facts["skipped"] = bench.skipped
    measurements = (latency, cpu, throughput)
    aimed = aims(*measurements, bare=not preload)
    show(measurements, aimed)
    console = Console()
    for name, reason in bench.skipped.items():
        console.print(f"skipped: {name}: {reason}", markup=False)
    for line in write("-".join(["latency", *preload]), facts, measurements, aimed):
        console.print(line)


if __name__ == "__main__":
    main()
