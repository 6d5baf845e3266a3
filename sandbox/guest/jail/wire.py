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
@     a number: the object of that number, which reader and writer know from elsewhere
====  =======================================================
"""

import os
import struct
import sys
from collections.abc import Callable, Sequence
from time import thread_time
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
    refer: Callable[[object], int | None] | None = None,
) -> bytes:
    """Return `value` as bytes; raise `WireError` if it is no plain data or passes a cap.

    A cycle is a depth without end and is refused as such. bases: what is derived from one of these
    types (IntEnum, namedtuple, Counter, ...) passes as what it is derived from, by what it holds
    there and not by what its own methods say; and numpy's scalars as Python's. refer: is asked
    first for the number of what is no plain data; with None for an answer, it has none.
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
        number = None
        if kind not in _EXACT:
            number = None if refer is None else refer(item)
            if bases and number is None:
                item = plain(item)
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
        elif number is not None:
            piece = b"@" + _LENGTH.pack(number)
        else:
            raise WireError(f"{kind.__name__} is no plain data")
        size += len(piece)
        if size > max_bytes:
            raise TooMuch(f"larger than {max_bytes} bytes")
        out.append(piece)
        if children is not None:
            stack.extend((child, depth + 1) for child in reversed(children))
    return b"".join(out)


def plain(item: object) -> object:
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
    referents: Sequence[Value] = (),
) -> Value:
    """Return the one value that `data` holds; raise `WireError` on anything else. referents: the
    objects that it may refer to, by their numbers.

    It takes time that is linear in the bytes: some 0.5 µs a value, 1 s at the very worst.
    """
    if len(data) > max_bytes:
        raise WireError(f"larger than {max_bytes} bytes")
    data = bytes(data)
    end = len(data)
    place = nodes = 0
    effort = _Effort()
    open_: list[_Open] = []  # containers still being filled, outermost first
    while True:
        nodes += 1
        if nodes > max_nodes:
            raise WireError(f"more than {max_nodes} values")
        if place >= end:
            raise WireError(_CUT)
        tag = data[place]
        place += 1
        value: Value
        if tag in _SIZED:
            size, place = _length(data, place)
            body = data[place : place + size]
            place += size
            if place > end:
                raise WireError(_CUT)
            if tag == _INT:
                value = number = int.from_bytes(body, "little", signed=True)
                if size != (number.bit_length() + 8) // 8:
                    raise WireError("an integer longer than it needs to be")
            elif tag == _STR:
                try:
                    value = body.decode("utf-8", "surrogatepass")
                except UnicodeDecodeError as error:
                    raise WireError(f"text that is no UTF-8: {error}") from None
            else:
                value = body
        elif tag in _CONSTANTS:
            value = _CONSTANTS[tag]
        elif tag in _FIXED:
            fixed = _FIXED[tag]
            if place + fixed.size > end:
                raise WireError(_CUT)
            numbers = fixed.unpack_from(data, place)
            value = numbers[0] if tag == _FLOAT else complex(*numbers)
            place += fixed.size
        elif tag in _CONTAINERS:
            if len(open_) >= max_depth:
                raise WireError(f"nested deeper than {max_depth}")
            count, place = _length(data, place)
            if tag == _DICT:
                count *= 2
            # Every value takes a byte at least: a larger count is a lie, refused before any work.
            if count > end - place:
                raise WireError("a container claims more values than there are bytes")
            opened = _Open(tag, count)
            if opened.weights is not None:
                opened.weights.append(nodes + place // 64)
            open_.append(opened)
            if count:
                continue
            value = open_.pop().build(effort, 0)
        elif tag == _REFERENCE and referents:
            number, place = _length(data, place)
            if number >= len(referents):
                raise WireError(f"no object has the number {number}")
            value = referents[number]
        else:
            raise WireError(f"unknown tag {bytes((tag,))!r}")
        while open_:
            holder = open_[-1]
            holder.items.append(value)
            if holder.weights is not None:
                holder.weights.append(nodes + place // 64)
            if len(holder.items) < holder.count:
                break
            value = open_.pop().build(effort, nodes + place // 64)
        if not open_:
            break
    if place < end:
        raise WireError(f"{end - place} bytes after the value")
    return value


def _length(data: bytes, place: int) -> tuple[int, int]:
    """The length that stands at `place`, and the place behind it."""
    behind = place + _LENGTH.size
    if behind > len(data):
        raise WireError(_CUT)
    return int.from_bytes(data[place:behind], "little"), behind


class _Open:
    """A container whose values are still being read.

    weights: of one whose values are hashed, what it takes to compare all that had been read before
    the first item, the second, ...: values, and bytes by the 64.
    """

    __slots__ = ("count", "items", "tag", "weights")

    def __init__(self, tag: int, count: int) -> None:
        self.tag = tag
        self.count = count
        self.items: list[Value] = []
        self.weights: list[int] | None = [] if tag in _HASHING else None

    def build(self, effort: "_Effort", weight: int) -> Value:
        """The container, whose values have all been read. weight: of all that was."""
        if self.tag == _LIST:
            return self.items
        if self.tag == _TUPLE:
            return tuple(self.items)
        keys = self.items[::2] if self.tag == _DICT else self.items
        effort.compare(self._comparisons(keys), weight)
        if self.tag == _DICT:
            values = self.items[1::2]
            built: dict[Value, Value] = {}
            effort.fill(lambda a, b: built.update(zip(keys[a:b], values[a:b], strict=True)), keys)
            if len(built) != len(keys):
                raise WireError("a key twice in one dict")
            return built
        found: set[Value] = set()
        effort.fill(lambda a, b: found.update(keys[a:b]), keys)
        if len(found) != len(keys):
            raise WireError("a value twice in one set")
        return found if self.tag == _SET else frozenset(found)

    def _comparisons(self, keys: list[Value]) -> int:
        """What it takes to tell keys of one hash from each other, each from all, in units of
        `weights`.
        """
        try:
            # By a secret factor: the table of these must not be what it is to protect from.
            hashes = [hash(key) * _SECRET % _PRIME for key in keys]
        except TypeError as error:
            raise WireError(f"unhashable: {error}") from None
        if len(set(hashes)) == len(hashes):
            return 0
        weights, step = self.weights or [], 2 if self.tag == _DICT else 1
        groups: dict[int, list[int]] = {}  # the number of keys of each hash, and their weight
        for number, each in enumerate(hashes):
            group = groups.setdefault(each, [0, 0])
            group[0] += 1
            group[1] += weights[number * step + 1] - weights[number * step]
        return sum(number * weight for number, weight in groups.values() if number > 1)


class _Effort:
    """What the sets and dicts of one value have cost so far, and may cost."""

    def __init__(self) -> None:
        self._compared = self._weight = 0
        self._spent_s = 0.0

    def compare(self, comparisons: int, weight: int) -> None:
        """Take note of comparisons to come; `WireError` for too many."""
        self._compared += comparisons
        self._weight = weight
        if self._compared > _MOST_COMPARED:
            raise WireError("too many keys of one hash")

    def fill(self, add: Callable[[int, int], object], keys: list[Value]) -> None:
        """Have all keys added, a few at a time; `WireError` where that takes far too long.

        Whole numbers are their own hashes, so that keys can be made that all walk the same way
        through the table: each then takes as long as there are others. Nothing but the time that
        it takes shows that. It is this thread's CPU time, 10 to 50 times what honest keys take. A
        collection of garbage that happens to come in between counts as `_LONGEST_STEP_S` at most.
        """
        if len(keys) <= _STEP:
            add(0, _STEP)
            return
        most_s = (
            _MOST_FILLING_S + _OF_A_WEIGHT_S * self._weight + _OF_A_COMPARISON_S * self._compared
        )
        began = thread_time()
        for first in range(0, len(keys), _STEP):
            add(first, first + _STEP)
            now = thread_time()
            self._spent_s += min(now - began, _LONGEST_STEP_S)
            began = now
            if self._spent_s > most_s:
                raise WireError("keys that were made to collide")


def distinct(keys: list[Value]) -> dict[Value, None]:
    """The keys, hashed in bounded time; `WireError` for one that is there twice or has no hash, and
    for such as were made to collide. It is for values that are built from plain data.
    """
    effort = _Effort()
    effort.compare(0, _OF_A_BUILT_KEY * len(keys))
    built: dict[Value, None] = {}
    try:
        effort.fill(lambda a, b: built.update(dict.fromkeys(keys[a:b])), keys)
    except TypeError as error:
        raise WireError(f"unhashable: {error}") from None
    if len(built) != len(keys):
        raise WireError("a key twice")
    return built


_CUT = "the bytes end inside a value"

_MOST_COMPARED = 32 << 20
"""Keys made to collide take a set quadratic time. Honest ones collide, too: hash(-1) == hash(-2),
so that 2**n tuples of n of them have one hash. This is n = 10, and half a second at the very worst
(3 to 16 ns a unit)."""

_STEP = 128
"""Keys that are added between two looks at the clock."""

_LONGEST_STEP_S = 0.02
_MOST_FILLING_S, _OF_A_WEIGHT_S, _OF_A_COMPARISON_S = 0.1, 0.5e-6, 20e-9
"""What filling sets and dicts may take: in any case, for each value that was read (honest whole
numbers take 0.05 µs), and for each comparison of those of one hash."""

_OF_A_BUILT_KEY = 16
"""Values that it may take as long to read as to hash one that was built from plain data: 8 µs (a
Fraction takes 1, a datetime 2)."""

_PRIME = (1 << 61) - 1
_SECRET = int.from_bytes(os.urandom(7), "little") + 2
"""A factor that no program knows."""

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
PLAIN = _EXACT = frozenset({*_BASES, bool, type(None)})
"""The types of plain data."""
_INT, _STR, _BYTES, _FLOAT, _COMPLEX_TAG, _LIST, _TUPLE, _SET, _FROZENSET, _DICT = b"isbdcltSZm"
_REFERENCE = ord("@")
_CONSTANTS = {ord("N"): None, ord("T"): True, ord("F"): False}
_SIZED = {_INT, _STR, _BYTES}
_FIXED = {_FLOAT: _DOUBLE, _COMPLEX_TAG: _COMPLEX}
_HASHING = {_SET, _FROZENSET, _DICT}
_CONTAINERS = {_LIST, _TUPLE, *_HASHING}
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
