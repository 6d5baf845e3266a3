"""Kernel surface: calls that a program has no business with are refused.

Controls ask the same of the kernel without a filter. What it lets an ordinary user do is less
than what it lets root do, and container runtimes filter too: a control asks only that some of
the calls get through.
"""

import ctypes
import json
import os
import platform
import signal

import pytest

from .syscalls import BAD, let_through, program

X86_64 = platform.machine() == "x86_64"

NEW_NAMESPACES = {
    "time": 0x80, "mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000,
    "user": 0x10000000, "pid": 0x20000000, "network": 0x40000000,
}  # fmt: skip

CLONES = """
import ctypes, errno, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
clone, clone3, unshare, setns = @NUMBERS@
made = []

def attempt(label, *arguments):
    ctypes.set_errno(0)
    pid = libc.syscall(*arguments)
    if pid == 0 and label[0] != "unshare" and label[0] != "setns":
        os._exit(0)
    if pid > 0:
        os.waitpid(pid, 0)
    if pid >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        made.append([*label, errno.errorcode.get(ctypes.get_errno())])

for name, flag in @FLAGS@.items():
    for extra in (0, 0x10000, 0x7D0F00) if "--clone" in sys.argv else ():  # alone, as a thread, with all of a thread's flags
        attempt(("clone", name), clone, ctypes.c_long(flag | extra | (0 if extra else 17)), 0, 0, 0, 0)
    arguments = (ctypes.c_uint64 * 11)(flag, 0, 0, 0, 17)
    if "--clone" in sys.argv:
        attempt(("clone3", name), clone3, ctypes.byref(arguments), ctypes.c_long(88))
    attempt(("unshare", name), unshare, ctypes.c_long(flag | 1))  # 1: no flag, EINVAL
    attempt(("setns", name), setns, ctypes.c_long(-1), ctypes.c_long(flag))
print(json.dumps(made))
"""


def _numbers(*names: str) -> str:
    import pyseccomp

    return repr([pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) for name in names])


def test_k1_no_namespace_can_be_made_or_entered(attack, outside):
    """K1: clone, clone3, unshare and setns are refused with every flag for a new namespace."""
    code = CLONES.replace("@NUMBERS@", _numbers("clone", "clone3", "unshare", "setns"))
    code = code.replace("@FLAGS@", repr(NEW_NAMESPACES))
    assert attack.report(code, args=["--clone"]) == []
    assert {"unshare", "setns"} & {label[0] for label in outside.report(code)}


MOUNT_CALLS = (
    ("mount", BAD, BAD, BAD, 0, BAD), ("umount2", BAD, 0), ("pivot_root", BAD, BAD),
    ("chroot", BAD), ("open_tree", -1, BAD, 0), ("move_mount", -1, BAD, -1, BAD, 0),
    ("fsopen", BAD, 0), ("fsconfig", -1, 0, BAD, BAD, 0), ("fsmount", -1, 0, 0),
    ("fspick", -1, BAD, 0), ("mount_setattr", -1, BAD, 0, BAD, 32), ("statmount", BAD, BAD, 0, 0),
    ("listmount", BAD, BAD, 0, 0),
)  # fmt: skip


def test_k2_no_mount_call_is_let_through(attack, outside):
    """K2: the old and the new mount calls, pivot_root and chroot are refused."""
    code = program(*MOUNT_CALLS)
    assert let_through(attack.report(code)) == {}
    assert let_through(outside.report(code))


def test_k3_no_process_can_be_traced(attack, outside, jail_pids):
    """K3: ptrace and process_vm_* are refused, on the zygote, on siblings and on anyone."""
    calls = []
    for pid in ("parent", 1, os.getpid(), *jail_pids):
        calls += [("ptrace", 16, pid, 0, 0), ("ptrace", 0x4206, pid, 0, 0)]  # ATTACH, SEIZE
        calls += [("process_vm_readv", pid, BAD, 1, BAD, 1, 0)]
        calls += [("process_vm_writev", pid, BAD, 1, BAD, 1, 0)]
        calls += [("process_madvise", -1, BAD, 1, 0, 0), ("kcmp", pid, pid, 0, 0, 0)]
        calls += [("pidfd_open", pid, 0), ("pidfd_getfd", -1, 0, 0)]
    calls += [("ptrace", 0, 0, 0, 0)]  # TRACEME
    assert let_through(attack.report(program(*calls))) == {}
    safe = program(("process_vm_readv", "parent", BAD, 1, BAD, 1, 0), ("pidfd_open", "parent", 0))
    assert let_through(outside.report(safe))


