"""How many CPUs this process may use."""

import os

from ..jail import cgroups


def usable_cpus() -> int:
    """How many CPUs this process may use at once: its affinity, cut to its cgroup's quota."""
    cpus = len(os.sched_getaffinity(0))
    quota = cgroups.cpu_quota()
    return max(1, min(cpus, int(quota))) if quota else cpus
