"""Checks of what callers pass: the error names the argument, the value and what it must be."""

import time
from collections.abc import Sequence


def expiry(queue_timeout: float | None) -> float | None:
    """When a wait of `queue_timeout` seconds that begins now is over."""
    require_seconds("queue_timeout", queue_timeout)
    return None if queue_timeout is None else time.monotonic() + queue_timeout


def require_seconds(name: str, value: float | None) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be seconds or None, not {value!r}")
    if not value >= 0:
        raise ValueError(f"{name}={value!r}: must be 0 or more")


def require_count(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number or None, not {value!r}")
    if not least <= value <= most:
        raise ValueError(f"{name}={value!r}: must be {least} to {most}")


def names_of(name: str, value: Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError(f"{name} must be a sequence of names, not the string {value!r}")
    try:
        return tuple(value)
    except TypeError:
        raise TypeError(f"{name} must be a sequence of names, not {value!r}") from None
