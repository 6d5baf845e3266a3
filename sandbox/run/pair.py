"""Two runs at once, one of a test and one of the program that it calls, and the host between them.

    worker's first jail                 host                     worker's second jail
    program ---- stream ---- `Dialogue`: reads, checks, passes on ---- stream ---- test

Both are runs like any other, each with limits, clocks and an end of its own; neither holds anything
of the other's. All is done in one thread, which waits in one place. When the test has ended, the
program is let go; when the program ends while an answer is owed, so does the test.

Several tests may be run one after the other in the test's process. It asks before it begins another
one, which it is not to do if the program has ended.
"""

import contextlib
import dataclasses
import functools
import select
import socket
import time
from collections.abc import Callable

from ..reasons import ExitReason
from ..result import Result
from .capture import Capture
from .dialogue import Dialogue
from .halves import Half, Halves
from .job import Job
from .record import Record
from .run import Run
from .run_jail import Prewarmed, RunJail
from .stop import Stop

_QUIET_S = 0.002
"""For how long pipes are not looked at after something was there."""

_GRACE_S = 1.0
"""What a program may take to end when it has closed its stream: by then it does not mean to."""

_READ = 1 << 18


class Pair(Halves):
    """A program's job and a test's, on a prewarmed process each. `drive` does it all and returns
    the program's result; `record` then has the rest.

    Raises `NotStarted` or `RunLost`, after either of which both jails are good for nothing; `lost`
    says whose run was lost. `stop` ends both. Closes the prewarmed processes, also where the
    constructor raises.
    """

    def __init__(
        self,
        program: tuple[RunJail, Prewarmed, Job],
        test: tuple[RunJail, Prewarmed, Job],
        stop: Stop,
    ) -> None:
        super().__init__()
        role = test[2].role
        self._dialogue = Dialogue(1 if role is None else 1 + len(role.tests))
        self._outer = stop
        # Their own: what ends one of them here is no reason for whoever tries again.
        with contextlib.ExitStack() as owned:  # for the case that a stream can't be had
            for _, prewarmed, _ in (program, test):
                owned.callback(prewarmed.close)
            self._program = _End(program, stop.branch())
            owned.callback(self._program.close)
            self._test = _End(test, stop.branch())
            owned.pop_all()
        self._let_go = False
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._next_look = self._quiet_until = 0.0
        self._grace_ends: float | None = None
        self._parts_s = (0.0, 0.0)  # of wall and CPU time, when the last part ended

    @property
    def jail_lost(self) -> bool:
        return self._program.run.jail_lost or self._test.run.jail_lost

    def drive(self, queue_s: float) -> Result:
        with contextlib.ExitStack() as owned:
            for end in (self._program, self._test):
                owned.callback(end.close)
            # The prewarmed processes are given back also where the first of the runs does not
            # begin.
            owned.callback(self._test.run.prewarmed.close)
            self._program.run.begin(owned)
            self._test.run.begin(owned)
            self._converse()
            return self._results(queue_s)

    # ---- while they run

    def _converse(self) -> None:
        """Pass on what they say until both have ended."""
        self._look_at_all = select.poll()
        self._look_at_urgent = select.poll()
        for end in (self._program, self._test):
            end.theirs.close()
            self._handlers[end.stream.fileno()] = functools.partial(self._hear, end)
            self._handlers[end.run.jail.control_fd()] = functools.partial(self._notice_exit, end)
            for capture in (end.run.out, end.run.err):
                self._handlers[capture.fd] = functools.partial(self._drain, end, capture)
                self._look_at_all.register(capture.fd, select.POLLIN)
            for fd in (end.stream.fileno(), end.run.jail.control_fd()):
                self._look_at_all.register(fd, select.POLLIN)
                self._look_at_urgent.register(fd, select.POLLIN)
        while not (self._program.ended and self._test.ended):
            now = time.monotonic()
            if now >= self._next_look:
                self._look(now)
            until, poll = self._next_look, self._look_at_all
            if now < self._quiet_until:
                until, poll = min(until, self._quiet_until), self._look_at_urgent
            for fd, events in poll.poll(max(until - now, 0.0) * 1e3):
                handle = self._handlers.get(fd)  # not of what another one has just taken away
                if handle is not None:
                    handle(events)
            if self._dialogue.fault is not None:
                self._stop(self._program)
                self._stop(self._test)

    def _look(self, now: float) -> None:
        """Look at the clocks, and say when to look again."""
        waits = []
        for end in (self._program, self._test):
            if not end.ended:
                waits.append(end.look())
                if end.ended:  # its jail was given up
                    self._take_leave(end)
        if self._grace_ends is not None and not self._program.ended:
            if now >= self._grace_ends:
                self._dialogue.program_stays_silent()
            waits.append(max(self._grace_ends - now, _QUIET_S))
        self._next_look = now + min(waits, default=0.0)

    def _stop(self, end: "_End") -> None:
        if not end.ended and end.run.stop.reason is None:
            end.run.stop(ExitReason.CANCELLED)
            self._next_look = 0.0  # from now on its patience counts

    def _hear(self, end: "_End", events: int) -> None:
        """Move what is said."""
        if events & select.POLLOUT:
            self._send(end)
        if not events & ~select.POLLOUT:
            return
        data = end.receive()
        if data:
            if end is self._test:
                self._pass_on(self._program, self._dialogue.test_said(data))
                if self._dialogue.has_ended_part:
                    self._pass_on(self._test, self._answer_part())
            else:
                heard = not end.unsent
                self._pass_on(self._test, self._dialogue.program_said(data, heard=heard))
        elif data is not None:
            self._forget(end.stream.fileno())
            end.deaf = True
            if end is self._program and not end.ended:  # as a rule it is just ending
                self._grace_ends = time.monotonic() + _GRACE_S
                self._next_look = 0.0

    def _answer_part(self) -> bytes:
        """What the test's process is told that has ended one of its tests."""
        program = self._program
        if program.ended or self._test.run.stop.reason is not None:
            return self._dialogue.refuse_part()
        watchdog = program.run.watchdog
        before_s, cpu_before_s = self._parts_s
        wall_s, cpu_s = time.monotonic() - watchdog.began, watchdog.cpu_s()
        cpu_s = max(cpu_s, cpu_before_s)  # of a process that has just gone, none is known
        self._parts_s = wall_s, cpu_s
        return self._dialogue.begin_part(wall_s - before_s, cpu_s - cpu_before_s)

    def _pass_on(self, end: "_End", data: bytes) -> None:
        if not data:
            return
        end.unsent = memoryview(data)
        self._send(end)
        if end is self._program and end.ended:
            self._stop(self._test)  # nobody will answer

    def _send(self, end: "_End") -> None:
        """Send what there is to be sent, as far as it goes."""
        end.send()
        waits = bool(end.unsent)
        if waits != end.looks_for_room and not end.deaf:
            end.looks_for_room = waits
            mask = select.POLLIN | (select.POLLOUT if waits else 0)
            for poll in (self._look_at_all, self._look_at_urgent):
                poll.modify(end.stream.fileno(), mask)

    def _drain(self, end: "_End", capture: Capture, events: int) -> None:
        """Take output. For a moment after it, no pipe is looked at, unless this one was full: every
        look wakes the host.
        """
        if not capture.drain():
            self._forget(capture.fd)
            if capture.truncated and not end.ended:
                end.run.stop(ExitReason.OUTPUT)
                self._next_look = 0.0
        if not capture.was_full:
            self._quiet_until = time.monotonic() + _QUIET_S

    def _notice_exit(self, end: "_End", events: int) -> None:
        if end.take_exit():
            self._take_leave(end)

    def _take_leave(self, end: "_End") -> None:
        """One has ended; see whether the other is to end as well."""
        self._forget(end.run.jail.control_fd())
        if end is self._test:
            self._hear_out()
            self._let_go = not self._program.ended
            self._stop(self._program)
        elif self._dialogue.asked or end.run.stop.reason is ExitReason.CANCELLED:
            self._stop(self._test)

    def _hear_out(self) -> None:
        """Take what the test has said last: its end may be noticed before that."""
        while not self._test.deaf:
            data = self._test.receive()
            if not data:
                break
            self._dialogue.test_said(data)

    def _forget(self, fd: int) -> None:
        del self._handlers[fd]
        for poll in (self._look_at_all, self._look_at_urgent):
            with contextlib.suppress(KeyError):
                poll.unregister(fd)

    # ---- the end

    def _results(self, queue_s: float) -> Result:
        heard = self._dialogue.answers > 0
        result, its = self._both_results(self._program, self._test, queue_s, heard=heard)
        let_go = self._let_go and result.reason is ExitReason.CANCELLED
        if self._outer.reason is not None:
            let_go = False
        if let_go:  # which is a good end
            result = dataclasses.replace(result, reason=ExitReason.OK, detail="")
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
            dialogue.weak,
            parts=tuple(dialogue.parts),
        )
        return result


class _End(Half):
    """One of the two, with the host's end of its stream."""

    def __init__(self, what: tuple[RunJail, Prewarmed, Job], stop: Stop) -> None:
        jail, prewarmed, job = what
        self.stream, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.stream.setblocking(False)
        super().__init__(Run(jail, prewarmed, job, stop, stream=self.theirs.fileno()))
        self.unsent: memoryview | bytes = b""
        self.looks_for_room = False
        self.deaf = False

    def close(self) -> None:
        self.stream.close()
        self.theirs.close()

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
