"""Tables of rows from files: JSON lines, JSON, or parquet; compressed with gzip or not."""

import gzip
import importlib
import json
import os
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from .reading import Unreadable

_PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"

_NAMES = ("task_id", "id", "question_id", "problem_id", "name")
"""Columns that say what a row is called; the first that it has."""


def read_table(name: str, data: bytes, most_bytes: int) -> "list[Mapping[str, Any] | Unreadable]":
    """Return the rows in the contents of a file; what is no row, in its place, as `Unreadable`.

    name: of the file, for errors. most_bytes: what compressed contents may come to. Raises
    ValueError for a file without rows, or of no known format, and ImportError for parquet without
    pyarrow.
    """
    if data.startswith(_GZIP):
        try:
            with gzip.open(BytesIO(data)) as file:
                data = file.read(most_bytes + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{name}: not compressed by gzip: {error}") from None
        if len(data) > most_bytes:
            raise ValueError(f"{name}: more than {most_bytes >> 20} MiB")
    rows = _of_parquet(name, data) if data.startswith(_PARQUET) else _of_json(name, data)
    if not rows:
        raise ValueError(f"{name}: no rows")
    return rows


def _of_parquet(name: str, data: bytes) -> "list[Mapping[str, Any] | Unreadable]":
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ImportError(
            f"{name} is a parquet file, which needs pyarrow: pip install pyarrow, or use JSON"
        ) from None
    try:
        rows: list[Mapping[str, Any] | Unreadable] = parquet.read_table(BytesIO(data)).to_pylist()
    except (OSError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from None
    return rows


def _of_json(name: str, data: bytes) -> "list[Mapping[str, Any] | Unreadable]":
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: no UTF-8: {error}") from None
    if text.lstrip().startswith("["):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name}: no JSON: {error}") from None
        return [_row(number, each) for number, each in enumerate(found, 1)]
    rows: list[Mapping[str, Any] | Unreadable] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append(_row(number, json.loads(line)))
            except (ValueError, RecursionError) as error:
                rows.append(Unreadable(f"line {number} is no JSON: {error}", "no JSON"))
    return rows


def _row(number: int, value: object) -> "Mapping[str, Any] | Unreadable":
    if isinstance(value, dict):
        return value
    return Unreadable(f"row {number} is no JSON object: {value!r:.80}", "no JSON object")


def read_folder(path: str) -> "list[Mapping[str, Any] | Unreadable]":
    """Return the rows of a folder that `Dataset.save_to_disk` of the package datasets has written.
    Raises ValueError for another folder, and ImportError without the package.
    """
    if os.path.exists(os.path.join(path, "dataset_dict.json")):
        raise ValueError(f"{path} holds several splits; name the folder of one in it")
    try:
        datasets: Any = importlib.import_module("datasets")
    except ImportError:
        raise ImportError(
            f"{path} is a folder, which needs datasets: pip install datasets, or name a file"
        ) from None
    try:
        return list(datasets.load_from_disk(path))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: no folder of a dataset: {error}") from None


def name_of(row: "Mapping[str, Any] | Unreadable") -> str | None:
    """Return what a row calls itself, or None."""
    if isinstance(row, Mapping):
        for column in _NAMES:
            if isinstance(row.get(column), (str, int)):
                return str(row[column])
    return None


def renamed(
    row: "Mapping[str, Any] | Unreadable", columns: Mapping[str, str]
) -> "Mapping[str, Any] | Unreadable":
    """Return a row of which each column NAME of `columns` is what another one holds; "": none."""
    if isinstance(row, Unreadable) or not columns:
        return row
    found = {name: cell for name, cell in row.items() if name not in columns}
    for name, other in columns.items():
        if other in row:
            found[name] = row[other]
    return found
