"""Asking for many calls at once, where a loop of a test makes one after the other.

    for i, (inp, exp) in enumerate(zip(inputs, results)):
        assertion(candidate(*inp), exp, 0)

So EvalPlus' tests are written; with a thousand inputs, the way there and back takes most of the
time. In the source the loop's list is put into a call of `AHEAD`, which asks for a few calls first,
then for more, and hands each answer over when the loop comes to its call. The program sees the same
calls in the same order; it may have made some more when the test ends.

What is asked is pickled in the test's process, which is trusted, and read in the program's. Answers
are JSON if that tells them exactly; the test's process reads nothing of the program's that it could
be led astray by.
"""

import _pickle
import io
import json
import re
from collections.abc import Iterator
from typing import Any

from ..jail import wire

AHEAD = "__ahead__"

_LOOP = re.compile(
    rb"^(?P<head>[ \t]*for \w+, \(?(?P<inputs>\w+)(?:, \w+\))? in enumerate\((?:zip\()?)"
    rb"(?P<list>\w+)(?P<rest>[^\n]*:\n[ \t]+\w+\((?P<name>\w+)\(\*(?P=inputs)\))",
    re.MULTILINE,
)
_FIRST, _TIMES, _MOST = 4, 4, 256
"""Calls that are asked for at first; so many times more from then on, up to `_MOST`."""


def rewritten(source: bytes) -> bytes:
    """The source of a test, with its loops of calls asking ahead. Lines keep their numbers."""
    if b" in enumerate(" not in source:
        return source
    name = AHEAD.encode()
    return _LOOP.sub(rb"\g<head>" + name + rb"(\g<name>, \g<list>)\g<rest>", source)


class Ahead:
    """The calls of a loop, each of which finds its answer there.

    ask: takes calls, as bytes, and their number; returns the outcomes of some, the first included.
    """

    def __init__(self, ask: Any, calls: list[Any]) -> None:
        self._ask = ask
        self._calls = calls
        self._ready: tuple[Any, Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        at, size = 0, _FIRST
        while at < len(self._calls):
            some = self._calls[at : at + size]
            packed = _packed(some)
            if packed is None:
                yield from self._calls[at:]
                return
            outcomes = self._ask(packed, len(some))
            for call, outcome in zip(some, outcomes, strict=False):
                self._ready = call, outcome
                yield call
            self._ready = None
            at += len(outcomes)
            size = min(size * _TIMES, _MOST)

    def take(self, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The outcome of the call that the loop has come to, if these are its arguments."""
        if self._ready is None:
            return None
        call, outcome = self._ready
        if len(call) != len(args) or any(a is not b for a, b in zip(call, args, strict=True)):
            return None
        self._ready = None
        return outcome  # type: ignore[no-any-return]


def _packed(calls: list[Any]) -> bytes | None:
    """Calls as bytes, if they are lists of plain data."""
    if any(type(call) not in (list, tuple) for call in calls):
        return None
    return _pickled(calls)


def unpacked(data: bytes) -> list[Any]:
    """In the program's process: the arguments of each call."""
    return _pickle.loads(data)  # type: ignore[no-any-return]


class _NotPlain(Exception):
    """There is something that is no plain data."""


class _Pickler(_pickle.Pickler):
    def reducer_override(self, item: Any) -> Any:
        raise _NotPlain  # asked for all but the built-in types, exactly


def _pickled(value: Any) -> bytes | None:
    file = io.BytesIO()
    try:
        _Pickler(file, 4).dump(value)
    except (_NotPlain, RecursionError):
        return None
    return file.getvalue()


def as_json(value: Any) -> str | None:
    """JSON that is the same value again, in value and types; None if there is none."""
    if value is None or type(value) is bool:
        return "null" if value is None else "true" if value else "false"
    try:
        text = json.dumps(value)
        same = json.loads(text) == value and _pickled(value) is not None
    except (TypeError, ValueError, RecursionError):
        return None
    return text if same else None


def from_json(text: str) -> Any:
    """Raises `wire.WireError` for what is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise wire.WireError(f"no JSON: {error}") from None
