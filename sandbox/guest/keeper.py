"""The keeper of a family: parent of all its processes; places their files, reaps them.

It never runs a line of a program's. Its children are the first head, which it forks itself, and
whatever a head forks when the host asks: with CLONE_PARENT, so that they are the keeper's children
too, and it learns from the kernel how each of them ends, however long its forerunners live.

Messages on the family's socket (SOCK_SEQPACKET, wire values):

==========================================  ====================================================
host -> keeper  ("first",) + socket         fork the first head, with that socket
                ("place", pid)              a branch: give it files of its own (namespaces tier)
                ("settled?", pid)           has it given up what it had to?
keeper -> host  ("first", pid)              its id in here
                ("placed",), ("settled",)   or ("refused", why), of the branch last spoken of
                ("exit", pid, status, cpu)  a process has ended: wait status, CPU in microseconds
==========================================  ====================================================
"""

import os
import select
import signal
import socket
import stat
from typing import Any, NoReturn

from . import kernel, wire
from .confine import Confinement
from .program import Program
from .session import Head


class Refused(Exception):
    """A branch that can't be placed faithfully, or has not given up what it had to."""


class Keeper:
    """Serves one family. `limits`: disk_bytes and inodes of a scratch, None for unlimited, and the
    folder where it is, if families have theirs side by side.
    """

    def __init__(
        self,
        control: socket.socket,
        confinement: Confinement,
        program: Program,
        limits: dict[str, Any],
    ) -> None:
        self.control = control
        self.confinement = confinement
        self.program = program
        self.limits = limits
        self.group = 0  # the process group of all heads: theirs can't be changed
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken)
        self.user = os.getuid()
        if confinement.has_namespaces:
            _own_mounts()
            # Writable, and nowhere in the tree: for the maps of branches' ids.
            self._proc = kernel.detached_proc()
        confinement.lay_out_family(limits["disk_bytes"], limits["inodes"], limits["folder"])

    def serve(self) -> NoReturn:
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        try:
            while True:
                ready = dict(poll.poll())
                if self._wake in ready:
                    os.read(self._wake, 4096)
                    self._reap()
                if self.control.fileno() in ready:
                    self._obey()
        finally:
            if self.group:
                try:
                    os.killpg(self.group, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def _obey(self) -> None:
        data, fds, _, _ = socket.recv_fds(self.control, 4096, 1)
        if not data:
            raise EOFError
        match wire.decode(data):
            case ("first",):
                self._say(("first", self._fork_first(fds[0])))
            case ("place", int(pid)):
                self._answer(lambda: self._place(pid), "placed")
            case ("settled?", int(pid)):
                self._answer(lambda: self._require_settled(pid), "settled")
            case other:
                raise ValueError(f"the host said {other!r:.80}")

    def _answer(self, step: Any, word: str) -> None:
        try:
            step()
        except (Refused, OSError) as error:
            self._say(("refused", str(error)))
        else:
            self._say((word,))

    def _say(self, message: wire.Value) -> None:
        self.control.send(wire.encode(message))

    def _fork_first(self, socket_fd: int) -> int:
        pid = kernel.fork()
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                self.control.close()
                os.close(self._wake)
                os.close(self._woken)
                if self.confinement.has_namespaces:
                    os.close(self._proc)
                Head(socket.socket(fileno=socket_fd), self.confinement, self.program).begin()
            finally:
                os._exit(1)
        os.close(socket_fd)
        self.group = pid
        return pid

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            cpu_us = round((usage.ru_utime + usage.ru_stime) * 1e6)
            self._say(("exit", pid, status, cpu_us))

    # ---- branches, in the namespaces tier

    def _place(self, pid: int) -> None:
        """Give the branch `pid`, which has just been forked into a user and a mount namespace of
        its own, ids, and a copy of its scratch where it had it.
        """
        helper = kernel.fork()
        if helper == 0:
            # On its exit status alone hangs whether the branch is taken.
            try:
                self._enter_and_place(pid)
                os._exit(0)
            except BaseException as error:
                os.write(2, f"placing a branch: {type(error).__name__}: {error}\n".encode())
            finally:
                os._exit(1)
        if os.waitpid(helper, 0)[1] != 0:
            raise Refused("its files could not be copied (too many, or not readable)")

    def _enter_and_place(self, pid: int) -> None:
        """In a helper: enter the branch's namespaces and lay out its files there.

        The map of ids is written as the helper's own, which is the same: the branch's files in
        /proc are closed to us, as it can't be looked at. What it had is covered, not unmounted,
        which the kernel does not allow there.
        """
        kernel.setns(os.pidfd_open(pid), kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{self.user} {self.user} 1"),
            ("gid_map", f"{self.user} {self.user} 1"),
        ):
            file = os.open(f"{os.getpid()}/{name}", os.O_WRONLY, dir_fd=self._proc)
            os.write(file, text.encode())
            os.close(file)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        old = os.open(self.confinement.scratch, os.O_RDONLY | os.O_DIRECTORY)
        self.confinement.mount_scratch(self.limits["disk_bytes"], self.limits["inodes"])
        new = os.open(self.confinement.scratch, os.O_RDONLY | os.O_DIRECTORY)
        copy_tree(old, new)

    def _require_settled(self, pid: int) -> None:
        """Require that the branch stands in its own files, holds nothing of its forerunner's, and
        has given up the powers that its user namespace gave it.
        """
        here = os.stat(f"/proc/{pid}/cwd")
        home = os.stat(f"/proc/{pid}/root{self.confinement.home}")
        if (here.st_dev, here.st_ino) != (home.st_dev, home.st_ino):
            raise Refused("it did not enter its own files")
        _require_private_descriptors(pid)
        _require_private_maps(pid)
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
            for line in status:
                name, _, value = line.partition(":")
                if name in ("CapInh", "CapPrm", "CapEff", "CapAmb") and int(value, 16):
                    raise Refused("it kept capabilities")
                if name == "Threads" and int(value) != 1:
                    raise Refused("it has threads")


def _own_mounts() -> None:
    """Cut this mount namespace off from the others; show each process only itself in /proc."""
    kernel.mount(b"none", b"/", b"none", kernel.MS_REC | kernel.MS_PRIVATE, None)
    flags = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount(b"proc", b"/proc", b"proc", flags, b"hidepid=4")


def _require_private_descriptors(pid: int) -> None:
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


def _require_private_maps(pid: int) -> None:
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            fields = line.split(maxsplit=5)
            if fields[1][3] == "s":
                raise Refused("it has a shared memory map")
            if len(fields) > 5 and fields[5].startswith("/scratch/"):
                raise Refused("it has mapped a file of its scratch")


def copy_tree(source: int, target: int) -> None:
    """Copy what is in the folder `source` into the folder `target` (descriptors): files, folders,
    links, fifos, modes and times. Nothing runs that could change it; no link is followed.
    """
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISDIR(status.st_mode):
            try:
                os.mkdir(name, 0o700, dir_fd=target)
            except FileExistsError:
                pass  # one of those that every scratch has
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            inner, made = (os.open(name, flags, dir_fd=each) for each in (source, target))
            copy_tree(inner, made)
            os.close(inner)
            os.close(made)
        elif stat.S_ISREG(status.st_mode):
            _copy_file(name, source, target)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            continue
        else:
            os.mkfifo(name, dir_fd=target)
        os.chmod(name, mode, dir_fd=target)
        times = (status.st_atime_ns, status.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)


def _copy_file(name: str, source: int, target: int) -> None:
    old = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=source)
    new = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=target)
    size = os.fstat(old).st_size
    os.truncate(new, size)
    offset = 0
    while offset < size:  # holes stay holes
        try:
            offset = os.lseek(old, offset, os.SEEK_DATA)
        except OSError:
            break
        end = os.lseek(old, offset, os.SEEK_HOLE)
        os.lseek(new, offset, os.SEEK_SET)
        while offset < end:
            offset += os.sendfile(new, old, offset, end - offset)
    os.close(old)
    os.close(new)