LARGE_INTERFACES = (
    ("bpf", 0, BAD, 128), ("perf_event_open", BAD, 0, -1, -1, 0), ("userfaultfd", 1),
    ("userfaultfd", 0x7FFFFFFF), ("io_uring_setup", 1, BAD), ("io_uring_enter", -1, 1, 0, 0, 0),
    ("io_uring_register", -1, 0, 0, 0), ("keyctl", 9999, 0, 0, 0), ("add_key", BAD, BAD, 0, 0, 0),
    ("request_key", BAD, BAD, 0, 0), ("landlock_create_ruleset", BAD, 8, 0),
    ("seccomp", 1, 0, BAD), ("fanotify_init", 0x7FFFFFFF, 0), ("inotify_init1", 0x7FFFFFFF),
    ("signalfd4", -1, BAD, 8, 0), ("vmsplice", -1, BAD, 1, 0), ("splice", -1, 0, -1, 0, 1, 0),
)  # fmt: skip


def test_k4_large_kernel_interfaces_are_refused(attack, outside):
    """K4: bpf, perf events, userfaultfd, io_uring and keys are refused."""
    code = program(*LARGE_INTERFACES)
    assert let_through(attack.report(code)) == {}
    assert let_through(outside.report(code))


ADMINISTRATION = (
    ("init_module", BAD, 1, BAD), ("finit_module", -1, BAD, 0), ("delete_module", BAD, 0),
    ("kexec_load", 0, 99, BAD, 0), ("kexec_file_load", -1, -1, 0, BAD, 0), ("reboot", 0, 0, 0, 0),
    ("swapon", BAD, 0), ("swapoff", BAD), ("quotactl", 0x7FFFFFFF, BAD, 0, BAD),
    ("settimeofday", BAD, BAD), ("clock_settime", 0, BAD), ("clock_adjtime", 99, BAD),
    ("adjtimex", BAD), ("acct", BAD), ("syslog", 99, BAD, -1), ("sethostname", BAD, 99999),
    ("setdomainname", BAD, 99999), ("ioperm", -1, 1, 1), ("iopl", 99), ("vhangup",),
    ("nfsservctl", 0, BAD, BAD), ("sync",), ("syncfs", -1),
)  # fmt: skip


def test_k5_the_machine_cannot_be_administered(attack, outside):
    """K5: modules, kexec, reboot, swap, quotas, clocks, accounting, the kernel's log: refused."""
    code = program(*ADMINISTRATION)
    assert let_through(attack.report(code)) == {}
    # Most of this is refused to an ordinary user by the kernel itself.
    harmless = program(("sync",), ("syncfs", -1), ("adjtimex", BAD), ("iopl", 99))
    assert let_through(outside.report(harmless))


EXECUTE = """
import ctypes, json, os, shutil, subprocess, sys
done = []
libc = ctypes.CDLL(None, use_errno=True)
try:
    fd = os.memfd_create("x")
    done.append("memfd")
except OSError:
    pass
for command in (["su", "--version"], ["/bin/true"], ["/usr/bin/passwd", "-S"], [sys.executable, "-V"]):
    try:
        subprocess.run(command, capture_output=True)
        done.append("run")
    except OSError:
        pass
    try:
        os.posix_spawn(command[0], command, {}, file_actions=[(os.POSIX_SPAWN_CLOSE, 1)])
        done.append("spawn")
        os.wait()
    except OSError:
        pass
if "--exec" in sys.argv:
    for attempt in (lambda: os.execv(sys.executable, ["x", "-V"]), lambda: os.execve(0, ["x"], {})):
        try:
            attempt()
        except OSError:
            pass
done.append("no_new_privs" if libc.prctl(39, 0, 0, 0, 0) == 1 else "new_privs")
print(json.dumps(sorted(set(done))))
"""


def test_k6_nothing_can_be_executed(attack, outside):
    """K6: no file, no descriptor, no set-uid binary is executed; no_new_privs is 1."""
    assert attack.report(EXECUTE, args=["--exec"]) == ["no_new_privs"]
    code = program(
        ("execve", BAD, BAD, BAD), ("execveat", -1, BAD, BAD, BAD, 0), ("memfd_secret", 0)
    )
    assert let_through(attack.report(code)) == {}
    assert {"memfd", "run"} <= set(outside.report(EXECUTE))
    assert let_through(outside.report(code))


MACHINE_CODE = """
import ctypes, mmap, sys
code = bytes.fromhex(sys.argv[1])
memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
memory.write(code)
function = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
print("before", flush=True)
print(function())
"""

