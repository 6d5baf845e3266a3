"""The golden lists: what every variant of the filter answers to every system call number.

`python tests/security/golden.py` writes them anew from the policy. A list that has changed is a
change of what programs can reach: it belongs into the same commit, and has to be looked at.
"""

import errno
import itertools
from pathlib import Path

import bpf
import pyseccomp

from interpreter_pool.sandbox.guest.jail.syscall_filter import PID_MARK
from interpreter_pool.sandbox.jail import seccomp, syscalls

FOLDER = Path(__file__).parent / "golden"
ARCHES = {"x86_64": pyseccomp.Arch.X86_64, "aarch64": pyseccomp.Arch.AARCH64}

VARIANTS: dict[str, tuple[str, dict[str, bool]]] = {
    "ns": ("namespaces", {}),
    "ns-processes": ("namespaces", {"processes": True}),
    "ns-private": ("namespaces", {"private": True}),
    "ns-processes-private": ("namespaces", {"processes": True, "private": True}),
    "ns-session": ("namespaces", {"session": True}),
    "ll": ("landlock", {}),
    "ll-private": ("landlock", {"private": True}),
    "ll-session": ("landlock", {"session": True}),
}

NUMBERS = range(1001)
X32 = tuple(0x40000000 | each for each in (0, 1, 39, 56, 59, 101, 300, 334, 424, 512, 547, 1000))
BAD = 76
"""What every argument is: no pointer, no signal, no open descriptor, no flags that belong together."""

_NAMES = {errno.EPERM: "EPERM", errno.ENOSYS: "ENOSYS", errno.ENOTSUP: "ENOTSUP", 0: "no-effect"}
_NOTIFY = 0x7FC00000


def answer(variant: str, machine: str, number: int, *arguments: int) -> str:
    """What the filter answers: allow, ask, kill, no-effect, or the name of an error."""
    tier, options = VARIANTS[variant]
    program = seccomp.build(tier, machine, **options)
    found = bpf.ask(program, ARCHES[machine], number, *(arguments or (BAD,) * 6))
    error = bpf.errno_of(found)
    if error is not None:
        return _NAMES[error]
    return {bpf.ALLOW: "allow", bpf.KILL_PROCESS: "kill", _NOTIFY: "ask"}[found]


def render(machine: str) -> str:
    """The golden list of a machine: answers to arguments that are all bad, then on what they depend."""
    lines = [
        f"# {machine}: the answer to every number, all arguments being {BAD}",
        "# number name " + " ".join(VARIANTS),
    ]
    names = _names(machine)
    rows = ((number, _row(machine, number, names)) for number in (*NUMBERS, *X32))
    for row, same in itertools.groupby(rows, lambda each: (each[1], each[0] >= X32[0])):
        numbers = [number for number, _ in same]
        span = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"
        lines.append(f"{span} {' '.join(row[0])}")
    lines.append("\n# where arguments are looked at: what then, and in which variants")
    found: dict[str, list[str]] = {}
    for variant, (tier, options) in VARIANTS.items():
        for condition in _conditions(machine, syscalls.rules(tier, **options)):
            found.setdefault(condition, []).append(variant)
    lines += [f"{condition}: {' '.join(found[condition])}" for condition in sorted(found)]
    return "\n".join(lines) + "\n"


def _row(machine: str, number: int, names: dict[int, str]) -> tuple[str, ...]:
    name = names.get(number, "-")
    return (name, *(answer(variant, machine, number) for variant in VARIANTS))


def _names(machine: str) -> dict[int, str]:
    """Names by number, of the calls that the policy has something to say about."""
    found = {number: name for name, number in syscalls.NEWER.items()}
    for tier, options in VARIANTS.values():
        for rule in syscalls.rules(tier, **options):
            for name in rule.names.split():
                number = pyseccomp.resolve_syscall(ARCHES[machine], name)
                if number >= 0:
                    found[number] = name
    return found


def _conditions(machine: str, rules: tuple[syscalls.Rule, ...]) -> list[str]:
    """Every case of every rule that looks at arguments, a line each."""
    lines = []
    for rule in rules:
        action = {syscalls.ALLOW: "allow", syscalls.ASK: "ask"}.get(rule.action)
        action = action or _NAMES[max(rule.action, 0)]
        for name in rule.names.split():
            if pyseccomp.resolve_syscall(ARCHES[machine], name) < 0:
                continue
            for case in rule.cases:
                if case:
                    lines.append(f"{name}: {' '.join(map(_condition, case))}: {action}")
    return lines


def _condition(condition: syscalls.Condition) -> str:
    value = "its-own-id" if condition.value == PID_MARK else f"{condition.value:#x}"
    mask = "" if condition.mask is None else f"&{condition.mask:#x}"
    return f"arg{condition.argument}{mask}{'!=' if condition.unequal else '=='}{value}"


def path(machine: str) -> Path:
    return FOLDER / f"syscalls-{machine}.txt"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in ARCHES:
        path(each).write_text(render(each))
