"""Why a run ended: one enum, and the one place that picks from it."""

import dataclasses
import enum
import os
import signal


class ExitReason(enum.StrEnum):
    """Why a run ended. The first of these that applies, in the order of `decide`."""

    OK = "ok"
    """Ran off its end, or exited with status 0."""
    EXCEPTION = "exception"
    """Ended by an uncaught exception (status 1)."""
    EXIT = "exit"
    """Exited with a status other than 0."""
    SIGNAL = "signal"
    """Died of a signal."""
    WALL_TIMEOUT = "wall_timeout"
    CPU_TIMEOUT = "cpu_timeout"
    MEMORY = "memory"
    """Killed for memory, or ended by an uncaught MemoryError under a memory limit."""
    OUTPUT = "output"
    """Wrote more than it may to stdout or stderr."""
    DENIED = "denied"
    """Killed by the system-call filter, or for breaking something that could only be watched,
    or it brought down its worker twice."""
    CANCELLED = "cancelled"
    """The caller no longer wanted it."""
    INTERNAL = "internal"
    """Our failure: says nothing about the program, must never be scored."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Everything known about how a run ended.

    host: what the host decided, if it ended the run itself.
    wait_status: as wait(2) gave it to the zygote; None where the run was lost.
    out_of_memory: the kernel killed something in the run's memory cgroup, which had no room.
    starved: it did, though the group had room: the host had none.
    exception, memory_error: the program's own word: an uncaught exception ended it; one that
        says that memory ran out.
    """

    host: ExitReason | None
    wait_status: int | None
    out_of_memory: bool
    memory_limited: bool
    exception: bool
    memory_error: bool
    starved: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    reason: ExitReason
    exit_code: int | None = None
    signal: int | None = None


def decide(end: End) -> Decision:
    """Pick the reason: the host's decision, the kernel's evidence, the program's own end, ours.

    >>> decide(End(host=None, wait_status=0, out_of_memory=False, memory_limited=True,
    ...            exception=False, memory_error=False)).reason
    <ExitReason.OK: 'ok'>
    """
    if end.host is not None:
        return Decision(end.host)
    if end.out_of_memory:
        return Decision(ExitReason.MEMORY)
    if end.wait_status is None or end.starved:
        return Decision(ExitReason.INTERNAL)
    if os.WIFSIGNALED(end.wait_status):
        number = os.WTERMSIG(end.wait_status)
        if number == signal.SIGSYS:
            return Decision(ExitReason.DENIED)
        return Decision(ExitReason.SIGNAL, signal=number)
    code = os.WEXITSTATUS(end.wait_status)
    if code == 0:
        return Decision(ExitReason.OK, exit_code=0)
    if code == 1 and end.exception:
        if end.memory_error and end.memory_limited:
            return Decision(ExitReason.MEMORY)
        return Decision(ExitReason.EXCEPTION, exit_code=1)
    return Decision(ExitReason.EXIT, exit_code=code)
