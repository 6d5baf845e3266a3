"""Long lists in a test's source, read as JSON where that is what they are.

    inputs = [[[1.0, 2.0], 0.3], [[5.9, 4.0], 0.95], ... 90 kB in one line

Python takes ten times as long to compile these as `json` to read them, and that is most of the time
of a test that EvalPlus has made. What JSON can't tell exactly is left as it is.
"""

import json
import re
from typing import Any

LITERAL = "__literal__"

_SHORTEST = 2000
_LINE = re.compile(rb"^([ \t]*\w+ = )(\[[^\n]{%d,}\])$" % _SHORTEST, re.MULTILINE)
_NO_JSON = re.compile(rb"[\\\"({#]")
_WORDS = {b"True": b"true", b"False": b"false", b"None": b"null"}


class Literals:
    """The lists of a source. rewritten: the source, with a call of `LITERAL` in place of each."""

    def __init__(self, source: bytes) -> None:
        self._texts: list[bytes] = []
        self._values: dict[int, Any] = {}
        self.rewritten = _LINE.sub(self._replaced, source) if len(source) > _SHORTEST else source

    def __call__(self, place: int) -> Any:
        """The list at this place; another one each time."""
        if place in self._values:
            return self._values.pop(place)
        return _read(self._texts[place])

    def _replaced(self, found: re.Match[bytes]) -> bytes:
        text = _as_json(found[2])
        try:
            value = None if text is None else _read(text)
        except (ValueError, RecursionError):
            text = None
        if text is None:
            return found[0]
        self._values[len(self._texts)] = value
        self._texts.append(text)
        return found[1] + b"%s(%d)" % (LITERAL.encode(), len(self._texts) - 1)


def _as_json(text: bytes) -> bytes | None:
    """The same in JSON, if it is a list of numbers and strings, or of numbers and constants."""
    if _NO_JSON.search(text):
        return None
    if b"'" in text:
        return text.replace(b"'", b'"')
    for word, written in _WORDS.items():
        text = text.replace(word, written)
    return text


def _read(text: bytes) -> Any:
    return json.loads(text, parse_constant=_refuse)


def _refuse(word: str) -> Any:
    raise ValueError(word)  # NaN is a name in Python
