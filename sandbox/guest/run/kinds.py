"""What the leaves of all libraries have in common: how a kind of value is described.

A kind has a name, a packer and a builder. Its packer takes a value apart into plain data, its name
first; its builder makes the value from the parts after the name, which a hostile process may have
written. The parts' types are compared before the builder sees them.
"""

import importlib
import math
from collections.abc import Callable
from typing import Any

from ..jail import wire

Packed = tuple[Any, ...]

Hold = Callable[[object], Any]
"""Packs a value that is held by another: plain atoms are themselves. Raises `NoLeaf`."""

Packer = Callable[[Any, Hold], Packed]

Packers = dict[str, dict[str, Packer]]
"""By module, and by the name of the type in it."""

ANY, HELD, LIST, TUPLE, SET, FROZENSET = object(), object(), [list], [tuple], [set], [frozenset]
"""Parts that are no plain type: one that the builder looks at itself; a value as `Hold` packs it;
and containers of such values. The builder gets the values.
"""

Kind = tuple[tuple[object, ...], Callable[..., object]]
"""The types of the parts, and the builder. It may raise anything."""

MOST_WITHOUT_DATA = 1 << 24
"""Of rows for which no byte was sent: as many as a call that is full of booleans can have; and of
an empty array's lengths and its item's bytes, multiplied.
"""


class NoLeaf(Exception):
    """A value that can't be taken apart."""


def need(module: str) -> Any:
    """A module that a value needs; `WireError` if it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise wire.WireError(f"a value needs {module}, which can't be imported: {error}") from None


def insist(truth: bool, why: str) -> None:
    """Raise `WireError` for parts that no value has."""
    if not truth:
        raise wire.WireError(why)


def sized(shape: tuple[int, ...], item_bytes: int, data: bytes) -> tuple[int, ...]:
    """The shape, if the bytes are as many as it says."""
    insist(len(shape) <= 64 and all(type(length) is int for length in shape), "no shape")
    insist(all(0 <= length < 1 << 63 for length in shape), "no shape")
    insist(math.prod(shape) * item_bytes == len(data), "not as many bytes as the shape says")
    insist(not is_vast((*shape, item_bytes)), "too many rows without a value")
    return shape


def is_vast(shape: tuple[int, ...]) -> bool:
    """Whether something empty is larger than anybody should go through."""
    return 0 in shape and math.prod(length or 1 for length in shape) > MOST_WITHOUT_DATA


def truths(data: bytes) -> bytes:
    """The bytes of booleans, each 0 or 1."""
    insist(not data.translate(None, b"\0\1"), "booleans that are neither True nor False")
    return data


def attributes(kind: str, *names: str) -> Packer:
    """A packer of what attributes hold."""
    return lambda item, hold: (kind, *(hold(getattr(item, name)) for name in names))


def call(module: str, name: str) -> Callable[..., object]:
    """A builder that gives all parts to a type."""
    return lambda *parts: getattr(need(module), name)(*parts)
