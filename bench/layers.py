"""What hardening costs, layer by layer.

    python -m bench.layers [--n N] [--preload MODULE] [--quick]

CPU time of print(1) in a child of the same warm zygote: forked by libc, outside of any jail; in a
worker's jail, but not confined itself; then with one more layer of a run's each, by the jail's own
functions (`layered_zygote.py`); then as a whole run of a pool, first without the pool's process.
What a layer adds is the difference to the one before, within a round. All on one core; what a CPU
clock does not count (work that the kernel puts off and charges to nobody) is in the wall time of
runs in a row, which is measured for the first and the last of these. Writes
bench/results/layers.json, or layers-MODULE.json.
"""

import argparse
import contextlib
import dataclasses
import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from interpreter_pool import Limits
from interpreter_pool.sandbox.guest.jail import protocol, wire
from interpreter_pool.sandbox.host.probe import Offer, Requirements, probe_host
from interpreter_pool.sandbox.jail.folder import HostFolder
from interpreter_pool.sandbox.jail.jail import Jail
from interpreter_pool.sandbox.jail.launch import Launcher
from interpreter_pool.sandbox.jail.layout import Mounts
from interpreter_pool.sandbox.jail.messages import understood
from interpreter_pool.sandbox.jail.plan import Plan, profile_of
from interpreter_pool.sandbox.run.job import Job, rlimits_for

from .alternatives import Ours, PlainZygote, skipping
from .harness import Alternative, Samples, interleave, ratios
from .results import Aim, Measurement, machine, show, write

PLAIN = "plain fork"
RUN = "+ messages (a whole run)"
TIERS = ("namespaces", "landlock")
BLOCK = 20
"""Runs that make one sample."""
CPU_BUDGET_S, WALL_BUDGET_S = 22.0, 10.0
"""For each tier; the latter for all."""
SETTLE_S = 0.004
AIM_PLAIN, AIM_C = 1.2, 3.0
"""With numpy, on one core: a hardened run against a plain fork of the same zygote, in CPU time; and
a pool's runs in a row, its process included, against forks from C."""
_PATIENCE_S = 60.0


class OtherZygote(Launcher):
    """Starts jails as `launcher` does, but with the text of `layered_zygote.py` in them."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._text = Path(__file__).with_name("layered_zygote.py").read_text(encoding="utf-8")

    def mounts(self, mounts: Mounts) -> Mounts:
        return self._launcher.mounts(mounts)

    def start(self, command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        text_at = command.index("-c") + 1
        command = [*command[:text_at], self._text, *command[text_at + 1 :]]
        return self._launcher.start(command, **options)

    def close(self) -> None:
        self._launcher.close()


class LayeredJail(Jail):
    """A worker's jail, with the helper of `layered_zygote.py` as its zygote."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._make()

    def _settle(self) -> None:
        self._join_cgroup()
        limits = Limits()
        self._say(protocol.pack_profile(profile_of(limits, 0, self.plan)))
        rlimits = rlimits_for(limits, self, counted=self.group is not None)
        self._say(Job(b"print(1)", (), b"", limits).pack(rlimits))
        self.names: tuple[str, ...] = self._answer()

    def cpu_ms(self, how_many: int, count: int) -> float:
        """ms of CPU time of a run with the first so many layers."""
        return self._ask(how_many, count)[0] / count

    def row_ms(self, how_many: int, count: int) -> float:
        """ms of wall time of each of `count` such runs in a row."""
        return self._ask(how_many, count)[1] / count

    def _ask(self, how_many: int, count: int) -> tuple[float, float]:
        self._say(wire.encode((how_many, count)))
        cpu_ms, wall_ms = self._answer()
        return cpu_ms, wall_ms

    def _answer(self) -> Any:
        return understood(self._receive(_PATIENCE_S)[0])


