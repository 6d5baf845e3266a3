"""The system-call filter: what it answers, asked call by call, for both machines and tiers."""

import errno
import platform
import signal
import socket
import stat

import pyseccomp
import pytest
from bpf import ALLOW, INSTRUCTION, KILL_PROCESS, ask, errno_of

from interpreter_pool.sandbox import SetupError
from interpreter_pool.sandbox.guest.jail.syscall_filter import PID_MARK, Filter
from interpreter_pool.sandbox.jail import seccomp, syscalls

MACHINES = {"x86_64": pyseccomp.Arch.X86_64, "aarch64": pyseccomp.Arch.AARCH64}
FOREIGN = {"x86_64": pyseccomp.Arch.X86, "aarch64": pyseccomp.Arch.ARM}
CLONE_VM, CLONE_THREAD, CLONE_NEWUSER = 0x100, 0x10000, 0x10000000
GLIBC_THREAD = 0x3D0F00
ME = 4242


class Asked:
    """The filter of one tier and machine as a child has it: with its own id filled in."""

    def __init__(self, tier: str, machine: str, **options: bool) -> None:
        self.machine = machine
        self.arch = MACHINES[machine]
        instructions = INSTRUCTION.iter_unpack(seccomp.build(tier, machine, **options))
        self.program = b"".join(
            INSTRUCTION.pack(c, t, f, ME if c == 0x15 and k == PID_MARK else k)
            for c, t, f, k in instructions
        )

    def has(self, name: str) -> bool:
        return pyseccomp.resolve_syscall(self.arch, name) >= 0

    def __call__(self, name: str, *arguments: int) -> int:
        number = pyseccomp.resolve_syscall(self.arch, name)
        assert number >= 0, name
        return ask(self.program, self.arch, number, *arguments)

    def allows(self, name: str, *arguments: int) -> bool:
        answer = self(name, *arguments)
        if answer == ALLOW:
            return True
        assert errno_of(answer) is not None, hex(answer)
        return False


@pytest.fixture(scope="module", params=list(MACHINES))
def machine(request):
    return request.param


@pytest.fixture(scope="module", params=["namespaces", "landlock"])
def filter_(request, machine):
    return Asked(request.param, machine)


@pytest.fixture(scope="module")
def namespaces(machine):
    return Asked("namespaces", machine)


@pytest.fixture(scope="module")
def landlock(machine):
    return Asked("landlock", machine)


@pytest.mark.parametrize("tier", ["namespaces", "landlock"])
def test_a_policy_builds_and_is_small(tier, machine):
    """Both machines have a filter: whole instructions, below the kernel's 4096, always the same."""
    program = seccomp.build(tier, machine)
    assert len(program) % INSTRUCTION.size == 0
    assert 50 < len(program) // INSTRUCTION.size < 1000
    assert seccomp.build(tier, machine) is program


def test_this_machine_is_the_default():
    """Without a machine named, the filter is this one's."""
    assert seccomp.build("landlock") == seccomp.build("landlock", platform.machine())


def test_an_unknown_machine_is_refused_by_name():
    """A machine without a policy is a SetupError that says which there are."""
    with pytest.raises(SetupError, match=r"s390x.*x86_64") as caught:
        seccomp.build("landlock", "s390x")
    assert caught.value.step == "seccomp"


def test_every_jump_lands_inside():
    """No jump of a filter leaves it: the kernel would refuse it, and our prefix could shift one."""
    for machine in MACHINES:
        instructions = list(INSTRUCTION.iter_unpack(seccomp.build("landlock", machine)))
        for place, (code, true, false, constant) in enumerate(instructions):
            offsets = (constant,) if code == 0x05 else (true, false) if code & 7 == 5 else ()
            assert all(place + 1 + offset < len(instructions) for offset in offsets)
        assert instructions[-1][0] == 0x06


@pytest.mark.parametrize("processes", [False, True])
@pytest.mark.parametrize("tier", ["namespaces", "landlock"])
def test_a_filter_that_explains_asks_where_another_refuses(tier, machine, processes):
    """Instruction by instruction the same, but that EPERM becomes a question to the host."""
    plain, asking = (
        list(INSTRUCTION.iter_unpack(seccomp.build(tier, machine, processes=processes, **each)))
        for each in ({}, {"explain": True})
    )
    differ = {pair for pair in zip(plain, asking, strict=True) if pair[0] != pair[1]}
    assert differ == {((0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7FC00000))}
    assert (0x06, 0, 0, 0x50001) not in asking


