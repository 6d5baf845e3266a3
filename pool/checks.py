"""Checks of what callers pass: the error names the argument, the value and what it must be."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from ..sandbox.errors import PolicyError
from ..sandbox.limits import MAX_SECONDS

_T = TypeVar("_T")
_U = TypeVar("_U")


def expiry(queue_timeout: float | None) -> float | None:
    """When a wait of `queue_timeout` seconds that begins now is over."""
    require_seconds("queue_timeout", queue_timeout)
    return None if queue_timeout is None else time.monotonic() + queue_timeout


def require_seconds(name: str, value: float | None) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be seconds or None, not {value!r}")
    if not 0 <= value <= MAX_SECONDS:  # not NaN either
        raise ValueError(
            f"{name}={value!r}: must be 0 to {MAX_SECONDS:.0f} s; None is without a limit"
        )


def require_count(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number or None, not {value!r}")
    if not least <= value <= most:
        raise ValueError(f"{name}={value!r}: must be {least} to {most}")


def require_runtime_name(runtime: object) -> None:
    if runtime is not None and not isinstance(runtime, str):
        raise TypeError(f"runtime must be the name of one, or None, not {runtime!r:.80}")


def require_runtime(runtime: object, known: Sequence[str]) -> None:
    """Raise `PolicyError` for a runtime that is none of those that a pool has."""
    require_runtime_name(runtime)
    if runtime is None or runtime in known:
        return
    if known:
        raise PolicyError(f"runtime={runtime!r:.80}: this pool has {', '.join(map(repr, known))}")
    raise PolicyError(
        f"runtime={runtime!r:.80}: this pool has none; give it some: "
        "Pool(runtimes={'name': Runtime(...)})"
    )


def names_of(name: str, value: Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError(f"{name} must be a sequence of names, not the string {value!r}")
    try:
        return tuple(value)
    except TypeError:
        raise TypeError(f"{name} must be a sequence of names, not {value!r}") from None


def each_of(name: str, value: Iterable[_T], what: str) -> Iterator[_T]:
    """Return an iterator over `value`, which must hold `what`; one of them is not several."""
    if isinstance(value, (str, bytes, bytearray, Mapping)):
        raise TypeError(f"{name} must be a sequence of {what}, not one: {value!r:.80}")
    try:
        return iter(value)
    except TypeError:
        raise TypeError(f"{name} must be a sequence of {what}, not {value!r:.80}") from None


def pair_of(name: str, value: tuple[_T, _U], what: str) -> tuple[_T, _U]:
    try:
        first, second = value
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a pair of {what}, not {value!r:.80}") from None
    return first, second


@contextlib.contextmanager
def naming(place: str) -> Iterator[None]:
    """Have a mistake that is found within this tell the `place` of what it was found in."""
    try:
        yield
    except UnicodeError as error:  # which is not made from one text
        raise ValueError(f"{place}: {error}") from None
    except (TypeError, ValueError) as error:
        raise type(error)(f"{place}: {error}") from None
