"""`Result.detail` for ends that are not the program's own doing: a sentence that names the limit,
its value and the way out. For people; nothing is decided by it.
"""

import signal

from .limits import Limits
from .reasons import Decision, ExitReason

_FOREIGN_CALL = (
    "killed by the system-call filter (SIGSYS): it made a system call of another architecture "
    "(32-bit, x32), or sent itself this signal"
)

_OF_SIGNALS = {
    signal.SIGKILL: "sent by the program, by somebody on this host, or by the kernel for memory",
    signal.SIGSEGV: "a very deep recursion, or a fault in an extension module, as a rule",
}

_OWN = (ExitReason.OK, ExitReason.EXCEPTION, ExitReason.EXIT)
"""The program's own doing: nothing is to be said."""


STARVED = "the host, or a memory cgroup further up, ran out of memory, and the kernel killed it"


def explain(
    decision: Decision, limits: Limits, *, output_of: str = "stdout", found: str = ""
) -> str:
    """Return the sentence for an end, or "" where the program itself chose it. output_of: the
    stream that was too long; found: what is known already, which is then returned.
    """
    if found or decision.reason in _OWN:
        return found
    match decision.reason:
        case ExitReason.WALL_TIMEOUT:
            return (
                f"stopped after {limits.wall_s:g} s of wall-clock time (Limits.wall_s): give it "
                "more, or limit cpu_s instead where the machine is loaded"
            )
        case ExitReason.CPU_TIMEOUT:
            return f"stopped after {limits.cpu_s:g} s of CPU time (Limits.cpu_s): give it more"
        case ExitReason.MEMORY:
            return _too_much_memory(limits)
        case ExitReason.OUTPUT:
            return (
                f"wrote more than {size_of(limits.output_bytes)} to {output_of} "
                "(Limits.output_bytes): allow more, or have it print less"
            )
        case ExitReason.DENIED:
            return _FOREIGN_CALL
        case ExitReason.CANCELLED:
            return "cancelled: its caller took it back, or the pool was closed"
        case ExitReason.SIGNAL:
            return _of_signal(decision.signal or 0)
    return ""


def _too_much_memory(limits: Limits) -> str:
    if limits.memory_bytes is None:
        return "the kernel ended it for want of memory: this host, or its container, had no more"
    return (
        f"needed more than {size_of(limits.memory_bytes)} of memory (Limits.memory_bytes): give it "
        "more"
    )


def held_too_much(used: int, most: int) -> str:
    held, limit = _sizes(used, most)
    return f"held {held} of memory, more than {limit} (Limits.memory_bytes): give it more"


def states_held_too_much(used: int, most: int) -> str:
    """The sentence for a session whose states hold more than two of them may together."""
    held, limit = _sizes(used, most)
    return (
        f"its states together held {held}, so that one of them holds more than {limit} "
        "(Limits.memory_bytes): give it more"
    )


def too_many(count: int, what: str, limit: str, most: int) -> str:
    """The sentence for a limit that can only be watched.

    >>> too_many(11, "threads", "threads", 10)
    'ran 11 threads at once, more than 10 (Limits.threads): allow more'
    """
    return f"ran {count} {what} at once, more than {most} (Limits.{limit}): allow more"


def _sizes(*numbers: int) -> list[str]:
    """Each number of bytes as people say it; exactly, where that would make different ones equal.

    >>> _sizes(157286400, 100 << 20), _sizes((1 << 20) + 1, 1 << 20)
    (['150 MiB', '100 MiB'], ['1048577 bytes', '1048576 bytes'])
    """
    texts = list(map(size_of, numbers))
    if len(set(texts)) < len(set(numbers)):
        return [f"{number} bytes" for number in numbers]
    return texts


def size_of(number: int | None) -> str:
    """A number of bytes, as people write it.

    >>> size_of(512 << 20), size_of(3 << 9), size_of(1000)
    ('512 MiB', '1.5 KiB', '1000 bytes')
    """
    if number is None:
        return "any number of bytes"
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if number >= 1 << shift:
            return f"{number / (1 << shift):.1f}".removesuffix(".0") + f" {unit}"
    return f"{number} bytes"


def _of_signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:  # one of the real-time signals, which have no names
        return f"died of signal {number}"
    why = _OF_SIGNALS.get(signal.Signals(number))
    return f"died of {name} (signal {number})" + (f": {why}" if why else "")
