"""What the jails of one pool have in common, and what that holds, in words."""

import dataclasses
import os

from ..guest.jail import confine
from ..guest.jail.protocol import Profile
from ..host.interpreter import Interpreter
from ..host.packages import Packages
from ..limits import Limits
from . import cgroups, layout
from .folder import HostFolder
from .launch import Launcher


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What the jails of one pool have in common. `sandbox.host` makes one that works here.

    preload: modules that are imported at the start of a zygote; warm: likewise, but within bounds,
        as nobody has named them (`guest/jail/warming.py`). warms: whether there are such zygotes.
    package_links: the folder where the packages are linked (other tiers than namespaces).
    own_ids: every worker gets a user id of its own on the host (needs root).
    cgroup_parents: where the workers' cgroups are made, or None.
    shown: processes of the jails let themselves be looked at, since /proc hides them otherwise.
    explain: runs ask the host for every system call that is refused, so that it can be named.
    """

    tier: str
    interpreter: Interpreter
    packages: tuple[Packages, ...]
    preload: tuple[str, ...]
    folder: HostFolder
    launcher: Launcher
    package_links: str
    own_ids: bool
    cgroup_parents: cgroups.Parents | None
    shown: bool = False
    explain: bool = False
    warm: tuple[str, ...] = ()
    warms: bool = False

    @property
    def counts_tasks(self) -> bool:
        """Whether RLIMIT_NPROC counts one worker's tasks alone: by id, or by user namespace."""
        return self.own_ids or (self.tier == "namespaces" and os.geteuid() != 0)


def profile_of(limits: Limits, source_bytes: int, plan: Plan) -> Profile:
    """What a prewarmed process for a program of this size under these limits must be confined to.
    Raises `PolicyError` for limits that this tier can't hold.
    """
    limits.require_fit(plan.tier)
    # Room for the program's own file, in steps, so that few programs need another profile.
    room = 64 << 10
    while room < source_bytes + 4096:
        room *= 4
    counted = limits.tasks is not None and plan.counts_tasks
    return Profile(
        disk_bytes=None if limits.disk_bytes is None else limits.disk_bytes + room,
        inodes=None if limits.files is None else limits.files + confine.SPARE_INODES,
        tasks=limits.tasks + 1 if limits.tasks and counted else None,  # and the zygote
        processes=not limits.one_process and plan.tier == "namespaces",
        numeric_threads=layout.fewer_numeric_threads(limits.tasks),
    )


def describe_layers(plan: Plan, landlock_abi: int, group: cgroups.Group | None) -> dict[str, str]:
    """Say, layer by layer, what holds the runs of a jail made by `plan`; part of every result."""
    if plan.tier == "none":
        files = system_calls = network = processes = "not held"
    else:
        system_calls = "seccomp, default deny"
        system_calls += "; refusals of runs are watched" if plan.explain else ""
        landlock = f"Landlock ABI {landlock_abi}" if landlock_abi else "no Landlock"
    if plan.tier == "namespaces":
        files = f"a root of its own; {landlock}"
        network = "a network namespace without devices; no sockets"
        processes = "a pid namespace of its own; no fork"
    elif plan.tier == "landlock":
        files = f"{landlock}; metadata of other files is visible"
        network = "no sockets"
        processes = "no fork; signals to itself only"
        if plan.shown:
            processes += "; shown to this user's processes; no sessions"
    if group is not None:
        memory = f"{group.describe()}; RLIMIT_DATA"
    else:
        memory = "RLIMIT_DATA; watched; peak unknown"
    if plan.counts_tasks:
        threads = "RLIMIT_NPROC"
    else:
        threads = group.describe() if group is not None else "watched"
    return {
        "tier": plan.tier,
        "files": files,
        "system calls": system_calls,
        "network": network,
        "processes": processes,
        "identity": "a user id of its own" if plan.own_ids else "the host's user id",
        "memory": memory,
        "threads": threads,
        "disk": "a tmpfs of its own, capped" if plan.tier == "namespaces" else "watched",
    }
