"""What is known of a pair of runs beside the result of each."""

import dataclasses

from ..result import Result
from .dialogue import Fault, LastWord


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """What is known of a pair beside the program's result.

    test: the result of the test's run. The others are those of the `Dialogue`; let_go: the program
    was there to the test's end, and ended because the host then said so (its result is then "ok").
    lost: who has brought down the jail, twice; nothing else is known then.
    """

    test: Result
    calls: int = 0
    answers: int = 0
    asked: bool = False
    last_word: LastWord | None = None
    fault: Fault | None = None
    why: str = ""
    let_go: bool = False
    lost: Fault | None = None
