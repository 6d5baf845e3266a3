"""A short form of the attack corpus, tried on this host: what of the promises holds here."""

import dataclasses
import platform
import time
from collections.abc import Iterator
from enum import StrEnum

from ...sandbox.errors import SandboxError
from ...sandbox.reasons import ExitReason
from ...sandbox.result import Result
from ..pool import Pool
from .attempts import ATTEMPTS, END, PRELUDE, Attempt
from .bait import Bait

_GRACE_S = 3.0
"""A result that comes later than its wall limit and this was not ended by it."""

_HISTORY = 8
"""Earlier states that a session of an attempt may keep."""

_LEAVING_S = 0.6
"""What was left behind shows by then: it waits 0.3 s to do harm."""


class Outcome(StrEnum):
    HELD = "held"
    NOT_HELD = "NOT held"
    NOT_TRIED = "not tried"


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """One attempt in one tier, and what came of it."""

    tier: str
    promise: str
    attempt: str
    outcome: Outcome
    detail: str = ""


def self_test(tier: str) -> Iterator[Trial]:
    """Try everything in a pool of `tier`, one after the other; some seconds in all.

    Raises `SetupError` where the tier does not work.
    """
    with Bait() as bait, Pool(1, tier=tier) as pool:
        for attempt in ATTEMPTS:
            outcome, detail = _try(pool, bait, attempt)
            yield Trial(tier, attempt.promise, attempt.name, outcome, detail)


def _try(pool: Pool, bait: Bait, attempt: Attempt) -> tuple[Outcome, str]:
    if attempt.machine not in (None, platform.machine()):
        return Outcome.NOT_TRIED, f"only on {attempt.machine}"
    if attempt.harmful and pool.tier == "none":
        return Outcome.NOT_TRIED, "it would do harm where nothing confines it"
    if attempt.session and pool.tier == "none":
        return Outcome.NOT_TRIED, "there are no sessions without confinement"
    began = time.monotonic()
    try:
        result = _in_session(pool, bait, attempt) if attempt.session else _run(pool, bait, attempt)
        took_s = time.monotonic() - began
        after = pool.run("print(1)")
    except SandboxError as error:
        return Outcome.NOT_TRIED, str(error)
    if "fork" in result.stdout:
        time.sleep(_LEAVING_S)
    harm = bait.harm()
    if harm is not None:
        return Outcome.NOT_HELD, harm
    if result.infra_error:
        return Outcome.NOT_TRIED, result.detail
    if took_s > (attempt.limits.wall_s or 0) * (2 if attempt.then else 1) + _GRACE_S:
        return Outcome.NOT_HELD, f"the result came after {took_s:.1f} s"
    if after.stdout != "1\n":
        return Outcome.NOT_HELD, f"the next run ended as {after.reason}"
    return _judge(attempt, result)


def _judge(attempt: Attempt, result: Result) -> tuple[Outcome, str]:
    """What a result shows. What can't be told is not held."""
    if result.stdout.startswith("through"):
        return Outcome.NOT_HELD, result.stdout.strip()[:300]
    if attempt.ends is not None:
        held = result.reason in attempt.ends
        return (Outcome.HELD if held else Outcome.NOT_HELD), f"ended as {result.reason}"
    if result.reason is ExitReason.DENIED:
        return Outcome.HELD, f"ended as denied: {result.detail}"
    if result.stdout == "refused\n":
        return Outcome.HELD, ""
    text = (result.stderr or result.stdout or result.detail).strip()[-200:]
    return Outcome.NOT_HELD, f"could not be told: ended as {result.reason}: {text}"


def _program(bait: Bait, code: str) -> str:
    return PRELUDE.replace("@BAIT@", repr(bait.described())) + code + END


def _run(pool: Pool, bait: Bait, attempt: Attempt) -> Result:
    result = pool.run(_program(bait, attempt.code), limits=attempt.limits)
    if attempt.then and not result.infra_error:
        result = pool.run(_program(bait, attempt.then), limits=attempt.limits)
    return result


def _in_session(pool: Pool, bait: Bait, attempt: Attempt) -> Result:
    with pool.session(limits=attempt.limits, history=_HISTORY) as session:
        for _ in range(attempt.calls):
            result = session.run(_program(bait, attempt.code))
        if attempt.most_states is not None and session.history > attempt.most_states:
            found = f"through: {session.history} earlier states are kept"
            return dataclasses.replace(result, stdout_bytes=found.encode())
        if not attempt.then or not result.ok:
            return result
        one, other = session.fork(2)
        with one, other:
            other.run("open('secret-of-sibling', 'w').close()")
            return one.run(attempt.then + END)
