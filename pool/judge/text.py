"""Comparing what a program wrote with what it should have written. Time is linear in the output,
whatever is in it.
"""

import math
import re
from collections.abc import Callable

from .excerpt import line

COMPARISONS = ("exact", "lines", "whitespace", "tokens", "floats", "judge")

TOLERANT = ("floats", "judge")
"""Those that know of `abs_tol` and `rel_tol`."""

_NUMBER = re.compile(rb"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_PADDED = re.compile(rb"[+-]?0\d")
_PARTS = re.compile(rb"([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?")
_WHOLE = re.compile(rb"[+-]?\d+")

_LONGEST_NUMBER = 400
"""A longer token is compared as text: reading a number can take more than linear time."""

_LONGEST_EXPONENT = 12
"""Characters of one; no float comes near it."""

_MOST_DIGITS = 40
"""Those of a number that are read where a tolerance applies: twice what a float can hold."""


def to_bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def difference(
    output: bytes, expected: bytes, compare: str, abs_tol: float = 0.0, rel_tol: float = 0.0
) -> str | None:
    """Return None if `output` is what was expected; else where it differs first, for people.

    >>> difference(b"1 2 \\n", b"1 2", "lines")
    >>> print(difference(b"1 3", b"1 2", "tokens"))
    word 2: expected '2', got '3'
    """
    if output == expected:
        return None
    if compare == "exact":
        ours, theirs = expected.split(b"\n"), output.split(b"\n")
        return _first("line", ours, theirs, bytes.__eq__)
    if compare == "lines":
        ours, theirs = _lines(expected), _lines(output)
        return _first("line", ours, theirs, bytes.__eq__)
    if compare == "whitespace":
        ours, theirs = ([b" ".join(each.split()) for each in _lines(x)] for x in (expected, output))
        return _first("line", ours, theirs, bytes.__eq__)
    ours, theirs = expected.split(), output.split()
    if compare == "tokens":
        return _first("word", ours, theirs, bytes.__eq__)
    if compare == "judge":
        return _first("word", ours, theirs, lambda a, b: _judged(a, b, abs_tol, rel_tol))
    return _first("word", ours, theirs, lambda a, b: _close(a, b, abs_tol, rel_tol))


def _lines(text: bytes) -> list[bytes]:
    lines = [each.rstrip() for each in text.split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _close(expected: bytes, output: bytes, abs_tol: float, rel_tol: float) -> bool:
    if expected == output:
        return True
    if max(len(expected), len(output)) > _LONGEST_NUMBER:
        return False
    if not (_NUMBER.fullmatch(expected) and _NUMBER.fullmatch(output)):
        return False
    if _WHOLE.fullmatch(expected) and _WHOLE.fullmatch(output):
        return int(expected) == int(output)
    a, b = float(expected), float(output)
    if math.isinf(a) or math.isinf(b):  # larger than any float: how near they are is not known
        return False
    return math.isclose(a, b, rel_tol=rel_tol, abs_tol=abs_tol)


def _judged(expected: bytes, output: bytes, abs_tol: float, rel_tol: float) -> bool:
    """Whether two words are the same, or numbers that are: exactly, or, where the expected one has
    a point or an exponent, within a tolerance.
    """
    if expected == output:
        return True
    ours = _decimal(expected)
    theirs = None if ours is None else _decimal(output)
    if ours is None or theirs is None:
        return False
    if _WHOLE.fullmatch(expected):
        # 0011 may be bits, a code, a time: its zeros count.
        return ours == theirs and not (_PADDED.match(expected) or _PADDED.match(output))
    if ours == theirs:
        return True
    a, b = _float(ours), _float(theirs)
    if math.isinf(a) or math.isinf(b):
        return False
    return math.isclose(a, b, rel_tol=rel_tol, abs_tol=abs_tol)


def _decimal(word: bytes) -> tuple[bool, bytes, int] | None:
    """A number as (is negative, its digits without zeros at either end, the power of ten of the
    last one); None for what is none. Takes linear time, and no digit is lost.
    """
    if not _NUMBER.fullmatch(word):
        return None
    found = _PARTS.fullmatch(word)
    assert found is not None
    sign, whole, rest, exponent = found.groups()
    if exponent is not None and len(exponent) > _LONGEST_EXPONENT:
        return None
    digits = (whole + (rest or b"")).lstrip(b"0")
    power = int(exponent or 0) - len(rest or b"")
    short = digits.rstrip(b"0")
    if not short:
        return False, b"", 0
    return sign == b"-", short, power + len(digits) - len(short)


def _float(number: tuple[bool, bytes, int]) -> float:
    """The float next to a number; infinite if none is."""
    is_negative, digits, power = number
    power += max(len(digits) - _MOST_DIGITS, 0)
    size = float(b"%se%d" % (digits[:_MOST_DIGITS] or b"0", power))
    return -size if is_negative else size


def least_bytes(expected: bytes, compare: str) -> int:
    """How many bytes an output has at least that is what was expected.

    >>> least_bytes(b"1.50  2 \\n", "exact"), least_bytes(b"1.50  2 \\n", "tokens")
    (9, 6)
    """
    if compare == "exact":
        return len(expected)
    if compare in ("lines", "whitespace"):
        lines = _lines(expected)
        if compare == "whitespace":
            lines = [b" ".join(each.split()) for each in lines]
        return sum(map(len, lines)) + max(len(lines) - 1, 0)
    words = expected.split()
    if compare in TOLERANT:  # 1.50 may be written as 2
        words = [b"0" if _NUMBER.fullmatch(each) else each for each in words]
    return sum(map(len, words)) + max(len(words) - 1, 0)


def _first(
    what: str, ours: list[bytes], theirs: list[bytes], equal: Callable[[bytes, bytes], bool]
) -> str | None:
    """The first place where two lists differ; None if there is none."""
    for number, (expected, got) in enumerate(zip(ours, theirs, strict=False), 1):
        if not equal(expected, got):
            return f"{what} {number}: expected {line(expected)}, got {line(got)}"
    number = min(len(ours), len(theirs)) + 1
    if len(theirs) > len(ours):
        return f"{what} {number}: expected the end, got {line(theirs[number - 1])}"
    if len(theirs) < len(ours):
        return f"{what} {number}: expected {line(ours[number - 1])}, got the end"
    return None
