"""A snapshot from the host's side: a template, and jails whose zygotes are forked from it."""

import contextlib
import os
import signal
import socket

from ..guest.jail import wire
from ..guest.jail.scratch import wipe
from ..jail.jail import KILL_PATIENCE_S, START_PATIENCE_S
from ..jail.messages import JailLost, close_all, descriptors_in, quoted, understood
from ..jail.pidfd import Pidfd
from ..result import GuestException
from ..run.job import in_memory
from ..run.run_jail import RunJail
from ..session.fork_server import ForkServer

_LONGEST_WAIT_S = (1 << 31) // 1000
"""poll(2) counts milliseconds in an int, and Python refuses a socket's timeout beyond that: whoever
gives set-up code more than these 24 days waits without a limit."""


class SetupFailed(Exception):
    """The set-up code ended with an exception, which `exception` describes."""

    def __init__(self, exception: GuestException) -> None:
        super().__init__(f"{exception.type}: {exception.message}")
        self.exception = exception


class SetupRefused(Exception):
    """What the set-up code made can't be shared faithfully; the message says why."""


class SetupTimeout(Exception):
    """The set-up code took longer than it may."""


class Template:
    """A process that has run set-up code, and forks zygotes. `close` ends it, and them with it.

    Raises `SetupFailed`, `SetupRefused`, `SetupTimeout`; `JailLost` where we are to blame.
    """

    def __init__(self, fork_server: ForkServer, setup: bytes, timeout_s: float | None) -> None:
        self.fork_server = fork_server
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = ours
        self.process: Pidfd | None = None
        folder = os.urandom(8).hex()
        self._scratch = None if fork_server.scratch is None else f"{fork_server.scratch}/{folder}"
        try:
            with theirs:
                file = in_memory("setup", [setup])
                try:
                    self.process = fork_server.fork_template(theirs, file, folder)
                finally:
                    os.close(file)
            self._meet(timeout_s)
        except BaseException:
            self.close()
            raise

    def _meet(self, timeout_s: float | None) -> None:
        bounded = timeout_s is not None and timeout_s < _LONGEST_WAIT_S
        self._control.settimeout(timeout_s if bounded else None)
        try:
            word, descriptors = self._receive()
        except TimeoutError:
            raise SetupTimeout(f"the set-up code ran longer than {timeout_s:g} s") from None
        close_all(descriptors)  # it has none to give yet
        match word:
            case ("ready",):
                self._control.settimeout(START_PATIENCE_S)
            case ("failed", str(kind), str(message), str(traceback)):
                raise SetupFailed(GuestException(kind, message, traceback))
            case ("refused", str(why)):
                raise SetupRefused(why)
            case _:
                raise JailLost(f"a template said {quoted(word)}; {self.fork_server.log()}")

    def fork_zygote(self, control: socket.socket, report: int, folder: str) -> Pidfd:
        """Have a zygote forked that serves the other end of `control`; the caller closes it."""
        try:
            message = wire.encode(("zygote", folder))
            socket.send_fds(self._control, [message], [control.fileno(), report])
            word, descriptors = self._receive()
        except OSError as error:
            raise JailLost(f"a template is gone ({error})") from None
        if word != ("zygote",) or len(descriptors) != 1:
            close_all(descriptors)
            raise JailLost(f"a template said {quoted(word)}")
        return Pidfd(descriptors[0])

    def _receive(self) -> tuple[wire.Value, list[int]]:
        try:
            data, ancillary, _, _ = self._control.recvmsg(
                1 << 18, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError as error:
            raise JailLost(f"a template is gone ({error})") from None
        descriptors = descriptors_in(ancillary)
        try:
            if not data:
                raise JailLost(f"a template is gone; {self.fork_server.log()}")
            return understood(data, 100), descriptors
        except BaseException:
            close_all(descriptors)
            raise

    def close(self) -> None:
        self._control.close()
        if self.process is not None:
            if self.process.pid and not self.process.has_ended():
                # It leads a group, of what its set-up code has started and its zygotes; while it
                # lives, nobody else can have its number.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.process.send(signal.SIGKILL)
            self.process.has_ended(KILL_PATIENCE_S)
            self.process.close()
        if self._scratch is not None:
            with contextlib.suppress(OSError):
                wipe(self._scratch)
                os.rmdir(self._scratch)


class TemplateJail(RunJail):
    """A jail of runs that find what a template's set-up code has made. Started in a few
    milliseconds, as its zygote is forked; one at a time for each template.
    """

    def __init__(self, template: Template) -> None:
        super().__init__(template.fork_server.plan)
        self._template = template
        self.explains = False

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = ours
        folder = os.urandom(8).hex()
        if self.plan.tier != "namespaces":
            self.scratch = f"{self._template.fork_server.scratch}/{folder}"
        with theirs:
            zygote = self._template.fork_zygote(theirs, self.report_fd, folder)
        with self._lock:
            self._zygote = zygote
            if self._killed:
                raise JailLost("killed while it was started")
        data, ancillary = self._receive(START_PATIENCE_S)
        close_all(descriptors_in(ancillary))
        self._take_hello(data)
        self.landlock_abi = self._template.fork_server.landlock_abi
        self._settle()

    def log(self) -> str:
        return self._template.fork_server.log()

    def _remove_scratch(self, scratch: str) -> None:
        wipe(scratch)
        os.rmdir(scratch)
