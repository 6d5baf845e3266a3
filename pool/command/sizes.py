"""Sizes, durations and environments as people type them."""

import decimal
import re
from collections.abc import Sequence

from ...sandbox.limits import MAX_SECONDS

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_size(name: str, text: str) -> int | None:
    """Return bytes for a text such as "512M"; None for "none". Raises ValueError naming `name`.

    >>> parse_size("--memory", "1.5k")
    1536
    """
    if text.lower() == "none":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(f"{name} {text!r}: must be a size such as 512M (K, M, G), or 'none'")
    return int(decimal.Decimal(match[1]) * _UNITS[match[2].upper()])


def parse_seconds(name: str, text: str) -> float | None:
    """Return seconds for a text such as "2.5"; None for "none". Raises ValueError naming `name`."""
    if text.lower() == "none":
        return None
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"{name} {text!r}: must be a number of seconds, or 'none'") from None
    if not 0 < seconds <= MAX_SECONDS:  # not NaN either
        raise ValueError(
            f"{name} {text!r}: must be over 0 and at most {MAX_SECONDS:.0f} seconds, or 'none'"
        )
    return seconds


def parse_recursion_limit(text: str) -> int | None:
    """Return the number in a text such as "50000"; None for "none". Raises ValueError."""
    if text.lower() == "none":
        return None
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"--recursion-limit {text!r}: must be a whole number, or 'none'") from None


def parse_environment(texts: Sequence[str]) -> dict[str, str]:
    """Return the environment that texts such as "HOME=/tmp" make. Raises ValueError."""
    pairs = [text.partition("=") for text in texts]
    for name, equals, value in pairs:
        if not (name and equals):
            raise ValueError(f"--env {name + equals + value!r}: must be NAME=VALUE")
    return {name: value for name, _, value in pairs}
