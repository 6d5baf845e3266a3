"""Which system calls a run may make, and why: the policy, as data.

Everything not named here fails with EPERM, or with ENOSYS where the number is newer than the
newest we know, so that libraries fall back as on an older kernel. `seccomp.py` turns this into
a filter; conditions compare arguments as unsigned 64-bit numbers.
"""

import dataclasses
import errno
import fcntl
import socket
import stat
import termios

from .guest.syscall_filter import PID_MARK

ALLOW = 0
ASK = -2
"""An action: the host is asked, and answers."""


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """argument & mask == value; without a mask, argument == value."""

    argument: int
    value: int
    mask: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """Let `names` through (action ALLOW) or answer with the errno `action`.

    Every one of `cases` is an alternative: conditions that must all hold. None: always.
    """

    names: str
    why: str
    action: int = ALLOW
    cases: tuple[tuple[Condition, ...], ...] = ((),)


def _one_of(argument: int, *values: int) -> tuple[tuple[Condition, ...], ...]:
    return tuple((Condition(argument, value),) for value in values)


_ITSELF = _one_of(0, 0, PID_MARK)

_THREAD_FLAGS = 0x003D0F00 | 0x00400000  # what glibc and musl pass to make a thread
_CLONE_THREAD = 0x00010000
_PR_SAFE = (3, 15, 16, 21, 23, 27, 39, 40)
# PR_GET_DUMPABLE, SET_NAME, GET_NAME, GET_SECCOMP, CAPBSET_READ, GET_SECUREBITS,
# GET_NO_NEW_PRIVS, GET_TID_ADDRESS
_ARCH_REQ_XCOMP_PERM, _ARCH_GET_XCOMP_PERM = 0x1023, 0x1022
_FCNTL_SAFE = (
    fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL,
    fcntl.F_SETFL, fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW, fcntl.F_OFD_GETLK,
    fcntl.F_OFD_SETLK, fcntl.F_OFD_SETLKW, fcntl.F_GETPIPE_SZ, fcntl.F_GET_SEALS,
)  # fmt: skip

_COMMON = (
    Rule(
        "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek "
        "sendfile copy_file_range close close_range dup dup2 dup3 pipe pipe2 "
        "fsync fdatasync ftruncate truncate fallocate fadvise64 readahead flock",
        "input and output on descriptors it has",
    ),
    Rule(
        "open openat openat2 creat stat fstat lstat newfstatat statx access faccessat faccessat2 "
        "getdents getdents64 getcwd chdir fchdir readlink readlinkat statfs fstatfs "
        "mkdir mkdirat rmdir rename renameat renameat2 link linkat unlink unlinkat "
        "symlink symlinkat umask",
        "files: which of them, Landlock, mounts and permissions decide",
    ),
    Rule(
        "mknod",
        "named pipes, but no devices",
        cases=((Condition(1, stat.S_IFIFO, mask=stat.S_IFMT(0xFFFF)),),),
    ),
    Rule(
        "mknodat",
        "named pipes, but no devices",
        cases=((Condition(2, stat.S_IFIFO, mask=stat.S_IFMT(0xFFFF)),),),
    ),
    Rule(
        "mmap munmap mprotect mremap madvise brk msync membarrier",
        "its own memory",
    ),
    Rule(
        "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend "
        "sigaltstack pause alarm setitimer getitimer nanosleep clock_nanosleep restart_syscall",
        "its own signals and timers, which die with it",
    ),
    Rule(
        "clock_gettime clock_getres gettimeofday time times getrusage sysinfo uname getcpu "
        "getpid getppid gettid getuid geteuid getgid getegid getresuid getresgid getgroups "
        "getpgrp getpgid getsid getpriority capget getrlimit sched_yield "
        "sched_get_priority_max sched_get_priority_min",
        "questions about itself and the clock",
    ),
    Rule(
        "sched_getaffinity sched_getscheduler sched_getparam sched_setaffinity "
        "sched_rr_get_interval prlimit64",
        "its own scheduling and limits; hard limits equal soft ones, so it can only lower them",
        cases=_ITSELF,
    ),
    Rule("setrlimit", "can only lower: hard limits equal soft ones"),
    Rule(
        "clone",
        "threads, with no namespace, no tracing, no process",
        cases=((Condition(0, _CLONE_THREAD, mask=0xFFFFFFFF & ~_THREAD_FLAGS | _CLONE_THREAD),),),
    ),
    Rule("clone3", "its flags can't be seen by a filter; libc falls back to clone", errno.ENOSYS),
    Rule(
        "futex futex_waitv set_robust_list get_robust_list set_tid_address rseq exit exit_group "
        "wait4 waitid",
        "threads, and leaving",
    ),
    Rule(
        "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait "
        "epoll_pwait2 eventfd eventfd2 timerfd_create timerfd_settime timerfd_gettime",
        "event loops",
    ),
    Rule(
        "socketpair",
        "stream pairs, which event loops wake themselves with; datagram ones could reach "
        "sockets by name",
        cases=tuple(
            (Condition(0, socket.AF_UNIX), Condition(1, kind), Condition(2, 0))
            for kind in (
                socket.SOCK_STREAM,
                socket.SOCK_STREAM | socket.SOCK_CLOEXEC,
                socket.SOCK_STREAM | socket.SOCK_NONBLOCK,
                socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
            )
        ),
    ),
    Rule("sendto", "on a connected pair, to nobody else", cases=((Condition(4, 0),),)),
    Rule(
        "recvfrom sendmsg recvmsg sendmmsg recvmmsg shutdown getsockname getpeername getsockopt",
        "on a connected stream pair, the only socket there is",
    ),
    Rule(
        "ioctl",
        "what Python asks of any descriptor",
        cases=_one_of(
            1,
            termios.TCGETS,
            termios.FIONREAD,
            termios.FIONBIO,
            termios.FIOCLEX,
            termios.FIONCLEX,
            termios.TIOCGWINSZ,
        ),
    ),
    Rule("fcntl", "no owners, leases, notices or larger pipes", cases=_one_of(1, *_FCNTL_SAFE)),
    Rule("prctl", "names and questions; nothing that loosens", cases=_one_of(0, *_PR_SAFE)),
    Rule(
        "arch_prctl",
        "wide registers, for numeric libraries",
        cases=_one_of(0, _ARCH_REQ_XCOMP_PERM, _ARCH_GET_XCOMP_PERM),
    ),
    Rule("getrandom", "randomness"),
    Rule(
        "getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr setxattr lsetxattr "
        "fsetxattr removexattr lremovexattr fremovexattr",
        "no extended attributes here; copying files asks, and takes this answer",
        errno.ENOTSUP,
    ),
    Rule(
        "io_uring_setup fchmodat2 statmount listmount memfd_secret cachestat",
        "newer calls with an older way of doing the same",
        errno.ENOSYS,
    ),
)

