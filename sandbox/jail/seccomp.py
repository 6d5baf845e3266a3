"""From the policy of `syscalls.py` to a filter program. The only file that knows libseccomp."""

import functools
import os
import struct
from typing import Any

from ..errors import SetupError
from . import syscalls

_OPTIMIZE_TREE = 2
"""libseccomp's CTL_OPTIMIZE level: a binary tree, so that no call passes more than a few tests."""

_ARCHES = {"x86_64": "X86_64", "aarch64": "AARCH64"}

LAST_OLD = {"x86_64": 334, "aarch64": 294}
"""The last number of Linux 5.0: rseq; kexec_file_load. What came later has, but for
`syscalls.NEWER`, an older way of doing the same, and is ENOSYS, as are the gaps."""

_X32_BIT = 0x40000000
_EPERM = 1
_LEAVE, _REFUSED, _ASKED = 0x06, 0x00050000 | _EPERM, 0x7FC00000  # BPF_RET; ERRNO, USER_NOTIF
_ENOSYS = 38


@functools.cache
def build(
    tier: str,
    machine: str | None = None,
    *,
    session: bool = False,
    processes: bool = False,
    private: bool = False,
    explain: bool = False,
) -> bytes:
    """Return the filter of `tier` as BPF instructions for `machine` (default: this one): for runs,
    for sessions, or for runs that may have several processes. private: for hosts where no cgroup
    counts memory. explain: one that asks the host where
    it would else answer EPERM, so that refused calls can be named; the host's answer is the same
    (`run/refusals.py`).

    Foreign architectures, x32 among them, kill the process: no library falls back from there.
    `PID_MARK` stands wherever the process's own id belongs (see `guest/jail/syscall_filter.py`).
    Raises `SetupError` where libseccomp is missing or this machine is unknown.
    """
    machine = machine or os.uname().machine
    if machine not in _ARCHES:
        raise SetupError("seccomp", f"no filter for {machine}; there is one for {list(_ARCHES)}")
    library = _libseccomp()
    try:
        rules = syscalls.rules(tier, session=session, processes=processes, private=private)
        program = _build(library, machine, rules)
        return _asking(program) if explain else program
    except OSError as error:
        # libseccomp asks the kernel which actions it has.
        raise SetupError(
            "seccomp", f"no filter can be built ({error}); does the kernel filter system calls?"
        ) from error


def _build(library: Any, machine: str, rules: tuple[syscalls.Rule, ...]) -> bytes:
    arch = getattr(library.Arch, _ARCHES[machine])
    filter_ = library.SyscallFilter(library.ERRNO(_EPERM))
    if machine != os.uname().machine:
        filter_.remove_arch(library.Arch.NATIVE)
        filter_.add_arch(arch)
    filter_.set_attr(library.Attr.ACT_BADARCH, library.KILL_PROCESS)
    filter_.set_attr(library.Attr.CTL_OPTIMIZE, _OPTIMIZE_TREE)
    for rule in rules:
        for name in rule.names.split():
            if library.resolve_syscall(arch, name) < 0:  # another machine's: open, on aarch64
                continue
            # Rules take this machine's numbers; libseccomp translates them.
            number = library.resolve_syscall(library.Arch.NATIVE, name)
            for case in rule.cases:
                filter_.add_rule_exactly(
                    _action(library, rule.action), number, *(_compare(library, c) for c in case)
                )
    with os.fdopen(os.memfd_create("seccomp"), "w+b") as file:
        filter_.export_bpf(file)
        file.seek(0)
        program = file.read()
    return _newer(arch, machine) + program


def _asking(program: bytes) -> bytes:
    """The same program, which asks where it refuses: no other instruction differs."""
    refuse, ask = (struct.pack("<HBBI", _LEAVE, 0, 0, each) for each in (_REFUSED, _ASKED))
    size = len(refuse)
    instructions = (program[at : at + size] for at in range(0, len(program), size))
    return b"".join(ask if each == refuse else each for each in instructions)


def name_of(number: int) -> str:
    """The name of a system call of this machine.

    >>> name_of(1 << 20)
    'number 1048576'
    """
    library = _libseccomp()
    try:
        name: bytes = library.resolve_syscall(library.Arch.NATIVE, number)
        return name.decode()
    except (ValueError, AttributeError):  # it knows none of that number
        return f"number {number}"


def _action(library: Any, action: int) -> int:
    if action == syscalls.ALLOW:
        return int(library.ALLOW)
    if action == syscalls.ASK:
        return int(library.NOTIFY)
    errno = 0 if action == syscalls.NO_EFFECT else action
    return int(library.ERRNO(errno))


def _compare(library: Any, condition: syscalls.Condition) -> Any:
    arg = library.Arg
    if condition.unequal:
        return arg(condition.argument, library.NE, condition.value)
    if condition.mask is None:
        return arg(condition.argument, library.EQ, condition.value)
    return arg(condition.argument, library.MASKED_EQ, condition.mask, condition.value)


def _newer(arch: int, machine: str) -> bytes:
    """Instructions before libseccomp's own, for what is newer than it may be: it has no way to say
    "every number above".

    Offsets are those of struct seccomp_data: the number at 0, the architecture at 4.
    """
    load, if_equal, if_above, if_at_least, leave = 0x20, 0x15, 0x25, 0x35, 0x06
    allow, enosys = 0x7FFF0000, 0x00050000 | _ENOSYS
    # From the last to the first, as jumps forward are counted from where they stand.
    instructions = [(leave, 0, 0, allow), (leave, 0, 0, enosys)]
    for distance, number in enumerate(sorted(syscalls.NEWER.values(), reverse=True)):
        instructions.append((if_equal, distance + 1, 0, number))
    rest = len(instructions)  # from here to libseccomp's part
    instructions.append((if_above, 0, rest, LAST_OLD[machine]))
    if machine == "x86_64":
        instructions.append((if_at_least, rest + 1, 0, _X32_BIT))  # libseccomp's part kills it
    instructions.append((load, 0, 0, 0))
    # Another architecture: likewise.
    instructions.append((if_equal, 0, len(instructions), arch))
    instructions.append((load, 0, 0, 4))
    return b"".join(struct.pack("<HBBI", *each) for each in reversed(instructions))


@functools.cache
def _libseccomp() -> Any:
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError) as error:
        raise SetupError(
            "seccomp",
            f"libseccomp can't be loaded ({error}); install it: `apt install libseccomp2`, "
            "`dnf install libseccomp`",
        ) from error
    return pyseccomp


def probe() -> str | None:
    """Return why no filter can be built here, or None if one can."""
    try:
        build("landlock")
    except SetupError as error:
        return str(error)
    return None
