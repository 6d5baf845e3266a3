"""The zygote of sessions: it forks a family init for each family of them, a template for each
snapshot, and reaps them.

A family is a session with all its branches. Its family init is the parent of every process in it,
and in the namespaces tier process 1 of a pid namespace of its own, so that families neither see nor
outlive anything of each other. Elsewhere the fork server inherits what a family init or a template
leaves (PR_SET_CHILD_SUBREAPER), and ends it. It forks, waits, and nothing else.
"""

import functools
import os
import select
import signal
import socket
from collections.abc import Callable, Collection
from typing import Any, NoReturn

from ..jail import kernel, proc, protocol, wire
from ..jail.confine import Confinement
from ..run.program import Program
from ..snapshot.template import BeZygote, Template
from .family_init import FamilyInit


def serve(
    control: socket.socket, confinement: Confinement, program: Program, be_zygote: BeZygote
) -> NoReturn:
    """Fork a family init or a template whenever the host sends a socket for one; `EOFError` when
    the host is gone, and with it everything here.
    """
    if confinement.has_namespaces:
        _serve(control, confinement, program, be_zygote)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    try:
        _serve(control, confinement, program, be_zygote)
    finally:
        _end_all_but(())


def _serve(
    control: socket.socket, confinement: Confinement, program: Program, be_zygote: BeZygote
) -> NoReturn:
    poll = select.poll()
    poll.register(control, select.POLLIN)
    wake = -1 if confinement.has_namespaces else _wake_for_strays()
    if wake >= 0:
        poll.register(wake, select.POLLIN)
    family_inits: dict[int, int] = {}  # pidfd: pid
    while True:
        for fd, _ in poll.poll():
            if fd in family_inits:
                poll.unregister(fd)
                os.waitpid(family_inits.pop(fd), 0)
                os.close(fd)
                continue
            if fd == wake:
                os.read(wake, 4096)
                _end_all_but(family_inits.values())
                continue
            data, fds, _, _ = socket.recv_fds(control, protocol.MAX_MESSAGE, 2)
            if not data:
                raise EOFError
            pid = _fork(confinement)
            if pid == 0:
                control.close()
                for other in (*family_inits, *(() if wake < 0 else (wake,))):
                    os.close(other)
                served = socket.socket(fileno=fds[0])
                if len(fds) > 1:
                    make = functools.partial(Template, served, confinement, program, be_zygote)
                    _live(served, _be_template, make, data, fds[1])
                _live(served, _be_family_init, served, confinement, program, data)
            for each in fds:
                os.close(each)
            pidfd = os.pidfd_open(pid)
            family_inits[pidfd] = pid
            poll.register(pidfd, select.POLLIN)
            socket.send_fds(control, [wire.encode(("forked",))], [pidfd])


def _wake_for_strays() -> int:
    """Return a descriptor that is readable when a child has ended: also one that was inherited, as
    the run of a template's zygote is that is killed, of which nothing else tells.
    """
    wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    return wake


def _end_all_but(own: Collection[int]) -> None:
    """End every child but `own`, and whatever these leave in turn: it comes to us, too."""
    while True:
        strays = set(proc.children(os.getpid())).difference(own)
        if not strays:
            return
        for pid in strays:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _fork(confinement: Confinement) -> int:
    if confinement.has_namespaces:
        return kernel.clone(kernel.CLONE_NEWPID | kernel.CLONE_NEWNS)
    return kernel.fork()


def _live(control: socket.socket, be: Callable[..., NoReturn], *arguments: Any) -> NoReturn:
    try:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        woken = signal.set_wakeup_fd(-1)
        if woken >= 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(woken)
        be(*arguments)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the host has no more use for it
    except BaseException as error:
        try:
            control.send(wire.encode(("fault", "families", f"{type(error).__name__}: {error}")))
        except OSError:
            pass
    finally:
        os._exit(0)  # and everything in its pid namespace with it


def _be_family_init(
    control: socket.socket, confinement: Confinement, program: Program, data: bytes
) -> NoReturn:
    limits: Any = wire.decode(data)
    FamilyInit(control, confinement, program, limits).serve()


def _be_template(make: Callable[[str], Template], data: bytes, setup_fd: int) -> NoReturn:
    request: Any = wire.decode(data)
    with open(setup_fd, "rb") as file:
        source = file.read()
    template = make(request["folder"])
    template.set_up(source)
    template.serve()
