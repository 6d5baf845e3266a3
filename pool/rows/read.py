"""From a row of a data set to what a program is judged by."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ..judge.text import COMPARISONS
from . import functions, limits, modules, streams, wrapped
from .calls import CONTEST
from .cells import Row, is_gap
from .reading import Reading, Unreadable
from .truth import read_truth

Recogniser = Callable[[Row, str, str], Reading | None]
"""Takes a row, a program, and how standard output is compared; returns None for a row of another
shape. Raises ValueError or TypeError where the shape is its own and the content makes no sense."""

RECOGNISERS: tuple[Recogniser, ...] = (
    wrapped.own,
    functions.humaneval,
    functions.evalplus,
    functions.mbppplus,
    functions.mbpp,
    streams.code_contests_plus,
    functions.acecode,
    functions.prime_leetcode,
    functions.cruxeval,
    modules.bigcodebench,
    modules.classeval,
    modules.kodcode,
    modules.ds1000,
    modules.sandboxfusion,
    modules.repositories,
    streams.apps,
    streams.livecodebench,
    streams.deepcoder,
    streams.code_contests,
    streams.codeforces,
    streams.roll,
    wrapped.verl,
    wrapped.skyrl,
    wrapped.nemo_gym,
    wrapped.synthetic,
    wrapped.ground_truth,
    streams.columns,
)
"""In this order; the first that takes a row reads it. No two take the same row of a data set."""


def read_row(row: Mapping[str, Any], code: str = "", *, compare: str | None = None) -> Reading:
    """Return what a row of a data set asks of a program, by its columns.

    row: cells by the names of their columns, as JSON, datasets, pandas or parquet give them.
    code: the program, of which it is only looked at whether a function is a method of its class
    Solution. compare: as for `Stdio`, of standard output; None: as contests have it, with a
    tolerance for numbers.

    Raises `Unreadable` for a row whose shape is not known, or whose content makes no sense;
    TypeError or ValueError for arguments that make no sense.
    """
    if not isinstance(row, Mapping):
        raise TypeError(f"row must map columns to cells, not {row!r:.80}")
    _require(code)
    require_comparison(compare)
    # In a table of several data sets, the columns of the others are there, and hold gaps.
    full = {name: cell for name, cell in row.items() if not is_gap(cell)}
    asked = ""
    try:
        for cells in (Row(full), Row(row)):
            for recognise in RECOGNISERS:
                asked = recognise.__name__
                reading = recognise(cells, code, compare or CONTEST)
                if reading is not None:
                    return _limited(reading, cells)
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise Unreadable(_said(error), f"{asked}: {type(error).__name__}", row) from error
    columns = sorted(map(str, row))
    raise Unreadable(
        "no column with cases: there must be cases; test and entry_point; test_list; ground_truth; "
        f"or those of a known data set; got {columns}",
        f"unknown: {', '.join(columns)}",
        row,
    )


def read_value(value: Any, code: str = "", *, compare: str | None = None) -> Reading:
    """Return what one value asks of a program: a list of cases, a ground truth, or JSON of either.
    Raises as `read_row`.
    """
    _require(code)
    require_comparison(compare)
    try:
        return read_truth("ground_truth", value, code, compare=compare or CONTEST)
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise Unreadable(_said(error), f"ground_truth: {type(error).__name__}") from error


def require_comparison(compare: str | None) -> str | None:
    """Return how standard output is compared; raise ValueError for what is no way to."""
    if compare is not None and compare not in COMPARISONS:
        raise ValueError(f"compare={compare!r:.80}: there are {', '.join(COMPARISONS)}")
    return compare


def _require(code: object) -> None:
    if not isinstance(code, str):
        raise TypeError(f"code must be text, not {code!r:.80}")


def _said(error: Exception) -> str:
    text = str(error)
    return text if isinstance(error, (TypeError, ValueError)) else f"{type(error).__name__}: {text}"


def _limited(reading: Reading, row: Row) -> Reading:
    """With the limits that the row has, and seeing changes of arguments if it asks for that."""
    if not reading.cases:
        return reading
    if row.get("mutates") is True:
        reading = reading.seeing_changes()
    cpu_s = limits.seconds(row.get("time_limit"))
    memory = limits.memory_bytes(row.get("memory_limit_bytes"))
    if memory is None:
        memory = limits.memory_bytes(row.get("memory_limit"))
    if cpu_s is None and memory is None:
        return reading
    return dataclasses.replace(reading, cpu_s=cpu_s, memory_bytes=memory)
