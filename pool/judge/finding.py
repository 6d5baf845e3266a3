"""What a case says about a program, and how a run's end is told in words."""

import dataclasses

from ...sandbox.reasons import ExitReason
from ...sandbox.result import GuestException, Result
from ..wording import UNTOLD
from .verdict import Outcome


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What a case says; the fields are those of `CaseResult`."""

    outcome: Outcome
    reason: str
    detail: str = ""
    diff: str = ""
    score: float = 0.0
    weak: bool = False


PASSED = Finding(Outcome.PASS, "ok", score=1.0)
WEAKLY_PASSED = Finding(
    Outcome.PASS,
    "ok",
    "all that the test has looked at is what the program says of itself (==, in, bool)",
    score=1.0,
    weak=True,
)


def told(error: GuestException) -> str:
    """An exception's type and message."""
    return f"{error.type}: {error.message}".rstrip(": ")


def ending(result: Result) -> str:
    """What a run did at its end, as the rest of a sentence about it.

    >>> ending(Result.internal("no worker", tier="none", queue_s=0.0))
    'was lost (no worker)'
    """
    said = "" if result.exception is None else told(result.exception)
    if said and result.exit_code is not None:
        return f"ended by {said}" + (f" ({result.detail})" if result.not_offered else "")
    words = {
        ExitReason.OK: "left with status 0",
        ExitReason.EXIT: f"exited with status {result.exit_code}",
        ExitReason.SIGNAL: f"died of signal {result.signal}",
        ExitReason.WALL_TIMEOUT: f"ran out of wall time ({result.wall_s:.1f} s)",
        ExitReason.CPU_TIMEOUT: f"ran out of CPU time ({result.cpu_s or 0:.1f} s)",
        ExitReason.MEMORY: "ran out of memory",
        ExitReason.OUTPUT: "wrote too much",
        ExitReason.DENIED: "was denied something",
        ExitReason.CANCELLED: "was cancelled",
        ExitReason.INTERNAL: "was lost",
    }.get(result.reason, str(result.reason))
    more = said or (result.detail if result.reason in UNTOLD else "")
    return f"{words} ({more})" if more else words
