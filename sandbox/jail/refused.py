"""What a refused system call means for who has written the program. The policy itself is in
`syscalls.py`.
"""

from collections.abc import Mapping

_PROCESSES = "programs can't start processes; Limits(processes=) allows it in the namespaces tier"
_MEANINGS = {
    "socket connect bind listen accept accept4 sendto sendmsg sendmmsg recvmmsg setsockopt "
    "getsockopt": "there is no network in the jail",
    "socketpair": "there are only stream pairs of unix sockets",
    "fork vfork clone execve execveat": _PROCESSES,
    "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal": (
        "a program can send signals to itself only"
    ),
    "setsid setpgid getpgid getsid": "a program can't change its process group or session",
    "ptrace process_vm_readv process_vm_writev kcmp": "no process can look into another",
    "shmget shmat shmctl shmdt semget semop semctl semtimedop msgget msgsnd msgrcv msgctl "
    "mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr": (
        "there is no shared memory, semaphore or queue between processes"
    ),
    "memfd_create": "there are no files in memory; write into the working directory",
    "mmap mremap remap_file_pages": (
        "there are no huge pages, no stacks that grow by themselves, and, where no cgroup counts "
        "memory, none that is shared and in no file"
    ),
    "mlock mlock2 mlockall munlock munlockall": "memory can't be locked",
    "madvise": "this advice about memory has effects on others",
    "mbind set_mempolicy get_mempolicy migrate_pages move_pages": "memory can't be bound to a node",
    "chown fchown lchown fchownat": "the owner of files can't be changed",
    "mknod mknodat": "there are no devices; named pipes can be made",
    "inotify_init inotify_init1 inotify_add_watch fanotify_init fanotify_mark": (
        "files can't be watched for changes; look at them from time to time"
    ),
    "sync syncfs": "the file systems of the host can't be synchronised; fsync works",
    "setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups": (
        "a program can't become another user"
    ),
    "setpriority ioprio_set ioprio_get sched_setscheduler sched_setparam sched_setattr nice": (
        "a program can't change its priority"
    ),
    "sched_getaffinity sched_setaffinity sched_getscheduler sched_getparam sched_rr_get_interval "
    "prlimit64 getpriority clock_gettime clock_getres clock_nanosleep": (
        "a program can ask about itself only"
    ),
    "mount umount2 pivot_root chroot unshare setns swapon swapoff quotactl": (
        "a program can't mount, or change namespaces"
    ),
    "bpf perf_event_open userfaultfd keyctl add_key request_key init_module finit_module "
    "delete_module kexec_load kexec_file_load iopl ioperm acct lookup_dcookie io_setup io_submit "
    "io_getevents io_destroy io_cancel": "this interface of the kernel is closed to programs",
    "reboot sethostname setdomainname settimeofday clock_settime clock_adjtime adjtimex syslog "
    "vhangup": "a program can't administer this host",
    "ioctl": "there are no terminals and devices to control",
    "fcntl": "there are no leases, notices and owners of descriptors, and no larger pipes",
    "prctl arch_prctl personality seccomp": "a program can't change how it is confined",
    "vmsplice splice tee": "pipes can't be spliced; read and write",
    "name_to_handle_at open_by_handle_at": "files are opened by their paths only",
    "timer_create timer_settime timer_gettime timer_getoverrun timer_delete": (
        "there are no POSIX timers; setitimer and timerfd work"
    ),
    "signalfd signalfd4": "there is no signalfd; signal handlers and sigtimedwait work",
}
_BY_NAME = {name: text for names, text in _MEANINGS.items() for name in names.split()}


def meaning_of(name: str) -> str:
    """What it means that the call `name` was refused."""
    return _BY_NAME.get(name, "programs need no such call, and may not make it")


def sentence(counts: Mapping[str, int]) -> str:
    """Return `Result.detail` for refused calls, by name.

    >>> sentence({"socket": 2})
    'system calls were refused: socket (there is no network in the jail)'
    """
    named = (f"{name} ({meaning_of(name)})" for name in counts)
    return f"system calls were refused: {'; '.join(named)}"


def lines(counts: Mapping[str, int]) -> list[str]:
    """Return a line for each refused call, for people.

    >>> lines({"socket": 2})
    ['socket was refused (2): there is no network in the jail']
    """
    return [f"{name} was refused ({n}): {meaning_of(name)}" for name, n in counts.items()]