@pytest.mark.parametrize("tier", ["namespaces", "landlock"])
def test_marks_stand_only_where_a_process_id_is_compared(tier, machine):
    """PID_MARK is only ever compared for equality, so that putting an id in is all it takes."""
    program = seccomp.build(tier, machine)
    marks = [
        place
        for place, instruction in enumerate(INSTRUCTION.iter_unpack(program))
        if instruction[3] == PID_MARK
    ]
    assert marks
    assert all(INSTRUCTION.unpack_from(program, 8 * place)[0] == 0x15 for place in marks)
    assert Filter(program)._marks == [8 * place + 4 for place in marks]


def test_an_id_is_compared_with_all_its_64_bits(filter_):
    """An argument that has our id only in its lower half is someone else."""
    assert filter_.allows("prlimit64", ME)
    assert not filter_.allows("prlimit64", ME | 1 << 32)
    assert not filter_.allows("tgkill", ME | 1 << 32, 1, 9)


@pytest.mark.parametrize("name", ["read", "getpid", "openat", "mmap", "futex", "exit_group"])
def test_foreign_architectures_are_killed(filter_, name):
    """A call by another architecture's numbering kills the process, whatever its number."""
    number = pyseccomp.resolve_syscall(filter_.arch, name)
    assert ask(filter_.program, FOREIGN[filter_.machine], number) == KILL_PROCESS
    assert ask(filter_.program, 0, number) == KILL_PROCESS


@pytest.mark.parametrize("tier", ["namespaces", "landlock"])
def test_x32_is_killed(tier):
    """The x32 numbering of x86-64 kills the process, also above every number that is known."""
    x86 = Asked(tier, "x86_64")
    for number in (0, 1, 39, 59, 300, 470, 471, 512, 547, 0x3FFFFFFF):
        assert ask(x86.program, x86.arch, 0x40000000 | number) == KILL_PROCESS, number


def test_calls_newer_than_linux_5_0_do_not_exist(filter_):
    """What came later, known to us or not, is ENOSYS, so that libraries fall back on older ways."""
    for number in (335, 400, 423, 424, 435, 437, 452, 470, 471, 10_000, 0x3FFFFFFF):
        assert errno_of(ask(filter_.program, filter_.arch, number)) == errno.ENOSYS, number


def test_newer_calls_that_are_allowed_do_not_hang_on_libseccomp(filter_):
    """They are allowed by number, whatever the version of libseccomp knows by name."""
    for name, number in syscalls.NEWER.items():
        assert number == pyseccomp.resolve_syscall(filter_.arch, name)
        assert ask(filter_.program, filter_.arch, number) == ALLOW


def test_every_number_has_an_answer(filter_):
    """Every known number is allowed or gets an errno; nothing kills but a foreign numbering."""
    for number in range(1000):
        answer = ask(filter_.program, filter_.arch, number)
        assert answer == ALLOW or errno_of(answer) is not None, (number, hex(answer))


REFUSED = """
socket connect bind listen accept4 sethostname execve execveat fork vfork ptrace
process_vm_readv process_vm_writev mount umount2 pivot_root chroot unshare setns bpf
perf_event_open userfaultfd keyctl add_key request_key init_module finit_module kexec_load
reboot swapon io_uring_enter io_uring_register pidfd_open pidfd_getfd pidfd_send_signal
shmget shmat semget msgget mq_open kcmp name_to_handle_at open_by_handle_at fanotify_init
inotify_add_watch chown fchown lchown fchownat setuid setgid setresuid setgroups capset
seccomp landlock_create_ruleset memfd_create personality setsid setpgid sched_setscheduler
sched_setattr setpriority ioprio_set quotactl acct syslog mount_setattr move_mount open_tree
fsopen fsmount rt_sigqueueinfo rt_tgsigqueueinfo tkill vmsplice splice tee move_pages mbind
migrate_pages nfsservctl modify_ldt iopl ioperm lookup_dcookie setdomainname settimeofday
clock_settime adjtimex process_madvise timer_create mlock mlockall
"""


