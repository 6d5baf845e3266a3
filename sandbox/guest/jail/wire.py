"""Plain data as bytes, and bytes as plain data, with caps on everything.

No I/O here: bytes in, values out. Both sides of the jail use it, and the host reads what a
hostile process may have written, so decoding never recurses, never executes, never allocates
more than the input justifies, accepts no spelling of a value that is longer than need be, and
refuses keys that were made to collide.

A value is one tag byte and its body. Integers that are lengths or counts are unsigned 32-bit
little-endian.

====  =======================================================
tag   body
====  =======================================================
N T F None, True, False
i     length, two's complement little-endian bytes, shortest
d     IEEE 754 double
c     two doubles
s     length, UTF-8 (surrogates pass)
b     length, bytes
l t   count, values (list, tuple)
S Z   count, values (set, frozenset)
m     count, key and value alternating (dict)
====  =======================================================
"""

import struct
import sys
from collections.abc import Callable
from typing import Any

MAX_BYTES = 64 << 20
MAX_DEPTH = 64
MAX_NODES = 1_000_000

_LENGTH = struct.Struct("<I")
_DOUBLE = struct.Struct("<d")
_COMPLEX = struct.Struct("<dd")

Value = object
"""None, bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset: exact types."""


class WireError(ValueError):
    """The bytes are no value, or the value is no plain data, or a cap was passed."""


class TooMuch(WireError):
    """A value passes a cap."""


