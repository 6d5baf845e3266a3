"""Programs that try system calls by their numbers."""

import json

import pyseccomp

REFUSED = {"EPERM", "EACCES", "ENOSYS"}
"""What a refusal looks like. Calls are made with bad pointers, descriptors and flags, so that
EFAULT, EBADF or EINVAL means that the filter let them through."""

BAD = 1
"""A pointer to nothing."""

_PROGRAM = """
import ctypes, errno, json, os
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
answers = {}
for label, number, arguments in @CALLS@:
    if os.getpid() in arguments:
        continue
    arguments = [os.getppid() if each == "parent" else each for each in arguments]
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    answers[label] = errno.errorcode[ctypes.get_errno()] if result < 0 else "done"
print(json.dumps(answers))
"""


def program(*calls: tuple[object, ...]) -> str:
    """A program that makes `calls` (name and arguments) and prints a JSON object: what each got.

    The argument "parent" stands for the id of the program's parent; its own id, as an argument,
    makes it leave the call out: what it does to itself is its own business. Calls that this machine has
    no number for are left out.
    """
    numbered = []
    for name, *arguments in calls:
        number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
        if number >= 0:
            label = json.dumps([name, *arguments])
            numbered.append((label, number, arguments))
    return _PROGRAM.replace("@CALLS@", repr(numbered))


def let_through(answers: dict[str, str]) -> dict[str, str]:
    """Of what `program` printed: the calls that were not refused."""
    return {label: answer for label, answer in answers.items() if answer not in REFUSED}
