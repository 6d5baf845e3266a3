"""Landlock: which files a process may touch, whom it may signal, what it may connect to.

https://docs.kernel.org/userspace-api/landlock.html. Rights that this kernel does not know are
left out, and `probe` tells which version it has, so that every result can say what held.
"""

import ctypes
import errno
import os
import stat

from . import kernel

EXECUTE = 1 << 0
READ_FILE, READ_DIR = 1 << 2, 1 << 3
WRITE_FILE, TRUNCATE = 1 << 1, 1 << 14
REMOVE_DIR, REMOVE_FILE = 1 << 4, 1 << 5
MAKE_DIR, MAKE_REG, MAKE_FIFO, MAKE_SYM = 1 << 7, 1 << 8, 1 << 10, 1 << 12
REFER = 1 << 13

LEAST_ABI = 3
"""What the landlock tier needs: before it, any file of the same owner could be truncated."""

READ = READ_FILE | READ_DIR
SCRATCH = (
    READ | WRITE_FILE | TRUNCATE | REMOVE_DIR | REMOVE_FILE
    | MAKE_DIR | MAKE_REG | MAKE_FIFO | MAKE_SYM | REFER
)  # fmt: skip
FILE_RIGHTS = READ_FILE | WRITE_FILE | TRUNCATE
"""All that a rule on something other than a directory may grant."""

_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_SCOPE_ABSTRACT_UNIX_SOCKET, _SCOPE_SIGNAL = 1, 2
_NET_BIND_TCP, _NET_CONNECT_TCP = 1, 2


class _Attributes(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def probe() -> int:
    """Return the Landlock ABI of this kernel, 0 where it has none or has it switched off."""
    try:
        return kernel.syscall("landlock_create_ruleset", None, 0, _CREATE_RULESET_VERSION)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            return 0
        raise


def create(rules: list[tuple[str, int]], *, scope_signals: bool) -> int:
    """Make a ruleset that handles every right of this kernel and grants `rules`; return its fd.

    A rule is a path and rights; a path that does not exist is passed over, as what isn't there
    needs no right. With `scope_signals` a process can signal only its own domain.
    """
    abi = probe()
    handled = _handled_files(abi)
    attributes = _Attributes(
        handled_access_fs=handled,
        handled_access_net=_NET_BIND_TCP | _NET_CONNECT_TCP if abi >= 4 else 0,
        scoped=(_SCOPE_ABSTRACT_UNIX_SOCKET | (_SCOPE_SIGNAL if scope_signals else 0))
        if abi >= 6
        else 0,
    )
    # Older kernels know a shorter structure and accept a longer one only if the rest is zero.
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = kernel.syscall("landlock_create_ruleset", ctypes.byref(attributes), size, 0)
    for path, rights in rules:
        try:
            parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if not stat.S_ISDIR(os.fstat(parent).st_mode):
                rights &= FILE_RIGHTS
            rule = _PathBeneath(allowed_access=rights & handled, parent_fd=parent)
            kernel.syscall("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
        finally:
            os.close(parent)
    return ruleset


def apply(ruleset: int) -> None:
    """Restrict this thread, and all that it will make, to `ruleset`; needs no_new_privs."""
    prepare(ruleset)()


def prepare(ruleset: int) -> kernel.Prepared:
    """`apply`, to be called in a child."""
    return kernel.Prepared("landlock_restrict_self", ruleset, 0)


def _handled_files(abi: int) -> int:
    rights = (1 << 13) - 1
    if abi >= 2:
        rights |= REFER
    if abi >= 3:
        rights |= TRUNCATE
    if abi >= 5:
        rights |= 1 << 15  # IOCTL_DEV
    return rights
