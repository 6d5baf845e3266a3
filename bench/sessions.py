"""What keeping, branching and rolling back a state cost.

    python -m bench.sessions [--rounds N] [--parked N]

In each tier: a call in place, with rollback, and with rollback of 10 and 100 MB, beside a run; a
run from a snapshot and from the plain pool; fork(8) of sessions that hold 1, 10 and 100 MB; calls a
second of an untrusted function, loaded afresh and loaded once; and the memory of many parked
sessions (their cgroup's count, tables of the kernel included; else an estimate), with the time of a
call that wakes one. Writes bench/results/sessions.json.
"""

import argparse
import functools
import itertools
import statistics
import time
from collections.abc import Callable

from rich.console import Console

from interpreter_pool import Limits, Pool, Session, SetupError

from .harness import Alternative, Samples, Summary, interleave, milliseconds
from .results import Aim, Measurement, machine, show, write

TIERS = ("namespaces", "landlock")
SIZES_MB = (1, 10, 100)
FORKS = 8
BUDGET_S = 25.0
AIM_IN_PLACE_MS, AIM_ROLLBACK_MS, AIM_FORK_MS = 0.2, 2.0, 2.0

_LIMITS = Limits(memory_bytes=1 << 30)
_SOURCE = "def double(x):\n    return 2 * x\n"
_SLOW_LOAD = "table = {n: str(n) * 3 for n in range(100_000)}\n"


def held(megabytes: int) -> str:
    """Code that makes a session hold `megabytes` in objects of a kilobyte."""
    return f"data = [bytes([n % 256]) * 1000 for n in range({megabytes * 1000})]\nn = 0"


class Bench:
    """The pools of all tiers that work here, and the sessions that are measured."""

    def __init__(self) -> None:
        self.pools: dict[str, Pool] = {}
        for tier in TIERS:
            try:
                self.pools[tier] = Pool(2, tier=tier, limits=_LIMITS)
            except SetupError as error:
                Console().print(f"skipped: {tier}: {error}", markup=False)

    def close(self) -> None:
        for pool in self.pools.values():
            pool.close()

    def session(self, pool: Pool, megabytes: int, *, rollback: bool = True) -> Session:
        session = pool.session(history=1, rollback=rollback)
        require(session.run(held(megabytes)).ok)
        return session

    def calls(self, rounds: int) -> Measurement:
        found = []
        for tier, pool in self.pools.items():
            snapshot = pool.snapshot("n = 0")
            ways: list[tuple[str, str, Callable[[], object]]] = [
                ("run", "Pool.run of n = 1", _run_of(pool.run)),
                ("snapshot", "Snapshot.run of n += 1", _run_of(snapshot.run)),
                (
                    "in place",
                    "Session.run of n += 1, rollback=False, 1 MB held",
                    _run_of(self.session(pool, 1, rollback=False).run),
                ),
                *(
                    (
                        f"rollback, {size} MB",
                        f"Session.run of n += 1, {size} MB held",
                        _run_of(self.session(pool, size).run),
                    )
                    for size in SIZES_MB
                ),
            ]
            found += [
                Alternative(f"{name}, {tier}", about, milliseconds(do)) for name, about, do in ways
            ]
        samples = interleave(found, rounds=rounds, warm_up=5, budget_s=BUDGET_S, settle_s=0.004)
        return Measurement("call", "ms", found[0].name, found, samples)

    def forks(self, rounds: int) -> Measurement:
        found = []
        for (tier, pool), size in itertools.product(self.pools.items(), SIZES_MB):
            session = self.session(pool, size, rollback=False)
            about = f"Session.fork({FORKS}) of {size} MB, per branch"
            run = functools.partial(_fork_ms, session)
            found.append(Alternative(f"{size} MB, {tier}", about, run))
        samples = interleave(found, rounds=rounds, warm_up=1, budget_s=BUDGET_S, settle_s=0.02)
        return Measurement("fork", "ms a branch", found[0].name, found, samples)

    def functions(self, rounds: int) -> Measurement:
        found = []
        for tier, pool in self.pools.items():
            for load, source in (("small", _SOURCE), ("slow load", _SLOW_LOAD + _SOURCE)):
                for once in (False, True):
                    how = "loaded once" if once else "fresh"
                    about = f"calls a second, one after the other, of a {load} source, {how}"
                    function = pool.function(source, "double", shared_load=once)
                    rate = functools.partial(_rate, function)
                    found.append(Alternative(f"{load}, {how}, {tier}", about, rate))
        samples = interleave(found, rounds=rounds, warm_up=1, budget_s=BUDGET_S)
        return Measurement("function", "calls/s", found[0].name, found, samples)

    def parked(self, count: int) -> tuple[Measurement, Measurement]:
        """Of `count` sessions: the memory of each, and the time that a call of one takes."""
        found: list[Alternative] = []
        megabytes: Samples = {}
        wake: Samples = {}
        for tier in self.pools:
            about = f"{count} sessions, parked; n += 1 in place in each"
            name = f"{count}, {tier}"
            found.append(Alternative(name, about, float))
            with Pool(2, tier=tier, limits=_LIMITS) as pool:
                pool.session().close()
                sessions = [pool.session(history=0, rollback=False) for _ in range(count)]
                for each in sessions:
                    require(each.run("n = 0").ok)
                megabytes[name] = [pool.stats().session_bytes / count / 1e6]
                do = [milliseconds(_run_of(each.run)) for each in sessions]
                wake[name] = [each() for each in do]
        base = found[0].name
        return (
            Measurement("parked", "MB a session", base, found, megabytes),
            Measurement("wake", "ms", base, found, wake),
        )


