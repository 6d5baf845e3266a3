"""Resource limits: the kernel's backstops, hard = soft, so that a run can only lower them."""

import resource

RLIMITS = {
    "cpu": resource.RLIMIT_CPU,
    "data": resource.RLIMIT_DATA,
    "file_size": resource.RLIMIT_FSIZE,
    "open_files": resource.RLIMIT_NOFILE,
    "tasks": resource.RLIMIT_NPROC,
}

_STACK_BYTES = 8 << 20  # what a login shell gives; also glibc's size for the stack of a thread

_FIXED = {
    # No dumps, no locked memory, no queues, no real-time or raised priority, in any run.
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_MEMLOCK: 0,
    resource.RLIMIT_MSGQUEUE: 0,
    resource.RLIMIT_NICE: 0,
    resource.RLIMIT_RTPRIO: 0,
    resource.RLIMIT_SIGPENDING: 1024,
    resource.RLIMIT_STACK: _STACK_BYTES,
}


def apply_fixed() -> None:
    """Set what is the same for every run; once, in the zygote, whose children inherit it."""
    for which, value in _FIXED.items():
        _set(which, value)


def apply(limits: dict[str, int]) -> None:
    """Set the limits named in `limits` (keys of `RLIMITS`); what is not named stays."""
    for name, value in limits.items():
        _set(RLIMITS[name], value)


def _set(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:  # never above what this host allows us
        value = min(value, hard)
    resource.setrlimit(which, (value, value))
