"""`Pool.cases_from`: cases for the judge, out of a reference that is believed."""

import contextlib
import dataclasses
from typing import TYPE_CHECKING

from ...sandbox.limits import Limits
from ..checks import require_count
from ..engine.flights import in_order
from ..engine.task import RunFuture
from ..errors import LimitExceeded, ProgramError
from ..function import MakeFunction, check_name, pack_call, value_of
from ..judge.cases import Call
from ..program import Program
from ..runner import Runner
from .differential import MOST_EXAMPLES, limits_of_a_call
from .drawing import Enough, settled, simplest
from .side import Comparison
from .strategies import Arguments, require_hypothesis, strategy_of

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_INPUTS = 2
"""For each case asked for: the reference may fail on some."""

_DRAWS = 10
"""For each input: most strategies repeat themselves."""


def cases_from(
    runner: Runner,
    make: MakeFunction,
    reference: str | bytes | Program,
    function: str,
    strategy: object,
    n: int,
    seed: int | None,
    *,
    limits: Limits | None,
    timeout: float | None,
    comparison: Comparison,
) -> list[Call]:
    """Do what `Pool.cases_from` promises. make: a function of the reference."""
    require_hypothesis()
    check_name(function)
    require_count("n", n, 1, MOST_EXAMPLES)
    seed = settled(seed)
    Call(function, expected=None, **comparison)  # refuses what makes no sense before anything runs
    program = Program.of(reference, {})
    drawn_from = strategy_of(strategy, runner.limits, make, program, function)
    job = program.job(limits_of_a_call(runner, limits, timeout))
    inputs = _distinct(drawn_from, function, _INPUTS * n + 10, seed)

    def submit(request: bytes) -> RunFuture:
        return runner.submit(dataclasses.replace(job, call=request))

    cases: list[Call] = []
    failure = "it was not called"
    with contextlib.closing(in_order(submit, inputs, runner.ahead, runner.when_room)) as results:
        for arguments, result in zip(inputs.values(), results, strict=True):
            try:
                expected = value_of(result)
            except (ProgramError, LimitExceeded) as error:
                failure = str(error)
                continue
            cases.append(
                Call(function, arguments.args, arguments.kwargs or None, expected, **comparison)
            )
            if len(cases) == n:
                break
    if not cases:
        raise ValueError(
            f"{function} of the reference returned for none of {len(inputs)} inputs: {failure:.500}"
        )
    return cases


def _distinct(
    strategy: "SearchStrategy[object]", function: str, count: int, seed: int
) -> dict[bytes, Arguments]:
    """Return up to `count` different inputs, by the call as it crosses, in the order drawn."""
    found: dict[bytes, Arguments] = {}

    def look(drawn: object) -> bool:
        arguments = Arguments.of(drawn)
        found.setdefault(pack_call(function, arguments.args, arguments.kwargs), arguments)
        if len(found) == count:
            raise Enough
        return False

    simplest(strategy, look, most=_DRAWS * count, seed=seed)
    return found
