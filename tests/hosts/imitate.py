"""Runs a command on an imitated host: python -m hosts.imitate KIND COMMAND…

As root, in a mount namespace of its own with an empty /tmp: nothing that is done here shows
outside. What is taken away is taken by the means of a container runtime and in its order: mounts,
bounding set, filter, user. As an ordinary user, only the filter can be imitated.
"""

import contextlib
import os
import platform
import sys
from collections.abc import Iterable, Iterator

import pyseccomp

from interpreter_pool.sandbox.guest.jail import kernel
from interpreter_pool.sandbox.jail import cgroups

from .kinds import KINDS, Kind

USER = 20000 + os.getpid() % 20000
"""Nobody's id: a container's user has no entry in /etc/passwd either. It is another for each host
that is imitated: the kernel counts some things by user, over all of its processes.
"""

_BIND, _REMOUNT = 0x1000, 0x20
_CLONE_FS = 0x200
_MASKED = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug")
_CGROUPS = "/sys/fs/cgroup"


def main() -> None:
    kind = KINDS[sys.argv[1]]
    command = sys.argv[2:]
    if kind.cgroup == "delegated":
        with _delegated_groups(USER) as folders:
            code = _wait_for(command, folders, kind)
        sys.exit(code)
    _become(kind)
    os.execvp(command[0], command)


def _become(kind: Kind) -> None:
    if os.geteuid() != 0:
        kernel.no_new_privs()  # or nobody but root may install a filter
        _install(kind)
        return
    here = os.getcwd()
    kernel.unshare(kernel.CLONE_NEWNS | _CLONE_FS)
    _mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    _show([sys.base_prefix, sys.prefix, here])
    os.chdir(here)
    if kind.cgroup == "read-only":
        for point in _mounts_below(_CGROUPS):
            _mount("none", point, flags=_BIND | _REMOUNT | kernel.MS_RDONLY)
    if kind.read_only:
        _mount("none", "/", flags=_BIND | _REMOUNT | kernel.MS_RDONLY)
    if kind.hidden:
        _mount("proc", "/proc", "proc", options="hidepid=2")
    if kind.masked:
        for path in filter(os.path.exists, _MASKED):
            _mount("/dev/null", path, flags=_BIND)
        _mount("/proc/sys", "/proc/sys", flags=_BIND)
        _mount("none", "/proc/sys", flags=_BIND | _REMOUNT | kernel.MS_RDONLY)
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        last = int(file.read())
    for number in range(last + 1):
        if kind.capabilities is not None and number not in kind.capabilities:
            kernel.prctl(kernel.PR_CAPBSET_DROP, number)
    _install(kind)  # while there is the power to: then no_new_privs is not needed for it
    if not kind.root:
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
    os.environ |= {"HOME": "/tmp/home", "TMPDIR": "/tmp"}
    os.mkdir("/tmp/home", 0o700)


def _show(paths: list[str]) -> None:
    """Cover /tmp with an empty one, and what keeps others away from `paths`, in which they are
    then shown at their places. A folder that nobody else may enter is shown entry by entry.
    """
    paths = _outermost(entry for path in paths for entry in _open_entries(path))
    held = {path: os.open(path, os.O_PATH) for path in paths}
    covers = {"/tmp"} | {folder for path in paths for folder in _closed_folders(path)}
    top = _outermost(covers)
    for folder in top:
        _mount("tmpfs", folder, "tmpfs", options="mode=1777" if folder == "/tmp" else "mode=0755")
    for path, fd in held.items():
        if any(path.startswith(folder + "/") for folder in top):
            if os.path.isdir(f"/proc/self/fd/{fd}"):
                os.makedirs(path)
            else:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.close(os.open(path, os.O_CREAT, 0o644))
            _mount(f"/proc/self/fd/{fd}", path, flags=_BIND | kernel.MS_REC)
        os.close(fd)


def _outermost(paths: Iterable[str]) -> list[str]:
    """Those of `paths` that lie below no other: the others are shown and covered with them."""
    all_ = set(paths)
    return sorted(each for each in all_ if not any(each.startswith(o + "/") for o in all_))


def _open_entries(path: str) -> list[str]:
    """The path itself; or all that it holds, if others may not pass through it."""
    if os.stat(path).st_mode & 0o001:
        return [path]
    return [os.path.join(path, name) for name in os.listdir(path)]


def _closed_folders(path: str) -> Iterator[str]:
    """The folders above `path` that don't let everyone through."""
    while path != "/":
        path = os.path.dirname(path)
        if not os.stat(path).st_mode & 0o001:
            yield path


def _mount(
    source: str, target: str, kind: str = "none", *, flags: int = 0, options: str = ""
) -> None:
    kernel.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode() or None)


def _mounts_below(top: str) -> list[str]:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        points = [line.split(" ")[4] for line in file]
    return [each for each in points if each == top or each.startswith(top + "/")]


def _install(kind: Kind) -> None:
    if not kind.refusals:
        return
    filter_ = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    filter_.set_attr(pyseccomp.Attr.CTL_NNP, 0)
    if platform.machine() == "x86_64":  # as container runtimes do: 32-bit programs run there
        filter_.add_arch(pyseccomp.Arch.X86)
        filter_.add_arch(pyseccomp.Arch.X32)
    for refusal in kind.refusals:
        for name in refusal.names.split():
            number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
            if number < 0:  # another machine's
                continue
            if not refusal.flags:
                filter_.add_rule(pyseccomp.ERRNO(refusal.error), number)
            for flag in refusal.flags:
                has = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag)
                filter_.add_rule(pyseccomp.ERRNO(refusal.error), number, has)
    filter_.load()


@contextlib.contextmanager
def _delegated_groups(user: int) -> Iterator[list[str]]:
    """Make a group that belongs to `user`, where groups can be made; yield the folders that a
    process has to join. They are removed in the end.
    """
    folders: list[str] = []
    try:
        for parents in cgroups.find():
            name = f"{cgroups.PREFIX}{os.getpid()}-delegated"
            tops = [f"{each}/{name}" for each in {parents.memory, parents.tasks} if each]
            try:
                for top in tops:
                    os.mkdir(top)
                    folders.append(top)
            except OSError:
                continue
            joined = tops
            if parents.version == 2:  # there, a group holds processes or hands controllers down
                joined = [f"{tops[0]}/inner"]
                os.mkdir(joined[0])
                folders.append(joined[0])
                with open(f"{tops[0]}/cgroup.subtree_control", "w", encoding="ascii") as file:
                    file.write("+memory +pids")
            for folder in folders:
                for path in (folder, *(f"{folder}/{each}" for each in os.listdir(folder))):
                    os.chown(path, user, user)
            yield joined
            return
        raise RuntimeError("no control group can be made here, so none can be delegated")
    finally:
        for folder in reversed(folders):
            cgroups.remove(folder)


def _wait_for(command: list[str], folders: list[str], kind: Kind) -> int:
    """Fork a process that joins `folders` and becomes `command`; return its exit code."""
    pid = os.fork()
    if pid == 0:
        for folder in folders:
            with open(f"{folder}/cgroup.procs", "w", encoding="ascii") as file:
                file.write(str(os.getpid()))
        _become(kind)
        os.execvp(command[0], command)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main()
