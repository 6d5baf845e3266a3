"""The actor of a Monarch service. Imports Monarch: only where it is used."""

import os
import pickle
from typing import Any

from monarch.actor import Actor, endpoint, this_proc

from .errors import ServiceError
from .local.server import Server
from .local.wire import Kind

SERVICE_ACTOR = "interpreter_pool_service"
"""How the names of our actors begin."""

_servers: dict[int, Server] = {}
"""Of this process, by number: what an actor is made with must be picklable."""


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


class FleetActor(Actor):
    """On each proc of a mesh: makes a member of a fleet there, and ends it."""

    def __init__(self) -> None:
        self._service: Any = None

    @endpoint
    def make(self, made: bytes, max_concurrency: int | None) -> bytes:
        """Make the object; return the pickle of what there is to know of it, or of the error."""
        try:
            cls, args, kwargs = pickle.loads(made)
            self._service = cls(*args, **kwargs)
            server = Server(self._service, b"", max_concurrency)
            found = {"actor": spawn(server), "methods": server.methods, **who_am_i()}
            return pickle.dumps(found)
        except Exception as error:  # noqa: BLE001  (a proc whose actor fails ends its owner)
            return pickle.dumps({"error": f"{type(error).__name__}: {error}"})

    @endpoint
    def end(self) -> None:
        service, self._service = self._service, None
        cleanup = getattr(service, "cleanup", None)
        if callable(cleanup):
            cleanup()


def who_am_i() -> dict[str, Any]:
    """This process, so that others on this machine can tell whether it lives."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    with open("/proc/self/stat", "rb") as stat:
        began = int(stat.read().rpartition(b")")[2].split()[19])
    return {"pid": os.getpid(), "boot": boot, "began": began}


def spawn_fleet(procs: Any) -> Any:
    """Make an actor on each proc of a mesh."""
    actors = procs.spawn(f"{SERVICE_ACTOR}_fleet", FleetActor)
    actors.initialized.get()
    return actors


def spawn(server: Server) -> bytes:
    """Make the actor in this process. Returns the pickle of a reference on it."""
    number = len(_servers)
    _servers[number] = server
    actor = this_proc().spawn(f"{SERVICE_ACTOR}_{number}", ServiceActor, number)
    actor.initialized.get()
    return pickle.dumps(actor)
