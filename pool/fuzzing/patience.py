"""Calls that wait where the pool's queue is full, as a judge's do."""

import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import PoolFull

_T = TypeVar("_T")

_PAUSE_S = 0.005
"""Between two tries at a queue that others keep full."""


def patiently(call: Callable[[], _T]) -> _T:
    """Return what `call` does, once there is room for it."""
    while True:
        try:
            return call()
        except PoolFull:
            time.sleep(_PAUSE_S)
