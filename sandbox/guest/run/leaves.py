"""Values of libraries that cross between test and program as what they hold.

`pack` takes a value apart into plain data, `unpack` makes it anew from what a hostile process may
have written. Nothing is pickled. Types are compared by identity: what is derived from one of these
types is no leaf, and no method of a program's class is called. Libraries are looked up in
`sys.modules` to pack, and imported to unpack.

A leaf is a tuple, its kind first. A value that a leaf holds is itself if it is an atom (None, bool,
int, float, complex, str, bytes), else a leaf in turn; lists, tuples, sets and dicts are such kinds,
too, within leaves. So nothing that is held can be taken for something else.
"""

import builtins
import sys
from collections.abc import Callable
from typing import Any

from ..jail import wire
from . import arrays, frames_of_pandas
from .kinds import (
    ANY,
    FROZENSET,
    HELD,
    LIST,
    SET,
    TUPLE,
    Hold,
    Kind,
    NoLeaf,
    Packed,
    Packer,
    Packers,
    attributes,
    call,
    insist,
    need,
)

MOST_DEPTH = 8
"""Of leaves in leaves. As plain data, a leaf is nested no deeper than twice that and three."""

_MOST_FRACTION_BITS = 1 << 16
"""Of numerator and denominator: the time to find a common divisor grows with their square."""

_MOST_PATTERN = 1 << 14
"""Characters of a regular expression; a compiled one takes hundreds of bytes for each."""

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})
_NUMBERS = frozenset("bBhHiIlLqQfd")  # array.array has text, too
_TYPES = {
    kind: name
    for name, kind in vars(builtins).items()
    if type(kind) is type and kind.__name__ == name
}
_TYPES_BY_NAME = {name: kind for kind, name in _TYPES.items()}


def pack(item: object) -> Packed | None:
    """The value as plain data, its kind first; None if it is plain itself, or no leaf.

    In time that is linear in what it holds. Never raises.
    """
    try:
        packed: Packed | None = None
        if type(item) not in wire.PLAIN:
            packed = _hold(item, MOST_DEPTH)
    except Exception:
        return None  # a library that was patched, a value too odd for its own methods
    return packed


def unpack(packed: object) -> object:
    """The value that was packed; `WireError` for anything but what `pack` makes.

    In time and memory that are linear in what it is given, but for what two libraries check:
    categories of pandas, and regular expressions, which are matched again.
    """
    kind = packed[0] if type(packed) is tuple and packed else None
    if type(kind) is not str:
        raise wire.WireError("no leaf")
    try:
        value = _take(packed, MOST_DEPTH)
        # Libraries accept more than one spelling of a value: there is one that pack makes.
        honest = pack(value) == packed
    except wire.WireError:
        raise
    except Exception as error:
        raise wire.WireError(f"no {kind[:40]}: {type(error).__name__}: {error}"[:500]) from None
    insist(honest, f"a {kind[:40]} as pack does not write it")
    return value


def _hold(item: object, depth: int) -> Any:
    kind = type(item)
    if kind in _ATOMS:
        return item
    packer = _packer_of(kind)
    if packer is None or not depth:
        raise NoLeaf
    return packer(item, lambda inner: _hold(inner, depth - 1))


def _take(held: object, depth: int) -> Any:
    if type(held) in _ATOMS:
        return held
    if type(held) is not tuple or not held or not depth:
        raise wire.WireError("no leaf")
    name, parts = held[0], held[1:]
    insist(type(name) is str and name in _KINDS, "a kind that there is not")
    wanted, build = _KINDS[name]
    insist(len(parts) == len(wanted), f"a {name} of too few or too many parts")
    return build(*(_part(*each, depth - 1) for each in zip(parts, wanted, strict=True)))


def _part(part: Any, wanted: object, depth: int) -> Any:
    if wanted is ANY:
        return part
    if wanted is HELD:
        return _take(part, depth)
    inner = type(wanted) is list
    insist(type(part) is (wanted[0] if inner else wanted), "a part of another type")  # type: ignore[index]
    return [_take(each, depth) for each in part] if inner else part


_known: dict[type, Packer] = {
    type(...): lambda item, hold: ("Ellipsis",),
    type(NotImplemented): lambda item, hold: ("NotImplemented",),
    type({}.keys()): lambda item, hold: ("dict_keys", [hold(key) for key in item]),
    type({}.values()): lambda item, hold: ("dict_values", [hold(value) for value in item]),
    type({}.items()): lambda item, hold: ("dict_items", *_pack_dict(dict(item), hold)[1:]),
}
_bases: dict[type, Packer] = {}


