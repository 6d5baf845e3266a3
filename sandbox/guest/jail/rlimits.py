"""Resource limits: the kernel's backstops, hard = soft, so that a run can only lower them; but for
the stack's.
"""

import resource
from collections.abc import Sequence

PER_JOB = (
    resource.RLIMIT_DATA,
    resource.RLIMIT_AS,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_CPU,
)
"""The limits that come with a job, in the order of `protocol.JobLimits`."""

_STACK_BYTES = 8 << 20  # what a login shell gives; also glibc's size for the stack of a thread

_FIXED = {
    # No dumps, no locked memory, no queues, no real-time or raised priority, in any run. Of dumps,
    # 1 is the only limit that keeps them from a pipe as well (core(5), fs/coredump.c).
    resource.RLIMIT_CORE: 1,
    resource.RLIMIT_MEMLOCK: 0,
    resource.RLIMIT_MSGQUEUE: 0,
    resource.RLIMIT_NICE: 0,
    resource.RLIMIT_RTPRIO: 0,
    resource.RLIMIT_SIGPENDING: 1024,
}


def apply_fixed() -> None:
    """Set what is the same for every run; once, in the zygote, whose children inherit it."""
    for which, value in _FIXED.items():
        _set(which, value)
    # The one that a run may raise again, as programs that recurse deeply do: a stack's pages count
    # as memory, by its cgroup or the host's watch.
    _, most = resource.getrlimit(resource.RLIMIT_STACK)
    unlimited = most == resource.RLIM_INFINITY
    stack = _STACK_BYTES if unlimited else min(_STACK_BYTES, most)
    resource.setrlimit(resource.RLIMIT_STACK, (stack, most))
    # What a run has sent and nobody has taken must not keep its zygote from sending.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def apply_tasks(tasks: int | None) -> None:
    """Cap the tasks of this user id (in its user namespace); None leaves the limit as it is."""
    if tasks is not None:
        _set(resource.RLIMIT_NPROC, tasks)


def apply(limits: Sequence[int]) -> None:
    """Set the limits of `PER_JOB`; -1 leaves one as it is."""
    for which, value in zip(PER_JOB, limits):  # noqa: B905  (equal by the record's format)
        if value >= 0:
            _set(which, value)


def _set(which: int, value: int) -> None:
    try:
        resource.setrlimit(which, (value, value))
    except ValueError:  # above what this host allows us: then that is the limit
        hard = resource.getrlimit(which)[1]
        resource.setrlimit(which, (hard, hard))
