"""Capabilities: a zygote keeps what it needs to mount, a run keeps none."""

import ctypes

from . import kernel

CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_KILL, CAP_SETGID, CAP_SETUID = 0, 1, 3, 5, 6, 7
CAP_SETPCAP = 8
CAP_SYS_PTRACE = 19
CAP_SYS_ADMIN = 21

_VERSION_3 = 0x20080522


def probe(*wanted: int) -> bool:
    """Tell whether this process holds all of `wanted` in its own user namespace."""
    mask = sum(1 << number for number in wanted)
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16) & mask == mask
    return False


def empty_bounding_set() -> None:
    """Empty the bounding and ambient sets; needs CAP_SETPCAP where they are not empty already.

    What is permitted now stays so; nothing can be gained any more.
    """
    kernel.prctl(kernel.PR_CAP_AMBIENT, kernel.PR_CAP_AMBIENT_CLEAR_ALL)
    drop_bounding_set()


def drop_bounding_set() -> None:
    """Empty the bounding set only: the ambient one of a new user namespace is empty."""
    number = 0
    while True:
        try:
            held = kernel.prctl(kernel.PR_CAPBSET_READ, number)
        except OSError:  # past the last capability that this kernel knows
            return
        if held:
            kernel.prctl(kernel.PR_CAPBSET_DROP, number)
        number += 1


def apply(keep: int = 0) -> None:
    """Keep the capabilities in the bit mask `keep`, permitted and effective; inherit none."""
    prepare(keep)()


def prepare(keep: int = 0) -> kernel.Prepared:
    """`apply`, to be called in a child."""
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    low, high = keep & 0xFFFFFFFF, keep >> 32
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    return kernel.Prepared("capset", header, data)
