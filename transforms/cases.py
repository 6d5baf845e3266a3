"""Cases from the rows of data sets, for reward functions of one's own: see `pool.rows`."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..pool.judge import Case
from ..pool.rows import FUNCTION_IMPORTS, MODULES, Reading, read_row, read_value
from ..pool.rows import with_imports as _with_imports
from ..pool.rows.calls import AsJson

__all__ = [
    "FUNCTION_IMPORTS",
    "MODULES",
    "AsJson",
    "cases_from_ground_truth",
    "cases_from_row",
    "cases_from_value",
    "with_imports",
]


def with_imports(code: str, cases: Iterable[Case], imports: str = FUNCTION_IMPORTS) -> str:
    """Return the program with what tasks take for granted; see `pool.rows.with_imports`."""
    return _with_imports(code, imports)


def cases_from_row(row: Mapping[str, Any], code: str) -> list[Case] | None:
    """Return the cases in a row of a data set; None if its columns for them hold None.

    code: the program that is to be judged. Raises ValueError for a row that can't be read, or not
    be judged. `read_row` says more of a row: its limits, its prelude, and its shape.
    """
    return _cases(read_row(row, code, compare="lines"))


def cases_from_value(value: Any, code: str) -> list[Case] | None:
    """Return the cases in one value: a list of them as in `cases`, a ground truth of verl's, JSON
    of either, or None.
    """
    return _cases(read_value(value, code, compare="lines"))


def cases_from_ground_truth(
    truth: str | Mapping[str, Any], code: str, *, compare: str = "lines"
) -> list[Case]:
    """Return the cases in a ground truth of verl's: a dict, or JSON of one.

    {"inputs": [...], "outputs": [...]}: standard input and output; lists are lines.
    {..., "fn_name": "f"}: each input holds the arguments, as JSON, one a line; each output what is
        to be returned, as JSON, or the string itself. If `code` has a class Solution, and no
        function of this name, its method is called.
    {"assert_case": [...]}: test code; `fn_name` is what it tests, or the one function it calls.
    compare: as for `Stdio`, of standard output.
    """
    found = None if truth is None else _cases(read_value(truth, code, compare=compare))
    if found is None:
        raise TypeError(f"ground_truth must be a dict, or JSON of one, not {truth!r:.80}")
    return found


def _cases(reading: Reading) -> list[Case] | None:
    if reading.is_gap:
        return None
    if reading.why:
        raise ValueError(reading.why)
    return list(reading.cases)
