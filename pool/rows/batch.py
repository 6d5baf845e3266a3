"""Judging programs by rows: one that can't be read takes no other with it."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from ...sandbox.limits import Limits
from ..judge.cases import Case
from ..judge.plan import judging_limits, require_possible
from ..judge.verdict import Verdict
from ..program import RECURSION_LIMIT, Program
from .imports import FUNCTION_IMPORTS
from .reading import Reading, Unreadable


class Judge(Protocol):
    """What judges: a `Pool`."""

    @property
    def limits(self) -> Limits: ...

    @property
    def judge_many(self) -> Callable[..., list[Verdict]]: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """What became of a row and a program.

    verdict: None where there was no program, or where the row can't be judged; then `why` says why.
    shape: of the row; "" where that is not known. error: where the row can't be read.
    """

    verdict: Verdict | None = None
    shape: str = ""
    why: str = ""
    is_gap: bool = False
    error: Unreadable | None = None

    @property
    def can_be_judged(self) -> bool:
        return not self.why

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON data: a verdict's, with `shape` and `unjudged`."""
        found = {"passed": False, "score": 0.0, "conclusive": False, "shape": self.shape}
        if self.verdict is not None:
            found = self.verdict.to_dict()
        return {**found, "unjudged": self.why or None}


def attempt(read: Callable[[], Reading]) -> Reading | Unreadable:
    """Return what `read` returns, or, if it can't be read, that."""
    try:
        return read()
    except Unreadable as error:
        return error


def judge_readings(
    judge: Judge,
    pairs: Iterable[tuple[str | None, Reading | Unreadable]],
    *,
    timeout: float | None = None,
    limits: Limits | None = None,
    recursion_limit: int | None = RECURSION_LIMIT,
    imports: str = FUNCTION_IMPORTS,
    **options: Any,
) -> list[Judged]:
    """Return what becomes of each pair of a program (None: there is none) and what its row asks.
    All are judged at once. options: as for `Pool.judge_many`; raises as that does, but for a
    row's content.
    """
    most = judging_limits(judge.limits, limits, timeout)
    found: list[Judged] = []
    wanted: list[int] = []
    items: list[tuple[Program, tuple[Case, ...]]] = []
    for code, reading in pairs:
        judged, item = _prepared(code or "", reading, most, imports)
        if item is not None and code is not None:
            wanted.append(len(found))
            items.append(item)
        found.append(judged)
    verdicts = judge.judge_many(items, limits=most, recursion_limit=recursion_limit, **options)
    for number, verdict in zip(wanted, verdicts, strict=True):
        shape = found[number].shape
        found[number] = dataclasses.replace(
            found[number], verdict=dataclasses.replace(verdict, shape=shape)
        )
    return found


def _prepared(
    code: str,
    reading: Reading | Unreadable,
    most: Limits,
    imports: str,
) -> tuple[Judged, tuple[Program, tuple[Case, ...]] | None]:
    if isinstance(reading, Unreadable):
        return Judged(why=str(reading), error=reading), None
    if reading.why:
        return Judged(shape=reading.shape, why=reading.why, is_gap=reading.is_gap), None
    try:
        program, cases = reading.item(code, most, imports=imports)
        require_possible(cases, program.limits or most)
    except (TypeError, ValueError) as error:
        kind = f"{reading.shape}: under these limits"
        return Judged(shape=reading.shape, why=str(error), error=Unreadable(str(error), kind)), None
    return Judged(shape=reading.shape), (program, cases)


def none_can_be_read(judged: Sequence[Judged]) -> Unreadable | None:
    """Return the first error where there are rows, and not one of them can be read."""
    if judged and all(each.error is not None for each in judged):
        return judged[0].error
    return None
