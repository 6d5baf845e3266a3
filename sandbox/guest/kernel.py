"""System calls that Python has no function for.

The library is opened as `PyDLL`: the calls are short, and a fork made while the GIL is held
leaves the child's interpreter as it was, with no lock held by a thread that no longer exists.
"""

import ctypes
import errno
import os
import platform

_libc = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

_NUMBERS = {
    # name: (x86-64, aarch64), from the kernel's syscall tables
    "capset": (126, 91),
    "prctl": (157, 167),
    "umount2": (166, 39),
    "seccomp": (317, 277),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
    "mount_setattr": (442, 442),
}
MACHINE = platform.machine()
_COLUMN = {"x86_64": 0, "aarch64": 1}.get(MACHINE)

CLONE_NEWNS = 0x00020000
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
MS_NOSUID, MS_NODEV, MS_NOATIME = 2, 4, 1024
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_RDONLY, _NOSUID, _NODEV = 1, 2, 4  # MOUNT_ATTR_*
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
PR_CAPBSET_READ, PR_CAPBSET_DROP = 23, 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4


def fork() -> int:
    """Fork as libc does, without Python's at-fork hooks; return the child's pid, or 0 in it.

    Safe only in a process of one thread: then no lock can be held by another, and what
    `PyOS_AfterFork_Child` repairs is not broken. Saves about 0.4 ms of 1.3 (the hooks of
    threading, random and logging touch many pages); what they do that a run needs, reseeding,
    is done by name in `program.reseed`.
    """
    pid = int(_libc.fork())
    if pid < 0:
        _raise("fork")
    return pid


def unshare(flags: int) -> None:
    if _libc.unshare(ctypes.c_int(flags)) != 0:
        _raise("unshare")


def mount(source: bytes, target: bytes, kind: bytes, flags: int, options: bytes | None) -> None:
    if _libc.mount(source, target, kind, ctypes.c_ulong(flags), options) != 0:
        _raise(f"mount {kind.decode()} on {target.decode()}")


def harden_mounts(devices: list[str]) -> None:
    """Make every mount of this namespace read-only, nosuid and nodev; `devices` stay devices.

    mount_setattr(2), recursive from the root: one call for all of them.
    """
    _set_mount_attributes("/", _AT_RECURSIVE, add=_RDONLY | _NOSUID | _NODEV)
    for device in devices:
        _set_mount_attributes(device, 0, remove=_NODEV)


def _set_mount_attributes(path: str, flags: int, *, add: int = 0, remove: int = 0) -> None:
    attributes = (ctypes.c_uint64 * 4)(add, remove, 0, 0)  # struct mount_attr
    size = ctypes.sizeof(attributes)
    syscall("mount_setattr", _AT_FDCWD, path.encode(), flags, attributes, size)


def prctl(option: int, second: int = 0, third: int = 0) -> int:
    return syscall("prctl", option, second, third, 0, 0)


def syscall(name: str, *arguments: object) -> int:
    """Call `name` by its number; integers are passed as longs, buffers by reference.

    Safe because every caller passes buffers that it keeps alive across the call and sizes that
    it computed from them.
    """
    return Prepared(name, *arguments)()


class Prepared:
    """A system call with its arguments packed, to be made as often as it is called.

    Packing is most of the cost, and touches most of the memory: done ahead of a fork, no child
    pays for it.
    """

    __slots__ = ("_arguments", "_name")

    def __init__(self, name: str, *arguments: object) -> None:
        if _COLUMN is None:
            raise OSError(errno.ENOSYS, f"{name}: unknown machine {MACHINE}")
        numbered = (_NUMBERS[name][_COLUMN], *arguments)
        self._name = name
        self._arguments = tuple(
            ctypes.c_long(each) if isinstance(each, int) else each for each in numbered
        )

    def __call__(self) -> int:
        result = int(_libc.syscall(*self._arguments))
        if result < 0:
            _raise(self._name)
        return result


def no_new_privs() -> None:
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def _raise(what: str) -> None:
    code = ctypes.get_errno()
    raise OSError(code, f"{what}: {os.strerror(code)}")