def test_what_is_not_needed_is_refused(filter_):
    """What is no part of the policy fails with EPERM, what came late with ENOSYS, whatever its
    arguments.
    """
    for name in filter(filter_.has, REFUSED.split()):  # the others are another machine's
        late = pyseccomp.resolve_syscall(filter_.arch, name) > seccomp.LAST_OLD[filter_.machine]
        wanted = errno.ENOSYS if late else errno.EPERM
        for arguments in ((), (0,) * 6, (1,) * 6, (ME,) * 6):
            assert errno_of(filter_(name, *arguments)) == wanted, (name, arguments)


@pytest.mark.parametrize("name", ["clone3", "io_uring_setup", "fchmodat2", "memfd_secret"])
def test_newer_ways_fall_back_to_older_ones(filter_, name):
    """Calls with an older checkpoint do not exist: libc then uses the one that can be looked into."""
    assert errno_of(filter_(name, 0x100, 88)) == errno.ENOSYS


def test_threads_are_allowed_and_processes_are_not(filter_):
    """clone makes threads; without CLONE_THREAD, or with any namespace, it makes nothing."""
    assert filter_.allows("clone", GLIBC_THREAD)
    assert filter_.allows("clone", GLIBC_THREAD | 0x00400000)
    for flags in (
        signal.SIGCHLD,
        0,
        CLONE_VM | 0x4000,  # vfork
        GLIBC_THREAD & ~CLONE_THREAD,
        *(GLIBC_THREAD | 1 << bit for bit in (7, 13, 17, 23, 25, 26, 27, 28, 29, 30, 31)),
        GLIBC_THREAD | CLONE_NEWUSER,
        GLIBC_THREAD | signal.SIGCHLD,
    ):
        assert errno_of(filter_("clone", flags)) == errno.EPERM, hex(flags)


@pytest.mark.parametrize("extra", [0, socket.SOCK_CLOEXEC, socket.SOCK_NONBLOCK])
def test_only_local_stream_pairs_are_sockets(filter_, extra):
    """socketpair gives AF_UNIX streams; datagrams could reach sockets by name."""
    unix, stream = socket.AF_UNIX, socket.SOCK_STREAM
    assert filter_.allows("socketpair", unix, stream | extra, 0)
    assert not filter_.allows("socketpair", unix, socket.SOCK_DGRAM | extra, 0)
    assert not filter_.allows("socketpair", unix, socket.SOCK_SEQPACKET | extra, 0)
    assert not filter_.allows("socketpair", unix, stream | extra, 1)
    assert not filter_.allows("socketpair", socket.AF_INET, stream | extra, 0)
    assert not filter_.allows("socketpair", 30, stream | extra, 0)  # AF_TIPC


def test_data_goes_to_the_other_end_only(filter_):
    """sendto takes no address."""
    assert filter_.allows("sendto", 3, 0x1000, 5, 0, 0, 0)
    assert not filter_.allows("sendto", 3, 0x1000, 5, 0, 0x2000, 16)


def test_a_landlocked_run_signals_itself_only(landlock):
    """Where no pid namespace holds it, a run can kill itself and nobody else."""
    assert landlock.allows("kill", ME, signal.SIGTERM)
    assert landlock.allows("kill", 0, 0)
    for other in (1, ME + 1, -1, -ME, PID_MARK):
        assert not landlock.allows("kill", other, signal.SIGKILL), other


def test_in_a_pid_namespace_every_signal_is_allowed(namespaces):
    """A pid namespace holds the run and its zygote, which no signal of it reaches."""
    for target in (ME, 1, -1):
        assert namespaces.allows("kill", target, signal.SIGKILL)


def test_threads_are_signalled_within_the_process(filter_):
    """tgkill reaches the run's own threads (raise, abort), not another process's."""
    assert filter_.allows("tgkill", ME, ME + 1, signal.SIGABRT)
    assert not filter_.allows("tgkill", ME + 1, ME + 1, signal.SIGABRT)
    assert not filter_.allows("tgkill", 1, 1, signal.SIGKILL)


