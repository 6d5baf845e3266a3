"""The hosts that are imitated, as data: who one is there, with what powers, and what is refused."""

import dataclasses
import errno

# linux/capability.h
_CHOWN, _DAC_OVERRIDE, _FOWNER, _FSETID, _KILL, _SETGID, _SETUID, _SETPCAP = 0, 1, 3, 4, 5, 6, 7, 8
_NET_BIND_SERVICE, _NET_RAW, _SYS_CHROOT, _MKNOD, _AUDIT_WRITE, _SETFCAP = 10, 13, 18, 27, 29, 31
_SYS_ADMIN = 21

DOCKERS = frozenset(
    {
        _CHOWN, _DAC_OVERRIDE, _FOWNER, _FSETID, _KILL, _SETGID, _SETUID, _SETPCAP,
        _NET_BIND_SERVICE, _NET_RAW, _SYS_CHROOT, _MKNOD, _AUDIT_WRITE, _SETFCAP,
    }
)  # fmt: skip
"""What root has in a container that was started without options:
https://docs.docker.com/engine/containers/run/#runtime-privilege-and-linux-capabilities."""

NAMESPACES = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """System calls that are answered with `error`; with `flags`, only where the first argument has
    one of these bits.
    """

    names: str
    error: int = errno.EPERM
    flags: tuple[int, ...] = ()


_MOUNTS = (
    "mount umount2 pivot_root open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr"
)

DOCKER = (
    Refusal(_MOUNTS),
    Refusal("unshare setns"),
    Refusal("clone", flags=NAMESPACES),
    Refusal("clone3", errno.ENOSYS),  # so that libc falls back to clone, whose flags can be seen
    # These take CAP_SYS_PTRACE there; ptrace itself and process_vm_readv do not.
    Refusal("pidfd_getfd kcmp process_madvise"),
    Refusal("bpf perf_event_open userfaultfd fanotify_init open_by_handle_at lookup_dcookie"),
    Refusal("io_uring_setup io_uring_enter io_uring_register"),
    Refusal("add_key request_key keyctl"),
    Refusal("mbind set_mempolicy get_mempolicy set_mempolicy_home_node migrate_pages move_pages"),
    Refusal("init_module finit_module delete_module kexec_load kexec_file_load reboot"),
    Refusal("swapon swapoff acct quotactl quotactl_fd syslog vhangup sethostname setdomainname"),
    Refusal("settimeofday clock_settime iopl ioperm uselib ustat sysfs"),
)
"""What Docker's default profile refuses to a container without CAP_SYS_ADMIN: its complement, by
the profile in github.com/moby/profiles."""

APPARMOR = (
    # A user namespace is granted, and its owner then stands under a profile with no capability.
    Refusal(_MOUNTS, errno.EACCES),
    Refusal("sethostname setdomainname"),
)

NO_LANDLOCK = Refusal(
    "landlock_create_ruleset landlock_add_rule landlock_restrict_self", errno.ENOSYS
)
LANDLOCK_NOT_BOOTED = dataclasses.replace(NO_LANDLOCK, error=errno.EOPNOTSUPP)


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One kind of host.

    root: who one is there. capabilities: what the bounding set is cut to; None leaves all.
    cgroup: "as it is", "read-only", or "delegated" (a group that belongs to the user).
    hidden: other users' processes, and undumpable ones, don't show in /proc (hidepid=2).
    masked: parts of /proc are covered, as container runtimes do it.
    read_only: so is the root file system, but for /tmp.
    """

    what: str
    root: bool = False
    capabilities: frozenset[int] | None = None
    refusals: tuple[Refusal, ...] = ()
    cgroup: str = "read-only"
    hidden: bool = False
    masked: bool = False
    read_only: bool = False

    @property
    def needs_root(self) -> bool:
        """Whether only root can imitate it."""
        return (
            self.root or self.hidden or self.masked or self.read_only or self.cgroup == "delegated"
        )


KINDS = {
    "docker-user": Kind(
        "a container of Docker's or Kubernetes' defaults, as an ordinary user",
        capabilities=DOCKERS,
        refusals=DOCKER,
    ),
    "docker-root": Kind(
        "the same as root: with the capabilities that Docker leaves it",
        root=True,
        capabilities=DOCKERS,
        refusals=DOCKER,
    ),
    "docker-root-cgroup": Kind(
        "the same where the control groups are writable",
        root=True,
        capabilities=DOCKERS,
        refusals=DOCKER,
        cgroup="as it is",
    ),
    "powerless-root": Kind(
        "a container of which all capabilities were dropped, as root",
        root=True,
        capabilities=frozenset(),
        refusals=DOCKER,
    ),
    "half-root": Kind(
        "a container that may change ids but not signal those it has changed to",
        root=True,
        capabilities=frozenset({_CHOWN, _DAC_OVERRIDE, _SETUID, _SETGID}),
        refusals=DOCKER,
    ),
    "delegated": Kind(
        "a container as an ordinary user who was given a control group",
        capabilities=DOCKERS,
        refusals=DOCKER,
        cgroup="delegated",
    ),
    "cluster": Kind(
        "a node that several share: no user namespaces, others' processes hidden",
        refusals=(
            Refusal("unshare", flags=NAMESPACES[4:5]),
            Refusal("clone", flags=NAMESPACES[4:5]),
            Refusal("clone3", errno.ENOSYS),
        ),
        hidden=True,
    ),
    "apparmor": Kind(
        "a host that grants a user namespace and takes its powers away (Ubuntu 24.04)",
        refusals=APPARMOR,
    ),
    "masked-proc": Kind(
        "a container without a filter whose /proc is partly covered, as an ordinary user",
        capabilities=DOCKERS,
        masked=True,
    ),
    "restricted": Kind(
        "Kubernetes' restricted standard: no capability, a read-only root, as an ordinary user",
        capabilities=frozenset(),
        refusals=DOCKER,
        masked=True,
        read_only=True,
    ),
    "opened": Kind(
        "a container without filter, AppArmor profile and covered /proc; without any capability",
        capabilities=frozenset(),
    ),
    "covered": Kind(
        "a container with CAP_SYS_ADMIN and no filter, whose /proc is partly covered",
        root=True,
        capabilities=DOCKERS | {_SYS_ADMIN},
        masked=True,
    ),
    "no-landlock": Kind(
        "a container of Docker's defaults on a kernel without Landlock, as an ordinary user",
        capabilities=DOCKERS,
        refusals=(*DOCKER, NO_LANDLOCK),
    ),
    "landlock-not-booted": Kind(
        "the same on a kernel that has Landlock and was booted without it",
        capabilities=DOCKERS,
        refusals=(*DOCKER, LANDLOCK_NOT_BOOTED),
    ),
    "ordinary": Kind("a machine of one's own, as an ordinary user"),
    "namespaces-only": Kind(
        "a host with user namespaces, and without Landlock",
        refusals=(NO_LANDLOCK,),
    ),
    "no-seccomp": Kind(
        "a host that lets nobody install a filter",
        refusals=(Refusal("seccomp", errno.EINVAL),),
    ),
}
