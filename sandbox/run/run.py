"""One run, from the host's side: hand over the job, watch the clocks, drain, judge the end."""

import contextlib
import dataclasses
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..details import STARVED, explain
from ..guest.jail import protocol, wire
from ..guest.jail.rlimits import STACK_BYTES
from ..jail.jail import START_PATIENCE_S
from ..jail.messages import JailLost
from ..limits import Limits
from ..reasons import End, ExitReason, decide
from ..result import GuestException, Result
from . import files
from .capture import Capture
from .job import Job, rlimits_for
from .process_tree import ProcessTree
from .resource_monitor import ResourceMonitor
from .run_jail import Prewarmed, RunJail
from .stop import Stop
from .watchdog import Watchdog

if TYPE_CHECKING:  # what few runs need
    from .dialogue import Fault
    from .inlet import Inlet
    from .record import Record
    from .refusals import Refusals

_FIRST_QUIET_S, _QUIET_S = 0.003, 0.002
"""How long the pipes are not looked at, at first and between two looks, unless one was full: a pipe
holds 64 KiB, and every look wakes the host for a line of output."""

_UNCOUNTED_BYTES = 1 << 20
"""Of a stack: those that its zygote had touched."""


class NotStarted(Exception):
    """The program never got control: it can be run elsewhere as if nothing had happened."""


class RunLost(Exception):
    """The jail fell while the program ran: its doing, or an accident; a second run tells.

    `so_far` is what is known: a result with reason `internal` and the output until then.
    """

    def __init__(self, so_far: Result) -> None:
        super().__init__(so_far.detail)
        self.so_far = so_far


