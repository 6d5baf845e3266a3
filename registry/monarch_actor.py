"""The actor of a Monarch service. Imports Monarch: only where it is used."""

import pickle
from typing import Any

from monarch.actor import Actor, endpoint, this_proc

from .errors import ServiceError
from .local.server import Server
from .local.wire import Kind

_servers: dict[int, Server] = {}
"""Of this process, by number: what an actor is made with must be picklable."""

_NAME = "interpreter_pool_service"


class ServiceActor(Actor):
    """Takes calls for a server. It is as well placed on each proc of a mesh, for a fleet.

    number: of the server in the process that the actor is in.
    """

    def __init__(self, number: int) -> None:
        self._server = _servers[number]

    @endpoint
    def take(self, port: Any, number: int, payload: bytes) -> None:
        """Have a call made by the server's threads, and return: the next one must not wait for it.
        The answer goes to the caller's `port` with the call's `number`.
        """

        def answer(kind: Kind, data: bytes) -> None:
            try:
                port.send((number, int(kind), data))
            except Exception:  # noqa: BLE001  (the caller is gone, or this process is ending)
                pass

        try:
            self._server.take(payload, answer)
        except RuntimeError as error:  # no more threads, or the process is ending
            answer(Kind.ERROR, pickle.dumps(ServiceError(f"the call can't be made: {error}")))


def spawn(server: Server) -> bytes:
    """Make the actor in this process. Returns the pickle of a reference on it."""
    number = len(_servers)
    _servers[number] = server
    actor = this_proc().spawn(_NAME, ServiceActor, number)
    actor.initialized.get()
    return pickle.dumps(actor)
