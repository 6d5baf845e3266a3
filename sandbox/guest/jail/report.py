"""A run's own account of its end: a claim, written where the host can read it.

One page-aligned region, shared by the host and a worker's runs, one run at a time. It takes no
descriptor that a program could close or write to by accident. What stands in it is the
program's word, worth as much as its stdout: the host decodes it with caps, shows it to people,
and decides nothing by it that a judge relies on.
"""

import mmap
import struct
from typing import NamedTuple

from . import wire

SIZE = 64 << 10
VALUE_SIZE = 16 << 20
"""Room behind the claim for what a called function returns; unwritten pages cost nothing."""

REGION = SIZE + VALUE_SIZE
MAX_MESSAGE = 4 << 10
MAX_TRACEBACK = 32 << 10  # in characters; with four bytes each it still fits after trimming

_LENGTH = struct.Struct("<I")
_NOTHING = bytes(SIZE)
MAX_VALUE = VALUE_SIZE - _LENGTH.size


class Report:
    """The region, mapped from the descriptor `fd`, which the caller may close afterwards."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, REGION)

    def clear(self) -> None:
        """Forget everything, so that no run reads what an earlier one wrote."""
        self._map[:SIZE] = _NOTHING
        # The kernel takes the pages back, if there are any; they were charged to the run.
        self._map.madvise(mmap.MADV_REMOVE, SIZE, VALUE_SIZE)

    def close(self) -> None:
        self._map.close()

    def write(self, claim: "Claim") -> None:
        """Say that the program ran to its end. Texts too long are cut: type and message at the
        end, the traceback in the middle.
        """
        if claim.exception is None:
            self._map[:_PLAIN_END] = _PLAIN
            return
        budget = MAX_TRACEBACK
        while True:
            data = _encode(claim.shortened(budget))
            if len(data) <= SIZE:
                break
            budget //= 2
        self._map[: len(data)] = data

    def write_value(self, data: bytes) -> None:
        """Leave what the called function returned; `data` is at most `MAX_VALUE` long."""
        self._map[SIZE : SIZE + _LENGTH.size + len(data)] = _LENGTH.pack(len(data)) + data

    def read_value(self) -> bytes | None:
        """Return what stands there as a value, not looked into; None where nothing does."""
        (length,) = _LENGTH.unpack(self._map[SIZE : SIZE + _LENGTH.size])
        if not 0 < length <= MAX_VALUE:
            return None
        return self._map[SIZE + _LENGTH.size : SIZE + _LENGTH.size + length]

    def read(self) -> "Claim | None":
        """Return what the program said; None where there is no well-formed claim."""
        (length,) = _LENGTH.unpack(self._map[: _LENGTH.size])
        if not 0 < length <= SIZE - _LENGTH.size:
            return None
        try:
            value = wire.decode(
                self._map[_LENGTH.size : _LENGTH.size + length], max_depth=4, max_nodes=8
            )
        except wire.WireError:
            return None
        match value:
            case (None, False):
                return Claim()
            case ((str(kind), str(message), str(traceback)), bool(memory_error)):
                return Claim((kind, message, traceback), memory_error).shortened()
        return None


class Claim(NamedTuple):
    """A program's account of its end: the type, message and traceback of the exception that
    ended it, if one did, and whether that was a MemoryError or a subclass of it.
    """

    exception: tuple[str, str, str] | None = None
    memory_error: bool = False

    def shortened(self, traceback: int = MAX_TRACEBACK) -> "Claim":
        """The same with texts cut to their caps, a traceback to `traceback` characters."""
        if self.exception is None:
            return self
        kind, message, text = self.exception
        return Claim((kind[:200], message[:MAX_MESSAGE], _cut(text, traceback)), self.memory_error)


def _encode(claim: Claim) -> bytes:
    body = wire.encode(tuple(claim))
    return _LENGTH.pack(len(body)) + body


_PLAIN = _encode(Claim())
"""The claim of most runs, made ahead: writing it asks nothing of what a program left behind."""

_PLAIN_END = len(_PLAIN)


_ROOM = 60
"""For what says how much was cut: what is cut already is not cut again."""


def _cut(text: str, budget: int) -> str:
    if len(text) <= budget:
        return text
    half = max(budget - _ROOM, 0) // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n... {left_out} characters left out ...\n{text[len(text) - half :]}"
