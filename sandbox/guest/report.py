"""A run's own account of its end: a claim, written where the host can read it.

One page-aligned region, shared by the host and a worker's runs, one run at a time. It takes no
descriptor that a program could close or write to by accident. What stands in it is the
program's word, worth as much as its stdout: the host decodes it with caps, shows it to people,
and decides nothing by it that a judge relies on.
"""

import mmap
import struct

from . import wire

SIZE = 64 << 10
MAX_MESSAGE = 4 << 10
MAX_TRACEBACK = 32 << 10  # in characters; with four bytes each it still fits after trimming

_LENGTH = struct.Struct("<I")


class Report:
    """The region, mapped from the descriptor `fd`, which the caller may close afterwards."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, SIZE)

    def clear(self) -> None:
        """Forget everything, so that no run reads what an earlier one wrote."""
        self._map[:] = bytes(SIZE)

    def close(self) -> None:
        self._map.close()

    def write(self, exception: tuple[str, str, str] | None) -> None:
        """Say that the program ran to its end, with the type, message and traceback of what
        ended it, if anything did. Texts too long are cut: messages at the end, tracebacks in
        the middle.
        """
        if exception is None:
            self._map[: len(_PLAIN)] = _PLAIN
            return
        kind, message, traceback = exception
        exception = (kind[:200], message[:MAX_MESSAGE], traceback)
        budget = MAX_TRACEBACK
        while True:
            claim = _claim(_cut(exception, budget))
            if len(claim) <= SIZE:
                break
            budget //= 2
        self._map[: len(claim)] = claim

    def read(self) -> tuple[bool, tuple[str, str, str] | None]:
        """Return (completed, exception); (False, None) where there is no well-formed claim."""
        (length,) = _LENGTH.unpack(self._map[: _LENGTH.size])
        if not 0 < length <= SIZE - _LENGTH.size:
            return False, None
        try:
            claim = wire.decode(self._map[_LENGTH.size : _LENGTH.size + length], max_depth=4)
        except wire.WireError:
            return False, None
        if not isinstance(claim, dict) or claim.get("completed") is not True:
            return False, None
        exception = claim.get("exception")
        if exception is None:
            return True, None
        if (
            type(exception) is tuple
            and len(exception) == 3
            and all(type(text) is str for text in exception)
        ):
            return True, exception
        return False, None


def _claim(exception: tuple[str, str, str] | None) -> bytes:
    body = wire.encode({"completed": True, "exception": exception})
    return _LENGTH.pack(len(body)) + body


_PLAIN = _claim(None)
"""The claim of most runs, made ahead."""


def _cut(exception: tuple[str, str, str], budget: int) -> tuple[str, str, str]:
    if len(exception[2]) <= budget:
        return exception
    half = budget // 2
    text = exception[2]
    left_out = len(text) - 2 * half
    return (
        exception[0],
        exception[1],
        f"{text[:half]}\n... {left_out} characters left out ...\n{text[-half:]}",
    )
