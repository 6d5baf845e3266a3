"""Measuring alternatives side by side, so that a noisy machine disturbs all of them alike.

Alternatives are interleaved in one process: every round runs each of them once, and each round
begins with another one, so that slow drifts (other tenants, clock speed) and the order hit all
alike. Ratios are taken within a round, between samples that are milliseconds apart, and their
median and spread are reported; ratios of two medians taken at different times are not.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

Samples = dict[str, list[float]]
"""Per alternative its values, in the order of the rounds: equal index, same round."""

_FEWEST = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Alternative:
    """One way of doing it.

    about: one line for readers of the results.
    run: does it once and returns what it cost, in the unit of its measurement. It raises where
        the work was not done right: a wrong answer has no speed.
    """

    name: str
    about: str
    run: Callable[[], float]


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """Of n values: quantiles by nearest rank, so that each is a value that was measured."""

    n: int
    min: float
    p10: float
    median: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        ordered = sorted(values)

        def rank(share: float) -> float:
            return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]

        return cls(
            n=len(ordered),
            min=ordered[0],
            p10=rank(0.10),
            median=statistics.median(ordered),
            p90=rank(0.90),
            p99=rank(0.99),
            max=ordered[-1],
        )


def milliseconds(function: Callable[[], object]) -> Callable[[], float]:
    """Return a function that calls `function` once and returns the wall time it took, in ms."""

    def timed() -> float:
        began = time.perf_counter()
        function()
        return (time.perf_counter() - began) * 1e3

    return timed


def interleave(
    alternatives: Sequence[Alternative],
    *,
    rounds: int,
    warm_up: int,
    budget_s: float,
    settle_s: float = 0.0,
) -> Samples:
    """Run every alternative once a round, A B C, B C A, ..., and return all values.

    warm_up: rounds at the beginning that are not counted.
    budget_s: no round begins later than this, but for the first three that count: a busy
        machine gives fewer samples, which the n of every summary tells.
    settle_s: idle time after each sample, in which what one alternative leaves to be done in
        the background does not fall into the time of the next.
    """
    samples: Samples = {each.name: [] for each in alternatives}
    ends_at = time.monotonic() + budget_s
    for number in range(-warm_up, rounds):
        if number >= _FEWEST and time.monotonic() > ends_at:
            break
        first = number % len(alternatives)
        for alternative in (*alternatives[first:], *alternatives[:first]):
            value = alternative.run()
            if number >= 0:
                samples[alternative.name].append(value)
            if settle_s:
                time.sleep(settle_s)
    return samples


def ratios(samples: Samples, base: str) -> dict[str, Summary]:
    """Return how many times the value of `base` each alternative's is, pairwise by round."""
    return {
        name: Summary.of([a / b for a, b in zip(values, samples[base], strict=True)])
        for name, values in samples.items()
    }


def rate(submit: Callable[[], Future[Any]], *, in_flight: int, duration_s: float) -> float:
    """Return runs per second, with `in_flight` submitted and not yet finished at any time.

    What is in flight at the end is waited for and counted, and so is the time it takes.
    """
    began = time.perf_counter()
    pending = {submit() for _ in range(in_flight)}
    finished = 0
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()  # raises what went wrong
        finished += len(done)
        if time.perf_counter() - began < duration_s:
            pending |= {submit() for _ in range(len(done))}
    return finished / (time.perf_counter() - began)
