"""What is known of a pair of runs beside the result of each."""

import dataclasses

from ..result import Result
from .dialogue import Fault, LastWord, Part


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """What is known of a pair beside the program's result.

    test: the result of the test's run. The others are those of the `Dialogue`; let_go: the program
    was there to the test's end, and ended because the host then said so (its result is then "ok").
    lost: who has brought down the jail, twice; nothing else is known then.
    parts: where several tests share a process, those that have ended before another was begun; the
    rest is about the one behind these. So are the result of the program's run and that of the
    test's, but for what counts: time, memory and output are those of all.

    Of an interactor (`Interaction`), `test` is its result; heard: it has read something of the
    program's, or may have found the end of that.
    """

    test: Result
    calls: int = 0
    answers: int = 0
    asked: bool = False
    last_word: LastWord | None = None
    fault: Fault | None = None
    why: str = ""
    let_go: bool = False
    weak: bool = False
    lost: Fault | None = None
    parts: tuple[Part, ...] = ()
    heard: bool = False
