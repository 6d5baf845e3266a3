"""`pool judge --rows`: programs judged by the rows of a data set that they are in."""

import functools
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from ..executor import Executor
from ..rows import Reading, Unreadable, read_row, solutions_of
from ..rows.batch import Judged, attempt, judge_readings
from ..rows.tables import name_of, read_folder, read_table
from ..wording import counted
from . import options
from .ends import OWN_FAILURE
from .render import one_line, print_table, whole_lines

_MOST_ROWS = 30
"""Of a table of what did not pass."""


def read_rows(path: str) -> list[Mapping[str, Any] | Unreadable]:
    """Return the rows of a file, or of a folder that the package datasets has written. Raises
    ValueError for what has none, or needs a package that is not here.
    """
    try:
        if os.path.isdir(path):
            return read_folder(path)
        return read_table(path, options.read(path), options.MOST_BYTES)
    except ImportError as error:
        raise ValueError(str(error)) from None


class Rows:
    """The rows of a file, with the program of each: from the column `program`, or, where that is
    None, the row's own solution.
    """

    def __init__(self, path: str, program: str | None) -> None:
        rows = read_rows(path)
        if program is not None and not any(
            isinstance(row, Mapping) and program in row for row in rows
        ):
            raise ValueError(f"--program {program!r}: no row of {path} has this column")
        self.names = [name_of(row) or f"row {number}" for number, row in enumerate(rows, 1)]
        self._pairs = [_pair(row, program) for row in rows]

    def judge(self, pool: Executor, **judging: Any) -> list[Judged]:
        """Return what becomes of each row; options as for `judge_readings`."""
        return judge_readings(pool, self._pairs, **judging)


def _pair(
    row: Mapping[str, Any] | Unreadable, column: str | None
) -> tuple[str | None, Reading | Unreadable]:
    if isinstance(row, Unreadable):
        return None, row
    try:
        programs = solutions_of(row, column)
    except ValueError as error:
        return None, Unreadable(str(error), "no program", row)
    code = programs[0] if programs else None
    return code, attempt(functools.partial(read_row, row, code or ""))


def report(names: Sequence[str], judged: Sequence[Judged]) -> str:
    """Everything as one JSON object."""
    verdicts = [{"id": name, **each.to_dict()} for name, each in zip(names, judged, strict=True)]
    return json.dumps({**_summary(judged), "verdicts": verdicts})


def show(names: Sequence[str], judged: Sequence[Judged]) -> None:
    """Print a table of what did not pass, and lines of summary."""
    console = whole_lines()
    failed = [
        (name, each)
        for name, each in zip(names, judged, strict=True)
        if each.verdict is None or not each.verdict.passed
    ]
    if failed:
        table = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
        for column in ("row", "shape", "outcome", "detail"):
            table.add_column(column)
        for name, each in failed[:_MOST_ROWS]:
            table.add_row(*map(one_line, (name, each.shape, *_outcome(each))))
        print_table(console, table)
        if len(failed) > _MOST_ROWS:
            console.print(Text(f"... and {len(failed) - _MOST_ROWS} others that did not pass"))
    found = _summary(judged)
    shapes = ", ".join(f"{count} {shape or 'unknown'}" for shape, count in found["shapes"].items())
    rows = counted(found["rows"], "row")
    console.print(Text(f"{found['passed']} of {rows} passed ({shapes})"))
    for kind, words in (
        ("unreadable", "can't be read"),
        ("unjudged", "can't be judged"),
        ("without_program", "without a program"),
        ("infra_errors", "with an infra error"),
        ("harness_errors", "of which the test is at fault"),
    ):
        if found[kind]:
            console.print(Text(f"{counted(found[kind], 'row')} {words}"))


def exit_code(judged: Sequence[Judged]) -> int:
    """0 only if each row was judged and passed; OWN_FAILURE for a failure of ours."""
    verdicts = [each.verdict for each in judged]
    if any(verdict is not None and verdict.infra_error for verdict in verdicts):
        return OWN_FAILURE
    return 0 if all(verdict is not None and verdict.passed for verdict in verdicts) else 1


def _summary(judged: Sequence[Judged]) -> dict[str, Any]:
    verdicts = [each.verdict for each in judged if each.verdict is not None]
    return {
        "rows": len(judged),
        "passed": sum(verdict.passed for verdict in verdicts),
        "shapes": dict(Counter(each.shape for each in judged)),
        "unreadable": sum(each.error is not None for each in judged),
        "unjudged": sum(each.error is None and not each.can_be_judged for each in judged),
        "without_program": sum(each.can_be_judged and each.verdict is None for each in judged),
        "infra_errors": sum(verdict.infra_error for verdict in verdicts),
        "harness_errors": sum(verdict.harness_error is not None for verdict in verdicts),
    }


def _outcome(judged: Judged) -> tuple[str, str]:
    if judged.error is not None:
        return "unreadable", judged.why
    if judged.why:
        return "not judged", judged.why
    if judged.verdict is None:
        return "no program", ""
    case = next(case for case in judged.verdict.cases if not case.passed)
    detail = "; ".join(text for text in (case.detail, case.diff) if text)
    return str(case.outcome), f"case {case.index}: {case.reason}: {detail}"
