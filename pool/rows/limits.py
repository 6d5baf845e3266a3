"""The limits that a row has of its own."""

import math
import re
from collections.abc import Mapping
from typing import Any

from ...sandbox.limits import MAX_SECONDS

_NUMBER = re.compile(r"\s*(\d{1,12}(?:\.\d{1,12})?)\s*([A-Za-z]*)\.?\s*")
_UNITS = {"": 1 << 20, "b": 1, "byte": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_LEAST_BYTES = 1 << 20
"""A number from here on is bytes; below it, megabytes."""


def seconds(value: Any) -> float | None:
    """Return a time limit: a number, "2 seconds", "500 ms" or {"seconds": 2, "nanos": 0}. None
    where there is none, or what is there makes no sense.
    """
    if isinstance(value, Mapping):
        parts = [value.get("seconds") or 0, value.get("nanos") or 0]
        if not all(isinstance(part, (int, float)) for part in parts):
            return None
        return _positive(parts[0] + parts[1] / 1e9)
    number, unit = _split(value)
    if number is None:
        return None
    return _positive(number / 1e3 if unit == "ms" or unit.startswith("milli") else number)


def memory_bytes(value: Any) -> int | None:
    """Return a memory limit: a number of megabytes or (from 2**20 on) bytes, or "256 megabytes"."""
    number, unit = _split(value)
    if number is None or not math.isfinite(number) or number <= 0:
        return None
    if not unit:
        return int(number if number >= _LEAST_BYTES else number * (1 << 20))
    scale = _UNITS.get(unit if unit in _UNITS else unit[:1])
    return None if scale is None else int(number * scale)


def _split(value: Any) -> tuple[float | None, str]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value), ""
    found = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    return (float(found.group(1)), found.group(2).lower()) if found else (None, "")


def _positive(number: float) -> float | None:
    return number if 0 < number <= MAX_SECONDS else None
