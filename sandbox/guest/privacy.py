"""What a branch might still share with its forerunner: looked at from its keeper, before it runs.

In the namespaces tier a keeper has the capability to look; elsewhere a branch lets itself be looked
at for as long as it takes (PR_SET_DUMPABLE), which the host allows it then and never again.
"""

import os
import stat

from . import kernel


class Refused(Exception):
    """A branch that can't be placed faithfully, or has not given up what it had to."""


def require_private_descriptors(pid: int) -> None:
    """Refuse a branch with more than /dev/null as its standard streams, and its socket."""
    null = os.stat("/dev/null")
    pidfd = os.pidfd_open(pid)
    sockets = 0
    try:
        for fd in sorted(map(int, os.listdir(f"/proc/{pid}/fdinfo"))):
            copy = kernel.syscall("pidfd_getfd", pidfd, fd, 0)
            status = os.fstat(copy)
            os.close(copy)
            if fd < 3 and (status.st_dev, status.st_ino) == (null.st_dev, null.st_ino):
                continue
            sockets += stat.S_ISSOCK(status.st_mode)
            if not stat.S_ISSOCK(status.st_mode) or sockets > 1:
                raise Refused(f"descriptor {fd} is open")
    finally:
        os.close(pidfd)


def require_private_maps(pid: int, scratch: str) -> None:
    """Refuse a branch with shared memory, or with files mapped that lie below `scratch`."""
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            _, permissions, _, _, _, *rest = line.rstrip("\n").split(maxsplit=5)
            path = rest[0] if rest else ""
            if path.startswith(scratch + "/"):
                raise Refused("it has mapped a file of its scratch")
            if permissions[3] == "s" and not _is_fixed(permissions, path):
                raise Refused("it has a shared memory map")


def _is_fixed(permissions: str, path: str) -> bool:
    """Whether a shared map is of a file that no program can change: libc maps tables like that."""
    return (
        permissions[1] == "-"
        and path.startswith(("/usr/", "/lib", "/opt/"))
        and not path.endswith(" (deleted)")
    )


def require_powerless(pid: int) -> None:
    """Refuse a branch with capabilities or more than one thread."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        for line in status:
            name, _, value = line.partition(":")
            if name in ("CapInh", "CapPrm", "CapEff", "CapAmb") and int(value, 16):
                raise Refused("it kept capabilities")
            if name == "Threads" and int(value) != 1:
                raise Refused("it has threads")


def require_hidden(pid: int) -> None:
    """Refuse a branch that can still be looked at without a capability."""
    try:
        os.close(os.open(f"/proc/{pid}/maps", os.O_RDONLY))
    except PermissionError:
        return
    raise Refused("it can be looked at")