def encode(
    value: Value,
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    max_nodes: int = MAX_NODES,
    bases: bool = False,
) -> bytes:
    """Return `value` as bytes; raise `WireError` if it is no plain data or passes a cap.

    A cycle is a depth without end and is refused as such. bases: what is derived from one of these
    types (IntEnum, namedtuple, Counter, ...) passes as what it is derived from, by what it holds
    there and not by what its own methods say; and numpy's scalars as Python's.
    """
    out: list[bytes] = []
    size = nodes = 0
    stack: list[tuple[object, int]] = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        nodes += 1
        if nodes > max_nodes:
            raise TooMuch(f"more than {max_nodes} values")
        if depth > max_depth:
            raise TooMuch(f"nested deeper than {max_depth} (or cyclic)")
        # type() is, not isinstance(): a subclass may lie about its contents.
        kind = type(item)
        if bases and kind not in _EXACT:
            item = _plain(item)
            kind = type(item)
        children: list[object] | None = None
        if kind is str:
            body = item.encode("utf-8", "surrogatepass")  # type: ignore[attr-defined]
            piece = b"s" + _pack_length(len(body), max_bytes) + body
        elif kind is bytes:
            piece = b"b" + _pack_length(len(item), max_bytes) + item  # type: ignore[arg-type, operator]
        elif item is None:
            piece = b"N"
        elif item is True:
            piece = b"T"
        elif item is False:
            piece = b"F"
        elif kind is int:
            body = _int_bytes(item, max_bytes)  # type: ignore[arg-type]
            piece = b"i" + _LENGTH.pack(len(body)) + body
        elif kind is float:
            piece = b"d" + _DOUBLE.pack(item)
        elif kind is complex:
            piece = b"c" + _COMPLEX.pack(item.real, item.imag)  # type: ignore[attr-defined]
        elif kind is dict:
            pairs: list[tuple[object, object]] = list(item.items())  # type: ignore[attr-defined]
            children = [part for pair in pairs for part in pair]
            piece = b"m" + _LENGTH.pack(len(children) // 2)
        elif kind in _CONTAINER_TAGS:
            children = list(item)  # type: ignore[call-overload]
            piece = _CONTAINER_TAGS[kind] + _LENGTH.pack(len(children))
        else:
            raise WireError(f"{kind.__name__} is no plain data")
        size += len(piece)
        if size > max_bytes:
            raise TooMuch(f"larger than {max_bytes} bytes")
        out.append(piece)
        if children is not None:
            stack.extend((child, depth + 1) for child in reversed(children))
    return b"".join(out)


def _plain(item: object) -> object:
    """What an object of a derived type holds as one of its base; else the object itself."""
    kind = type(item)
    for base, take in _BASES.items():
        if issubclass(kind, base):
            return take(item)
    if kind.__module__ == "numpy" and isinstance(item, sys.modules["numpy"].generic):
        return item.item()
    return item


def decode(
    data: bytes | memoryview,
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    max_nodes: int = MAX_NODES,
) -> Value:
    """Return the one value that `data` holds; raise `WireError` on anything else."""
    if len(data) > max_bytes:
        raise WireError(f"larger than {max_bytes} bytes")
    reader = _Reader(bytes(data))
    nodes = compared = 0
    open_: list[_Open] = []  # containers still being filled, outermost first
    while True:
        nodes += 1
        if nodes > max_nodes:
            raise WireError(f"more than {max_nodes} values")
        tag = reader.take(1)
        if tag in _CONTAINERS:
            if len(open_) >= max_depth:
                raise WireError(f"nested deeper than {max_depth}")
            count = reader.length() * (2 if tag == b"m" else 1)
            # Every value takes a byte at least: a larger count is a lie, refused before any work.
            if count > reader.left():
                raise WireError("a container claims more values than there are bytes")
            open_.append(_Open(tag, count, _weight(nodes, reader)))
            value: Value = None
        else:
            value = reader.scalar(tag)
            if not open_:
                break
            open_[-1].add(value, _weight(nodes, reader))
        while open_ and len(open_[-1].items) == open_[-1].count:
            full = open_.pop()
            compared += full.comparisons()
            if compared > _MOST_COMPARED:
                raise WireError("too many keys of one hash")
            value = full.build()
            if not open_:
                break
            open_[-1].add(value, _weight(nodes, reader))
        if not open_:
            break
    if reader.left():
        raise WireError(f"{reader.left()} bytes after the value")
    return value


class _Open:
    """A container whose values are still being read."""

    __slots__ = ("count", "items", "tag", "weights")

    def __init__(self, tag: bytes, count: int, weight: int) -> None:
        self.tag = tag
        self.count = count
        self.items: list[Value] = []
        self.weights = [weight]  # of all that had been read before the first item, the second, ...

    def add(self, item: Value, weight: int) -> None:
        self.items.append(item)
        self.weights.append(weight)

    def comparisons(self) -> int:
        """What it takes to tell keys of one hash from each other, each from all, in units of
        `_weight`.
        """
        if self.tag not in _HASHING:
            return 0
        groups: dict[int, list[int]] = {}  # the number of keys of each hash, and their weight
        for place in range(0, self.count, 2 if self.tag == b"m" else 1):
            group = groups.setdefault(_hash(self.items[place]), [0, 0])
            group[0] += 1
            group[1] += self.weights[place + 1] - self.weights[place]
        return sum(number * weight for number, weight in groups.values() if number > 1)

    def build(self) -> Value:
        try:
            if self.tag == b"m":
                built: Value = dict(zip(self.items[::2], self.items[1::2], strict=True))
                if len(built) * 2 != self.count:  # type: ignore[arg-type]
                    raise WireError("a key twice in one dict")
                return built
            if self.tag in (b"S", b"Z"):
                built = set(self.items) if self.tag == b"S" else frozenset(self.items)
                if len(built) != self.count:
                    raise WireError("a value twice in one set")
                return built
        except TypeError as error:
            raise WireError(f"unhashable: {error}") from None
        return self.items if self.tag == b"l" else tuple(self.items)


def _hash(key: Value) -> int:
    try:
        return hash(key)
    except TypeError as error:
        raise WireError(f"unhashable: {error}") from None


def _weight(nodes: int, reader: "_Reader") -> int:
    """What it takes to compare all that has been read so far: values, and bytes by the 64."""
    return nodes + reader.place // 64


class _Reader:
    """A place in the bytes."""

    __slots__ = ("data", "place")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def left(self) -> int:
        return len(self.data) - self.place

    def take(self, count: int) -> bytes:
        end = self.place + count
        if end > len(self.data):
            raise WireError("the bytes end inside a value")
        piece = self.data[self.place : end]
        self.place = end
        return piece

    def length(self) -> int:
        return int(_LENGTH.unpack(self.take(4))[0])

    def scalar(self, tag: bytes) -> Value:
        if tag == b"s":
            try:
                return self.take(self.length()).decode("utf-8", "surrogatepass")
            except UnicodeDecodeError as error:
                raise WireError(f"text that is no UTF-8: {error}") from None
        if tag == b"b":
            return self.take(self.length())
        if tag == b"i":
            body = self.take(self.length())
            value = int.from_bytes(body, "little", signed=True)
            if _int_bytes(value, len(body)) != body:
                raise WireError("an integer longer than it needs to be")
            return value
        if tag == b"d":
            return _DOUBLE.unpack(self.take(8))[0]
        if tag == b"c":
            return complex(*_COMPLEX.unpack(self.take(16)))
        if tag in _CONSTANTS:
            return _CONSTANTS[tag]
        raise WireError(f"unknown tag {tag!r}")


_MOST_COMPARED = 32 << 20
"""Keys made to collide take a set quadratic time. Honest ones collide, too: hash(-1) == hash(-2),
so that 2**n tuples of n of them have one hash. This is n = 10, and half a second at the very worst
(3 to 16 ns a unit)."""

_BASES: dict[type, Callable[[Any], object]] = {
    int: int.__pos__,
    float: float.__pos__,
    complex: complex.__pos__,
    str: str.__str__,
    bytes: lambda item: b"".join((item,)),
    list: lambda item: list(list.__iter__(item)),
    tuple: lambda item: tuple(tuple.__iter__(item)),
    set: lambda item: set(set.__iter__(item)),
    frozenset: lambda item: frozenset(frozenset.__iter__(item)),
    dict: lambda item: dict(dict.items(item)),
}
_EXACT = {*_BASES, bool, type(None)}
_CONSTANTS = {b"N": None, b"T": True, b"F": False}
_HASHING = {b"S", b"Z", b"m"}
_CONTAINERS = {b"l", b"t", b"S", b"Z", b"m"}
_CONTAINER_TAGS: dict[type, bytes] = {list: b"l", tuple: b"t", set: b"S", frozenset: b"Z"}


def _pack_length(length: int, max_bytes: int) -> bytes:
    if length > max_bytes:
        raise TooMuch(f"larger than {max_bytes} bytes")
    return _LENGTH.pack(length)


def _int_bytes(value: int, max_bytes: int) -> bytes:
    length = (value.bit_length() + 8) // 8  # one bit for the sign
    if length > max(max_bytes, 1):
        raise TooMuch(f"larger than {max_bytes} bytes")
    return value.to_bytes(length, "little", signed=True)
