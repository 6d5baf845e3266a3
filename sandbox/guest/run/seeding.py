"""The generators of random numbers that all of a process share: random's, and numpy's."""

import importlib
import sys
from typing import Any

States = tuple[Any, Any]
"""Of `random`, and of `numpy.random` where that has been imported, as plain data."""


def states() -> States:
    """Where the generators are."""
    random: Any = sys.modules.get("random")
    numpy: Any = sys.modules.get("numpy.random")
    kept = None
    if numpy is not None:
        name, keys, *rest = numpy.get_state()
        kept = (name, keys.tolist(), *rest)
    return None if random is None else random.getstate(), kept


def set_states(states: States) -> None:
    """Have the generators go on from there; numpy is imported if need be."""
    own, of_numpy = states
    if own is not None:
        importlib.import_module("random").setstate(own)
    if of_numpy is not None:
        numpy: Any = importlib.import_module("numpy")
        name, keys, *rest = of_numpy
        numpy.random.set_state((name, numpy.array(keys, dtype="uint32"), *rest))
