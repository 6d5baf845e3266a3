"""Which system calls a run may make, and why: the policy, as data.

Everything not named here fails with EPERM; or with ENOSYS if it came with Linux 5.1 or later, known
to us or not, so that libraries fall back as on an older kernel. `seccomp.py` turns this into
a filter; conditions compare arguments as unsigned 64-bit numbers.

There are three variants: of a run, which is one process; of a run that may have more of them
(`Limits.processes`, namespaces tier only); and of sessions, whose processes are forked under their
filter when the host asks. Those of runs are stricter where no cgroup counts memory. What each
answers to every number is written down in `tests/security/golden/`, so that a change of it can be
seen.
"""

import dataclasses
import errno
import fcntl
import mmap
import os
import resource
import signal
import socket
import stat
import termios

from ..guest.jail.syscall_filter import PID_MARK

ALLOW = 0
ASK = -2
"""An action: the host is asked, and answers."""


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """argument & mask == value; without a mask, argument == value, or with `unequal`, not."""

    argument: int
    value: int
    mask: int | None = None
    unequal: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """Let `names` through (action ALLOW) or answer with the errno `action`.

    Every one of `cases` is an alternative: conditions that must all hold. None: always.
    """

    names: str
    why: str
    action: int = ALLOW
    cases: tuple[tuple[Condition, ...], ...] = ((),)


NEWER = {"close_range": 436, "faccessat2": 439}
"""Calls of Linux 5.1 and later that are let through; every machine has the same numbers for them.

Named with their numbers, because an older libseccomp does not know them all, and what a run may do
must not hang on its version.
"""


def _one_of(argument: int, *values: int) -> tuple[tuple[Condition, ...], ...]:
    return tuple((Condition(argument, value),) for value in values)


def _only(argument: int, bits: int) -> Condition:
    """No other bits than these, in the lower half, which is what the kernel takes as an int."""
    return Condition(argument, 0, mask=_INT & ~bits)


def _without(argument: int, bits: int) -> Condition:
    return Condition(argument, 0, mask=bits)


_INT = 0xFFFFFFFF
_ITSELF = _one_of(0, 0, PID_MARK)

_THREAD_FLAGS = 0x003D0F00 | 0x00400000  # what glibc and musl pass to make a thread
_CLONE_THREAD = 0x00010000
_FORK_FLAGS = 0x00000100 | 0x00004000 | 0x01300000  # VM and VFORK, and where a tid is written
_PR_SAFE = (3, 15, 16, 21, 23, 27, 39, 40)
# PR_GET_DUMPABLE, SET_NAME, GET_NAME, GET_SECCOMP, CAPBSET_READ, GET_SECUREBITS,
# GET_NO_NEW_PRIVS, GET_TID_ADDRESS
_ARCH_REQ_XCOMP_PERM, _ARCH_GET_XCOMP_PERM, _ARCH_SET_FS = 0x1023, 0x1022, 0x1002
_FCNTL_SAFE = (
    fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL,
    fcntl.F_SETFL, fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW, fcntl.F_OFD_GETLK,
    fcntl.F_OFD_SETLK, fcntl.F_OFD_SETLKW, fcntl.F_GETPIPE_SZ, fcntl.F_GET_SEALS,
)  # fmt: skip
_MAP_HUGETLB, _MAP_GROWSDOWN = 0x40000, 0x100
_MAP_SHARED, _MAP_ANONYMOUS = mmap.MAP_SHARED, mmap.MAP_ANONYMOUS  # 3, SHARED_VALIDATE, too
_ADVICE = (0, 1, 2, 3, 4, 8, 9, 10, 11, 14, 15, 16, 17, 18, 19, 22, 23, 102, 103)
# MADV_NORMAL, RANDOM, SEQUENTIAL, WILLNEED, DONTNEED, FREE, REMOVE, DONTFORK, DOFORK, HUGEPAGE,
# NOHUGEPAGE, DONTDUMP, DODUMP, WIPEONFORK, KEEPONFORK, POPULATE_READ, POPULATE_WRITE,
# GUARD_INSTALL, GUARD_REMOVE; not MERGEABLE, which shows what others hold, nor COLD and PAGEOUT
_FADV_DONTNEED = 4
_RWF_HARMLESS, _RWF_NOWAIT = 2 | 4 | 16, 8  # DSYNC, SYNC, APPEND
_MEMBARRIER_PRIVATE = (0, 8, 16)  # QUERY, PRIVATE_EXPEDITED and its registration
_FUTEX_PLAIN = (0, 1, 3, 4, 5, 9, 10)
# FUTEX_WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, WAIT_BITSET, WAKE_BITSET
_FUTEX_PRIORITY = (6, 7, 8, 11, 12, 13)  # LOCK_PI, UNLOCK_PI, TRYLOCK_PI, the REQUEUE_PIs, LOCK_PI2
_FUTEX_OPERATION = _INT & ~(128 | 256)  # less FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME
_SOCKET_QUESTIONS = (
    socket.SO_REUSEADDR, socket.SO_TYPE, socket.SO_ERROR, socket.SO_SNDBUF, socket.SO_RCVBUF,
    socket.SO_KEEPALIVE, socket.SO_LINGER, socket.SO_PASSCRED, socket.SO_PEERCRED,
    socket.SO_RCVLOWAT, socket.SO_RCVTIMEO, socket.SO_SNDTIMEO, socket.SO_ACCEPTCONN,
    socket.SO_PROTOCOL, socket.SO_DOMAIN,
)  # fmt: skip
_NO_CORE = tuple(which for which in range(16) if which != resource.RLIMIT_CORE)
_OWN_CLOCKS = (
    (Condition(0, 0, mask=1 << 31),),  # the fixed ones
    (Condition(0, 1 << 31 | 4, mask=1 << 31 | 4),),  # of a thread: the kernel asks that it be ours
    (Condition(0, _INT & -6, mask=_INT),),  # of the process that asks, as process id 0
)

