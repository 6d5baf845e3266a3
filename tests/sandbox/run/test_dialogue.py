"""`Dialogue`: whatever bytes come from either end, one of them is to blame or all is in order."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpreter_pool.sandbox.guest.jail import wire
from interpreter_pool.sandbox.guest.run.dialogue import (
    CALL,
    FAILED,
    GARBLED,
    LAST,
    MAX_ANSWER,
    MAX_CALL,
    NEXT,
    PART,
    RAISED,
    TOO_LARGE,
    UNFIT,
    VALUE,
    WELL,
)
from interpreter_pool.sandbox.result import GuestException
from interpreter_pool.sandbox.run.dialogue import Dialogue, Fault, LastWord, Part

WELL_DONE = wire.encode((None, False))


def frame(kind: int, body: bytes = b"body") -> bytes:
    return struct.pack("<IB", len(body), kind) + body


def test_calls_and_answers_are_passed_on_as_they_came():
    """In turn, each as a whole, also when they come in pieces."""
    dialogue = Dialogue()
    for turn in range(3):
        call, answer = frame(CALL, b"call %d" % turn), frame(VALUE, b"x" * 100_000)
        assert [dialogue.test_said(call[n : n + 1]) for n in range(len(call))][-1] == call
        assert dialogue.asked
        half = len(answer) // 2
        assert dialogue.program_said(answer[:half], heard=True) == b""
        assert dialogue.program_said(answer[half:], heard=True) == answer
        assert not dialogue.asked
    assert (dialogue.calls, dialogue.answers, dialogue.fault) == (3, 3, None)
    assert dialogue.test_said(frame(WELL, b"")) == b""
    assert dialogue.last_word is LastWord.WELL


@pytest.mark.parametrize("kind, word", [(WELL, "WELL"), (FAILED, "FAILED")])
def test_the_last_word_is_the_last(kind, word):
    """What comes after it is out of turn."""
    dialogue = Dialogue()
    dialogue.test_said(frame(kind))
    assert dialogue.last_word is LastWord[word]
    dialogue.test_said(frame(CALL))
    assert (dialogue.fault, dialogue.calls) == (Fault.TEST, 0)


SAID_BY_THE_TEST = [
    # what it says before, and after an answer: who is to blame for each
    (frame(UNFIT), Fault.TEST, Fault.PROGRAM),
    (frame(TOO_LARGE), Fault.TEST, Fault.PROGRAM),
    (frame(GARBLED), Fault.TEST, Fault.PROGRAM),
    (frame(VALUE), Fault.TEST, Fault.PROGRAM),
    (frame(0), Fault.TEST, Fault.PROGRAM),
    (frame(99), Fault.TEST, Fault.PROGRAM),
    (frame(CALL) + b"x", Fault.TEST, Fault.PROGRAM),
    (struct.pack("<IB", MAX_CALL + 1, CALL), Fault.TEST, Fault.PROGRAM),
]


@pytest.mark.parametrize("said, before, after", SAID_BY_THE_TEST)
def test_what_a_test_says_wrongly_is_its_fault_unless_an_answer_led_to_it(said, before, after):
    """Once it has an answer, all that it says may be the answer's doing."""
    dialogue = Dialogue()
    assert dialogue.test_said(said) == b""
    assert dialogue.fault is before
    dialogue = Dialogue()
    dialogue.test_said(frame(CALL))
    dialogue.program_said(frame(VALUE))
    assert dialogue.test_said(said) == b""
    assert dialogue.fault is after


@pytest.mark.parametrize(
    "said",
    [
        frame(UNFIT),
        frame(CALL),
        frame(WELL),
        frame(0),
        frame(VALUE) + b"x",
        frame(VALUE) + frame(VALUE),
        struct.pack("<IB", MAX_ANSWER + 1, VALUE),
    ],
)
def test_what_a_program_says_wrongly_is_its_fault(said):
    """Nothing of it reaches the test."""
    dialogue = Dialogue()
    dialogue.test_said(frame(CALL))
    assert dialogue.program_said(said) == b""
    assert dialogue.fault is Fault.PROGRAM


@pytest.mark.parametrize("said", [b"x", frame(VALUE), frame(RAISED)])
def test_an_answer_that_nobody_asked_for_is_a_fault(said):
    """Before a call, and before it has been passed on as a whole."""
    dialogue = Dialogue()
    dialogue.program_said(said)
    assert dialogue.fault is Fault.PROGRAM
    dialogue = Dialogue()
    dialogue.test_said(frame(CALL))
    dialogue.program_said(said, heard=False)
    assert dialogue.fault is Fault.PROGRAM


def test_the_first_fault_counts():
    """A program can't blame the test for what it began itself."""
    dialogue = Dialogue()
    dialogue.program_said(b"x")
    dialogue.test_said(frame(UNFIT))
    assert dialogue.fault is Fault.PROGRAM


