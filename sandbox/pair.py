"""Two runs at once, one of a test and one of the program that it calls, and the host between them.

    worker's first jail                 host                     worker's second jail
    program ---- stream ---- `Dialogue`: reads, checks, passes on ---- stream ---- test

Both are runs like any other, each with limits, clocks and an end of its own; neither holds anything
of the other's. All is done in one thread, which waits in one place. When the test has ended, the
program is let go; when the program ends while an answer is owed, so does the test.
"""

import contextlib
import dataclasses
import select
import socket
import time

from .dialogue import Dialogue, Fault, Pass
from .jail import JailLost
from .job import Job
from .reasons import ExitReason
from .result import Result
from .run import Run
from .spares import RunJail, Spare
from .stop import Stop

_QUIET_S = 0.002
"""For how long pipes are not looked at when something was there: every look wakes the host."""

_GRACE_S = 1.0
"""What a program may take to end when it has closed its stream: by then it does not mean to."""

_READ = 1 << 18


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """What is known of a pair beside the program's result.

    test: the result of the test's run. The others are those of the `Dialogue`; let_go: the program
    was there to the test's end, and ended because the host said so. lost: who has brought down the
    jail, twice; nothing else is known then.
    """

    test: Result
    calls: int = 0
    answers: int = 0
    asked: bool = False
    last_word: str | None = None
    fault: Fault | None = None
    why: str = ""
    let_go: bool = False
    lost: Fault | None = None


class Pair:
    """A program's job and a test's, on a spare each. `drive` does it all and returns the program's
    result; `record` then has the rest.

    Raises `NotStarted` or `RunLost`, after either of which both jails are good for nothing; `lost`
    says whose run was lost. `stop` ends both. Closes the spares.
    """

    def __init__(
        self,
        program: tuple[RunJail, Spare, Job],
        test: tuple[RunJail, Spare, Job],
        stop: Stop,
    ) -> None:
        self._dialogue = Dialogue()
        self._program = _End(program, stop)
        self._test = _End(test, Stop())
        self._let_go = False
        self._grace_ends: float | None = None
        self.record: Record | None = None
        self.lost: Fault | None = None

    @property
    def jail_lost(self) -> bool:
        return self._program.run.jail_lost or self._test.run.jail_lost

    def drive(self, queue_s: float) -> Result:
        with contextlib.ExitStack() as owned:
            for end in (self._program, self._test):
                owned.callback(end.close)
            # The spares are given back also where the first of the runs does not begin.
            owned.callback(self._test.run.spare.close)
            self._program.run.begin(owned)
            self._test.run.begin(owned)
            self._converse()
            return self._results(queue_s)

    # ---- while they run

    def _converse(self) -> None:
        """Pass on what they say until both have ended."""
        ends = (self._program, self._test)
        self._urgent, self._all = select.poll(), select.poll()
        for end in ends:
            end.theirs.close()
            for fd in (end.run.jail.control_fd(), end.stream.fileno()):
                self._urgent.register(fd, select.POLLIN)
                self._all.register(fd, select.POLLIN)
            for capture in (end.run.out, end.run.err):
                self._all.register(capture.fd, select.POLLIN)
        quiet_until = 0.0
        while not all(end.ended for end in ends):
            now = time.monotonic()
            for end in ends:
                end.look(now)
            waits = [end.until_next_look(now) for end in ends if not end.ended]
            if self._grace_ends is not None and not self._program.ended:
                waits.append(max(self._grace_ends - now, 0.0))
            if quiet_until > now:
                waits.append(quiet_until - now)
            timeout_ms = min(waits, default=0.0) * 1e3
            ready = dict((self._urgent if quiet_until > now else self._all).poll(timeout_ms))
            if self._drain(ready):
                quiet_until = time.monotonic() + _QUIET_S
            self._listen(ready)
            self._attend(ready)

    def _drain(self, ready: dict[int, int]) -> bool:
        """Take output; tell whether there was any."""
        found = False
        for end in (self._program, self._test):
            for capture in (end.run.out, end.run.err):
                if capture.fd in ready:
                    found = True
                    if not capture.drain():
                        self._all.unregister(capture.fd)
                        if capture.truncated:
                            end.stop(ExitReason.OUTPUT)
        return found

    def _listen(self, ready: dict[int, int]) -> None:
        """Move what is said, and end what can't go on."""
        dialogue = self._dialogue
        for end in (self._test, self._program):
            if ready.get(end.stream.fileno(), 0) & select.POLLOUT:
                self._flush(end)
            if not ready.get(end.stream.fileno(), 0) & ~select.POLLOUT or end.deaf:
                continue
            data = end.receive()
            if data is None:
                continue
            if not data:
                self._silence(end)
            elif end is self._test:
                self._pass_on(dialogue.test_said(data))
            else:
                self._pass_on(dialogue.program_said(data, heard=not end.unsent))
        if self._grace_ends is not None and time.monotonic() >= self._grace_ends:
            self._grace_ends = None
            if not self._program.ended:
                dialogue.program_stays_silent()
        if dialogue.fault is not None:
            self._program.stop(ExitReason.CANCELLED)
            self._test.stop(ExitReason.CANCELLED)

    def _silence(self, end: "_End") -> None:
        """Its end of the stream is closed, as a rule because the process is ending."""
        end.deaf = True
        for poll in (self._urgent, self._all):
            poll.unregister(end.stream.fileno())
        if end is self._program and not end.ended:
            self._grace_ends = time.monotonic() + _GRACE_S

    def _pass_on(self, passed: Pass) -> None:
        for end, data in ((self._program, passed.to_program), (self._test, passed.to_test)):
            if data:
                end.unsent = memoryview(data)
                self._flush(end)
                if end is self._program and end.ended:
                    self._test.stop(ExitReason.CANCELLED)  # nobody will answer

    def _flush(self, end: "_End") -> None:
        """Send what there is to be sent, as far as it goes."""
        end.send()
        waits = bool(end.unsent)
        if waits != end.looks_for_room and not end.deaf:
            end.looks_for_room = waits
            mask = select.POLLIN | (select.POLLOUT if waits else 0)
            for poll in (self._urgent, self._all):
                poll.modify(end.stream.fileno(), mask)

    def _attend(self, ready: dict[int, int]) -> None:
        """Notice ends."""
        for end in (self._program, self._test):
            control = end.run.jail.control_fd()
            if end.ended or control not in ready:
                continue
            end.take_exit()
            if not end.ended:
                continue
            for poll in (self._urgent, self._all):
                poll.unregister(control)
            if end is self._test:
                self._hear_out()
                self._let_go = not self._program.ended
                self._program.stop(ExitReason.CANCELLED)
            elif self._dialogue.asked or self._program.run.stop.reason is ExitReason.CANCELLED:
                self._test.stop(ExitReason.CANCELLED)

    def _hear_out(self) -> None:
        """Take what the test has said last: its end may come before it."""
        while not self._test.deaf:
            data = self._test.receive()
            if not data:
                break
            self._dialogue.test_said(data)

    # ---- the end

    def _results(self, queue_s: float) -> Result:
        program, test = self._program, self._test
        self.lost = Fault.PROGRAM
        if program.run.jail_lost and program.run.stop.reason is None:
            program.result(queue_s)  # raises; the test may have been stopped for it
        self.lost = Fault.TEST
        its = test.result(0.0)
        self.lost = Fault.PROGRAM
        result = program.result(queue_s)
        self.lost = None
        let_go = self._let_go and result.reason is ExitReason.CANCELLED
        if let_go:  # which is a good end
            result = dataclasses.replace(result, reason=ExitReason.OK)
        dialogue = self._dialogue
        self.record = Record(
            its,
            dialogue.calls,
            dialogue.answers,
            dialogue.asked,
            dialogue.last_word,
            dialogue.fault,
            dialogue.why,
            let_go,
        )
        return result