@pytest.mark.parametrize(
    "name", ["prlimit64", "sched_setaffinity", "sched_getaffinity", "sched_getparam"]
)
def test_limits_and_scheduling_are_its_own(filter_, name):
    """Calls on a process id take zero or the own id; the zygote's is refused."""
    assert filter_.allows(name, 0, 7, 0x1000)
    assert filter_.allows(name, ME, 7, 0x1000)
    assert not filter_.allows(name, 1, 7, 0x1000)
    assert not filter_.allows(name, ME + 1, 7, 0x1000)


@pytest.mark.parametrize("name, place", [("mknod", 1), ("mknodat", 2)])
def test_pipes_are_made_and_devices_are_not(filter_, name, place):
    """mknod makes named pipes; no device, socket or other node."""
    if not filter_.has(name):
        return
    before = (0,) * place
    assert filter_.allows(name, *before, stat.S_IFIFO | 0o600)
    for kind in (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFREG, 0):
        assert not filter_.allows(name, *before, kind | 0o600), kind


def test_metadata_is_changed_in_a_root_of_its_own_only(namespaces, landlock):
    """chmod and utime work where all in reach is scratch; elsewhere they succeed and do nothing."""
    for name in ("fchmod", "fchmodat", "utimensat"):
        assert namespaces.allows(name)
        assert errno_of(landlock(name)) == 0


def test_prctl_answers_questions(filter_):
    """prctl gives and takes names; it changes no death signal, filter or capability."""
    for option in (15, 16, 39):
        assert filter_.allows("prctl", option)
    for option in (1, 4, 8, 10, 22, 24, 28, 36, 38, 47, 0x59616D61, 0x53564D41):
        assert not filter_.allows("prctl", option)


def test_terminals_and_owners_are_out_of_reach(filter_):
    """ioctl neither types into terminals nor controls them; fcntl sets no owner, lease or size."""
    assert filter_.allows("ioctl", 0, 0x5401)
    for request in (0x5412, 0x541C, 0x5402, 0x5414, 0x5410, 1 << 32 | 0x5401):
        assert not filter_.allows("ioctl", 0, request), hex(request)
    for command in (8, 10, 15, 1024, 1026, 1031, 1033):
        assert not filter_.allows("fcntl", 0, command), command


@pytest.mark.parametrize("options", [{"private": True}, {"session": True}])
@pytest.mark.parametrize("tier", ["namespaces", "landlock"])
def test_memory_that_is_shared_and_of_no_file_is_refused_where_nothing_counts_it(
    tier, machine, options
):
    """A map is private, or of a file; nothing shared is mapped again without being unmapped."""
    private = Asked(tier, machine, **options)
    for flags in (0x02, 0x22, 0x20022, 0x01, 0x03):
        assert private.allows("mmap", 0, 4096, 3, flags), hex(flags)
    for flags in (0x21, 0x23, 0x8021, 0x4021, 0x31, 0x40022, 0x122):
        assert not private.allows("mmap", 0, 4096, 3, flags), hex(flags)
    assert private.allows("mremap", 0x1000, 4096, 8192, 1)
    assert not private.allows("mremap", 0x1000, 0, 8192, 1)
    assert Asked(tier, machine).allows("mmap", 0, 4096, 3, 0x21), "a cgroup counts it"


@pytest.mark.parametrize(
    "name, place, good, bad",
    [
        ("mmap", 3, (0x22, 0x20022, 0x8022), (0x40022, 0x122)),  # huge pages, growing stacks
        ("madvise", 2, (4, 8, 14, 102), (12, 20, 21, 100, 1 << 32 | 4)),  # merging, paging out
        ("membarrier", 0, (0, 8, 16), (1, 2, 4, 32, 128)),
        ("pipe2", 1, (0, 0x80000, 0x80800), (0x80, 0x80080)),  # watch queues
        ("futex", 1, (0, 1, 128, 129, 137, 393, 138), (2, 14, 256 + 14)),
        ("recvfrom", 3, (0, 0x40, 0x4000), (1, 0x41)),  # out of band
        ("sendmsg", 2, (0, 0x4000), (1,)),
        ("recvmsg", 2, (0,), (1,)),
        ("getpriority", 1, (0, ME), (1, ME + 1)),
        ("getpgid", 0, (0, ME), (1, ME + 1)),
        ("getsid", 0, (0, ME), (1, ME + 1)),
        (
            "clock_gettime",
            0,
            (0, 1, 2, 3, 11, -6, (~77 << 3) | 6),
            ((~77 << 3) | 2, (~77 << 3) | 3),
        ),
        ("clock_nanosleep", 0, (0, 1), ((~77 << 3) | 2,)),
    ],
)
def test_arguments_are_looked_at(filter_, name, place, good, bad):
    """Of calls that can do more than honest programs need, that more is refused."""
    before = (0,) * place
    for value in good:
        assert filter_.allows(name, *before, value), value
    for value in bad:
        assert not filter_.allows(name, *before, value), value