_SIGNAL_ITSELF = (
    Rule("kill", "itself", cases=_ITSELF),
    Rule("tgkill", "its own threads (raise, abort)", cases=((Condition(0, PID_MARK),),)),
)

_METADATA = "chmod fchmod fchmodat utime utimes utimensat futimesat"

_TIERS = {
    "namespaces": (
        Rule(_METADATA, "all that it can reach to change is its own scratch"),
        Rule(
            "kill",
            "its pid namespace holds it and its zygote, and process 1 is immune; "
            "probing (signal 0) and every signal",
        ),
        Rule("tgkill", "its own threads (raise, abort)", cases=((Condition(0, PID_MARK),),)),
    ),
    # Landlock does not govern metadata, and files of the same owner lie outside the scratch:
    # these calls answer that they have done it, and do nothing.
    "landlock": (*_SIGNAL_ITSELF, Rule(_METADATA, "answered, without effect", action=-1)),
}

NO_EFFECT = -1
"""An action: answer success and do nothing."""

_SESSION = (
    Rule(
        "clone",
        "a fork, when the host has asked the session for one",
        action=ASK,
        cases=((Condition(0, 0, mask=_CLONE_THREAD),),),
    ),
    # A session's process has another id after every call: the host knows which is whose.
    Rule("kill tgkill", "itself", action=ASK),
    Rule("prctl", "dying with its keeper", cases=((Condition(0, 1), Condition(1, 9)),)),
    Rule("prctl", "not being looked at", cases=((Condition(0, 4), Condition(1, 0)),)),
    Rule(
        "prctl",
        "a branch that its keeper has to look at, when the host says so",
        action=ASK,
        cases=((Condition(0, 4), Condition(1, 1)),),
    ),
    Rule("capset", "giving up what a new user namespace gave; it can't give any"),
)
_OF_ONE_PROCESS = ("kill", "tgkill")


def rules(tier: str, *, session: bool = False) -> tuple[Rule, ...]:
    """Return the policy of `tier`, "namespaces" or "landlock"; for runs, or for sessions, whose
    processes are forked under their filter.
    """
    found = _COMMON + _TIERS[tier]
    if not session:
        return found
    return (*(_of_session(rule) for rule in found if rule.names not in _OF_ONE_PROCESS), *_SESSION)


def _of_session(rule: Rule) -> Rule:
    """Without the process's own id, which changes: only 0 stands for itself."""
    if rule.cases is not _ITSELF:
        return rule
    return dataclasses.replace(rule, cases=((Condition(0, 0),),))
