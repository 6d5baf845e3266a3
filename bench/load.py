"""Under load: useful throughput when more is offered than can be done, and false timeouts.

    python -m bench.load [--rounds N]

Overload: programs arrive at 1, 2 and 3 times the rate that two workers can do, whether or not
earlier ones have ended; the queue is bounded, and a wait ends after a deadline. What ends in time
is useful. False timeouts: with 20 busy processes beside it, four at once, each in need of 0.2 CPU
seconds, run under a wall limit of 1 s, and under a CPU limit of 1 s. Writes
bench/results/load.json.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial

from rich.console import Console

from interpreter_pool import Limits, Pool, PoolFull, PoolTimeout, Result

from .harness import Alternative, Summary, interleave, rate, ratios
from .results import Aim, Measurement, machine, show, write

WORKERS = 2
PROGRAM = "print(sum(range(20_000)))"
OFFERED = (1, 2, 3)
DURATION_S = 1.5
DEADLINE_S = 0.5
QUEUED = 64
BUSY = 20
NEEDS_CPU = "import time\nwhile time.process_time() < 0.2: pass\nprint('done')"
UNDER_LOAD = {
    "wall limit": Limits(wall_s=1.0),
    "cpu limit": Limits(cpu_s=1.0, wall_s=60.0),
}
RUNS = 4
BUDGET_S = 60.0


def check(result: Result) -> None:
    if not result.ok:
        raise RuntimeError(f"a run failed: {result}")


def peak(pool: Pool) -> float:
    """Runs per second with a few in flight at any time."""
    return rate(lambda: pool.submit(PROGRAM), in_flight=4 * WORKERS, duration_s=DURATION_S)


def useful(pool: Pool, capacity: float, times: int) -> float:
    """Runs per second that end within `DEADLINE_S` of their arrival, at `times` the capacity."""
    began = time.perf_counter()
    ended: list[tuple[float, Future[Result]]] = []
    arrived = 0
    while (now := time.perf_counter() - began) < DURATION_S:
        due = int(now * capacity * times)
        while arrived < due:
            arrived += 1
            with contextlib.suppress(PoolFull):
                at = time.perf_counter()
                future = pool.submit(PROGRAM, queue_timeout=DEADLINE_S)
                future.add_done_callback(partial(note, ended, at))
        time.sleep(0.001)
    while repr(pool) != f"<Pool {pool.tier}: {WORKERS} idle; 0 queued>":
        time.sleep(0.001)
    took_s = time.perf_counter() - began
    good = 0
    for latency_s, done in ended:
        with contextlib.suppress(PoolTimeout):
            check(done.result())
            good += latency_s <= DEADLINE_S
    return good / took_s


def note(ended: list[tuple[float, Future[Result]]], at: float, future: Future[Result]) -> None:
    ended.append((time.perf_counter() - at, future))


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep `count` processes busy; they end with this one, whatever happens to it."""
    spin = "import ctypes; ctypes.CDLL(None).prctl(1, 9)\nwhile True: pass"
    # Each in a session of its own: the scheduler may share CPUs out by session first.
    command = [sys.executable, "-S", "-c", spin]
    processes = [subprocess.Popen(command, start_new_session=True) for _ in range(count)]
    try:
        time.sleep(0.5)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def finished(pool: Pool, limits: Limits) -> float:
    """Percent of `RUNS` runs that were not ended by a time limit."""
    futures = [pool.submit(NEEDS_CPU, limits=limits) for _ in range(RUNS)]
    return 100 * sum(future.result().stdout == "done\n" for future in futures) / RUNS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rounds", type=int, default=6)
    rounds = parser.parse_args().rounds
    facts = {"machine": machine(), "busy": BUSY, "cpus": os.cpu_count()}
    with Pool(WORKERS, max_queue=QUEUED) as pool:
        capacity = max(peak(pool) for _ in range(3))
        offered = [Alternative("peak", "a few in flight at any time", partial(peak, pool))]
        offered += [
            Alternative(
                f"{times}x offered", "arrivals by the clock", partial(useful, pool, capacity, times)
            )
            for times in OFFERED
        ]
        samples = interleave(offered, rounds=rounds, warm_up=0, budget_s=BUDGET_S)
        overload = Measurement("useful throughput", "runs/s", "peak", offered, samples)
        with busy(BUSY):
            limited = [
                Alternative(name, f"{limits.wall_s:g} s wall", partial(finished, pool, limits))
                for name, limits in UNDER_LOAD.items()
            ]
            samples = interleave(limited, rounds=max(rounds // 2, 3), warm_up=0, budget_s=BUDGET_S)
        timeouts = Measurement("finished at load 20", "% of runs", "cpu limit", limited, samples)
    aims = [
        Aim(f"useful at {name} / peak", 0.95, True, ratio)
        for name, ratio in ratios(overload.samples, "peak").items()
        if name.startswith("3x")
    ]
    aims.append(Aim("finished under a cpu limit, %", 100, True, Summary.of(samples["cpu limit"])))
    show((overload, timeouts), aims)
    for line in write("load", facts, (overload, timeouts), aims):
        Console().print(line)


if __name__ == "__main__":
    main()
