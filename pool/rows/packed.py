"""Test data that was packed with pickle, zlib and base64: read as data, and never as code."""

import base64
import binascii
import pickletools
import zlib
from typing import Any

MOST_BYTES = 256 << 20
"""What a packed text may unpack to: the largest of LiveCodeBench's are some 100 MiB."""

_MOST_VALUES = 5_000_000

_MARK = object()


def unpack(text: str | bytes) -> Any:
    """Return what base64 of zlib of a pickle holds: None, bool, int, float, str, and list, tuple
    and dict of these. ValueError for anything else, such as a class or a call, and for too much.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"no base64 ({error})") from None
    return read_pickle(decompress(raw))


def decompress(data: bytes) -> bytes:
    """Return what was compressed by zlib. ValueError for anything else, and for too much."""
    unpacking = zlib.decompressobj()
    try:
        found = unpacking.decompress(data, MOST_BYTES)
    except zlib.error as error:
        raise ValueError(f"not compressed by zlib ({error})") from None
    if not unpacking.eof:
        raise ValueError(f"cut off, or more than {MOST_BYTES >> 20} MiB")
    return found


def read_pickle(data: bytes) -> Any:
    """Return the plain data in a pickle. Its instructions are followed here, one by one; those that
    would find or call something are not known.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if number > _MOST_VALUES:
                raise ValueError(f"more than {_MOST_VALUES} instructions")
            if opcode.name == "STOP":
                (value,) = stack
                if value is not _MARK:
                    return value
            _follow(opcode.name, argument, stack, memo)
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001  (whatever malformed instructions lead to)
        raise ValueError(f"a malformed pickle ({type(error).__name__}: {error})") from None
    raise ValueError("a pickle without an end")


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_ARGUMENTS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _follow(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    if name in _ARGUMENTS:
        stack.append(argument)
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in _EMPTY:
        stack.append(_EMPTY[name]())
    elif name in _TUPLES:
        count = _TUPLES[name]
        stack[-count:] = [tuple(stack[-count:])]
    elif name == "MARK":
        stack.append(_MARK)
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
        memo[argument] = stack[-1]
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(memo[argument])
    elif name == "APPEND":
        value = stack.pop()
        _of_type(list, stack[-1]).append(value)
    elif name == "APPENDS":
        values = _to_mark(stack)
        _of_type(list, stack[-1]).extend(values)
    elif name == "SETITEM":
        value, key = stack.pop(), stack.pop()
        _of_type(dict, stack[-1])[key] = value
    elif name == "SETITEMS":
        values = _to_mark(stack)
        _of_type(dict, stack[-1]).update(zip(values[::2], values[1::2], strict=True))
    elif name == "LIST":
        stack.append(_to_mark(stack))
    elif name == "TUPLE":
        stack.append(tuple(_to_mark(stack)))
    elif name == "DICT":
        values = _to_mark(stack)
        stack.append(dict(zip(values[::2], values[1::2], strict=True)))
    elif name not in ("PROTO", "FRAME"):
        raise ValueError(f"a pickle with more than plain data ({name})")


def _of_type(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise ValueError(f"a malformed pickle (no {kind.__name__} where one must be)")
    return value


def _to_mark(stack: list[Any]) -> list[Any]:
    for place in range(len(stack) - 1, -1, -1):
        if stack[place] is _MARK:
            values = stack[place + 1 :]
            del stack[place:]
            return values
    raise ValueError("a malformed pickle (no mark)")
