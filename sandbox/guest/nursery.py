"""The zygote of sessions: it forks a keeper for each family of them, and reaps it.

A family is a session with all its branches. Its keeper is the parent of every process in it, and in
the namespaces tier process 1 of a pid namespace of its own, so that families neither see nor
outlive anything of each other. The nursery itself forks, waits, and nothing else.
"""

import os
import select
import signal
import socket
from typing import NoReturn

from . import kernel, protocol, wire
from .confine import Confinement
from .keeper import Keeper
from .program import Program


def serve(control: socket.socket, confinement: Confinement, program: Program) -> NoReturn:
    """Fork a keeper whenever the host sends a socket for one; `EOFError` when the host is gone."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    keepers: dict[int, int] = {}  # pidfd: pid
    while True:
        for fd, _ in poll.poll():
            if fd in keepers:
                poll.unregister(fd)
                os.waitpid(keepers.pop(fd), 0)
                os.close(fd)
                continue
            data, fds, _, _ = socket.recv_fds(control, protocol.MAX_MESSAGE, 1)
            if not data:
                raise EOFError
            pid = _fork(confinement)
            if pid == 0:
                control.close()
                for other in keepers:
                    os.close(other)
                _be_keeper(socket.socket(fileno=fds[0]), confinement, program, data)
            os.close(fds[0])
            pidfd = os.pidfd_open(pid)
            keepers[pidfd] = pid
            poll.register(pidfd, select.POLLIN)
            socket.send_fds(control, [wire.encode(("keeper",))], [pidfd])


def _fork(confinement: Confinement) -> int:
    if confinement.has_namespaces:
        return kernel.clone(kernel.CLONE_NEWPID | kernel.CLONE_NEWNS)
    return kernel.fork()


def _be_keeper(
    control: socket.socket, confinement: Confinement, program: Program, data: bytes
) -> NoReturn:
    try:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        Keeper(control, confinement, program, wire.decode(data)).serve()  # type: ignore[arg-type]
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the host has no more use for this family
    except BaseException as error:
        try:
            control.send(wire.encode(("fault", "keeper", f"{type(error).__name__}: {error}")))
        except OSError:
            pass
    finally:
        os._exit(0)  # and everything in its pid namespace with it
