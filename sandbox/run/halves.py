"""What `Pair` and `Interaction` share: two runs that one thread drives at once."""

from ..jail.messages import JailLost
from ..result import Result
from .dialogue import Fault
from .record import Record
from .run import Run

Exit = tuple[int | None, float | None]
"""A wait status and seconds of CPU time, None where the jail was lost."""


class Half:
    """One of the two. status: how it has ended; None as long as it has not."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.status: Exit | None = None

    @property
    def ended(self) -> bool:
        return self.status is not None

    def look(self) -> float:
        """Look at its clocks; return in how many seconds to look again."""
        try:
            self.run.watchdog.look()
        except JailLost as lost:
            self._lose(lost)
            return 0.0
        return self.run.watchdog.until_next_look()

    def take_exit(self) -> bool:
        """Take note of its end, if there is word of it; tell whether it has ended just now."""
        try:
            status = self.run.jail.wait_exit(self.run.prewarmed, 0.0)
        except JailLost as lost:
            self._lose(lost)
            return True
        if status is None:
            return False
        self._finish(status)
        return True

    def _lose(self, lost: JailLost) -> None:
        self.run.jail_lost = True
        self.run.detail = self.run.detail or str(lost)
        self._finish((None, None))

    def _finish(self, status: Exit) -> None:
        self.status = status

    def result(self, queue_s: float) -> Result:
        assert self.status is not None
        return self.run.end(self.status, queue_s)


class Halves:
    """record: what is known beside the program's result, when both have ended. lost: whose run was
    lost, where that raises.
    """

    def __init__(self) -> None:
        self.record: Record | None = None
        self.lost: Fault | None = None

    def _both_results(
        self, program: Half, other: Half, queue_s: float, *, heard: bool
    ) -> tuple[Result, Result]:
        """The program's result, and that of the other one. heard: it has had something from the
        program, and what it does may then be the program's doing.
        """
        self.lost = Fault.PROGRAM
        if program.run.jail_lost and program.run.stop.reason is None:
            program.result(queue_s)  # raises; the other one may have been stopped for it
        self.lost = Fault.PROGRAM if heard else Fault.TEST
        its = other.result(0.0)
        self.lost = Fault.PROGRAM
        result = program.result(queue_s)
        self.lost = None
        return result, its
