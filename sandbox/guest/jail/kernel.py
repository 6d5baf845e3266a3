"""System calls that Python has no function for.

The library is opened as `PyDLL`: the calls are short, and a fork made while the GIL is held
leaves the child's interpreter as it was, with no lock held by a thread that no longer exists.
"""

import ctypes
import errno
import functools
import os
import platform
import signal

_libc = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_syscall, _fork, _flush = (
    _libc.syscall,
    _libc.fork,
    _libc.fflush,
)  # to find them by name would touch more pages

_NUMBERS = {
    # name: (x86-64, aarch64), from the kernel's syscall tables
    "mincore": (27, 232),
    "madvise": (28, 233),
    "clone": (56, 220),
    "kill": (62, 129),
    "getppid": (110, 173),
    "setpgid": (109, 154),
    "setsid": (112, 157),
    "capset": (126, 91),
    "prctl": (157, 167),
    "umount2": (166, 39),
    "seccomp": (317, 277),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
    "mount_setattr": (442, 442),
}
MACHINE = platform.machine()
_COLUMN = {"x86_64": 0, "aarch64": 1}.get(MACHINE)

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
CLONE_PARENT = 0x8000
CLONE_SETS_TID = 0x00200000 | 0x01000000  # CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_NOATIME = 1, 2, 4, 8, 1024
MS_REC, MS_PRIVATE = 0x4000, 0x40000
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8  # MOUNT_ATTR_*
_IONBF = 2  # in glibc and musl
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_CMD_CREATE = 6
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
PR_CAPBSET_READ, PR_CAPBSET_DROP = 23, 24
PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37
PR_SET_NO_NEW_PRIVS = 38
_PR_GET_TID_ADDRESS = 40
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4


def fork() -> int:
    """Fork as libc does, without Python's at-fork hooks; return the child's pid, or 0 in it.

    Safe only in a process of one thread: then no lock can be held by another, and what
    `PyOS_AfterFork_Child` repairs is not broken. Saves about 0.4 ms of 1.3 (the hooks of
    threading, random and logging touch many pages); what they do that a run needs, reseeding,
    is done by name (`program.seeders`).
    """
    pid: int = _fork()
    if pid < 0:
        _raise("fork")
    return pid


def clone(flags: int) -> int:
    """Fork into new namespaces, or as a child of this process's parent; as `fork` otherwise."""
    return prepare_clone(flags)()


def prepare_clone(flags: int) -> "Prepared":
    """`clone`, to be called later.

    The bare system call: libc keeps its thread's id in memory and would have a stale one in the
    child, so the kernel is told to write it there (that is how libc's own fork does it).
    """
    flags |= signal.SIGCHLD | CLONE_SETS_TID
    # aarch64 has the last two arguments the other way round.
    last = (0, _own_tid_address()) if MACHINE == "aarch64" else (_own_tid_address(), 0)
    return Prepared("clone", flags, 0, 0, *last)


@functools.cache
def _own_tid_address() -> int:
    """Where libc keeps the id of the main thread: it told the kernel when it started."""
    address = ctypes.c_uint64()
    syscall("prctl", _PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0)
    return address.value


def prepare_question(number: int) -> "Prepared":
    """Asking the host something, by a signal to a process that can't exist; called, its answer."""
    return Prepared("kill", number, 0)


def unshare(flags: int) -> None:
    if _libc.unshare(ctypes.c_int(flags)) != 0:
        _raise("unshare")


def setns(namespace: int, kind: int) -> None:
    if _libc.setns(ctypes.c_int(namespace), ctypes.c_int(kind)) != 0:
        _raise("setns")


def mount(source: bytes, target: bytes, kind: bytes, flags: int, options: bytes | None) -> None:
    if _libc.mount(source, target, kind, ctypes.c_ulong(flags), options) != 0:
        _raise(f"mount {kind.decode()} on {target.decode()}")


def detached_proc() -> int:
    """A proc of this pid namespace that is mounted nowhere: a descriptor of its root."""
    context = syscall("fsopen", b"proc", _FSOPEN_CLOEXEC)
    try:
        syscall("fsconfig", context, _FSCONFIG_CMD_CREATE, None, None, 0)
        attributes = _NOSUID | _NODEV | _NOEXEC
        return syscall("fsmount", context, _FSMOUNT_CLOEXEC, attributes)
    finally:
        os.close(context)


def own_mounts() -> None:
    """Cut this mount namespace off from the others; show each process only itself in /proc."""
    mount(b"none", b"/", b"none", MS_REC | MS_PRIVATE, None)
    flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
    mount(b"proc", b"/proc", b"proc", flags, b"hidepid=4")


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


def is_subreaper() -> bool:
    """Whether orphans among this process's descendants become its children."""
    answer = ctypes.c_int()
    syscall("prctl", _PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)
    return bool(answer.value)


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
        self._arguments = tuple(map(_argument, numbered))

    def __call__(self) -> int:
        result: int = _syscall(*self._arguments)
        if result < 0:
            _raise(self._name)
        return result


def _argument(value: object) -> object:
    """What ctypes passes as it is; of anything else it would make this for every call."""
    if isinstance(value, int):
        return ctypes.c_long.from_param(value)
    if isinstance(value, bytes):
        return ctypes.c_char_p.from_param(value)
    if isinstance(value, (ctypes.Array, ctypes.Structure)):
        return ctypes.byref(value)
    return value


def _streams() -> tuple[ctypes.c_void_p, int] | tuple[None, int]:
    """Where libc has its list of streams, and the one that begins it where none has been opened.
    glibc exports both for old programs; other libraries have neither.
    """
    try:
        own = ctypes.addressof(ctypes.c_char.in_dll(_libc, "_IO_2_1_stderr_"))
        return ctypes.c_void_p.in_dll(_libc, "_IO_list_all"), own
    except ValueError:
        return None, 0


_all_streams, _LAST_STANDARD_STREAM = _streams()


def unbuffer_stdio() -> None:
    """Have C's own standard streams write at once, as `python -u` has them: what C code has printed
    is then in order with Python's own, and not lost whatever ends the process.
    """
    for name in ("stdin", "stdout", "stderr"):
        _libc.setvbuf(ctypes.c_void_p.in_dll(_libc, name), None, _IONBF, ctypes.c_size_t(0))


def flush_stdio() -> None:
    """Flush every output stream of C's, as exit(3) would. It waits for whoever is at work on one:
    not to be called where threads may be. The standard streams hold nothing back; where there are
    no others, nothing is touched: fflush takes the lock of each, in pages that would be copied.
    """
    if _all_streams is None or _all_streams.value != _LAST_STANDARD_STREAM:
        _flush(None)


def no_new_privs() -> None:
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def _raise(what: str) -> None:
    code = ctypes.get_errno()
    raise OSError(code, f"{what}: {os.strerror(code)}")
