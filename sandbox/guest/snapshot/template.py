"""A template: what trusted set-up code has made, and the forking of zygotes that have it.

It is forked from the fork server, runs the set-up code in the namespace that programs will find as
their `__main__`, and from then on only forks. What it forks is a zygote like any other: process 1
of its own pid namespace where there are any, with a scratch of its own, forking confined children
one at a time; only that what was made is there already, in pages that all of them share.

Messages on its socket (SOCK_SEQPACKET, wire values):

=============================================  =================================================
host -> template  {"folder": ...} + a file      (as the fork server took it) the name of its scratch
                                                (landlock tier), and the set-up code
                  ("zygote", folder) + 2        fork a zygote: its control socket, its report; the
                                                folder is its scratch's name (landlock tier)
template -> host  ("ready", {...})              the set-up has run
                  ("failed", type, text, trace) it has not
                  ("refused", why)              what it made can't be shared faithfully
                  ("zygote",) + pidfd
=============================================  =================================================
"""

import gc
import linecache
import os
import select
import signal
import socket
from collections.abc import Callable
from typing import Any, NoReturn

from ..jail import capabilities, kernel, libraries, pages, wire
from ..jail.confine import Confinement, becomes_single_threaded
from ..jail.report import Report
from ..run import uncaught
from ..run.program import Program
from ..session import privacy

NAME = "<setup>"

_MOST_TEXT = 10_000
"""Characters of each part of what is said about an exception: a message has to hold them."""

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)

BeZygote = Callable[[socket.socket, Confinement, Program], NoReturn]
"""Serve as a zygote that has loaded everything already (`Zygote.forked`)."""


class Template:
    """Serves one socket; see above."""

    def __init__(
        self,
        control: socket.socket,
        confinement: Confinement,
        own: Program,
        be_zygote: BeZygote,
        folder: str,
    ) -> None:
        self.control = control
        self.be_zygote = be_zygote
        self.confinement = confinement
        self.program = own
        # The set-up code has a scratch, too: what it writes there stays its own.
        before = confinement.scratch
        if confinement.has_namespaces:
            kernel.own_mounts()
            confinement.lay_out_family(None, None)
        else:
            confinement.lay_out_alone(folder)
        own.move(before, confinement.scratch)

    def set_up(self, source: bytes) -> None:
        """Run the set-up code; say how it ended. Leaves the process where it failed."""
        os.setpgid(0, 0)  # the group is what ends, here and by the host: without namespaces too
        text = source.decode("utf-8", "replace")
        linecache.cache[NAME] = (len(text), None, text.splitlines(True), NAME)
        before = _open_descriptors()
        try:
            self.program.keeps_main = True
            exec(compile(source, NAME, "exec", dont_inherit=True), self.program.main.__dict__)
        except BaseException as error:
            uncaught.strip(error)
            claim = uncaught.describe(error)
            assert claim.exception is not None
            kind, message, trace = claim.exception
            self._say(("failed", kind[:_MOST_TEXT], message[:_MOST_TEXT], trace[-_MOST_TEXT:]))
            os.killpg(0, signal.SIGKILL)  # with whatever the code has started
        gc.collect()
        try:
            if not becomes_single_threaded():
                raise privacy.Refused(f"it has threads ({', '.join(libraries.names())})")
            for fd, path in _open_descriptors().items() - before.items():
                raise privacy.Refused(f"descriptor {fd} is open ({path})")
            if _has_children():
                raise privacy.Refused("it has child processes")
            if any(any(signal.getitimer(timer)) for timer in _TIMERS):
                raise privacy.Refused("a timer of it is set")
            privacy.require_private_maps(os.getpid(), self.confinement.top)
        except privacy.Refused as error:
            self._say(("refused", str(error)))
            os.killpg(0, signal.SIGKILL)
        pages.HugePages().gather()
        gc.freeze()
        self._say(("ready",))

    def serve(self) -> NoReturn:
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        zygotes: dict[int, int] = {}  # pidfd: pid
        while True:
            for fd, _ in poll.poll():
                if fd in zygotes:
                    poll.unregister(fd)
                    os.waitpid(zygotes.pop(fd), 0)
                    os.close(fd)
                    continue
                data, fds, _, _ = socket.recv_fds(self.control, 4096, 2)
                if not data:
                    raise EOFError
                pid = self._fork()
                if pid == 0:
                    self.control.close()
                    for other in zygotes:
                        os.close(other)
                    self._be_zygote(data, *fds)
                for each in fds:
                    os.close(each)
                pidfd = os.pidfd_open(pid)
                zygotes[pidfd] = pid
                poll.register(pidfd, select.POLLIN)
                socket.send_fds(self.control, [wire.encode(("zygote",))], [pidfd])

    def _fork(self) -> int:
        if self.confinement.has_namespaces:
            return kernel.clone(kernel.CLONE_NEWPID | kernel.CLONE_NEWNS)
        return kernel.fork()

    def _be_zygote(self, data: bytes, control_fd: int, report_fd: int) -> NoReturn:
        try:
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            request: Any = wire.decode(data)
            confinement = self.confinement.for_runs(request[1])
            if confinement.has_namespaces:
                os.chdir("/")
                self.confinement.leave_mounted()
                kernel.own_mounts()
                capabilities.apply(1 << capabilities.CAP_SYS_ADMIN)
            self.program.move(self.confinement.scratch, confinement.scratch)
            self.program.report = Report(report_fd)
            os.close(report_fd)
            control = socket.socket(fileno=control_fd)
            self.be_zygote(control, confinement, self.program)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            pass  # the host has no more use for it
        except BaseException as error:
            os.write(2, f"a forked zygote: {type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(0)

    def _say(self, message: wire.Value) -> None:
        self.control.send(wire.encode(message))


def _open_descriptors() -> dict[str, str]:
    """What is open, by number; less what listing it has opened."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue
    return found


def _has_children() -> bool:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True
