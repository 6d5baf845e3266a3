"""What hardening costs, layer by layer.

    python -m bench.layers [--n N] [--preload MODULE] [--quick]

CPU time of print(1) in a child of the same warm zygote: forked by libc and not confined at all;
then with one more step of a run's confinement each, by the jail's own functions; then as a whole
run of a pool, whose remainder is what handing over and clearing up cost. A layer's share is the
difference to the step before, within a round. Writes bench/results/layers.json.
"""

import argparse
import contextlib
import itertools
from functools import partial

from rich.console import Console

from sandbox import SetupError

from .alternatives import Ours, PlainZygote
from .harness import Alternative, interleave, ratios
from .results import Aim, Measurement, machine, show, write

BASE = "libc fork"

STEPS = {
    "session": "setsid",
    "parent death signal": "prctl: it dies with its zygote",
    "landlock": "the ruleset that the zygote has made, enforced",
    "capabilities": "capset: none",
    "seccomp": "the filter, marked with the child's id; the kernel checks and compiles it",
    "rlimits": "the limits that come with a job",
    "descriptors": "all but the standard three closed",
    "as a program": "scratch, file, names, randomness, an end as under Python, its report",
}
TIERS = ("namespaces", "landlock")
BLOCK = 20
"""Runs that make one sample."""
BUDGET_S = 60.0
SETTLE_S = 0.008
AIM = 1.2
"""A hardened run against a plain fork of the same zygote, with numpy."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.layers", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--n", type=int, default=40, help="rounds")
    parser.add_argument("--preload", action="append", default=[], help="a module; repeatable")
    parser.add_argument("--quick", action="store_true", help="few rounds: does it work at all?")
    arguments = parser.parse_args()
    preload = tuple(arguments.preload)
    facts = {"machine": machine(), "preload": list(preload), "program": "print(1)"}
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(contextlib.closing(PlainZygote(preload, layered=True)))
        found = [Alternative(BASE, "fork + print + wait", partial(plain.cpu_ms, BASE, BLOCK))]
        for name, about in STEPS.items():
            found.append(Alternative(f"+ {name}", about, partial(plain.cpu_ms, name, BLOCK)))
        for tier in TIERS:
            try:
                ours = stack.enter_context(contextlib.closing(Ours(tier, preload)))
            except SetupError as error:
                Console().print(f"skipped: {tier}: {error}", markup=False)
                continue
            about = "the run and its zygote: handed over and cleared up, too"
            found.append(Alternative(f"run, {tier}", about, partial(ours.cpu_ms, BLOCK)))
        rounds = 4 if arguments.quick else arguments.n
        samples = interleave(found, rounds=rounds, warm_up=1, budget_s=BUDGET_S, settle_s=SETTLE_S)
    whole = Measurement("cpu", "ms a run", BASE, found, samples)
    shares = {BASE: samples[BASE]}
    for before, after in itertools.pairwise(found):
        if after.name.startswith("run"):
            before = found[len(STEPS)]
        pairs = zip(samples[before.name], samples[after.name], strict=True)
        shares[after.name] = [more - less for less, more in pairs]
    share = Measurement("what each adds", "ms a run", BASE, found, shares)
    aims = [
        Aim(f"{name} / {BASE}, CPU", AIM, False, ratio)
        for name, ratio in ratios(samples, BASE).items()
        if name.startswith("run")
    ]
    show((whole, share), aims)
    for line in write("-".join(["layers", *preload]), facts, (whole, share), aims):
        Console().print(line)


if __name__ == "__main__":
    main()
