"""Tables of rows from files: JSON lines, JSON, or parquet; compressed with gzip or not."""

import gzip
import importlib
import json
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from .reading import Unreadable

_PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"


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