INT_80 = "b814000000cd80c3"  # mov eax, 20 (getpid of i386); int 0x80; ret
X32 = "b8270000400f05c3"  # mov eax, 0x40000027 (getpid of x32); syscall; ret


@pytest.mark.skipif(not X86_64, reason="other machines have no second entry to the kernel")
@pytest.mark.parametrize("code", [INT_80, X32], ids=["int 0x80", "x32"])
def test_k7_foreign_entries_to_the_kernel_are_death(attack, outside, code):
    """K7: the 32-bit and x32 entries end the program (SIGSYS, reason `denied`)."""
    result = attack(MACHINE_CODE, args=[code])
    assert (result.reason, result.stdout) == ("denied", "before\n")
    # A kernel without these entries answers ENOSYS or SIGSEGV; only a filter answers SIGSYS.
    assert outside(MACHINE_CODE, args=[code]).returncode != -signal.SIGSYS


SEGMENTS = (
    ("personality", 0xFFFFFFFF),
    ("modify_ldt", 99, BAD, 0),
    ("arch_prctl", 0x1002, BAD),
)


def test_k7_personality_and_segments_are_refused(attack, outside):
    """K7: personality and modify_ldt are refused."""
    code = program(*SEGMENTS)
    assert let_through(attack.report(code)) == {}
    assert let_through(outside.report(program(("personality", 0xFFFFFFFF))))


QUEUES = (
    ("shmget", 0, 4096, 0o1600), ("shmat", -1, 0, 0), ("shmctl", -1, 0, BAD), ("shmdt", BAD),
    ("semget", 0, 1, 0o1600), ("semop", -1, BAD, 1), ("semctl", -1, 0, 0, 0),
    ("msgget", 0, 0o1600), ("msgsnd", -1, BAD, 1, 0), ("msgrcv", -1, BAD, 1, 0, 0),
    ("msgctl", -1, 99, BAD), ("mq_open", BAD, 0, 0, 0), ("mq_unlink", BAD), ("mq_notify", -1, 0),
)  # fmt: skip


def test_k8_shared_memory_and_queues_are_refused(attack, outside):
    """K8: System V memory, semaphores and queues, and POSIX queues are refused."""
    code = program(*QUEUES)
    assert let_through(attack.report(code)) == {}
    # With keys and permissions that make nothing which would outlive the control.
    harmless = program(("shmat", -1, 0, 0), ("semop", -1, BAD, 1), ("mq_open", BAD, 0, 0, 0))
    assert let_through(outside.report(harmless))


def test_k9_no_other_process_can_be_re_limited_or_re_pinned(attack, outside, jail_pids):
    """K9: prlimit, setpriority, ioprio_set and sched_* reach nobody but the caller."""
    calls = []
    # With a number in the upper half too, which a filter sees and the kernel does not.
    for pid in ("parent", 1, os.getpid(), *jail_pids, os.getpid() | 1 << 32, 1 | 1 << 32):
        calls += [("prlimit64", pid, 7, BAD, BAD), ("setpriority", 0, pid, 19)]
        calls += [("sched_setaffinity", pid, 8, BAD), ("sched_setscheduler", pid, 0, BAD)]
        calls += [("sched_setparam", pid, BAD), ("sched_setattr", pid, BAD, 0)]
        calls += [("ioprio_set", 1, pid, 0), ("migrate_pages", pid, 0, 0, 0), ("setpgid", pid, 0)]
    code = program(*calls)
    assert let_through(attack.report(code)) == {}
    safe = program(("prlimit64", "parent", 7, BAD, BAD), ("sched_setaffinity", "parent", 8, BAD))
    assert let_through(outside.report(safe))


def test_an_unknown_number_is_enosys(attack):
    """Calls newer than the policy are ENOSYS, so that libraries fall back as on an older kernel."""
    code = """
import ctypes, json
libc = ctypes.CDLL(None, use_errno=True)
answers = set()
for number in (471, 500, 1000, 0x3FFFFFFF):
    libc.syscall(ctypes.c_long(number), 0, 0, 0, 0, 0, 0)
    answers.add(ctypes.get_errno())
print(json.dumps(sorted(answers)))
"""
    assert attack.report(code) == [38]


def test_the_control_of_controls():
    """`program` tells a call that got through from one that was refused."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.chdir(ctypes.c_void_p(BAD)) == -1
    assert let_through({json.dumps(["chdir", BAD]): "EFAULT", "x": "EPERM", "y": "ENOSYS"})