ERROR = ("AssertionError", "no", "a traceback")


def test_tests_that_share_a_process_are_counted_here():
    """With the calls and answers of each; the test's process asks before it begins another."""
    dialogue = Dialogue(3)
    for turn in range(2):
        for _ in range(turn + 1):
            dialogue.test_said(frame(CALL))
            dialogue.program_said(frame(VALUE))
        body = wire.encode((None, True) if turn else (ERROR, False))
        assert dialogue.test_said(frame(PART, body)) == b""
        assert dialogue.has_ended_part
        assert dialogue.begin_part(0.5, 0.25) == frame(NEXT, b"")
        assert not dialogue.has_ended_part
    error = GuestException(*ERROR)
    assert dialogue.parts == [Part(1, 1, error, 0.5, 0.25), Part(2, 2, None, 0.5, 0.25, weak=True)]
    assert (dialogue.calls, dialogue.answers, dialogue.fault) == (0, 0, None)
    dialogue.test_said(frame(WELL, b""))
    assert dialogue.last_word is LastWord.WELL


def test_a_test_that_is_told_to_be_the_last_is_not_counted_yet():
    """It has an end of its own to come to."""
    dialogue = Dialogue(2)
    dialogue.test_said(frame(CALL))
    dialogue.program_said(frame(VALUE))
    dialogue.test_said(frame(PART, WELL_DONE))
    assert dialogue.refuse_part() == frame(LAST, b"")
    dialogue.test_said(frame(FAILED, b""))
    assert (dialogue.parts, dialogue.calls, dialogue.last_word) == ([], 1, LastWord.FAILED)


@pytest.mark.parametrize(
    "tests, said",
    [
        (1, frame(PART, WELL_DONE)),
        (2, frame(PART, b"")),
        (2, frame(PART, b"x")),
        (2, frame(PART, wire.encode((("a", "b"), False)))),
        (2, frame(PART, wire.encode(((1, "b", "c"), False)))),
        (2, frame(PART, wire.encode((("a", "b", "c"), 1)))),
        (2, frame(PART, wire.encode((("x" * (1 << 20), "b", "c"), False)))),
        (2, frame(PART, WELL_DONE) * 2),
        (2, frame(NEXT, b"")),
        (2, frame(LAST, b"")),
    ],
)
def test_no_test_more_than_there_are_can_end(tests, said):
    """Nor one with an exception that can't be read."""
    dialogue = Dialogue(tests)
    dialogue.test_said(said)
    assert (dialogue.fault, dialogue.has_ended_part, dialogue.parts) == (Fault.TEST, False, [])


@pytest.mark.parametrize("kind", [PART, NEXT, LAST, WELL, FAILED])
def test_a_program_ends_no_test(kind):
    """Its process has no word in it, whether it owes an answer or not."""
    for asked in (True, False):
        dialogue = Dialogue(3)
        if asked:
            dialogue.test_said(frame(CALL))
        assert dialogue.program_said(frame(kind, b"")) == b""
        assert (dialogue.fault, dialogue.parts) == (Fault.PROGRAM, [])
        assert not dialogue.has_ended_part


def test_an_answer_between_two_tests_is_a_fault():
    """Whichever it is meant for: nobody has asked."""
    dialogue = Dialogue(2)
    dialogue.test_said(frame(CALL))
    dialogue.program_said(frame(VALUE))
    dialogue.test_said(frame(PART, b""))
    dialogue.begin_part(0.0, 0.0)
    dialogue.program_said(frame(VALUE))
    assert (dialogue.fault, len(dialogue.parts), dialogue.calls) == (Fault.PROGRAM, 1, 0)


pieces = st.lists(
    st.tuples(
        st.booleans(),
        st.binary(max_size=20) | st.builds(frame, st.integers(0, 12), st.binary(max_size=4)),
    ),
    max_size=12,
)


@given(pieces, st.integers(1, 3))
def test_whatever_is_said_no_frame_is_made_up(said, tests):
    """Only whole frames are passed on; at most one call is open; a program never blames a test, and
    never ends one.
    """
    dialogue = Dialogue(tests)
    for by_test, data in said:
        was_clean, fault_before = dialogue.fault is None, dialogue.fault
        if by_test:
            passed = dialogue.test_said(data)
            assert not passed or passed[4] == CALL
        else:
            passed = dialogue.program_said(data)
            assert not dialogue.has_ended_part
            assert not passed or passed[4] in (VALUE, RAISED)
            assert dialogue.fault is not Fault.TEST or fault_before is Fault.TEST
        if passed:
            assert struct.unpack_from("<I", passed)[0] == len(passed) - 5
        assert dialogue.calls - dialogue.answers in (0, 1)
        assert was_clean or dialogue.fault is fault_before
        if dialogue.has_ended_part:
            assert by_test
            dialogue.begin_part(0.0, 0.0)
        assert len(dialogue.parts) < tests
