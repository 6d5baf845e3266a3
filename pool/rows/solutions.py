"""The right programs that a row brings along."""

from collections.abc import Mapping
from typing import Any

from .asserts import as_source
from .cells import Row

_COLUMNS = (
    *("canonical_solution", "code", "solution", "completion", "solutions", "solution_code"),
    *("gold_standard_solution", "reference_code"),
)
_PYTHON_3 = (3, "3", "PYTHON3", "python3", "python", "Python")


def solutions_of(row: Mapping[str, Any], column: str | None = None) -> list[str]:
    """Return a row's own solutions: programs, of which the first is the likeliest to be right.

    column: where they are; None: in the columns that known data sets have for them. One that goes
    on where a prompt ends (HumanEval, BigCodeBench) comes with the prompt. Raises ValueError for
    a column that is not there, or holds no programs.
    """
    cells = Row(row)
    if column is not None:
        if column not in cells:
            raise ValueError(
                f"there is no column {column!r:.80}; there are {sorted(map(str, row))}"
            )
        return _in(cells, column, strict=True)
    for name in _COLUMNS:
        if name in cells and (found := _in(cells, name, strict=False)):
            return found
    return []


def _in(row: Row, column: str, *, strict: bool) -> list[str]:
    value: Any = row[column]
    if isinstance(value, str) and column == "solutions":
        try:
            value = row.parsed(column)
        except ValueError:
            value = [value]
    if isinstance(value, Mapping):  # CodeContests: two lists, of languages and of sources
        languages, sources = value.get("language"), value.get("solution")
        if not isinstance(languages, list) or not isinstance(sources, list):
            value = None
        else:
            value = [
                source
                for language, source in zip(languages, sources, strict=False)
                if language in _PYTHON_3
            ]
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        if strict and value is not None:
            raise ValueError(f"the column {column!r} holds no programs: {value!r:.80}")
        return []
    return [_whole(row, each) for each in value if each.strip()]


def _whole(row: Row, solution: str) -> str:
    """A solution that is the body of a function whose head the prompt has, with that."""
    name = row.get("entry_point")
    if not isinstance(name, str) or f"def {name.rpartition('.')[2]}" in solution:
        return solution
    for column in ("complete_prompt", "prompt", "code_prompt"):
        prompt = row.get(column)
        if isinstance(prompt, str) and as_source(prompt + solution):
            return prompt + solution
    return solution