_COMMON = (
    Rule(
        "read write readv writev pread64 pwrite64 preadv pwritev lseek "
        "sendfile copy_file_range close dup dup2 dup3 pipe "
        "fsync fdatasync ftruncate truncate flock",
        "input and output on descriptors it has",
    ),
    Rule(
        "preadv2 pwritev2",
        "the same, written through or at the end",
        cases=((_only(5, _RWF_HARMLESS),),),
    ),
    Rule(
        "preadv2 pwritev2",
        "not without waiting, which tells what others have read; answered as by an older kernel",
        errno.EOPNOTSUPP,
        cases=((Condition(5, _RWF_NOWAIT, mask=_RWF_NOWAIT),),),
    ),
    Rule(
        "pipe2",
        "pipes of bytes; O_EXCL would make them the kernel's watch queues",
        cases=((_only(1, os.O_CLOEXEC | os.O_NONBLOCK),),),
    ),
    Rule("fadvise64", "advice about its own reading", cases=_one_of(3, 0, 1, 2, 3, 5)),
    Rule(
        "fadvise64",
        "forgetting what was read would be forgotten for everybody: answered, without effect",
        -1,
        cases=_one_of(3, _FADV_DONTNEED),
    ),
    Rule(
        "open openat creat stat fstat lstat newfstatat statx access faccessat "
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
    Rule("munmap mprotect brk msync", "its own memory"),
    Rule("mremap", "its own memory"),
    Rule(
        "mmap",
        "memory, but none of the host's huge pages, which no limit of ours counts, and no stacks "
        "that grow by themselves",
        cases=((_without(3, _MAP_HUGETLB | _MAP_GROWSDOWN),),),
    ),
    Rule("madvise", "advice about its own memory, its effects its own", cases=_one_of(2, *_ADVICE)),
    Rule(
        "membarrier",
        "between its own threads; the others interrupt every CPU",
        cases=_one_of(0, *_MEMBARRIER_PRIVATE),
    ),
    Rule(
        "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend "
        "sigaltstack pause alarm setitimer getitimer nanosleep restart_syscall",
        "its own signals and timers, which die with it",
    ),
    Rule(
        "clock_gettime clock_getres clock_nanosleep",
        "the time; of CPU clocks its own, as others' tell what they are doing",
        cases=_OWN_CLOCKS,
    ),
    Rule(
        "gettimeofday time times getrusage sysinfo uname getcpu "
        "getpid getppid gettid getuid geteuid getgid getegid getresuid getresgid getgroups "
        "getpgrp capget getrlimit sched_yield "
        "sched_get_priority_max sched_get_priority_min",
        "questions about itself and the clock",
    ),
    Rule("getpgid getsid", "questions about itself", cases=_ITSELF),
    Rule("getpriority", "questions about itself", cases=_one_of(1, 0, PID_MARK)),
    Rule(
        "sched_getaffinity sched_getscheduler sched_getparam sched_setaffinity "
        "sched_rr_get_interval",
        "its own scheduling",
        cases=_ITSELF,
    ),
    Rule(
        "prlimit64",
        "its own limits; hard limits equal soft ones, so it can only lower them",
        cases=_ITSELF,
    ),
    Rule("setrlimit", "can only lower: hard limits equal soft ones"),
    Rule(
        "clone",
        "threads, with no namespace, no tracing, no process",
        cases=((Condition(0, _CLONE_THREAD, mask=0xFFFFFFFF & ~_THREAD_FLAGS | _CLONE_THREAD),),),
    ),
    Rule(
        "set_robust_list set_tid_address rseq exit exit_group wait4 waitid",
        "threads, and leaving",
    ),
    Rule(
        "futex",
        "waiting and waking",
        cases=tuple((Condition(1, op, mask=_FUTEX_OPERATION),) for op in _FUTEX_PLAIN),
    ),
    Rule(
        "futex",
        "no inheritance of priorities: nothing here has any, and libc can do without",
        errno.ENOSYS,
        cases=tuple((Condition(1, op, mask=_FUTEX_OPERATION),) for op in _FUTEX_PRIORITY),
    ),
    Rule(
        "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait "
        "eventfd eventfd2 timerfd_create timerfd_settime timerfd_gettime",
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
    # Out-of-band bytes are a rare part of the kernel, and had a hole (CVE-2025-38236).
    Rule(
        "sendto",
        "on a connected pair, to nobody else, and nothing out of band",
        cases=((Condition(4, 0), _without(3, socket.MSG_OOB)),),
    ),
    Rule("recvfrom", "nothing out of band", cases=((_without(3, socket.MSG_OOB),),)),
    Rule("sendmsg recvmsg", "nothing out of band", cases=((_without(2, socket.MSG_OOB),),)),
    Rule(
        "shutdown getsockname getpeername",
        "on a connected stream pair, the only socket there is",
    ),
    Rule(
        "getsockopt",
        "what Python and event loops ask of a socket",
        cases=tuple(
            (Condition(1, socket.SOL_SOCKET), Condition(2, name)) for name in _SOCKET_QUESTIONS
        ),
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
)

_SIGNAL_ITSELF = (
    Rule("kill", "itself", cases=_ITSELF),
    Rule("tgkill", "its own threads (raise, abort)", cases=((Condition(0, PID_MARK),),)),
)

_METADATA = "chmod fchmod fchmodat utime utimes utimensat futimesat"

_TIERS = {
    "namespaces": (
        Rule(_METADATA, "all that it can reach to change is its own scratch"),
        Rule("fallocate", "its scratch has a size of its own"),
        Rule(
            "kill",
            "its pid namespace holds it and its zygote, and process 1 is immune; "
            "probing (signal 0) and every signal",
        ),
        Rule("tgkill", "its own threads (raise, abort)", cases=((Condition(0, PID_MARK),),)),
    ),
    # Landlock does not govern metadata, and files of the same owner lie outside the scratch:
    # these calls answer that they have done it, and do nothing.
    "landlock": (
        *_SIGNAL_ITSELF,
        Rule(_METADATA, "answered, without effect", action=-1),
        Rule(
            "fallocate",
            "the scratch is watched, and this takes gigabytes between two looks; libc's "
            "posix_fallocate, and libraries, then write instead, as on file systems without it",
            errno.EOPNOTSUPP,
        ),
    ),
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
    Rule("prctl", "dying with its family init", cases=((Condition(0, 1), Condition(1, 9)),)),
    Rule("prctl", "not being looked at", cases=((Condition(0, 4), Condition(1, 0)),)),
    Rule(
        "prctl",
        "a branch that its family init has to look at, when the host says so",
        action=ASK,
        cases=((Condition(0, 4), Condition(1, 1)),),
    ),
    Rule("capset", "giving up what a new user namespace gave; it can't give any"),
    Rule("prctl", "and what could be given by it: the bounding set", cases=((Condition(0, 24),),)),
)
_PROCESSES = (
    Rule("fork vfork execve execveat", "processes, of what the jail holds; mounts are nosuid"),
    Rule(
        "clone",
        "a process, with no namespace, no tracing, and no other parent than this",
        cases=((Condition(0, signal.SIGCHLD, mask=_INT & ~_FORK_FLAGS),),),
    ),
    # What is executed can be dumped again, and a host may have dumps piped to a program of its own,
    # which no limit but 1 keeps it from: it stays what `rlimits.py` sets.
    Rule("setrlimit", "can only lower, and not that of dumps", cases=_one_of(0, *_NO_CORE)),
    Rule(
        "prlimit64",
        "its own limits, and only lower, and not that of dumps",
        cases=(
            (Condition(0, 0), Condition(2, 0)),
            *((Condition(0, 0), Condition(1, which)) for which in _NO_CORE),
        ),
    ),
    Rule("arch_prctl", "where a new program finds its threads", cases=_one_of(0, _ARCH_SET_FS)),
    Rule("setsid setpgid getpgid getsid", "its own processes: nobody else is in its namespace"),
    Rule(
        "kill tgkill",
        "its pid namespace holds its processes and its zygote, and process 1 is immune",
    ),
)
# Pages of a shared map stay when nothing maps them, until the map is gone: no count of what a
# process has mapped sees them (fill, MADV_DONTNEED, fill the next part). Those of a file are the
# scratch's.
_PRIVATE = (
    Rule(
        "mmap",
        "memory that is counted by what a process has mapped: none that is shared and of no file",
        cases=(
            (_without(3, _MAP_HUGETLB | _MAP_GROWSDOWN | _MAP_SHARED),),
            (_without(3, _MAP_HUGETLB | _MAP_GROWSDOWN | _MAP_ANONYMOUS),),
        ),
    ),
    Rule(
        "mremap",
        "its own memory; a size of 0 would map again what is shared",
        cases=((Condition(1, 0, unequal=True),),),
    ),
)
_MAPS = {"mmap", "mremap"}
_ASKED = {"kill", "tgkill"}
_ANEW = {"kill", "tgkill", "getpgid", "getsid", "setrlimit", "prlimit64"}
"""What sessions, and runs with several processes, have rules of their own for."""


def rules(
    tier: str, *, session: bool = False, processes: bool = False, private: bool = False
) -> tuple[Rule, ...]:
    """Return the policy of `tier`, "namespaces" or "landlock": for runs of one process, for
    sessions, or for runs that may have several processes (namespaces tier). private: without shared
    memory that is in no file, as sessions always are.
    """
    found: tuple[Rule, ...] = _COMMON + _TIERS[tier]
    if private or session:
        kept = (rule for rule in found if rule.names not in _MAPS)
        found = (*kept, *_PRIVATE)
    if not (session or processes):
        return found
    more = _SESSION if session else _PROCESSES
    anew = _ASKED if session else _ANEW
    inherited = map(_inherited, (rule for rule in found if anew.isdisjoint(rule.names.split())))
    return (*(rule for rule in inherited if rule.cases), *more)


def _inherited(rule: Rule) -> Rule:
    """Without the process's own id, which a fork changes: only 0 stands for itself."""
    cases = tuple(
        case for case in rule.cases if all(condition.value != PID_MARK for condition in case)
    )
    return dataclasses.replace(rule, cases=cases)
