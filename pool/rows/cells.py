"""Cells of tables as plain data: from JSON, parquet, pandas, and what data sets put into text."""

import ast
import json
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from . import packed

_DEEPEST = 64
_MOST_PARTS = 5_000_000

_LONGEST_LITERAL = 8 << 20
"""Characters of Python literals that are read: the parser takes some hundred times as much."""


class Row(Mapping[str, Any]):
    """A row, whose cells become plain data when they are asked for. A gap, whatever a table puts
    there, is None; so is a column that there is not, for `get`.
    """

    def __init__(self, cells: Mapping[str, Any]) -> None:
        self._cells = cells
        self._plain: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._plain:
            self._plain[name] = plain(self._cells[name])
        return self._plain[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)

    def __contains__(self, name: object) -> bool:
        return name in self._cells

    def has(self, *names: str) -> bool:
        """Whether all of these columns are there, gaps or not."""
        return all(name in self._cells for name in names)

    def text(self, name: str) -> str:
        """The text in a column; "" where there is none."""
        value = self.get(name)
        return value if isinstance(value, str) else ""

    def parsed(self, name: str) -> Any:
        """What is in a column, read where it is text."""
        return parsed(name, self.get(name))


def plain(cell: Any) -> Any:
    """Return a cell as plain data: arrays and scalars of numpy as lists and numbers; NaN and other
    gaps as None. Raises ValueError for what is nested too deeply, or is too much.
    """
    if is_gap(cell):
        return None
    return _plain(cell, 0, [0])


def is_gap(cell: Any) -> bool:
    """Whether a cell is what a table puts where there is nothing."""
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, float) and math.isnan(cell)


def _plain(value: Any, depth: int, count: list[int]) -> Any:
    if isinstance(value, (str, bytes, bool, int, float)) and not hasattr(value, "tolist"):
        return value
    if hasattr(value, "tolist"):  # an array, or a scalar of numpy's
        value = value.tolist()
    elif hasattr(value, "as_py"):  # a scalar of pyarrow's
        value = value.as_py()
    count[0] += 1 + (len(value) if isinstance(value, (Mapping, tuple, list)) else 0)
    if depth > _DEEPEST or count[0] > _MOST_PARTS:
        raise ValueError("a cell is nested too deeply, or has too many parts")
    if isinstance(value, Mapping):
        return {key: _plain(each, depth + 1, count) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(_plain(each, depth + 1, count) for each in value)
    if isinstance(value, list):
        return [_plain(each, depth + 1, count) for each in value]
    return value


def parsed(name: str, value: Any) -> Any:
    """Return what a text holds: JSON, or base64 of a compressed pickle of data or of JSON, or a
    literal of Python; anything that is no text as it is. Raises ValueError, which names `name`.
    """
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{name} is no text: {value!r:.80}") from None
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except RecursionError:
        raise ValueError(f"{name}: JSON that is nested too deeply") from None
    except ValueError as error:
        problem = f"{name} is no JSON ({error}): {value!r:.80}"
    start = value.lstrip()[:1]
    if start in ("{", "[", "("):
        return _literal(value, problem)
    if value[:2] in ("eJ", "eN", "eA", "eF", "eG") or len(value) > 256:  # base64 of zlib's header
        try:
            found = plain(packed.unpack(value.strip()))
        except ValueError as error:
            raise ValueError(f"{problem}; nor is it packed data: {error}") from None
        return parsed(name, found) if isinstance(found, str) else found
    raise ValueError(problem)


def _literal(text: str, problem: str) -> Any:
    if len(text) > _LONGEST_LITERAL:
        raise ValueError(problem)
    try:
        return plain(ast.literal_eval(text.strip()))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise ValueError(problem) from None


def kind_of(value: Any) -> str:
    """The type of a value, for an error."""
    return sys.intern(type(value).__name__)