def _run_of(run: Callable[..., object]) -> Callable[[], None]:
    def once() -> None:
        result = run("n = globals().get('n', 0) + 1")
        require(bool(getattr(result, "ok", False)))

    return once


def _fork_ms(session: Session) -> float:
    began = time.perf_counter()
    branches = session.fork(FORKS)
    took_s = time.perf_counter() - began
    for each in branches:
        each.close()
    return took_s * 1e3 / FORKS


def _rate(function: Callable[[int], object], calls: int = 20) -> float:
    began = time.perf_counter()
    for number in range(calls):
        require(function(number) == 2 * number)
    return calls / (time.perf_counter() - began)


def require(is_so: bool) -> None:
    if not is_so:
        raise RuntimeError("a wrong answer, which has no speed")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sessions", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--parked", type=int, default=1000)
    options = parser.parse_args()
    facts = {"machine": machine()}
    bench = Bench()
    try:
        calls = bench.calls(options.rounds)
        forks = bench.forks(max(options.rounds // 10, 3))
        functions = bench.functions(max(options.rounds // 20, 3))
        parked, wake = bench.parked(options.parked)
    finally:
        bench.close()
    measurements = (calls, forks, functions, parked, wake)
    aims = []
    for tier in bench.pools:
        for name, wanted, samples in (
            (f"in place, {tier}", AIM_IN_PLACE_MS, calls.samples),
            (f"rollback, 1 MB, {tier}", AIM_ROLLBACK_MS, calls.samples),
            (f"1 MB, {tier}", AIM_FORK_MS, forks.samples),
        ):
            aims.append(Aim(f"{name}, ms", wanted, False, Summary.of(samples[name])))
        own = zip(
            calls.samples[f"rollback, 1 MB, {tier}"], calls.samples[f"run, {tier}"], strict=True
        )
        aims.append(Aim(f"rollback / run, {tier}", 1.5, False, Summary.of([a / b for a, b in own])))
    show(measurements, aims)
    for line in write("sessions", facts, measurements, aims):
        Console().print(line)
    for tier in bench.pools:
        name = f"{options.parked}, {tier}"
        median = statistics.median(wake.samples[name])
        Console().print(f"{name}: {parked.samples[name][0]:.2f} MB each, woken in {median:.2f} ms")


if __name__ == "__main__":
    main()
