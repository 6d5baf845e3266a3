"""The family init of a family: parent of all its processes; places their files, reaps them.

It never runs a line of a program's. Its children are the first head, which it forks itself, and
whatever a head forks when the host asks: with CLONE_PARENT, so that they are the family init's
children too, and it learns from the kernel how each of them ends, however long its forerunners
live.

Messages on the family's socket (SOCK_SEQPACKET, wire values; `branching.py` has their order):

===============================================  =============================================
host -> family init  ("first",) + socket         fork the first head, with that socket
                     ("end", pid)                how has it ended? (The host knows that it has.)
                     (PLACE, pid)                a branch: files of its own (namespaces tier)
                     (COPY, name, new)           files for a branch, next to its forerunner's
                     (RENAME, name, new)         of a session's files (landlock tier, as COPY)
                     (REOPEN, pid, files) + 1    open anew what it has open (`open_files.py`);
                                                 the socket brings the numbers and the files
                     (CHECK, pid, name)          does it share nothing, and stand in its files?
                     (HIDDEN, pid)               can nobody look at it any more? (landlock tier)
                     (FOLDER, ...), (WRITE, ...) a session's files: `files.py`
family init -> host  ("first", pid)              its id in here
                     (ANSWERS[...],)             done, or yes; or ("refused", why)
                     ("exit", pid, status, cpu)  how it has ended: wait status, CPU in µs
===============================================  =============================================
"""

import functools
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import Any, NoReturn

from ..jail import kernel, wire
from ..jail.confine import FOLDERS, Confinement
from ..jail.scratch import open_up, wipe
from ..jail.tree import copy_tree
from ..run.program import Program
from . import branching, files, open_files, privacy
from .head import Head
from .privacy import Refused

_MOST_ENDS = 1000
"""How many of the last ends are remembered; most are never asked for."""

_SWEEP_S = 2.0
"""Of a family's folder: who fills it faster than it is swept ends the family."""