def test_priority_inheritance_is_an_older_kernels(filter_):
    """Locks that inherit priorities do not exist, which libc can do without."""
    for operation in (6, 7, 8, 11, 12, 13, 128 | 6, 128 | 256 | 11):
        assert errno_of(filter_("futex", 0x1000, operation)) == errno.ENOSYS


def test_forgetting_for_everybody_is_only_answered(filter_):
    """POSIX_FADV_DONTNEED would drop pages of files that all jails share: it has no effect."""
    assert errno_of(filter_("fadvise64", 3, 0, 0, 4)) == 0
    assert filter_.allows("fadvise64", 3, 0, 0, 2)


def test_sockets_are_asked_what_python_asks(filter_):
    """getsockopt tells type, errors and sizes; no handle of a process, no filter, no other level."""
    for option in (3, 4, 38, 39):
        assert filter_.allows("getsockopt", 3, 1, option)
    for level, option in ((1, 26), (1, 77), (6, 3), (0, 3), (1, 31)):
        assert not filter_.allows("getsockopt", 3, level, option)


@pytest.fixture(scope="module")
def several(machine):
    return Asked("namespaces", machine, processes=True)


def test_processes_are_forked_and_executed(several):
    """fork, vfork, posix_spawn and exec go through, as libc makes them."""
    for flags in (signal.SIGCHLD, 0x01200000 | 17, 0x4100 | 17, GLIBC_THREAD):
        assert several.allows("clone", flags), hex(flags)
    for name in ("execve", "execveat", "setsid", "setpgid", "wait4", "waitid"):
        assert several.allows(name)
    assert errno_of(several("clone3", 0x1000, 88)) == errno.ENOSYS


def test_no_namespace_comes_with_a_process(several):
    """Namespaces, tracing, handles, another parent and other signals are refused."""
    bits = (7, 12, 13, 15, 17, 23, 25, 26, 27, 28, 29, 30, 31)
    for flags in (*(signal.SIGCHLD | 1 << bit for bit in bits), 0, signal.SIGKILL, CLONE_VM):
        assert errno_of(several("clone", flags)) == errno.EPERM, hex(flags)


def test_all_else_is_as_with_one_process(several, namespaces):
    """Whatever is not about processes has the same answer as for a run that is one."""
    ours = {"fork", "vfork", "execve", "execveat", "setsid", "setpgid", "arch_prctl", "kill"}
    ours |= {"tgkill", "getpgid", "getsid", "clone"}
    numbers = {pyseccomp.resolve_syscall(several.arch, name) for name in ours}
    for number in set(range(500)) - numbers:
        for arguments in ((0,) * 6, (1,) * 6, (0, 0x1002, 0, 0, 0, 0)):
            asked = [
                ask(each.program, each.arch, number, *arguments) for each in (several, namespaces)
            ]
            assert asked[0] == asked[1], number


def test_no_id_of_one_process_is_in_it(several):
    """A forked process has another id: only 0 stands for itself."""
    program = seccomp.build("namespaces", several.machine, processes=True)
    assert Filter(program)._marks == []
    assert several.allows("prlimit64", 0)
    assert not several.allows("prlimit64", ME)
    assert not several.allows("prlimit64", 1)


def test_rules_have_reasons_and_no_call_has_two_answers_by_accident():
    """Every rule says why; a name that two rules share has conditions in both of them."""
    for tier in ("namespaces", "landlock"):
        for options in ({}, {"session": True}, {"processes": True}, {"private": True}):
            seen: dict[str, list[syscalls.Rule]] = {}
            for rule in syscalls.rules(tier, **options):
                assert rule.why
                for name in rule.names.split():
                    seen.setdefault(name, []).append(rule)
            for name, shared in seen.items():
                assert len(shared) == 1 or all(() not in each.cases for each in shared), name