class _End:
    """One of the two: its run, and the host's end of its stream."""

    def __init__(self, what: tuple[RunJail, Spare, Job], stop: Stop) -> None:
        jail, spare, job = what
        self.stream, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.stream.setblocking(False)
        self.run = Run(jail, spare, job, stop, stream=self.theirs.fileno())
        self.unsent: memoryview | bytes = b""
        self.looks_for_room = False
        self.deaf = False
        self.status: tuple[int | None, float | None] | None = None
        self._next_look = 0.0

    def close(self) -> None:
        self.stream.close()
        self.theirs.close()

    @property
    def ended(self) -> bool:
        return self.status is not None

    def stop(self, reason: ExitReason) -> None:
        if not self.ended:
            self.run.stop(reason)
            self._next_look = 0.0  # from now on, its patience counts

    def until_next_look(self, now: float) -> float:
        return max(self._next_look - now, 0.0)

    def look(self, now: float) -> None:
        """Look at its clocks, when it is time to."""
        if self.ended or now < self._next_look:
            return
        try:
            self.run.guard.look()
        except JailLost as lost:
            self._lose(lost)
        else:
            self._next_look = now + self.run.guard.until_next_look()

    def take_exit(self) -> None:
        try:
            self.status = self.run.jail.wait_exit(self.run.spare, 0.0)
        except JailLost as lost:
            self._lose(lost)

    def _lose(self, lost: JailLost) -> None:
        self.run.jail_lost = True
        self.run.detail = self.run.detail or str(lost)
        self.status = (None, None)

    def receive(self) -> bytes | None:
        """What is there to be read, if there is anything; b"" at its end."""
        try:
            return self.stream.recv(_READ)
        except BlockingIOError:
            return None
        except ConnectionError:
            return b""

    def send(self) -> None:
        try:
            while self.unsent:
                self.unsent = self.unsent[self.stream.send(self.unsent) :]
        except BlockingIOError:
            pass
        except OSError:  # it is gone: its exit tells
            self.unsent = b""

    def result(self, queue_s: float) -> Result:
        assert self.status is not None
        return self.run.end(self.status, queue_s)
