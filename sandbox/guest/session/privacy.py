"""What a branch might still share with its forerunner: looked at from its family init, before it
runs.

In the namespaces tier a family init has the capability to look; elsewhere a branch lets itself be
looked at for as long as it takes (PR_SET_DUMPABLE), which the host allows it then and never again.
"""

import _socket
import os

from ..jail import proc
from . import open_files


class Refused(Exception):
    """A branch that can't be placed faithfully, or has not given up what it had to."""


def require_private_descriptors(pid: int, fresh: dict[int, int]) -> None:
    """Refuse a branch with more than /dev/null as its standard streams, its socket, and the files
    that were opened for it, `fresh` (`open_files.reopen`).

    What a descriptor is open on, its mount and inode tell, which can be asked for without a copy
    of it: pidfd_getfd is refused by Docker's default profile, and `fd` in /proc by its permissions.
    """
    null = os.stat("/dev/null")
    devices = _devices_of_mounts(pid)
    own = _socket.socket(_socket.AF_UNIX)
    try:
        sockets_mount, _ = _opened("self", own.fileno())
    finally:
        own.close()
    sockets = 0
    for fd in sorted(map(int, os.listdir(f"/proc/{pid}/fdinfo"))):
        mount, inode = _opened(pid, fd)
        if fd < 3 and (devices.get(mount), inode) == (null.st_dev, null.st_ino):
            continue
        if fd in fresh and open_files.is_same(pid, fd, fresh[fd]):
            continue
        sockets += mount == sockets_mount
        if mount != sockets_mount or sockets > 1:
            raise Refused(f"it has a file open (descriptor {fd})")


def _opened(pid: int | str, fd: int) -> tuple[int, int]:
    """The mount and the inode that a process's descriptor is open on (their numbers)."""
    fields = proc.descriptor(pid, fd)
    return int(fields[b"mnt_id"]), int(fields[b"ino"])


def _devices_of_mounts(pid: int) -> dict[int, int]:
    """The device of each mount that a process sees."""
    devices = {}
    for line in proc.lines(pid, "mountinfo"):
        mount, _, device, _ = line.split(b" ", 3)
        major, minor = device.split(b":")
        devices[int(mount)] = os.makedev(int(major), int(minor))
    return devices


def require_private_maps(pid: int, scratch: str) -> None:
    """Refuse a branch with shared memory, or with files mapped that lie below `scratch`."""
    own = os.fsencode(scratch) + b"/"
    for line in proc.lines(pid, "maps"):
        _, permissions, _, _, _, *rest = line.split(maxsplit=5)
        path = rest[0] if rest else b""
        if path.startswith(own):
            raise Refused("it has mapped a file of its scratch")
        if permissions[3:4] == b"s" and not _is_fixed(permissions, path):
            raise Refused("it has a shared memory map")


def _is_fixed(permissions: bytes, path: bytes) -> bool:
    """Whether a shared map is of a file that no program can change: libc maps tables like that."""
    return (
        permissions[1:2] == b"-"
        and path.startswith((b"/usr/", b"/lib", b"/opt/"))
        and not path.endswith(b" (deleted)")
    )


def require_powerless(pid: int, *, bounded: bool) -> None:
    """Refuse a branch with capabilities or more than one thread; `bounded`: or that could be given
    some by what it executes. (It executes nothing: a second lock.)
    """
    found = proc.status(pid)
    if not found:
        raise Refused("it is gone")
    sets = (b"CapInh", b"CapPrm", b"CapEff", b"CapAmb", *([b"CapBnd"] if bounded else []))
    if any(int(found[name], 16) for name in sets):
        raise Refused("it kept capabilities")
    if int(found[b"Threads"]) != 1:
        raise Refused("it has threads")


def require_hidden(pid: int) -> None:
    """Refuse a branch that can still be looked at without a capability."""
    try:
        os.close(os.open(f"/proc/{pid}/maps", os.O_RDONLY))
    except PermissionError:
        return
    raise Refused("it can be looked at")
