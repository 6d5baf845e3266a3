"""Many runs, answered in their order."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from ..sandbox.result import Result
from .errors import PoolFull
from .task import RunFuture

_P = TypeVar("_P")

_PAUSE_S = 0.005
"""Between two tries at a queue that others keep full."""


def in_order(
    submit: Callable[[_P], RunFuture], programs: Iterable[_P], ahead: int
) -> Generator[Result, None, None]:
    """Yield the results of `programs` in their order, with at most `ahead` of them in flight."""
    flying: deque[RunFuture] = deque()
    try:
        for program in programs:
            while (future := _try(submit, program)) is None:
                if flying:
                    yield _first(flying)
                else:
                    time.sleep(_PAUSE_S)
            flying.append(future)
            # What is done is not held back while there is more to begin.
            while flying and (len(flying) >= ahead or flying[0].done()):
                yield _first(flying)
        while flying:
            yield _first(flying)
    finally:
        for future in flying:
            future.cancel()


def _first(flying: deque[RunFuture]) -> Result:
    """The result of the first; it is in flight until then, should the wait be interrupted."""
    result = flying[0].result()
    flying.popleft()
    return result


def _try(submit: Callable[[_P], RunFuture], program: _P) -> RunFuture | None:
    try:
        return submit(program)
    except PoolFull:
        return None
