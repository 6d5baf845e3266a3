"""Kernel surface, whole: every system call number, in every variant, against lists in this folder.

K10: a change of what programs can reach shows as a change of `golden/`; `golden.py` writes it anew.
"""

import errno
import platform

import pytest

from interpreter_pool import ExitReason, Limits, Pool, Result

from . import golden

MACHINE = platform.machine()

ONE_CALL = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
number = ctypes.c_long(int(sys.argv[1]))
result = libc.syscall(number, *[ctypes.c_long(@BAD@)] * 6)
os.write(2, b"%d %d;" % (result, ctypes.get_errno()))
os._exit(0)
""".replace("@BAD@", str(golden.BAD))

REFUSALS = {errno.EPERM: "EPERM", errno.ENOSYS: "ENOSYS", errno.ENOTSUP: "ENOTSUP"}

NOT_TRIED = {"vfork", "setsid", "setpgid"}
"""What `tests/sandbox/jail/test_seccomp.py` asks for, as it shows nothing here: vfork's child would go on
with its parent's stack, through this program; and a leader of a session can begin neither a session nor a group."""

PAST_ANY_FILTER = {335, 336} if MACHINE == "x86_64" else set()
"""uretprobe and uprobe: the kernel puts them into programs that are being observed, and newer ones
let them pass any filter. Elsewhere they do nothing but end their caller (SIGILL)."""

ALL_BUT_GAPS = 480
"""As far as numbers go that any kernel knows."""


@pytest.mark.parametrize("machine", list(golden.ARCHES))
def test_k10_the_filter_is_the_golden_one(machine):
    """K10: what the generated filter answers to every number, and what it looks at, is written
    down; `python tests/security/golden.py` writes it anew.
    """
    assert golden.render(machine) == golden.path(machine).read_text()


def expected(variant: str) -> dict[int, str]:
    """What the golden list says of this machine, by number."""
    column = list(golden.VARIANTS).index(variant)
    found = {}
    for line in golden.path(MACHINE).read_text().splitlines():
        if not line:
            break
        if line.startswith("#"):
            continue
        span, name, *answers = line.split()
        first, _, last = span.partition("-")
        for number in range(int(first), int(last or first) + 1):
            if name not in NOT_TRIED and (number < 0x40000000 or number in golden.X32):
                found[number] = answers[column]
    return found


def seen(result: Result) -> str:
    """What one call of a real program came to: refused how, or let through."""
    if result.reason is ExitReason.DENIED:
        return "kill"
    first = result.stderr.partition(";")[0].split()
    if len(first) != 2:  # it left, died of its arguments, or waits
        return "allow"
    value, error = map(int, first)
    if value == 0:
        return "done"
    return "allow" if value > 0 else REFUSALS.get(error, "allow")


def same(wanted: str, got: str) -> bool:
    """Whether the kernel did as the list says. What is asked for at the host is refused by it."""
    match wanted:
        case "allow":
            return got in ("allow", "done")
        case "no-effect":  # with these arguments, EFAULT or EBADF if it had one
            return got == "done"
        case "ask":
            return got == "EPERM"
        case _:
            return got == wanted


def differences(wanted: dict[int, str], got: dict[int, str]) -> dict[int, tuple[str, str]]:
    """Numbers that the kernel answered otherwise: what the list says, and what was seen."""
    return {
        number: (wanted[number], got[number])
        for number in wanted
        if not same(wanted[number], got[number])
        and not (number in PAST_ANY_FILTER and got[number] == "allow")
    }


@pytest.mark.parametrize("variant", ["ns", "ll", "ns-processes"])
def test_k10_every_number_is_answered_as_written(variant):
    """K10: every number is called by a program of its own, on the real kernel: what is let through,
    refused, or death, is exactly what the golden list says.
    """
    tier, options = golden.VARIANTS[variant]
    limits = Limits(wall_s=0.5, processes=4 if options else 1)
    wanted = expected(variant)
    with Pool(2, tier=tier, limits=limits, preload=("ctypes",)) as pool:
        programs = (pool.submit(ONE_CALL, args=[str(number)]) for number in wanted)
        results = {
            number: future.result() for number, future in zip(wanted, list(programs), strict=True)
        }
        for number in differences(wanted, {n: seen(result) for n, result in results.items()}):
            # What waits is let through; on a loaded machine, so seems what is only late.
            results[number] = pool.run(ONE_CALL, args=[str(number)], timeout=5)
        assert pool.stats().replaced == 0
    assert not any(result.infra_error for result in results.values())
    assert differences(wanted, {n: seen(result) for n, result in results.items()}) == {}


@pytest.mark.parametrize("variant", ["ns-session", "ll-session"])
def test_k10_every_number_is_answered_as_written_in_sessions(variant):
    """K10: the same in a session, a call for each number."""
    tier, _ = golden.VARIANTS[variant]
    wanted = {n: what for n, what in expected(variant).items() if n < ALL_BUT_GAPS or n > 1000}
    got = {}
    code = ONE_CALL.replace("os._exit(0)", "").replace("int(sys.argv[1])", "NUMBER")
    with Pool(2, tier=tier, limits=Limits(wall_s=0.5)) as pool, pool.session() as session:
        session.run("import ctypes, os, sys")
        for number in wanted:
            got[number] = seen(session.run(code.replace("NUMBER", str(number))))
    assert differences(wanted, got) == {}


def test_a_difference_is_seen():
    """A number that is let through, refused otherwise, or not killed for, is a difference."""
    wanted = {1: "EPERM", 2: "kill", 3: "no-effect", 4: "allow", 5: "ask", 6: "ENOSYS"}
    right = {1: "EPERM", 2: "kill", 3: "done", 4: "allow", 5: "EPERM", 6: "ENOSYS"}
    assert differences(wanted, right) == {}
    wrong = {1: "allow", 2: "ENOSYS", 3: "allow", 4: "EPERM", 5: "allow", 6: "EPERM"}
    assert set(differences(wanted, wrong)) == set(wanted)
