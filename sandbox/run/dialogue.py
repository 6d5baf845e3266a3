"""What a test and a program say to each other, as the host sees it: bytes in, decisions out.

No I/O here. `Dialogue` is given what was read from either end, and says what is to be passed on,
and when it is over. Which frames there are, `guest/run/dialogue.py` says. Bodies are passed on
unread: the test's process reads answers as carefully as the host would, and is charged for it.
"""

import dataclasses
import enum

from ..guest.jail import wire
from ..guest.run.dialogue import (
    CALL,
    FAILED,
    GARBLED,
    HEADER,
    LAST,
    MAX_ANSWER,
    MAX_CALL,
    NEXT,
    PART,
    RAISED,
    TOO_LARGE,
    UNFIT,
    VALUE,
    WEAK,
    WELL,
)
from ..result import GuestException

MAX_CALLS = 1_000_000
"""Of one test. Answers decide whether it goes on, so that more are the program's fault."""

_LAST_WORDS = (WELL, FAILED)
_MOST_WORDS = 500
_MAX_EXCEPTION = 64 << 10
"""What `Claim.shortened` leaves of one, with four bytes for each character."""


class Fault(enum.Enum):
    """Who is to blame for the end of a dialogue."""

    TEST = "test"
    PROGRAM = "program"


class LastWord(enum.Enum):
    """How a test says that it ended."""

    WELL = WELL
    FAILED = FAILED


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One of several tests that share a process, and that has come to its end: how many calls were
    made and answered in it, the exception that ended it, or None; seconds of the program's, by the
    clock and of CPU time, since the part before; weak: as for `Dialogue`.
    """

    calls: int
    answers: int
    exception: GuestException | None
    wall_s: float
    cpu_s: float
    weak: bool = False


class Dialogue:
    """One test's calls of one program, or those of several tests, which are made one after the
    other.

    tests: how many there are. parts: those that have ended, and after which another was begun: all
    the rest tells of the one behind these. has_ended_part: the test's process asks whether to begin
    another, to which `begin_part` or `refuse_part` is the answer.
    calls, answers: how many were made and given. asked: the program owes an answer. last_word: how
    the test has ended; None as long as it has not. weak: it says that all it has learned is what
    the program says of itself (==, in, bool). fault, why: who has said what can't be, or what
    can't cross; then it is over. Whatever a test says once it has an answer may be the answer's
    doing, and is the program's fault: otherwise a program could choose not to be counted.
    """

    def __init__(self, tests: int = 1) -> None:
        self._tests = tests
        self.parts: list[Part] = []
        self.has_ended_part = False
        self._exception: GuestException | None = None
        self.weak = False
        self.calls = 0
        self.answers = 0
        self.asked = False
        self.last_word: LastWord | None = None
        self.fault: Fault | None = None
        self.why = ""
        self._from_test = _Frames(MAX_CALL)
        self._from_program = _Frames(MAX_ANSWER)

    def __repr__(self) -> str:
        state = f", {self.fault.value} at fault" if self.fault else ""
        return f"<Dialogue {self.answers} of {self.calls} calls answered{state}>"

    def test_said(self, data: bytes) -> bytes:
        """Take bytes from the test's end; return what is to be passed on to the program."""
        found = self._from_test.feed(data)
        if self._from_test.broken:
            return self._break(Fault.TEST, "the test said too much at once")
        if found is None:
            return b""
        kind, frame = found
        if self.asked or self.last_word is not None:
            return self._break(Fault.TEST, "the test spoke out of turn")
        if kind == CALL:
            self.calls += 1
            if self.calls > MAX_CALLS:
                return self._break(Fault.PROGRAM, f"the test made more than {MAX_CALLS} calls")
            self.asked = True
            return frame
        if kind == PART and len(self.parts) + 1 < self._tests:
            return self._end_part(frame[HEADER.size :])
        words = frame[HEADER.size :][:_MOST_WORDS].decode("utf-8", "replace")
        if kind in _LAST_WORDS:
            self.last_word = LastWord(kind)
            self.weak = frame[HEADER.size :] == WEAK
            return b""
        if kind in (UNFIT, TOO_LARGE):
            return self._break(Fault.TEST, words)
        if kind == GARBLED and self.answers:
            return self._break(Fault.PROGRAM, f"its answer can't be read: {words}")
        return self._break(Fault.TEST, "the test said what makes no sense")

    def _end_part(self, body: bytes) -> bytes:
        try:
            self._exception, self.weak = _end_in(body)
        except wire.WireError:
            return self._break(Fault.TEST, "the test said what makes no sense")
        self.has_ended_part = True
        return b""

    def begin_part(self, wall_s: float, cpu_s: float) -> bytes:
        """Count the part that has ended, and return what has the test's process begin another."""
        self.has_ended_part = False
        its = self.calls, self.answers, self._exception, wall_s, cpu_s, self.weak
        self.parts.append(Part(*its))
        self.weak = False
        self.calls = self.answers = 0
        return HEADER.pack(0, NEXT)

    def refuse_part(self) -> bytes:
        """Return what has the test's process end with the part that has ended."""
        self.has_ended_part = False
        return HEADER.pack(0, LAST)

    def program_said(self, data: bytes, *, heard: bool = True) -> bytes:
        """Take bytes from the program's end; return what is to be passed on to the test. heard: the
        call has been passed on as a whole.
        """
        found = self._from_program.feed(data)
        if not self.asked or not heard:
            return self._break(Fault.PROGRAM, "it answered before it was asked")
        if self._from_program.broken:
            return self._break(Fault.PROGRAM, "it gave more than one answer, or one too large")
        if found is None:
            return b""
        kind, frame = found
        if kind in (VALUE, RAISED):
            self.asked = False
            self.answers += 1
            return frame
        if kind == UNFIT:
            words = frame[HEADER.size :][:_MOST_WORDS].decode("utf-8", "replace")
            return self._break(Fault.PROGRAM, f"it returned what can't cross: {words}")
        return self._break(Fault.PROGRAM, "its answer makes no sense")

    def program_stays_silent(self) -> None:
        """It has closed its end, and lives on."""
        self._break(Fault.PROGRAM, "it closed the stream that it should have answered on")

    def _break(self, fault: Fault, why: str) -> bytes:
        if self.fault is None:
            self.fault = Fault.PROGRAM if self.answers else fault
            self.why = why
        return b""


def _end_in(body: bytes) -> tuple[GuestException | None, bool]:
    match wire.decode(body, max_bytes=_MAX_EXCEPTION, max_depth=3, max_nodes=6):
        case (None, bool(weak)):
            return None, weak
        case ((str(kind), str(message), str(traceback)), bool(weak)):
            return GuestException(kind, message, traceback), weak
    raise wire.WireError("it is no end of a test")


class _Frames:
    """Bytes that add up to frames, one at a time. broken: they were too large, or more than one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pieces = bytearray()
        self.broken = False

    def feed(self, data: bytes) -> tuple[int, bytes] | None:
        """Take some bytes; return the kind of the frame that they complete, and the whole of it."""
        if self._pieces or len(data) < HEADER.size:
            self._pieces += data
            if len(self._pieces) < HEADER.size:
                return None
        whole = self._pieces or data
        size, kind = HEADER.unpack_from(whole)
        missing = HEADER.size + size - len(whole)
        if size > self._most or missing < 0 or self.broken:
            self.broken = True
            self._pieces.clear()
            return None
        if missing:
            if not self._pieces:
                self._pieces += data
            return None
        frame = bytes(whole)
        self._pieces.clear()
        return kind, frame