@dataclasses.dataclass(frozen=True, slots=True)
class Tier:
    """What is measured in one tier: a jail with layers, and a pool of one worker."""

    name: str
    jail: LayeredJail
    ours: Ours

    def cpu(self, plain: PlainZygote, rounds: int) -> Measurement:
        ways: list[tuple[str, str, Callable[[], float]]] = [
            (PLAIN, "by libc, outside of jails", partial(plain.cpu_ms, "libc fork", BLOCK)),
            ("+ jail", "in a worker's, unconfined", partial(self.jail.cpu_ms, 0, BLOCK)),
        ]
        for number, name in enumerate(self.jail.names, 1):
            cpu_ms = partial(self.jail.cpu_ms, number, BLOCK)
            ways.append((f"+ {name}", "and all before it", cpu_ms))
        whole = partial(self.ours.cpu_ms, BLOCK, with_host=True)
        ways += [
            (RUN, "of a pool and its zygote: all in the jail", partial(self.ours.cpu_ms, BLOCK)),
            ("+ host", "and the pool's process", whole),
        ]
        found = [Alternative(*way) for way in ways]
        samples = interleave(
            found, rounds=rounds, warm_up=1, budget_s=CPU_BUDGET_S, settle_s=SETTLE_S
        )
        return Measurement(f"cpu, {self.name}", "ms a run", PLAIN, found, samples)

    def wall(self) -> Iterator[Alternative]:
        for about, how_many in (("unconfined", 0), ("all layers", len(self.jail.names))):
            row_ms = partial(self.jail.row_ms, how_many, BLOCK)
            yield Alternative(f"in a jail, {about}, {self.name}", "the helper's children", row_ms)
        about = "a pool's runs in a row, with the pool's process"
        yield Alternative(f"run, {self.name}", about, partial(self.ours.row_ms, BLOCK))


def added(cumulative: Measurement) -> Measurement:
    """What each alternative has that the one before has not; ratios are to the plain fork."""
    samples: Samples = {PLAIN: cumulative.samples[PLAIN]}
    for before, after in itertools.pairwise(cumulative.samples):
        pairs = zip(cumulative.samples[before], cumulative.samples[after], strict=True)
        samples[after] = [more - less for less, more in pairs]
    name = cumulative.name.replace("cpu", "cpu that each layer adds")
    return dataclasses.replace(cumulative, name=name, samples=samples)


def tiers(stack: contextlib.ExitStack, preload: tuple[str, ...]) -> Iterator[Tier]:
    folder = stack.enter_context(HostFolder())
    for name in TIERS:
        with skipping(name):
            probed = probe_host(
                Requirements(tier=name, offer=Offer(preload, preload)), Limits(), folder
            )
            stack.callback(probed.plan.launcher.close)
            probed.jail.close()
            plan = dataclasses.replace(probed.plan, launcher=OtherZygote(probed.plan.launcher))
            jail = stack.enter_context(contextlib.closing(LayeredJail(plan)))
            yield Tier(name, jail, stack.enter_context(contextlib.closing(Ours(name, preload))))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.layers", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--n", type=int, default=80, help="rounds")
    parser.add_argument("--preload", action="append", default=[], help="a module; repeatable")
    parser.add_argument("--quick", action="store_true", help="few rounds: does it work at all?")
    arguments = parser.parse_args()
    preload = tuple(arguments.preload)
    rounds = 4 if arguments.quick else arguments.n
    core = max(os.sched_getaffinity(0))
    facts = {"machine": machine(), "preload": list(preload), "program": "print(1)", "core": core}
    os.sched_setaffinity(0, {core})  # and with this process all that it starts
    measurements: list[Measurement] = []
    aims: list[Aim] = []
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(contextlib.closing(PlainZygote(preload)))
        rows = [
            Alternative(kind, "of the same zygote", partial(plain.row_ms, kind, BLOCK))
            for kind in ("c fork", "libc fork")
        ]
        for tier in tiers(stack, preload):
            cpu = tier.cpu(plain, rounds)
            measurements += [cpu, added(cpu)]
            what = f"cpu, {tier.name}: a run / {PLAIN}"
            aims.append(Aim(what, AIM_PLAIN, False, cpu.ratios()[RUN]))
            rows += tier.wall()
        samples = interleave(
            rows, rounds=rounds, warm_up=1, budget_s=WALL_BUDGET_S, settle_s=SETTLE_S
        )
    measurements.append(Measurement("in a row on one core", "ms a run", "c fork", rows, samples))
    for name, ratio in ratios(samples, "c fork").items():
        if name.startswith("run"):
            aims.append(Aim(f"in a row on one core: {name} / c fork", AIM_C, False, ratio))
    show(measurements, aims)
    for line in write("-".join(["layers", *preload]), facts, measurements, aims):
        Console().print(line)


if __name__ == "__main__":
    main()