def _packer_of(kind: type) -> Packer | None:
    if kind in _known:
        return _known[kind]
    for found, awaited in ((_known, _AWAITED), (_bases, _AWAITED_BASES)):
        for name in [name for name in list(awaited) if name in sys.modules]:
            module, packers = sys.modules[name], awaited[name]
            if all(hasattr(module, each) for each in packers):  # else it is still being imported
                found.update((getattr(module, each), packers[each]) for each in packers)
                awaited.pop(name, None)
    if kind in _known:
        return _known[kind]
    # The library's own derived types, and nobody else's.
    if kind.__module__.partition(".")[0] in ("numpy", "pandas"):
        for base in kind.__mro__:
            if base in _bases:
                return _known.setdefault(kind, _bases[base])
    return None


def _fraction(numerator: int, denominator: int) -> Any:
    size = max(numerator.bit_length(), denominator.bit_length())
    insist(size <= _MOST_FRACTION_BITS, "a fraction of too many digits")
    return need("fractions").Fraction(numerator, denominator)


def _pack_many(item: Any, hold: Hold) -> Packed:
    kind = type(item)
    return kind.__name__, kind(hold(each) for each in item)


def _pack_set(item: Any, hold: Hold) -> Packed:
    held = type(item)(hold(each) for each in item)
    if len(held) != len(item):
        raise NoLeaf  # several NaN
    return type(item).__name__, held


def _pack_dict(item: Any, hold: Hold) -> Packed:
    return type(item).__name__, [hold(key) for key in item], [hold(item[key]) for key in item]


def _dict(keys: list[Any], values: list[Any]) -> dict[Any, Any]:
    insist(len(keys) == len(values), "not as many values as keys")
    return dict(zip(wire.distinct(keys), values, strict=True))


def _pack_numbers(item: Any, hold: Hold) -> Packed:
    if item.typecode not in _NUMBERS:
        raise NoLeaf
    return "array", item.typecode, item.tobytes()


def _numbers(typecode: str, data: bytes) -> Any:
    insist(typecode in _NUMBERS, "no numbers")
    return need("array").array(typecode, data)


def _datetime(kind: str) -> Callable[..., object]:
    def build(*parts: Any) -> object:
        *numbers, fold, zone = parts
        made: object = getattr(need("datetime"), kind)(*numbers, zone, fold=fold)
        return made

    return build


def _pack_pattern(item: Any, hold: Hold) -> Packed:
    if item.flags & ~_FLAGS or len(item.pattern) > _MOST_PATTERN:
        raise NoLeaf
    return "Pattern", hold(item.pattern), item.flags


def _pattern(pattern: Any, flags: int) -> Any:
    insist(type(pattern) in (str, bytes) and len(pattern) <= _MOST_PATTERN, "no pattern")
    insist(not flags & ~_FLAGS, "flags that can't cross")  # DEBUG writes to stdout
    return need("re").compile(pattern, flags)


_FLAGS = 2 | 4 | 8 | 16 | 32 | 64 | 256  # I, L, M, S, U, X, A
_WAYS = ("match", "fullmatch", "search")


def _pack_match(item: Any, hold: Hold) -> Packed:
    """The ways to match are tried, since a match does not say by which it was found. One of several
    in a text is found again by where it starts, or where it starts and ends.
    """
    start, end = item.span()
    for place in ((item.pos, item.endpos), (start, item.endpos), (start, end)):
        for way in _WAYS:
            found = getattr(item.re, way)(item.string, *place)
            if found is not None and found.regs == item.regs:
                return "Match", hold(item.re), hold(item.string), place, way, item.regs
    raise NoLeaf


def _match(pattern: Any, text: Any, place: tuple[Any, ...], way: str, regs: tuple[Any, ...]) -> Any:
    insist(type(pattern) is need("re").Pattern and way in _WAYS, "no match")
    insist(type(text) in (str, bytes), "no match")
    found = getattr(pattern, way)(text, *place)
    insist(found is not None and found.regs == regs, "a match that is not found again")
    return found


_DATE, _TIME = ("year", "month", "day"), ("hour", "minute", "second", "microsecond")
_ZONE = ("fold", "tzinfo")

