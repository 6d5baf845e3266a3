"""Short texts about values and output of any size, for people."""

from typing import Any

MOST_CHARACTERS = 1000
"""Of a whole explanation."""

_MOST_OF_TEXT = 80
_MOST_ITEMS = 6
_DEEPEST = 3
_MOST_BITS = 256

_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
    dict: ("{", "}"),
}


def shorten(text: str, most: int = MOST_CHARACTERS) -> str:
    """`text`, with its middle left out where it has more than `most` characters."""
    if len(text) <= most:
        return text
    half = max((most - 5) // 2, 1)
    return f"{text[:half]} ... {text[-half:]}"


def line(text: bytes) -> str:
    """A piece of output, as a Python string would be written; control characters do nothing."""
    whole = len(text) <= _MOST_OF_TEXT
    shown = repr(text[:_MOST_OF_TEXT].decode("utf-8", "backslashreplace"))
    return shown if whole else f"{shown}... ({len(text)} bytes)"


def value(item: Any, depth: int = 0) -> str:
    """Plain data as Python writes it, its outer parts only; never more than a few lines.

    >>> value([1, "a", {2: [[[3]]]}])
    "[1, 'a', {2: [[...]]}]"
    """
    kind = type(item)
    if kind is int and item.bit_length() > _MOST_BITS:
        return f"<int of {item.bit_length()} bits>"
    if kind in (str, bytes):
        whole = len(item) <= _MOST_OF_TEXT
        shown = repr(item[:_MOST_OF_TEXT])
        return shown if whole else f"{shown}... ({len(item)} long)"
    if kind not in _BRACKETS:
        return repr(item)
    opening, closing = _BRACKETS[kind]
    if not item:
        return repr(item)
    if depth >= _DEEPEST:
        return f"{opening}...{closing}"
    parts = []
    for place, each in enumerate(item):
        if place == _MOST_ITEMS:
            parts.append(f"... ({len(item)} in all)")
            break
        text = value(each, depth + 1)
        if kind is dict:
            text += f": {value(item[each], depth + 1)}"
        parts.append(text)
    inner = ", ".join(parts)
    if kind is tuple and len(item) == 1:
        inner += ","
    return shorten(f"{opening}{inner}{closing}", 400)
