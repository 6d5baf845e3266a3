"""Whose fault it is that a test of asserts did not come to a good end.

The test's own, before the program has answered anything: no answer can have led it astray. After
that, what the test does is the answer's doing: a wrong one raises AssertionError, or TypeError, or
makes it loop, or leads it to where it names what nobody has defined. Otherwise a program could
choose to be left out of the count. The host counts the answers; how the test ends is its word.

Several tests may share a process, one after the other. What an earlier one has done is no reason
for a bad end of a later one: unless that has made its calls, and come to its end, it is run again.
"""

from ...sandbox.reasons import ExitReason
from ...sandbox.result import GuestException, Result
from ...sandbox.run.dialogue import Fault, LastWord, Part
from ...sandbox.run.record import Record
from .finding import PASSED, WEAKLY_PASSED, Finding, ending, told
from .verdict import Outcome

_ENDS = (ExitReason.OK, ExitReason.EXCEPTION, ExitReason.EXIT)


def tells(record: Record | None) -> bool:
    """Whether anything is known of each of several tests that shared a process."""
    return record is not None and record.lost is None


def is_clear(record: Record) -> bool:
    """Whether the last of several tests that shared a process came to its end by itself, and no
    other one can have had a part in it.
    """
    return (
        record.calls > 0
        and not record.asked
        and record.fault is None
        and record.last_word is not None
        and record.let_go
        and record.test.reason in _ENDS
        and record.test.completed
    )


def judge_part(name: str, part: Part, number: int) -> Finding | None:
    """Return what a test says about a program behind which another one was begun; `number` is that
    of the test in its process, from 0. None if it has to be run again.
    """
    error = part.exception
    if not part.calls:
        if number:
            return None
        if error is None:
            return _harness(_never_called(name))
        return _harness(f"the test itself ended by {told(error)}, before it called {name}")
    if error is None:
        return WEAKLY_PASSED if part.weak else PASSED
    detail = f"the test ended by {told(error)}, after {_times(part.answers)} of {name}"
    reason = "assertion" if error.type == "AssertionError" else str(ExitReason.EXCEPTION)
    return Finding(Outcome.FAIL, reason, detail, _line(error))


def judge(name: str, program: Result, record: Record | None) -> Finding:
    """Return what a test says about a program.

    name: of the entry point. program: the result of the program's run. record: what became of the
    test, and of their dialogue; None where they could not be run.
    """
    if record is None or ExitReason.INTERNAL in (program.reason, record.test.reason):
        return Finding(Outcome.INFRA_ERROR, "internal", program.detail or str(program.reason))
    test = record.test
    if record.lost is not None:
        if record.lost is Fault.TEST:
            return _harness(f"the test {ending(test)}")
        return Finding(Outcome.FAIL, str(program.reason), ending(program))
    if record.fault is Fault.TEST:
        return _harness(record.why)
    if record.fault is Fault.PROGRAM:
        return Finding(Outcome.FAIL, "wrong_value", f"{name}: {record.why}")
    if program.reason is ExitReason.CANCELLED:  # by neither of them: the pool is closing
        return Finding(Outcome.INFRA_ERROR, "internal", "cancelled")
    if not record.calls:
        if _was_starved(program, test):
            return Finding(
                Outcome.FAIL, str(test.reason), f"the program kept {name}'s test from running"
            )
        if record.last_word is LastWord.WELL and test.ok:
            return _harness(_never_called(name))
        return _harness(f"the test itself {ending(test)}, before it called {name}")
    if record.asked:
        return _unanswered(name, program, record)
    if record.last_word is LastWord.WELL and test.ok and test.completed:
        if record.let_go:
            return WEAKLY_PASSED if record.weak else PASSED
        return Finding(
            Outcome.FAIL, _reason(program), f"the program {ending(program)}, before the test ended"
        )
    if test.ok:
        return Finding(
            Outcome.FAIL,
            "incomplete",
            f"the test left with status 0 before its end, after {_times(record.answers)} of {name}",
        )
    assertion = test.exception is not None and test.exception.type == "AssertionError"
    return Finding(
        Outcome.FAIL,
        "assertion" if assertion else str(test.reason),
        f"the test {ending(test)}, after {_times(record.answers)} of {name}",
        _line(test.exception),
    )


def _unanswered(name: str, program: Result, record: Record) -> Finding:
    """Of a call that was never answered."""
    test = record.test
    if record.let_go:  # the test's own time was over while it waited
        return Finding(
            Outcome.FAIL, str(test.reason), f"{name} had not returned when the test {ending(test)}"
        )
    return Finding(
        Outcome.FAIL, _reason(program), f"the program {ending(program)} instead of returning"
    )


def _was_starved(program: Result, test: Result) -> bool:
    """Whether a test ran out of the wall's time while it was the program that used the CPUs."""
    if test.reason is not ExitReason.WALL_TIMEOUT:
        return False
    used_s = program.cpu_s or 0.0
    return used_s > (test.cpu_s or 0.0) and used_s > test.wall_s / 10


def _harness(why: str) -> Finding:
    return Finding(Outcome.HARNESS_ERROR, "harness", why)


def _reason(result: Result) -> str:
    return "incomplete" if result.ok else str(result.reason)


def _times(answers: int) -> str:
    return "an answer" if answers == 1 else f"{answers} answers"


def _never_called(name: str) -> str:
    return f"the test never called {name}: it judges nothing"


def _line(error: GuestException | None) -> str:
    """The line of the test that raised: the last that its traceback shows of it."""
    if error is None:
        return ""
    lines = error.traceback.splitlines()
    for place in range(len(lines) - 2, -1, -1):
        if 'main.py", line ' in lines[place]:
            return f"{lines[place].partition(', ')[2]}: {lines[place + 1].strip()}"
    return ""
