"""Is one checkout slower than another? Runs, session calls and judged cases of both, in pairs.

    python -m bench.compare BEFORE AFTER [--pairs N] [--each N]

BEFORE and AFTER are folders of checkouts; both are run by this interpreter, with its packages. Each
has a process of its own with a pool of one worker, and the two take turns: in every pair each does
the same, one right after the other, in changing order. Printed as JSON, for each thing measured:
the median of AFTER / BEFORE over the pairs, and its 95 % interval (bootstrap, percentile).
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

_HOST = """
import json, sys, time
try:
    from interpreter_pool import Asserts, Pool
except ImportError:  # before the distribution had one import name
    from pool import Asserts, Pool
with Pool(1) as pool, pool.session() as session:
    case = [Asserts("assert f(1) == 2\\nassert f(2) == 3", "f")]
    todo = {
        "run": lambda: pool.run("print(1)").ok,
        "session call": lambda: session.run("x = 1").ok,
        "judged case": lambda: pool.judge("def f(x): return x + 1", case).passed,
    }
    for line in sys.stdin:
        name, count = json.loads(line)
        began = time.perf_counter()
        right = sum(todo[name]() for _ in range(count))
        took = time.perf_counter() - began
        assert right == count, (name, right)
        print(took / count, flush=True)
"""

WHAT = ("run", "session call", "judged case")


class Host:
    """A process that does what it is told with the code of one checkout."""

    def __init__(self, checkout: str) -> None:
        paths = [os.path.join(checkout, "src"), checkout]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, paths))}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _HOST],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd="/",
        )

    def measure(self, what: str, count: int) -> float:
        """Do it `count` times; return seconds for each."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([what, count]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a host ended with status {self._process.wait()}")
        return float(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def interval(ratios: list[float], *, resamples: int = 2000) -> tuple[float, float]:
    """Return the 95 % interval of the median of `ratios`, by bootstrap."""
    draw = random.Random(0)
    medians = sorted(
        statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(resamples)
    )
    return medians[int(0.025 * resamples)], medians[int(0.975 * resamples)]


def compare(before: str, after: str, pairs: int, each: int) -> dict[str, Any]:
    """Return, for each thing measured, both medians (ms) and the ratio with its interval."""
    hosts = {"before": Host(before), "after": Host(after)}
    found: dict[str, Any] = {}
    try:
        for what in WHAT:
            for host in hosts.values():
                host.measure(what, each)  # warm
            times: dict[str, list[float]] = {"before": [], "after": []}
            for number in range(pairs):
                for name in sorted(hosts, reverse=bool(number % 2)):
                    times[name].append(hosts[name].measure(what, each))
            ratios = [b / a for a, b in zip(times["before"], times["after"], strict=True)]
            found[what] = {
                "pairs": pairs,
                "each": each,
                **{f"{name}_ms": statistics.median(of) * 1e3 for name, of in times.items()},
                "ratio": statistics.median(ratios),
                "interval": interval(ratios),
            }
    finally:
        for host in hosts.values():
            host.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("before", help="the folder of a checkout")
    parser.add_argument("after", help="the folder of another")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--each", type=int, default=25, help="how often in each half of a pair")
    arguments = parser.parse_args()
    for folder in (arguments.before, arguments.after):
        if not (Path(folder) / "sandbox").is_dir():
            parser.error(f"{folder}: no checkout of this project")
    print(json.dumps(compare(**vars(arguments)), indent=2))


if __name__ == "__main__":
    main()
