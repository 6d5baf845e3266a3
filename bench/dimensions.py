"""How throughput changes with workers, program, output, preloaded modules and tier.

    python -m bench.dimensions [--quick]

Programs a second through `Pool.submit`, each dimension by itself, its values interleaved, in each
tier that works here. Writes bench/results/dimensions.json.
"""

import argparse
import contextlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from functools import partial

from rich.console import Console

from interpreter_pool import Limits, Pool, Result

from .alternatives import WrongAnswer, skipping
from .harness import Alternative, interleave, rate
from .results import Measurement, machine, show, write

TIERS = ("namespaces", "landlock")
UNCONFINED = "none"
WORKERS = (1, 2, 4, 8, 16, 32, 64)
PROGRAM_BYTES = (8, 1 << 10, 100 << 10, 1 << 20)
OUTPUT_BYTES = (1, 1 << 10, 100 << 10, 1 << 20, 10 << 20)
PRELOADS: tuple[tuple[str, ...], ...] = ((), ("numpy",), ("numpy", "pandas", "sympy"))
FEW = 2
"""Workers where their number is not what changes."""
BUDGET_S = 7.0
"""For each measurement."""


def submit(pool: Pool, code: str, printed: int) -> "Future[Result]":
    """Run `code`, which prints so many bytes; a result that isn't that stops the bench."""
    future = pool.submit(code)
    future.add_done_callback(partial(_check, printed))
    return future


def _check(printed: int, future: "Future[Result]") -> None:
    result = future.result()
    if not result.ok or len(result.stdout_bytes) != printed:
        raise WrongAnswer(repr(result))


def statements(size: int) -> str:
    """A program of `size` bytes, statements most of it, that prints one."""
    last = "print(1)"
    line = "x = [1, 2, 3]\n"
    return line * ((size - len(last)) // len(line)) + last


def literal(size: int) -> str:
    """A program of `size` bytes, one string most of it: little to compile, as much to hand over."""
    program = "x = '{}'\nprint(1)"
    return program.format("x" * (size - len(program) + len("{}")))


def measure(
    name: str, cases: Mapping[str, tuple[Pool, int, str, int]], rounds: int, duration_s: float
) -> Measurement:
    """cases: by name a pool, its workers, a program, and the bytes that it prints."""
    found = [
        Alternative(
            each,
            f"Pool({workers}).submit, {4 * workers} in flight",
            partial(
                rate,
                partial(submit, pool, code, printed),
                in_flight=4 * workers,
                duration_s=duration_s,
            ),
        )
        for each, (pool, workers, code, printed) in cases.items()
    ]
    samples = interleave(found, rounds=rounds, warm_up=1, budget_s=BUDGET_S, settle_s=0.02)
    return Measurement(name, "runs/s", found[0].name, found, samples)


def measurements(tier: str, rounds: int, duration_s: float) -> Iterator[Measurement]:
    with contextlib.ExitStack() as stack:
        pools = {n: stack.enter_context(Pool(n, tier=tier)) for n in WORKERS}
        cases = {f"{n}": (pool, n, "print(1)", 2) for n, pool in pools.items()}
        yield measure(f"workers, {tier}", cases, rounds, duration_s)
    with Pool(FEW, tier=tier, limits=Limits(output_bytes=16 << 20)) as pool:
        cases = {f"{n} bytes": (pool, FEW, statements(n), 2) for n in PROGRAM_BYTES}
        for n in PROGRAM_BYTES[1:]:
            cases[f"{n} bytes, a string"] = (pool, FEW, literal(n), 2)
        yield measure(f"size of the program, {tier}", cases, rounds, duration_s)
        code = "import sys; sys.stdout.write('x' * {})"
        cases = {f"{n} bytes": (pool, FEW, code.format(n), n) for n in OUTPUT_BYTES}
        yield measure(f"size of the output, {tier}", cases, rounds, duration_s)
    with contextlib.ExitStack() as stack:
        cases = {}
        for names in PRELOADS:
            pool = stack.enter_context(Pool(FEW, tier=tier, packages=names, preload=names))
            cases["+".join(names) or "nothing"] = (pool, FEW, "print(1)", 2)
        yield measure(f"preloaded, {tier}", cases, rounds, duration_s)


def tiers(rounds: int, duration_s: float) -> Measurement:
    """The same pool, confined and not at all: what all of hardening takes of throughput."""
    with contextlib.ExitStack() as stack:
        cases = {}
        for tier in (UNCONFINED, *TIERS):
            with skipping(tier):
                cases[tier] = (stack.enter_context(Pool(FEW, tier=tier)), FEW, "print(1)", 2)
        return measure("tiers", cases, rounds, duration_s)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.dimensions", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="few rounds: does it work at all?")
    rounds, duration_s = (1, 0.2) if parser.parse_args().quick else (5, 0.4)
    facts = {"machine": machine()}
    found = [tiers(rounds, duration_s)]
    for tier in TIERS:
        with skipping(tier):
            found += measurements(tier, rounds, duration_s)
    show(found, [])
    for line in write("dimensions", facts, found, []):
        Console().print(line)


if __name__ == "__main__":
    main()
