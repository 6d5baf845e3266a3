"""Looking for differences: inputs a second, and inputs until planted bugs are at their simplest.

    python -m bench.fuzz [--rounds N]

In each tier: inputs a second of `Pool.differential` of a function with itself, where the programs
load at once and where that takes some 20 ms, loaded for each call and loaded once; beside
hypothesis that calls both functions in this process, unconfined. And for each of six planted bugs
how many inputs are tried until it is found and simplified, and how long that takes, with other
seeds. Writes bench/results/fuzz.json.
"""

import argparse
import contextlib
import functools
import random
import time
from collections.abc import Callable

from hypothesis import HealthCheck, errors, find, settings
from hypothesis import strategies as st
from rich.console import Console

from interpreter_pool import Pool, SetupError

from .harness import Alternative, Samples, Summary, interleave
from .results import Aim, Measurement, machine, show, write

TIERS = ("namespaces", "landlock")
INPUTS = 20
"""Of one sample."""

BUDGET_S = 30.0
MOST_INPUTS = 500
"""Until a planted bug is found and simplified."""

_TIMEOUT_S = 0.1
_SMALL = "def f(n: int, m: int):\n    return n % 7\n"
_SLOW = "table = {n: str(n) * 3 for n in range(100_000)}\n" + _SMALL

PLANTED = {
    # reference, candidate
    "off by one": (
        "def f(xs: list[int], k: int):\n    return xs[:k] if k >= 0 else []",
        "def f(xs, k):\n    return xs[:k + 1] if k >= 1 else []",
    ),
    "recursion depth": (
        "def f(n: int):\n    return n > 0 and n % 3",
        "def f(n, at=0):\n    return f(n, at + 1) if at < n else n > 0 and n % 3",
    ),
    "wrong on empty": (
        "def f(xs: list[int]):\n    return max(xs, default=0)",
        "def f(xs):\n    return max(xs)",
    ),
    "wrong on NaN": (
        "def f(xs: list[float]):\n    return any(x != x for x in xs)",
        "import math\ndef f(xs):\n    return math.nan in xs",
    ),
    "slow on large": (
        "def f(n: int):\n    return n % 7",
        "def f(n):\n    while n > 1000: pass\n    return n % 7",
    ),
    "wrong type": (
        "def f(a: int, b: int):\n    return (a + b) // 2",
        "def f(a, b):\n    return (a + b) / 2 if (a + b) % 2 else (a + b) // 2",
    ),
}


class Bench:
    """The pools of all tiers that work here."""

    def __init__(self) -> None:
        self.pools: dict[str, Pool] = {}
        for tier in TIERS:
            try:
                self.pools[tier] = Pool(2, tier=tier)
            except SetupError as error:
                Console().print(f"skipped: {tier}: {error}", markup=False)

    def close(self) -> None:
        for pool in self.pools.values():
            pool.close()

    def rates(self, rounds: int) -> Measurement:
        found = [
            Alternative("hypothesis alone", "both functions called in this process", _alone_per_s)
        ]
        for tier, pool in self.pools.items():
            for load, source in (("small", _SMALL), ("slow load", _SLOW)):
                for once in (False, True):
                    how = "loaded once" if once else "fresh"
                    about = f"Pool.differential, two calls an input, of a {load} source, {how}"
                    rate = functools.partial(_inputs_per_s, pool, source, once)
                    found.append(Alternative(f"{load}, {how}, {tier}", about, rate))
        samples = interleave(found, rounds=rounds, warm_up=1, budget_s=BUDGET_S)
        return Measurement("differential", "inputs/s", found[1].name, found, samples)

    def planted(self, rounds: int) -> tuple[Measurement, Measurement]:
        """Inputs until each bug is at its simplest, and seconds, in the strongest tier."""
        tier, pool = next(iter(self.pools.items()))
        inputs: Samples = {name: [] for name in PLANTED}
        found = []
        for name in PLANTED:
            about = f"found and simplified, {tier} tier, another seed each time"
            find_it: Callable[[], float] = functools.partial(_find, pool, name, inputs[name])
            found.append(Alternative(name, about, find_it))
        seconds = interleave(found, rounds=rounds, warm_up=0, budget_s=BUDGET_S)
        return (
            Measurement("planted bugs", "inputs", found[0].name, found, inputs),
            Measurement("planted bugs, time", "s", found[0].name, found, seconds),
        )


def _inputs_per_s(pool: Pool, source: str, once: bool) -> float:
    tried = 0

    def count(number: int, _: object) -> None:
        nonlocal tried
        tried = number

    began = time.perf_counter()
    same = pool.differential(
        source, source, "f", max_examples=INPUTS, seed=1, shared_load=once, on_example=count
    )
    if same is not None or not tried:
        raise RuntimeError(f"a function differs from itself: {same}")
    return tried / (time.perf_counter() - began)


def _alone_per_s() -> float:
    space: dict[str, Callable[[int, int], int]] = {}
    exec(_SMALL, space)
    f, tried = space["f"], 0

    def differs(drawn: tuple[int, int]) -> bool:
        nonlocal tried
        tried += 1
        return f(*drawn) != f(*drawn)

    options = settings(
        max_examples=INPUTS, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    began = time.perf_counter()
    with contextlib.suppress(errors.NoSuchExample):
        find(
            st.tuples(st.integers(), st.integers()),
            differs,
            settings=options,
            random=random.Random(1),
        )
    return tried / (time.perf_counter() - began)


def _find(pool: Pool, name: str, inputs: list[float]) -> float:
    reference, candidate = PLANTED[name]
    began = time.perf_counter()
    found = pool.differential(candidate, reference, "f", seed=len(inputs), timeout=_TIMEOUT_S)
    took_s = time.perf_counter() - began
    if found is None:
        raise RuntimeError(f"{name}: not found with seed {len(inputs)}")
    inputs.append(found.examples)
    return took_s


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rounds", type=int, default=8)
    rounds = parser.parse_args().rounds
    facts = {"machine": machine()}
    bench = Bench()
    try:
        measurements = (bench.rates(rounds), *bench.planted(rounds))
    finally:
        bench.close()
    aims = [
        Aim(f"{name}: inputs until simplest", MOST_INPUTS, False, Summary.of(values))
        for name, values in measurements[1].samples.items()
    ]
    show(measurements, aims)
    for line in write("fuzz", facts, measurements, aims):
        Console().print(line)


if __name__ == "__main__":
    main()