class FamilyInit:
    """Serves one family. `limits`: disk_bytes and inodes of a scratch, None for unlimited; the
    folder where it is, if families have theirs side by side; the numeric_threads of a head.
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
        self._ends: dict[int, tuple[int, int]] = {}  # wait status, CPU in µs; the last at the end
        self._fresh: dict[int, int] = {}  # opened for a branch that is to be checked
        self.group = 0  # the process group of all heads: theirs can't be changed
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken)
        self.user = os.getuid()
        if confinement.has_namespaces:
            kernel.own_mounts()
            # Writable, and nowhere in the tree: for the maps of branches' ids.
            self._proc = kernel.detached_proc()
            confinement.lay_out_family(limits["disk_bytes"], limits["inodes"])
        else:
            # Whoever has this open sees the names in it, and nobody else ever does.
            self._folder = confinement.lay_out_side_by_side(limits["folder"], limits["home"])
            self._names = {limits["home"]}

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
        data, fds, _, _ = socket.recv_fds(self.control, 4096, 3)
        if not data:
            raise EOFError
        match wire.decode(data):
            case ("first",):
                self._say(("first", self._fork_first(fds[0])))
            case ("end", int(pid)):
                self._reap()  # it may have ended just now, and an earlier one had its id
                if pid in self._ends:
                    self._say(("exit", pid, *self._ends.pop(pid)))
            case (branching.PLACE, int(pid)):
                self._answer(branching.PLACE, lambda: self._place(pid))
            case (branching.COPY, str(name), str(new)):
                self._answer(branching.COPY, lambda: self._copy(name, new))
            case (branching.RENAME, str(name), str(new)):
                self._answer(branching.RENAME, lambda: self._rename(name, new))
            case (branching.REOPEN, int(pid), open_there):
                with socket.socket(fileno=fds[0]) as there:
                    self._answer(branching.REOPEN, lambda: self._reopen(pid, open_there, there))
            case (branching.CHECK, int(pid), str(name)):
                self._answer(branching.CHECK, lambda: self._require_settled(pid, name))
                self._forget_files()
            case (branching.HIDDEN, int(pid)):
                self._answer(branching.HIDDEN, lambda: privacy.require_hidden(pid))
            case (files.FOLDER, int(pid), str(name)):
                files.answer(fds, lambda: self._open_home(pid, name))
            case (files.WRITE, str(name), int(offset)):
                files.answer(fds, lambda: files.write(fds[1], name, fds[2], offset))
            case other:
                raise ValueError(f"the host said {other!r:.80}")

    def _answer(self, question: str, step: Callable[[], object]) -> None:
        try:
            step()
        except (Refused, OSError, RecursionError) as error:
            self._say(("refused", str(error)))
        else:
            self._say((branching.ANSWERS[question],))

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
                os.close(self._proc if self.confinement.has_namespaces else self._folder)
                threads = self.limits["numeric_threads"]
                Head(socket.socket(fileno=socket_fd), self.confinement, self.program).begin(threads)
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
            self._ends.pop(pid, None)
            self._ends[pid] = (status, cpu_us)
            if len(self._ends) > _MOST_ENDS:
                del self._ends[next(iter(self._ends))]

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

    # ---- branches, in the landlock tier

    def _copy(self, name: str, new: str) -> None:
        """Copy the files in the folder `name` to `new`. The forerunner's states are all parked."""
        self._names.add(new)
        self._change_names(lambda: os.mkdir(new, 0o700, dir_fd=self._folder))
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        old = os.open(name, flags, dir_fd=self._folder)
        try:
            copy = os.open(new, flags, dir_fd=self._folder)
            try:
                copy_tree(old, copy)
            finally:
                os.close(copy)
        finally:
            os.close(old)

    def _rename(self, name: str, new: str) -> None:
        places = {"src_dir_fd": self._folder, "dst_dir_fd": self._folder}
        self._names = self._names - {name} | {new}
        self._change_names(lambda: os.rename(name, new, **places))

    def _change_names(self, change: Callable[[], object]) -> None:
        """Change what the family's folder holds. For that moment its processes could, too: what
        they put there is taken away again, until nothing of theirs is in it, also where the change
        fails. What can't be taken away ends the family: two branches could meet there.
        """
        failed = None
        ends_at = time.monotonic() + _SWEEP_S
        while time.monotonic() < ends_at:
            os.fchmod(self._folder, 0o300)
            try:
                change()
            except OSError as error:
                failed = error
            finally:
                os.fchmod(self._folder, 0o100)
            strange = set(os.listdir(self._folder)) - self._names
            if not strange:
                if failed is not None:
                    raise failed
                return
            change = functools.partial(self._remove, strange)
        raise RuntimeError("a family's folder is being filled from inside")

    def _remove(self, names: set[str]) -> None:
        """Take names away while those who made them may go on changing what is behind them: no
        folder is looked into before it is where they can't reach it, as Landlock asks where it is.
        """
        trash = os.path.join(self.confinement.top, os.urandom(16).hex())
        os.mkdir(trash, 0o700)
        for name in names:
            try:
                try:
                    os.unlink(name, dir_fd=self._folder)
                except (IsADirectoryError, PermissionError):
                    # Else it can't be moved, as its ".." is written.
                    os.close(open_up(name, self._folder))
                    place = os.path.join(trash, os.urandom(16).hex())
                    os.rename(name, place, src_dir_fd=self._folder)
            except OSError:  # it has been changed, or can't be moved: the next look tells
                continue
        wipe(trash)
        os.rmdir(trash)

    # ---- files

    def _open_home(self, pid: int, name: str) -> int:
        """Open the working directory of the state `pid`, by its place and not as that process may
        stand elsewhere. What it has put in its place is not followed.
        """
        if self.confinement.has_namespaces:  # a branch has mounts of its own
            return os.open(f"/proc/{pid}/root{self.confinement.home}", files.FOLDER_FLAGS)
        scratch = os.open(name, files.FOLDER_FLAGS, dir_fd=self._folder)
        try:
            return os.open(FOLDERS[0], files.FOLDER_FLAGS, dir_fd=scratch)
        finally:
            os.close(scratch)

    # ---- branches, in both tiers

    def _reopen(self, pid: int, open_there: wire.Value, there: socket.socket) -> None:
        self._forget_files()
        wanted = open_files.decoded(open_there)
        self._fresh = open_files.reopen(pid, wanted, self.confinement.is_read_only)
        numbers: list[wire.Value] = list(self._fresh)
        socket.send_fds(there, [wire.encode(numbers)], list(self._fresh.values()))

    def _forget_files(self) -> None:
        """The branch has them, and shares them with nobody."""
        while self._fresh:
            os.close(self._fresh.popitem()[1])

    def _require_settled(self, pid: int, name: str) -> None:
        """Require that the branch stands in its own files, holds nothing of its forerunner's, and
        has given up the powers that its user namespace gave it.
        """
        here = os.stat(f"/proc/{pid}/cwd")
        if self.confinement.has_namespaces:
            # Its scratch is a file system of its own.
            if here.st_dev != os.stat(f"/proc/{pid}/root{self.confinement.home}").st_dev:
                raise Refused("it did not enter its own files")
        else:
            # From the top: it may have made a folder of that name anywhere else.
            own = f"{os.readlink(f'/proc/self/fd/{self._folder}')}/{name}/"
            if not f"{os.readlink(f'/proc/{pid}/cwd')}/".startswith(own):
                raise Refused("it did not enter its own files")
        privacy.require_private_descriptors(pid, self._fresh)
        privacy.require_private_maps(pid, self.confinement.top)
        privacy.require_powerless(pid, bounded=self.confinement.has_namespaces)
