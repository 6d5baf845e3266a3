"""How many CPUs, and how much memory, this process may use."""

import os

from ..jail import cgroups


def usable_cpus() -> int:
    """How many CPUs this process may use at once: its affinity, cut to its cgroup's quota."""
    cpus = len(os.sched_getaffinity(0))
    quota = cgroups.cpu_quota()
    return max(1, min(cpus, int(quota))) if quota else cpus


def usable_bytes() -> int:
    """How much memory there is for this process: the host's, or as much as its cgroup may have."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = cgroups.memory_limit()
    return there if limit is None else min(there, limit)
