"""What it costs a program to import a package: by itself, or imported ahead of it.

    python -m bench.warm [--rounds N]

Wall time of a run, from the call to its result, in the strongest tier here: a program that imports
nothing, one that imports numpy, and one that imports numpy, pandas and sympy; in a pool that offers
nothing, in one that imports nothing ahead (preload=()), and in one that imports ahead what programs
import (preload=None), once it has. Writes bench/results/warm.json.
"""

import argparse
import contextlib
import time
from collections.abc import Callable

from rich.console import Console

from interpreter_pool import Pool

from .harness import Alternative, interleave, milliseconds, ratios
from .results import Aim, Measurement, machine, show, write

PACKAGES = ("numpy", "pandas", "sympy")
PROGRAMS = {
    "nothing": "print(1)",
    "numpy": "import numpy\nprint(1)",
    "numpy, pandas, sympy": "import numpy, pandas, sympy\nprint(1)",
}
BUDGET_S = 300.0

MOST_FOR_PRINT = 1.05
"""What a program that imports nothing may take of what it takes in a pool without packages."""

MOST_FOR_NUMPY = 0.1
"""What a program that imports numpy may take of what it takes where it imports that itself."""


def running(pool: Pool, code: str) -> Callable[[], float]:
    def run() -> None:
        result = pool.run(code, timeout=60)
        if result.stdout != "1\n":
            raise RuntimeError(f"{code!r} ended as {result}")

    return milliseconds(run)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.warm", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    facts = {"machine": machine()}
    with contextlib.ExitStack() as stack:
        without = stack.enter_context(Pool(1))
        cold = stack.enter_context(Pool(1, packages=PACKAGES, preload=()))
        warm = stack.enter_context(Pool(1, packages=PACKAGES))
        for code in PROGRAMS.values():
            for _ in range(3):  # until it is imported ahead
                warm.run(code, timeout=60)
                while not warm.engine.is_settled():
                    time.sleep(0.01)
        found = [Alternative("nothing, no packages", "print(1)", running(without, "print(1)"))]
        for name, code in PROGRAMS.items():
            for how, pool in (("by itself", cold), ("ahead", warm)):
                about = f"{name} imported {how}"
                found.append(Alternative(f"{name}, {how}", about, running(pool, code)))
        samples = interleave(found, rounds=rounds, warm_up=3, budget_s=BUDGET_S, settle_s=0.02)
    measurements = [Measurement("a run", "ms", found[0].name, found, samples)]
    of_print = ratios(samples, found[0].name)["nothing, ahead"]
    of_numpy = ratios(samples, "numpy, by itself")["numpy, ahead"]
    aims = [
        Aim("print(1) where packages are offered, of without", MOST_FOR_PRINT, False, of_print),
        Aim("import numpy ahead, of by itself", MOST_FOR_NUMPY, False, of_numpy),
    ]
    show(measurements, aims)
    for line in write("warm", facts, measurements, aims):
        Console().print(line)


if __name__ == "__main__":
    main()
