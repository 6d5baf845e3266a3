"""Resource limits: the kernel's backstops, hard = soft, so that a run can only lower them; but for
the stack's, and for that on data where a cgroup counts memory.
"""

import resource

from .protocol import JobLimits

PER_JOB = (
    resource.RLIMIT_AS,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_CPU,
)
"""The hard limits that come with a job, in the order of `protocol.JobLimits`, its first fields."""

STACK_BYTES = 8 << 20  # what a login shell gives; also glibc's size for the stack of a thread

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
    _set_soft(resource.RLIMIT_STACK, STACK_BYTES)
    # What a run has sent and nobody has taken must not keep its zygote from sending.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def apply_tasks(tasks: int | None) -> None:
    """Cap the tasks of this user id (in its user namespace); None leaves the limit as it is."""
    if tasks is not None:
        _set(resource.RLIMIT_NPROC, tasks)


def apply(limits: JobLimits) -> None:
    """Set the limits of a job; -1 leaves one as it is."""
    for which, value in zip(PER_JOB, limits):  # noqa: B905  (what follows in the record is below)
        if value >= 0:
            _set(which, value)
    if limits.data >= 0:
        (_set_soft if limits.data_may_rise else _set)(resource.RLIMIT_DATA, limits.data)
    if limits.stack >= 0:
        # How far the kernel lets the main stack grow: nothing is reserved. Those of threads, which
        # are, are as large as libc has found this limit when the zygote was executed.
        _set_soft(resource.RLIMIT_STACK, limits.stack)


def present() -> JobLimits:
    """Those that are in force: of a job that changes none, as rehearsals have it."""
    address_space, file_size, open_files, cpu = (resource.getrlimit(each)[1] for each in PER_JOB)
    data, stack = (
        resource.getrlimit(each)[0] for each in (resource.RLIMIT_DATA, resource.RLIMIT_STACK)
    )
    return JobLimits(address_space, file_size, open_files, cpu, data, 1, stack)


def raise_data(more: int) -> bool:
    """Let this process have `more` bytes of data; False where it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == resource.RLIM_INFINITY or (hard != resource.RLIM_INFINITY and soft + more > hard):
        return False
    resource.setrlimit(resource.RLIMIT_DATA, (soft + more, hard))
    return True


def _set(which: int, value: int) -> None:
    try:
        resource.setrlimit(which, (value, value))
    except ValueError:  # above what this host allows us: then that is the limit
        hard = resource.getrlimit(which)[1]
        resource.setrlimit(which, (hard, hard))


def _set_soft(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (soft, hard))