class Run:
    """One job on one prewarmed process. `drive` does it all and returns the `Result`.

    Raises `NotStarted` or `RunLost`, after either of which the jail is good for nothing; a run
    that the host itself ended has a result in any case. Closes the prewarmed process.

    on_output: called from here with "stdout" or "stderr" and each piece of output as it comes; it
    must not raise.
    stream: of a job that has a role, its end of the stream to the host; the caller closes it.
    inlet: what its standard input is, in place of the job's own.
    record, lost: of a pair of runs (`Pair`, `Interaction`), which has the same methods, more is
    known.
    """

    record: "Record | None" = None
    lost: "Fault | None" = None

    def __init__(
        self,
        jail: RunJail,
        prewarmed: Prewarmed,
        job: Job,
        stop: Stop,
        on_output: Callable[[str, bytes], object] | None = None,
        stream: int | None = None,
        inlet: "Inlet | None" = None,
    ) -> None:
        self.jail = jail
        self.prewarmed = prewarmed
        self.job = job
        self.stop = stop
        self.on_output = on_output
        self.stream = stream
        self.inlet = inlet
        self.detail = ""
        self.jail_lost = False
        self._refusals: Refusals | None = None  # where they are watched
        self.process_tree: ProcessTree | None = None  # of a run that may have several processes
        self.watchdog = Watchdog(job.limits, stop, self._has_started, prewarmed.process.has_ended)

    def drive(self, queue_s: float = 0.0) -> Result:
        with contextlib.ExitStack() as owned:
            self.begin(owned)
            return self.end(self._wait(), queue_s)

    def begin(self, owned: contextlib.ExitStack) -> None:
        """Hand over the job. What is held for the run is given back with `owned`."""
        owned.callback(self.jail.report.clear)
        owned.callback(self.prewarmed.close)
        self.out = owned.enter_context(contextlib.closing(self._capture("stdout")))
        self.err = owned.enter_context(contextlib.closing(self._capture("stderr")))
        owned.callback(self.stop.detach)  # first of all: it holds the prewarmed process
        if self.jail.explains:
            self._refusals = self._watch_refusals(owned)
        if self.job.feed is not None:
            owned.callback(self.job.feed.end)
            self.job.feed.begin()
        if self.inlet is not None:
            owned.callback(self.inlet.end)
            self.inlet.begin()
        self._folder = self._hold(owned) if self.job.collect else None
        self._begin()

    def end(self, ended: tuple[int | None, float | None], queue_s: float) -> Result:
        """Return the result of a run that has ended with this wait status and CPU time."""
        status, cpu_s = ended
        wall_s = time.monotonic() - self.watchdog.began
        self.out.drain_rest()
        self.err.drain_rest()
        if self.out.truncated or self.err.truncated:
            self.stop(ExitReason.OUTPUT)
        if _backstop_fired(status, cpu_s, self.job.limits):
            self.stop(ExitReason.CPU_TIMEOUT)
        if cpu_s is not None and self.process_tree is not None:
            # The kernel adds a process's time to who waits for it: some are waited for by none.
            cpu_s = max(cpu_s, self.process_tree.cpu_s())
        result = self._result(status, cpu_s, wall_s, queue_s)
        return result if self._folder is None else self._with_files(result, self._folder)

    def _capture(self, name: str) -> Capture:
        on_output = self.on_output
        on_data = None if on_output is None else lambda piece: on_output(name, piece)
        return Capture(self.job.limits.output_bytes, on_data)

    def _watch_refusals(self, owned: contextlib.ExitStack) -> "Refusals":
        """Take the listener that the child has sent first, and answer what is asked there."""
        from .refusals import Refusals  # for finding out only

        jobs = self.prewarmed.jobs
        jobs.settimeout(START_PATIENCE_S)
        try:
            said = jobs.recv(1, socket.MSG_PEEK)
            found = [-1]
            if said == protocol.LISTENER:
                _, found, _, _ = socket.recv_fds(jobs, 1, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            raise NotStarted(f"the prewarmed process does not begin ({error})") from None
        if found == [-1]:
            raise NotStarted(self._fault() or "the prewarmed process sent no listener")
        try:
            refusals = Refusals(*found)
        except RuntimeError as error:  # no more threads
            raise NotStarted(str(error)) from None
        owned.callback(refusals.close)
        return refusals

    # ---- files out

    def _hold(self, owned: contextlib.ExitStack) -> int:
        """Have the scratch kept after the run's end; return its working directory."""
        folder = self.jail.hold(self.prewarmed)
        if folder is None:
            raise NotStarted("the prewarmed process ended before it was given a job")
        owned.callback(os.close, folder)
        return folder

    def _with_files(self, result: Result, folder: int) -> Result:
        """Take out what the job wants, and let the scratch go. Of a jail that is lost, nothing is
        taken: what ran in it may be running still.
        """
        if self.jail_lost:
            return result
        found, skipped = files.collect(folder, self.job.collect, self.job.limits, self.job.filename)
        try:
            self.jail.release()
        except JailLost as lost:
            self.jail_lost = True
            self.detail = self.detail or str(lost)
        return dataclasses.replace(result, files=found, files_skipped=skipped)

    # ---- handing over

    def _begin(self) -> None:
        limits = self.job.limits
        jail = self.jail
        if jail.group is not None:
            tasks = limits.tasks
            try:
                jail.group.begin(limits.memory_bytes, None if tasks is None else tasks + 1)
            except (OSError, ValueError) as error:  # somebody has taken it away
                raise NotStarted(f"its cgroup does not answer ({error})") from None
            # Not before: what the last run held may still be given back, and count.
            self.prewarmed.die_first()
        if jail.plan.tier == "namespaces" and not limits.one_process:
            self.process_tree = ProcessTree(jail.zygote_pid, jail.group)
        monitor = None
        if jail.group is None or jail.scratch is not None or self.process_tree is not None:
            monitor = _monitor(
                jail, self.prewarmed.process.pid, limits, len(self.job.source), self.process_tree
            )
        self._hand_over(monitor)

    def _hand_over(self, monitor: ResourceMonitor | None) -> None:
        limits = rlimits_for(
            self.job.limits,
            self.jail,
            counted=self.jail.group is not None,
            recursion_limit=self.job.recursion_limit,
        )
        data = memoryview(self.job.pack(limits))
        stdin = None if self.inlet is None else self.inlet.read_end
        with self.job.descriptors(self.out.write_end, self.err.write_end, stdin) as descriptors:
            if self.stream is not None:
                descriptors.append(self.stream)
            of_all = None if self.process_tree is None else self.process_tree.cpu_s
            self.watchdog.begin(lambda: self.prewarmed.process.pid, monitor, of_all=of_all)
            self.stop.attach(self.prewarmed.process)
            self._send(data, descriptors)
        self.out.close_write_end()
        self.err.close_write_end()

    def _send(self, data: memoryview, descriptors: list[int]) -> None:
        jobs = self.prewarmed.jobs
        jobs.settimeout(START_PATIENCE_S)
        try:
            sent = socket.send_fds(jobs, [data[: protocol.FIRST_READ]], descriptors)
            if sent < len(data):  # else the child may have closed its end already
                jobs.sendall(data[sent:])
        except TimeoutError as error:
            raise NotStarted(f"the prewarmed process takes no job ({error})") from None
        except OSError:
            # It is gone, perhaps for want of memory for a large program: what is found from here
            # on tells, and whose fault it is.
            pass
        # With a timeout, Python would wait for it even where the kernel is told not to.
        jobs.setblocking(False)

    # ---- waiting

    def _wait(self) -> tuple[int | None, float | None]:
        """Wait for the end of the run, enforcing its limits; return wait status and CPU time."""
        try:
            quiet_s = min(_FIRST_QUIET_S, self.watchdog.until_next_look())
            ended = self.jail.wait_exit(self.prewarmed, quiet_s)
            feed = self.job.feed
            pipes = None
            while ended is None:
                self.watchdog.look()
                if pipes is None:
                    pipes = select.poll()
                    for fd in (self.jail.control_fd(), self.out.fd, self.err.fd):
                        pipes.register(fd, select.POLLIN)
                until_s = self.watchdog.until_next_look()
                if feed is not None:
                    until_s = min(until_s, feed.watch(pipes))
                ready = {fd for fd, _ in pipes.poll(until_s * 1e3)}
                if feed is not None:
                    feed.move(ready)
                for capture in (self.out, self.err):
                    if capture.fd in ready and not capture.drain():
                        pipes.unregister(capture.fd)
                        if capture.truncated:
                            self.stop(ExitReason.OUTPUT)
                full = any(each.was_full for each in (self.out, self.err) if each.fd in ready)
                full = full or (feed is not None and feed.is_busy())
                ended = self.jail.wait_exit(self.prewarmed, _QUIET_S if ready and not full else 0)
            return ended
        except JailLost as lost:
            self.jail_lost = True
            self.detail = self.detail or str(lost)
            return None, None

    # ---- the end

    def _result(
        self, status: int | None, cpu_s: float | None, wall_s: float, queue_s: float
    ) -> Result:
        self.detail = self.watchdog.detail or self.detail
        if self.job.feed is not None and self.job.feed.error is not None and not self.detail:
            self.detail = f"its input could not be read to its end: {self.job.feed.error}"
        usage = None
        if self.jail.group is not None:
            with contextlib.suppress(OSError, ValueError):
                usage = self.jail.group.end()
        out_of_memory = usage is not None and usage.out_of_memory
        killed = status is not None and status & 0x7F == signal.SIGKILL
        starved = killed and usage is not None and usage.for_others
        if starved and not self.detail:
            self.detail = STARVED
        if self.stop.reason is None and not out_of_memory:
            self._require_started()
        claim = self.jail.report.read()
        completed = claim is not None
        exception = GuestException(*claim.exception) if claim and claim.exception else None
        decision = decide(
            End(
                host=self.stop.reason,
                wait_status=status,
                out_of_memory=out_of_memory,
                memory_limited=self.job.limits.memory_bytes is not None,
                exception=exception is not None,
                memory_error=claim is not None and claim.memory_error,
                starved=starved,
            )
        )
        if decision.signal == signal.SIGSEGV and not self.detail:
            self.detail = _about_segfault(usage.peak_bytes if usage else None)
        self.detail = explain(
            decision,
            self.job.limits,
            output_of="stdout" if self.out.truncated else "stderr",
            found=self.detail,
        )
        refused = {} if self._refusals is None else self._refusals.by_name()
        if refused and not self.detail:
            from ..jail.refused import sentence

            self.detail = sentence(refused)
        result = Result(
            reason=decision.reason,
            exit_code=decision.exit_code,
            signal=decision.signal,
            completed=completed,
            stdout_bytes=self.out.content(),
            stderr_bytes=self.err.content(),
            stdout_truncated=self.out.truncated,
            stderr_truncated=self.err.truncated,
            exception=exception,
            wall_s=wall_s,
            cpu_s=cpu_s,
            queue_s=queue_s,
            peak_memory_bytes=usage.peak_bytes if usage else None,
            tier=self.jail.plan.tier,
            layers=self._layers(),
            detail=self.detail,
            refused_calls=refused,
            id=self.job.id,
            returned=self.jail.report.read_value() if self.job.call is not None else None,
        )
        if result.reason is ExitReason.INTERNAL:
            raise RunLost(result)
        return result

    def _layers(self) -> dict[str, str]:
        if self.process_tree is None:
            return self.jail.layers
        most = self.job.limits.processes
        text = f"a pid namespace of its own; {'any number' if most is None else most} at once"
        return {**self.jail.layers, "processes": text}

    def _require_started(self) -> None:
        """Raise `NotStarted` unless the child said that it gave control to the program.

        Nothing that the program does later can take this word back or say it in our place.
        """
        fault = self._fault()
        if fault is not None:
            raise NotStarted(fault)

    def _has_started(self) -> bool:
        """Whether the child has given control to the program."""
        try:
            flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
            return self.prewarmed.jobs.recv(len(protocol.STARTED), flags) == protocol.STARTED
        except OSError:
            return False

    def _fault(self) -> str | None:
        """What kept the child from starting the program; None if it did start it."""
        try:
            word = self.prewarmed.jobs.recv(4096)
        except OSError:
            word = b""
        if word == protocol.STARTED:
            return None
        with contextlib.suppress(wire.WireError):
            match wire.decode(word):
                case (str(step), str(text)):
                    return f"{step}: {text}"
        return "the prewarmed process ended before its program began"


def _backstop_fired(status: int | None, cpu_s: float | None, limits: Limits) -> bool:
    """Whether the kernel killed a run for its CPU time before the host had looked."""
    if status is None or cpu_s is None or limits.cpu_s is None:
        return False
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return killed and cpu_s >= limits.cpu_s


def _about_segfault(peak_bytes: int | None) -> str:
    """What may have caused a SIGSEGV. The kernel does not say where it was; but whoever passes the
    end of a stack has used all of it.
    """
    if peak_bytes is not None and peak_bytes < STACK_BYTES - _UNCOUNTED_BYTES:
        return "died of SIGSEGV (signal 11): a fault in compiled code; its stack was not used up"
    return (
        "died of SIGSEGV (signal 11): a fault in compiled code, or calls through C (lru_cache, "
        "sorted(key=...), __repr__) that went past the end of the stack; recursion_limit= enlarges "
        "the main thread's, threading.stack_size() those of others"
    )


def _monitor(
    jail: RunJail, pid: int, limits: Limits, source_bytes: int, process_tree: ProcessTree | None
) -> ResourceMonitor:
    return ResourceMonitor(
        pid,
        jail.zygote_pid,
        limits,
        memory=jail.group is None,
        threads=jail.group is None and not jail.plan.counts_tasks,
        scratch=jail.scratch,
        source_bytes=source_bytes,
        process_tree=process_tree,
    )
