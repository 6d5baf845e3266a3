"""What a test and a program say to each other, as the host sees it: bytes in, decisions out.

No I/O here. `Dialogue` is given what was read from either end, and says what is to be passed on to
whom, and when it is over. Which frames there are, `guest/dialogue.py` says.
"""

import enum
from typing import NamedTuple

from .guest import wire
from .guest.dialogue import (
    EXCEPTIONS,
    HEADER,
    MAX_ANSWER,
    MAX_ANSWER_DEPTH,
    MAX_ANSWER_NODES,
    MAX_CALL,
)

MAX_CALLS = 1_000_000
"""Of one test. Answers decide whether it goes on, so that more are the program's fault."""


class Fault(enum.Enum):
    """Who has broken the dialogue off."""

    TEST = "test"
    PROGRAM = "program"


class Pass(NamedTuple):
    """Bytes that are to be passed on: to the program, or to the test."""

    to_program: bytes = b""
    to_test: bytes = b""


_NOTHING = Pass()


class Dialogue:
    """One test's calls of one program.

    calls, answers: how many were made and given. asked: the program owes an answer. last_word: how
    the test said that it ended: "", "failed" or "own"; None as long as it has not.
    fault, why: who has said what can't be, or what can't cross; then it is over.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.answers = 0
        self.asked = False
        self.last_word: str | None = None
        self.fault: Fault | None = None
        self.why = ""
        self._from_test = _Frames(MAX_CALL)
        self._from_program = _Frames(MAX_ANSWER)

    def __repr__(self) -> str:
        state = f", {self.fault.value} at fault" if self.fault else ""
        return f"<Dialogue {self.answers} of {self.calls} calls answered{state}>"

    def test_said(self, data: bytes) -> Pass:
        """Take bytes from the test's end."""
        frame = self._from_test.feed(data)
        if self._from_test.too_large:
            return self._broken(Fault.TEST, "the test said too much at once")
        if frame is None:
            return _NOTHING
        passed = self._test_said(frame)
        if self._from_test.more():
            return self._broken(Fault.TEST, "the test said more than one thing at a time")
        return passed

    def _test_said(self, frame: bytes) -> Pass:
        if self.asked or self.last_word is not None:
            return self._broken(Fault.TEST, "the test spoke out of turn")
        try:
            said = wire.decode(frame, max_bytes=MAX_CALL)
        except wire.WireError as error:
            return self._broken(Fault.TEST, f"the test said what can't be read: {error}")
        match said:
            case ("call", tuple(), dict()):
                return self._call(frame)
            case ("unfit", str(why), bool(size)):
                # What is too large may be so by an answer that it holds.
                fault = Fault.PROGRAM if size and self.answers else Fault.TEST
                return self._broken(fault, why)
            case ("end", "" | "failed" | "own" as word):
                self.last_word = word
                return _NOTHING
        return self._broken(Fault.TEST, "the test said what makes no sense")

    def program_said(self, data: bytes, *, heard: bool) -> Pass:
        """Take bytes from the program's end. heard: the call has been passed on as a whole."""
        frame = self._from_program.feed(data)
        if not self.asked or not heard:
            return self._broken(Fault.PROGRAM, "it answered before it was asked")
        if self._from_program.too_large or (frame is not None and self._from_program.more()):
            return self._broken(Fault.PROGRAM, "it gave more than one answer, or one too large")
        if frame is None:
            return _NOTHING
        try:
            said = wire.decode(
                frame,
                max_bytes=MAX_ANSWER,
                max_depth=MAX_ANSWER_DEPTH,
                max_nodes=MAX_ANSWER_NODES,
            )
        except wire.WireError as error:
            return self._broken(Fault.PROGRAM, f"its answer can't be read: {error}")
        match said:
            case ("value", _):
                pass
            case ("raised", str(name), tuple()) if name in EXCEPTIONS:
                pass
            case ("unfit", str(why)):
                return self._broken(Fault.PROGRAM, f"it returned what can't cross: {why[:200]}")
            case _:
                return self._broken(Fault.PROGRAM, "its answer makes no sense")
        self.asked = False
        self.answers += 1
        return Pass(to_test=HEADER.pack(len(frame)) + frame)

    def program_stays_silent(self) -> None:
        """It has closed its end, and lives on."""
        self._broken(Fault.PROGRAM, "it closed the stream that it should have answered on")

    def _call(self, frame: bytes) -> Pass:
        self.calls += 1
        if self.calls > MAX_CALLS:
            return self._broken(Fault.PROGRAM, f"the test made more than {MAX_CALLS} calls")
        self.asked = True
        return Pass(to_program=HEADER.pack(len(frame)) + frame)

    def _broken(self, fault: Fault, why: str) -> Pass:
        if self.fault is None:
            self.fault, self.why = fault, why
        return _NOTHING


class _Frames:
    """Bytes that add up to frames, one at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pieces = bytearray()
        self.too_large = False

    def feed(self, data: bytes) -> bytes | None:
        """Take some bytes; return the frame that they complete, if they do."""
        self._pieces += data
        if len(self._pieces) < HEADER.size:
            return None
        (size,) = HEADER.unpack_from(self._pieces)
        if size > self._most:
            self.too_large = True
            return None
        end = HEADER.size + size
        if len(self._pieces) < end:
            return None
        frame = bytes(self._pieces[HEADER.size : end])
        del self._pieces[:end]
        return frame

    def more(self) -> bool:
        """Whether there are bytes behind the frame that was returned last."""
        return bool(self._pieces)
