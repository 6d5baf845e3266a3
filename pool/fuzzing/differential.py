"""`Pool.differential`: what it checks, and puts together."""

import contextlib
import os

from ...sandbox.limits import Limits
from ..checks import require_count
from ..function import MakeFunction, check_name
from ..judge.cases import Call
from ..judge.plan import judging_limits
from ..program import Program
from ..runner import Runner
from .difference import Difference
from .drawing import settled
from .kept import Kept
from .search import OnExample, Search
from .side import Comparison, Side
from .strategies import require_hypothesis, strategy_of

MOST_EXAMPLES = 1 << 20

_TIMEOUT_S = 1.0
"""CPU seconds of a call, where nothing else was asked for."""


def differential(
    runner: Runner,
    make: MakeFunction,
    candidate: str | bytes | Program,
    reference: str | bytes | Program,
    function: str,
    strategy: object,
    *,
    max_examples: int,
    seed: int | None,
    limits: Limits | None,
    timeout: float | None,
    database: str | os.PathLike[str] | None,
    shared_load: bool,
    on_example: OnExample | None,
    comparison: Comparison,
) -> Difference | None:
    """Do what `Pool.differential` promises. make: a function of one of the programs."""
    require_hypothesis()
    check_name(function)
    require_count("max_examples", max_examples, 1, MOST_EXAMPLES)
    seed = settled(seed)
    rule = Call(function, expected=None, **comparison).rule
    limits = limits_of_a_call(runner, limits, timeout)
    program = Program.of(reference, {})
    drawn_from = strategy_of(strategy, runner.limits, make, program, function)
    kept = Kept(database, [function, drawn_from, program.job(limits).source])
    with contextlib.ExitStack() as opened:
        ours, theirs = (
            opened.enter_context(
                contextlib.closing(Side(make, source, function, limits, shared_load))
            )
            for source in (reference, candidate)
        )
        search = Search(function, theirs, ours, rule=rule, seed=seed, on_example=on_example)
        return search.run(drawn_from, max_examples, kept)


def limits_of_a_call(runner: Runner, limits: Limits | None, timeout: float | None) -> Limits:
    """As a judge's: CPU time counts, which does not hang on the load."""
    if limits is None and timeout is None:
        timeout = _TIMEOUT_S
    limits = judging_limits(runner.limits, limits, timeout)
    limits.require_fit(runner.tier)
    return limits
