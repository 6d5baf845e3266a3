"""Two runs at once, one of a program and one of the interactor that it talks to, and the host
between them, which carries bytes both ways.

    program's stdout ---- pipe ---- host ---- pipe ---- interactor's stdin
    program's stdin  ---- pipe ---- host ---- pipe ---- interactor's stdout

Both are runs like any other, each with limits, clocks and an end of its own; neither holds anything
of the other's. All is done in one thread, which waits in one place. Nothing is read from a run
while the other has not taken what it wrote before: it then waits in its own write, as at any full
pipe.

When one has ended, the other finds the end of its input. The interactor then goes on until its own
end, which says who is right. The program is let go a moment later, if it does not end by itself.
"""

import contextlib
import dataclasses
import math
import select
import time

from ..reasons import ExitReason
from ..result import Result
from .capture import Capture
from .halves import Exit, Half, Halves
from .inlet import MOST_HELD, Inlet
from .job import Job
from .record import Record
from .run import Run
from .run_jail import Prewarmed, RunJail
from .stop import Stop

_GRACE_S = 1.0
"""What a program may take to end when its interactor has ended."""

_SHORTEST_WAIT_S = 0.001


_FOR_TIME = (ExitReason.CANCELLED, ExitReason.CPU_TIMEOUT, ExitReason.WALL_TIMEOUT)
"""Why a program is ended that goes on when its interactor has ended: which of them comes first,
says nothing about it."""


class Interaction(Halves):
    """A program's job and an interactor's, on a prewarmed process each. `drive` does it all and
    returns the program's result; `record` then has the interactor's.

    Raises, and closes what it is given, as `Pair` does, beside which it stands.
    """

    def __init__(
        self,
        program: tuple[RunJail, Prewarmed, Job],
        interactor: tuple[RunJail, Prewarmed, Job],
        stop: Stop,
    ) -> None:
        super().__init__()
        self._outer = stop
        self._program = _Side(program, stop.branch())
        self._interactor = _Side(interactor, stop.branch())
        self._sides = (self._program, self._interactor)
        self._program.other, self._interactor.other = self._interactor, self._program
        self._grace_ends = math.inf
        self._next_look = 0.0
        self._is_over = False  # the interactor has ended, and the program had not

    @property
    def jail_lost(self) -> bool:
        return any(side.run.jail_lost for side in self._sides)

    def drive(self, queue_s: float) -> Result:
        with contextlib.ExitStack() as owned:
            # Given back also where the first of the runs does not begin.
            owned.callback(self._interactor.run.prewarmed.close)
            for side in self._sides:
                side.run.begin(owned)
            self._carry()
            return self._results(queue_s)

    # ---- while they run

    def _carry(self) -> None:
        """Pass on what they write until both have ended."""
        while not all(side.ended for side in self._sides):
            now = time.monotonic()
            if now >= self._next_look:
                self._look(now)
            poll = select.poll()
            for side in self._sides:
                side.watch(poll)
            wait_s = max(self._next_look - now, _SHORTEST_WAIT_S)
            ready = dict(poll.poll(wait_s * 1e3))
            for side in self._sides:
                side.take_output(ready)
                side.take_input(ready)
                if side.run.stop.reason is not None and not side.ended:
                    self._next_look = 0.0  # from now on its patience counts
            for side in self._sides:
                if side.take_exit_if(ready):
                    self._take_leave(side)

    def _look(self, now: float) -> None:
        """Look at the clocks, and say when to look again."""
        wait_s = math.inf
        for side in self._sides:
            if side.ended:
                continue
            wait_s = min(wait_s, side.look())
            if side.ended:  # its jail was given up
                self._take_leave(side)
        if now >= self._grace_ends and not self._program.ended:
            self._grace_ends = math.inf
            self._stop(self._program)
            wait_s = 0.0
        self._next_look = min(now + wait_s, self._grace_ends)

    def _stop(self, side: "_Side") -> None:
        if not side.ended and side.run.stop.reason is None:
            side.run.stop(ExitReason.CANCELLED)

    def _take_leave(self, side: "_Side") -> None:
        """One has ended; see to it that the other will."""
        self._next_look = 0.0
        if side.run.jail_lost or side.run.stop.reason is ExitReason.CANCELLED:
            self._stop(side.other)
        elif side is self._interactor:
            self._is_over = not self._program.ended
            self._grace_ends = time.monotonic() + _GRACE_S

    # ---- the end

    def _results(self, queue_s: float) -> Result:
        heard = self._interactor.inlet.heard
        result, its = self._both_results(self._program, self._interactor, queue_s, heard=heard)
        let_go = self._is_over and self._outer.reason is None and result.reason in _FOR_TIME
        if let_go:  # which is a good end
            result = dataclasses.replace(result, reason=ExitReason.OK, detail="")
        self.record = Record(its, let_go=let_go, heard=heard)
        return result


class _Side(Half):
    """One of the two, with the way into it."""

    other: "_Side"

    def __init__(self, what: tuple[RunJail, Prewarmed, Job], stop: Stop) -> None:
        jail, prewarmed, job = what
        self.inlet = Inlet()
        super().__init__(Run(jail, prewarmed, job, stop, self._pass_on, inlet=self.inlet))
        self._open: dict[str, bool] = {"stdout": True, "stderr": True}

    def _pass_on(self, name: str, piece: bytes) -> None:
        """Hold what it has written for the other one."""
        if name == "stdout" and not self.other.ended:
            self.other.inlet.waiting += piece

    def _captures(self) -> tuple[tuple[str, Capture], ...]:
        return ("stdout", self.run.out), ("stderr", self.run.err)

    def watch(self, poll: select.poll) -> None:
        """Have `poll` look at what is to be looked at now."""
        if not self.ended:
            poll.register(self.run.jail.control_fd(), select.POLLIN)
            for name, capture in self._captures():
                held = len(self.other.inlet.waiting) if name == "stdout" else 0
                if self._open[name] and held < MOST_HELD:
                    poll.register(capture.fd, select.POLLIN)
            if self.inlet.wants_room:
                poll.register(self.inlet.fd, select.POLLOUT)

    def take_output(self, ready: dict[int, int]) -> None:
        """Take a piece of each of its streams, and pass it on."""
        if self.ended:
            return
        for name, capture in self._captures():
            if capture.fd in ready and self._open[name] and not capture.drain(most_reads=1):
                self._open[name] = False
                if capture.truncated:
                    self.run.stop(ExitReason.OUTPUT)
                elif name == "stdout":
                    self.inlet.is_leaving = True
                    self.other.inlet.has_ended = True
        self.other.inlet.move()

    def take_input(self, ready: dict[int, int]) -> None:
        if self.inlet.fd in ready:
            self.inlet.move()

    def take_exit_if(self, ready: dict[int, int]) -> bool:
        """Whether it has ended just now."""
        return not self.ended and self.run.jail.control_fd() in ready and self.take_exit()

    def _finish(self, status: Exit) -> None:
        """The other finds all that it has written, and then the end of its input."""
        super()._finish(status)
        if self._open["stdout"] and not self.run.jail_lost:
            self.run.out.drain_rest()
        self.inlet.close_at_exit()
        self.other.inlet.has_ended = True
        self.other.inlet.move()