_AWAITED: Packers = {
    "builtins": {
        "range": attributes("range", "start", "stop", "step"),
        "slice": attributes("slice", "start", "stop", "step"),
        "bytearray": lambda item, hold: ("bytearray", bytes(item)),
        "type": lambda item, hold: ("type", _TYPES[item]),
        **dict.fromkeys(("list", "tuple"), _pack_many),
        **dict.fromkeys(("set", "frozenset"), _pack_set),
        "dict": _pack_dict,
    },
    "collections": {
        "deque": lambda item, hold: ("deque", [hold(each) for each in item], item.maxlen),
        **dict.fromkeys(("OrderedDict", "Counter"), _pack_dict),
        "defaultdict": lambda item, hold: (*_pack_dict(item, hold), hold(item.default_factory)),
    },
    "array": {"array": _pack_numbers},
    "decimal": {"Decimal": lambda item, hold: ("Decimal", str(item).upper())},
    "fractions": {"Fraction": attributes("Fraction", "numerator", "denominator")},
    "datetime": {
        "date": attributes("date", *_DATE),
        "time": attributes("time", *_TIME, *_ZONE),
        "datetime": attributes("datetime", *_DATE, *_TIME, *_ZONE),
        "timedelta": attributes("timedelta", "days", "seconds", "microseconds"),
        "timezone": lambda item, hold: ("timezone", hold(item.__getinitargs__())),
    },
    "zoneinfo": {"ZoneInfo": lambda item, hold: ("ZoneInfo", "" + item.key)},
    "uuid": {"UUID": attributes("UUID", "bytes")},
    "pathlib": {
        name: lambda item, hold: (type(item).__name__, str(item))
        for name in ("PurePosixPath", "PosixPath")
    },
    "re": {"Pattern": _pack_pattern, "Match": _pack_match},
    **arrays.PACKERS,
    **frames_of_pandas.PACKERS,
}
_AWAITED_BASES: Packers = {**arrays.BASES, **frames_of_pandas.BASES}

_KINDS: dict[str, Kind] = {
    "range": ((int, int, int), range),
    "slice": ((HELD, HELD, HELD), slice),
    "bytearray": ((bytes,), bytearray),
    "type": ((str,), lambda name: _TYPES_BY_NAME[name]),
    "list": ((LIST,), list),
    "tuple": ((TUPLE,), tuple),
    "set": ((SET,), lambda items: set(wire.distinct(items))),
    "frozenset": ((FROZENSET,), lambda items: frozenset(wire.distinct(items))),
    "dict": ((LIST, LIST), _dict),
    "dict_keys": ((LIST,), lambda keys: wire.distinct(keys).keys()),
    "dict_values": ((LIST,), lambda values: dict(enumerate(values)).values()),
    "dict_items": ((LIST, LIST), lambda keys, values: _dict(keys, values).items()),
    "Ellipsis": ((), lambda: ...),
    "NotImplemented": ((), lambda: NotImplemented),
    "deque": ((LIST, ANY), call("collections", "deque")),
    "OrderedDict": ((LIST, LIST), lambda *held: need("collections").OrderedDict(_dict(*held))),
    "Counter": ((LIST, LIST), lambda *held: need("collections").Counter(_dict(*held))),
    "defaultdict": (
        (LIST, LIST, HELD),
        lambda keys, values, factory: need("collections").defaultdict(factory, _dict(keys, values)),
    ),
    "array": ((str, bytes), _numbers),
    "Decimal": ((str,), call("decimal", "Decimal")),
    "Fraction": ((int, int), _fraction),
    "date": ((int, int, int), call("datetime", "date")),
    "time": ((*[int] * 5, HELD), _datetime("time")),
    "datetime": ((*[int] * 8, HELD), _datetime("datetime")),
    "timedelta": ((int, int, int), call("datetime", "timedelta")),
    "timezone": ((HELD,), lambda parts: need("datetime").timezone(*parts)),
    "ZoneInfo": ((str,), call("zoneinfo", "ZoneInfo")),
    "UUID": ((bytes,), lambda data: need("uuid").UUID(bytes=data)),
    "PurePosixPath": ((str,), call("pathlib", "PurePosixPath")),
    "PosixPath": ((str,), call("pathlib", "PosixPath")),
    "Pattern": ((HELD, int), _pattern),
    "Match": ((HELD, HELD, tuple, str, tuple), _match),
    **arrays.KINDS,
    **frames_of_pandas.KINDS,
}
