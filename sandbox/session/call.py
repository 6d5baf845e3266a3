"""One call of a session, from the host's side: hand over code, watch the clocks, judge the end."""

import contextlib
import dataclasses
import os
import select
import signal
import socket
import time
from collections.abc import Callable

from ..details import STARVED, explain
from ..guest.jail import proc, wire
from ..guest.jail.report import MAX_VALUE as MAX_RETURNED
from ..guest.jail.report import Claim
from ..guest.session.head import HEADER, JOB, MAX_VALUE, RESULT, pack_job, shortened_value
from ..jail.jail import KILL_PATIENCE_S
from ..jail.messages import JailLost
from ..reasons import End, ExitReason, decide
from ..result import GuestException, Result
from ..run.capture import Capture
from ..run.job import Job, rlimits_for
from ..run.resource_monitor import ResourceMonitor
from ..run.stop import Stop
from ..run.watchdog import Watchdog
from .disk import Moment
from .family import Family
from .state import State

_IDLE_S = 0.02
"""For so long at most a call has lasted that found its process dead."""

_LONGEST_ANSWER = 8 * MAX_VALUE + MAX_RETURNED
"""Bytes of what a state may say at the end of a call: a value, and a traceback or what a called
function returned."""


class Call:
    """Some code on a state that waits for it. `drive` does it all and returns the `Result`.

    After it, `survived` tells whether the state is parked again, with what the code has done to it;
    else its process is dead, or about to be. `lost` says why its session can't go on at all: its
    files, which are no part of a state, are more than they may be.
    """

    def __init__(
        self,
        family: Family,
        state: State,
        job: Job,
        stop: Stop,
        *,
        checkpointed: bool,
        on_output: Callable[[str, bytes], object] | None = None,
    ) -> None:
        self.family = family
        self.state = state
        self.job = job
        self.stop = stop
        self.survived = False
        self.lost = ""
        self._checkpointed = checkpointed
        self._on_output = on_output
        self._watchdog = Watchdog(job.limits, stop)
        self._answer = bytearray()

    def drive(self, queue_s: float) -> Result:
        with contextlib.ExitStack() as owned:
            self.out = owned.enter_context(contextlib.closing(self._capture("stdout")))
            self.err = owned.enter_context(contextlib.closing(self._capture("stderr")))
            owned.callback(self.stop.detach)
            self._hand_over()
            ended = self._wait()
            wall_s = time.monotonic() - self._watchdog.began
            cpu_s = self._watchdog.cpu_s()
            if not ended:
                self.state.park()
            self.out.drain_rest()
            self.err.drain_rest()
            if self.out.truncated or self.err.truncated:
                self.stop(ExitReason.OUTPUT)
            outcome = self._outcome()
            status, used_s = self._exit() if ended else (None, None)
            lives = not ended and outcome is not None and self.stop.reason is None
            # Since the last call's end: what it was about to do as it was stopped is in there.
            total_s = self._watchdog.before_s + self._watchdog.cpu_s()
            used_s, self.state.looked_at_s = total_s - self.state.looked_at_s, total_s
            if lives:
                self._look_at_process(used_s)
            self._look_at_files(used_s, lives=lives)
            self.survived = lives and self.stop.reason is None
            out_of_memory, starved = self._was_out_of_memory(status) if ended else (False, False)
            if starved:
                self._watchdog.detail = self._watchdog.detail or STARVED
                if wall_s > _IDLE_S:  # it was not there for nothing: the call is charged with it
                    out_of_memory, starved = True, False
            end = End(
                host=self.stop.reason,
                wait_status=status if ended else outcome.status if outcome else None,
                out_of_memory=out_of_memory,
                starved=starved,
                memory_limited=self.family.limits.memory_bytes is not None,
                exception=outcome is not None and outcome.exception is not None,
                memory_error=outcome is not None and outcome.memory_error,
            )
            decision = decide(end)
            self.survived = self.survived and decision.reason is not ExitReason.MEMORY
            return Result(
                reason=decision.reason,
                exit_code=decision.exit_code,
                signal=decision.signal,
                completed=outcome is not None,
                stdout_bytes=self.out.content(),
                stderr_bytes=self.err.content(),
                stdout_truncated=self.out.truncated,
                stderr_truncated=self.err.truncated,
                exception=outcome.exception if outcome else None,
                value=outcome.value if outcome and self.survived else None,
                returned=outcome.returned if outcome else None,
                wall_s=wall_s,
                cpu_s=max(used_s, 0.0) if used_s is not None else cpu_s,
                queue_s=queue_s,
                peak_memory_bytes=None,
                tier=self.family.fork_server.plan.tier,
                layers=self.family.fork_server.layers,
                detail=explain(
                    decision,
                    self.job.limits,
                    output_of="stdout" if self.out.truncated else "stderr",
                    found=self._watchdog.detail,
                ),
                checkpointed=self._checkpointed,
                id=self.job.id,
            )

    def _capture(self, name: str) -> Capture:
        on_output = self._on_output
        on_data = None if on_output is None else lambda piece: on_output(name, piece)
        return Capture(self.job.limits.output_bytes, on_data)

    def _hand_over(self) -> None:
        limits = rlimits_for(self.family.limits, self.family.fork_server, counted=False)
        payload = pack_job(self.job.source, tuple(limits._replace(cpu=-1)), self.job.call)
        with self.job.descriptors(self.out.write_end, self.err.write_end) as descriptors:
            self._monitor = ResourceMonitor(
                self.state.pid,
                self.family.fork_server.zygote_pid,
                self.family.limits,
                memory=True,
                threads=True,
                scratch=self.state.home.path,
            )
            self._began = Moment.now()
            self._watchdog.begin(lambda: self.state.pid, self._monitor, used_before=True)
            self.stop.attach(self.state.process)
            self.state.die_first()
            self.state.wake()
            jobs = self.state.jobs
            # Of a state that does not take it, the clock has begun all the same.
            jobs.settimeout(min(10.0, self.job.limits.wall_s or 10.0))
            with contextlib.suppress(OSError):  # it is gone: what is found from here on tells
                self.state.tell_home()
                socket.send_fds(jobs, [HEADER.pack(JOB, len(payload))], descriptors)
                jobs.sendall(payload)
            jobs.setblocking(False)
        self.out.close_write_end()
        self.err.close_write_end()

    def _wait(self) -> bool:
        """Wait until the state has answered, or ended; tell whether it has ended."""
        poll = select.poll()
        fds = (self.state.jobs.fileno(), self.state.process.fileno(), self.out.fd, self.err.fd)
        for fd in fds:
            poll.register(fd, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll(self._watchdog.until_next_look() * 1e3)}
            for capture in (self.out, self.err):
                if capture.fd in ready and not capture.drain():
                    poll.unregister(capture.fd)
                    if capture.truncated:
                        self.stop(ExitReason.OUTPUT)
            if self.state.jobs.fileno() in ready and self._take_answer():
                return False
            if self.state.process.fileno() in ready:
                return True
            self.family.channel.require()
            self._watchdog.look()

    def _take_answer(self) -> bool:
        """Take what is there of the answer; tell whether it is whole, or will never be."""
        with contextlib.suppress(BlockingIOError):
            try:
                piece = self.state.jobs.recv(1 << 20)
            except ConnectionError:
                piece = b""
            self._answer += piece
            if not piece or len(self._answer) > _LONGEST_ANSWER:
                if piece:  # ended by us, and not by itself
                    self._watchdog.detail = f"answered with more than {_LONGEST_ANSWER} bytes"
                    self.stop(ExitReason.DENIED)
                self.state.process.send(signal.SIGKILL)
                return False
        if len(self._answer) < HEADER.size:
            return False
        _, size = HEADER.unpack_from(self._answer)
        return len(self._answer) >= HEADER.size + int(size)

    def _was_out_of_memory(self, status: int | None) -> tuple[bool, bool]:
        """Whether the kernel has killed it because its session's group was out of memory, or
        because the host was.
        """
        group = self.state.group
        if group is None or status is None or os.WTERMSIG(status) != signal.SIGKILL:
            return False, False
        try:
            killed = group.has_killed()
            own = killed and group.has_met_its_limit()
            return own, killed and not own
        except (OSError, ValueError):  # somebody has taken it away
            return False, False

    # ---- the end

    def _require(self, found: tuple[ExitReason, str] | None) -> None:
        """End a call that has passed a limit, unless something else has ended it."""
        if found is not None and self.stop.reason is None:
            self._watchdog.detail = found[1]
            self.stop(found[0])

    def _look_at_process(self, used_s: float) -> None:
        """Look at what a call leaves, which may be over before the watchdog's first look: in full
        where it can have passed a limit. Several threads may go on until all are stopped; one has
        just answered.
        """
        self.state.room_s -= used_s
        if proc.threads(self.state.pid) <= 1 and self.state.room_s > 0:
            return
        found = self.state.rest()
        if found is not None:
            self._require(self._monitor.judge(found))
            self.state.room_s = self._monitor.room_s(found)

    def _look_at_files(self, used_s: float, *, lives: bool) -> None:
        """The same, of what it has written; and take back what is too much: files do not go back
        with a state.
        """
        home, limits = self.state.home, self.family.limits
        if home.path is None:  # the kernel caps them
            return
        if not lives:
            self._require_ended()
            home.disk.touched()
        trouble = home.disk.trouble(home.path, limits, used_s)
        if trouble is None:
            return
        self._require((ExitReason.DENIED, trouble))
        self._require_ended()
        left = home.disk.take_back(home.path, limits, self._began)
        kept = "the files that it made or changed are removed"
        if left is None:
            self._watchdog.detail = f"{self._watchdog.detail or trouble}; {kept}"
        else:
            self.lost = f"{kept}, which was not enough: it {left}"

    def _require_ended(self) -> None:
        self.state.process.send(signal.SIGKILL)
        if not self.state.process.has_ended(KILL_PATIENCE_S):
            raise JailLost(f"killed, but not gone after {KILL_PATIENCE_S:g} s")

    def _outcome(self) -> "_Outcome | None":
        """What the state says of how its code ended: the program's word."""
        if len(self._answer) < HEADER.size:
            return None
        kind, size = HEADER.unpack_from(self._answer)
        if kind != RESULT or len(self._answer) != HEADER.size + size:
            return None
        with contextlib.suppress(wire.WireError):
            return _Outcome.of(wire.decode(bytes(self._answer[HEADER.size :]), max_nodes=20))
        return None

    def _exit(self) -> tuple[int, float]:
        """Wait status and CPU time of a state that has ended."""
        status, cpu_s = self.family.channel.end_of(self.state)
        return status, cpu_s - self._watchdog.before_s


@dataclasses.dataclass(frozen=True, slots=True)
class _Outcome:
    """How code ended, by the state's own account."""

    status: int
    value: str | None = None
    exception: GuestException | None = None
    memory_error: bool = False
    returned: bytes | None = None

    @classmethod
    def of(cls, found: wire.Value) -> "_Outcome | None":
        match found:
            case ("ok", 0, None | str() as value, None, False, None | bytes() as returned):
                return cls(0, value=value and shortened_value(value), returned=returned)
            case ("exit", int(code), None, None, False, None) if 0 <= code <= 255:
                return cls(code << 8)  # as wait(2) would give it
            case ("exception", 1, None, (str(), str(), str()) as texts, bool(memory), None):
                kind, message, traceback = texts
                claim = Claim((kind, message, traceback)).shortened()
                assert claim.exception is not None
                exception = GuestException(*claim.exception)
                return cls(1 << 8, exception=exception, memory_error=memory)
        return None
