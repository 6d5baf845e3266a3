"""What a run has to say, in words that a person or a model may see."""

import re
import unicodedata

from ..sandbox.reasons import ExitReason
from ..sandbox.result import Result

UNTOLD = (ExitReason.DENIED, ExitReason.INTERNAL)
"""Reasons that say too little by themselves."""

_HARMLESS = re.compile(r"[\n\t -~]*")


def ending(result: Result) -> str:
    """How a run ended, in a line.

    >>> from interpreter_pool.sandbox.result import Result
    >>> ending(Result.internal("no worker", tier="none", queue_s=0.0))
    'internal error, not the program (no worker)'
    """
    text = ending_of(result.reason, result.wall_s, result.cpu_s, result.signal)
    return f"{text} ({result.detail})" if result.reason in UNTOLD else text


def ending_of(reason: str, wall_s: float, cpu_s: float | None, signal: int | None) -> str:
    """The same from parts of a result, and without its detail."""
    return {
        ExitReason.WALL_TIMEOUT: f"wall time is over ({wall_s:.1f} s)",
        ExitReason.CPU_TIMEOUT: f"CPU time is over ({cpu_s or 0:.1f} s)",
        ExitReason.MEMORY: "out of memory",
        ExitReason.OUTPUT: "too much output",
        ExitReason.DENIED: "denied",
        ExitReason.CANCELLED: "cancelled",
        ExitReason.SIGNAL: f"died of signal {signal}",
        ExitReason.INTERNAL: "internal error, not the program",
    }.get(ExitReason(reason), str(reason))


def lacking(count: int, total: int, name: str, way_out: str) -> str:
    """Say how many programs failed for want of a package that is installed and not offered.

    >>> lacking(64, 64, "numpy", "packages=('numpy',)")
    "64 of 64 programs import numpy, which this pool does not offer: packages=('numpy',)"
    """
    return (
        f"{count} of {counted(total, 'program')} "
        f"{'imports' if count == 1 else 'import'} {name}, which this pool does not offer: {way_out}"
    )


def counted(number: int, what: str) -> str:
    """So many of something.

    >>> counted(1, "run"), counted(0, "line")
    ('1 run', '0 lines')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def escape(text: str) -> str:
    """Make control and format characters visible; newlines and tabs stay.

    A terminal would obey them: they move the cursor, rename windows, turn text around.
    """
    if _HARMLESS.fullmatch(text):
        return text
    return "".join(map(escape_character, text))


def escape_character(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character)[0] != "C":
        return character
    return character.encode("unicode_escape").decode("ascii")
