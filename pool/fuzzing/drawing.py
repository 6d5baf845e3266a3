"""Inputs drawn by hypothesis, for whoever looks at them."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


class Enough(BaseException):
    """Raised by whoever looks at inputs: there need be no more."""


class _Failed(BaseException):
    """What looking has raised. Not an Exception: hypothesis would take it for a finding, and look
    for a simpler input that raises it.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def settled(seed: int | None) -> int:
    """Return the seed; from None, any."""
    if seed is None:
        return random.SystemRandom().getrandbits(32)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be a whole number or None, not {seed!r}")
    return seed


def simplest(
    strategy: "SearchStrategy[Any]",
    is_wanted: Callable[[Any], bool],
    *,
    most: int,
    seed: int,
) -> Any:
    """Return the simplest input found that is wanted, of `most` that are drawn and of those that
    are made from the first such one; None if there is none. What `is_wanted` raises is raised.
    """
    from hypothesis import HealthCheck, Phase, Verbosity, errors, find, settings

    def look(drawn: Any) -> bool:
        try:
            return is_wanted(drawn)
        except Exception as error:
            raise _Failed(error) from error

    options = settings(  # each by name: whatever profile the caller's tests have
        max_examples=most,
        database=None,  # a seed leaves none, see `Kept`
        derandomize=False,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
    )
    try:
        return find(strategy, look, settings=options, random=random.Random(seed))
    except errors.NoSuchExample:
        return None
    except errors.Unsatisfiable:
        raise ValueError(
            "no input could be drawn: what the strategy gives is too large, or filtered out; pass "
            "one that gives smaller inputs"
        ) from None
    except Enough:
        return None
    except _Failed as failed:
        raise failed.error from None
