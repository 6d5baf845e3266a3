"""Until workers are ready, and what each of them holds.

    python -m bench.start [--rounds N]

Wall time until 1, 8 and 32 workers wait with a confined prewarmed process, in each tier, bare and
with numpy preloaded; and the memory of one worker (its zygote, its prewarmed process, and nsjail),
shared pages divided by those who share them. Writes bench/results/start.json.
"""

import argparse
import itertools
import time
from functools import partial

import psutil
from rich.console import Console

from interpreter_pool import Pool, SetupError

from .harness import Alternative, Samples, Summary
from .results import Aim, Measurement, machine, show, write

COUNTS = (1, 8, 32)
TIERS = ("namespaces", "landlock")
PRELOADS: tuple[tuple[str, ...], ...] = ((), ("numpy",))
AIM_S = 1.5
"""For 32 bare workers."""

_PATIENCE_S = 60.0


class Starter:
    """Starts pools, and notes what their workers hold."""

    def __init__(self) -> None:
        self.megabytes: Samples = {}

    def __call__(self, name: str, tier: str, preload: tuple[str, ...], count: int) -> float:
        """Return the seconds until `count` workers are ready."""
        before = set(_descendants())
        began = time.perf_counter()
        with Pool(count, tier=tier, packages=preload, preload=preload) as pool:
            while f"{count} idle" not in repr(pool):
                if time.perf_counter() - began > _PATIENCE_S:
                    raise RuntimeError(f"not ready after {_PATIENCE_S:g} s: {pool!r}")
                time.sleep(0.001)
            took_s = time.perf_counter() - began
            held = sum(map(_bytes, set(_descendants()) - before))
            self.megabytes.setdefault(name, []).append(held / count / 1e6)
        return took_s


def _descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _bytes(process: psutil.Process) -> int:
    """Its proportional set size; where that is closed to us (without root), its resident size."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.start", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    starter = Starter()
    facts = {"machine": machine()}
    found = []
    for tier, preload, count in itertools.product(TIERS, PRELOADS, COUNTS):
        name = f"{count} {tier}, {'+'.join(preload) or 'bare'}"
        about = f"Pool({count}), until every worker waits with a prewarmed process"
        found.append(Alternative(name, about, partial(starter, name, tier, preload, count)))
    samples: Samples = {each.name: [] for each in found}
    for each in list(found):
        try:
            each.run()
        except SetupError as error:
            Console().print(f"skipped: {each.name}: {error}", markup=False)
            found.remove(each)
    samples = {each.name: [] for each in found}
    starter.megabytes.clear()
    for number in range(rounds):
        first = number % len(found)
        for each in (*found[first:], *found[:first]):
            samples[each.name].append(each.run())
    base = found[0].name
    measurements = (
        Measurement("start", "s", base, found, samples),
        Measurement("memory", "MB a worker", base, found, starter.megabytes),
    )
    aims = [
        Aim(f"start of {name}, s", AIM_S, False, Summary.of(samples[name]))
        for name in samples
        if name.startswith("32") and name.endswith("bare")
    ]
    show(measurements, aims)
    for line in write("start", facts, measurements, aims):
        Console().print(line)


if __name__ == "__main__":
    main()
