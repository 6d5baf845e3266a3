"""The registry of local services: starts their processes, finds and ends them."""

import base64
import builtins
import contextlib
import functools
import os
import pickle
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from multiprocessing import spawn
from typing import TYPE_CHECKING, Any, Protocol

from ..backend import Backend, Found
from ..base import DEFAULT_NAMESPACE, Service
from ..errors import ServiceError, StartTimeout
from ..fleet import FLEET, FleetSize
from . import wire
from .fleet import LocalFleet
from .handle import Handle, LocalHandle, LocalRef
from .records import Claim, Records

if TYPE_CHECKING:  # what a service's process alone needs
    from .server import Server

_END_PATIENCE_S = 4.0
"""More than a service grants itself for its end (`_GRACE_S` in server.py)."""

_COMMAND = (
    "import importlib, sys, typing; sys.path.insert(0, sys.argv[1]); "
    "import interpreter_pool; del sys.path[0]; "
    "from interpreter_pool.registry.local.server import main; main(*map(int, sys.argv[2:]))"
)
_HOME = functools.reduce(lambda path, _: os.path.dirname(path), range(4), os.path.abspath(__file__))
"""The folder that holds `interpreter_pool`. It is on the service's path for that one import: what
else lies there, all that is installed perhaps, must not come before the standard library. The
service gets its owner's `sys.path` later."""


class Fleet(Protocol):
    """What looks after the members of a fleet."""

    def close(self) -> None: ...


class ProcessService(Backend):
    """A registry of services that are processes of this machine and user, found by their records.

    A backend adds how calls come to such a process (`door`) and from it a handle. Its namespaces
    are its own.
    """

    options = frozenset({"max_concurrency"})
    door: "Callable[[Server], dict[str, str]]"
    """Runs in the service's process, and has the server take calls; an importable function. Returns
    what the record is to say of it."""

    def __init__(
        self,
        namespace: str = DEFAULT_NAMESPACE,
        start_timeout: float = 60.0,
        folder: str | None = None,
    ) -> None:
        super().__init__(namespace, start_timeout)
        self._folder = folder
        self._records = Records(self._namespace_of_records(), folder)
        self._processes: dict[str, tuple[str, subprocess.Popen[bytes]]] = {}  # token and process
        self._clients: dict[str, Claim] = {}  # names of owners registered here
        self._fleets: dict[str, tuple[Claim, Fleet]] = {}

    def _namespace_of_records(self) -> str:
        return self.namespace

    @abstractmethod
    def _handle(self, record: Mapping[str, Any]) -> Handle:
        """A handle on the service of a record."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.namespace, self.start_timeout, self._folder)

    def list(self) -> builtins.list[str]:
        self._require_open()
        return sorted(
            record["name"]
            for record in self._records.all()
            if record.get("ready") and "::" not in record["name"]
        )

    def reset(self) -> None:
        self._require_open()
        self._close_fleets()
        records = [
            self._records.remove(record["name"], record["token"]) for record in self._records.all()
        ]
        _end([record["pid"] for record in records if record is not None and "pid" in record])
        self._let_go()

    def result(self, ref: Any, timeout: float | None = None) -> Any:
        if isinstance(ref, LocalRef):
            return ref.result(timeout)
        if not isinstance(ref, (builtins.list, tuple)):
            raise TypeError(f"ref must be what .remote(...) returned, or a list, not {ref!r}")
        for each in ref:
            if not isinstance(each, LocalRef):
                raise TypeError(f"ref must hold what .remote(...) returned, not {each!r}")
        deadline = None if timeout is None else time.monotonic() + timeout
        return [
            each.result(None if deadline is None else max(deadline - time.monotonic(), 0))
            for each in ref
        ]

    # ---- for Backend

    def _create(
        self,
        name: str,
        cls: type,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> Any:
        most = options.get("max_concurrency")
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
            raise ValueError(f"max_concurrency={most!r}: must be a whole number above 0")
        try:
            made = pickle.dumps((cls, args, dict(kwargs)))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(
                f"service {name!r} can't go to a process of its own: {error}; its class must be "
                f"importable, and its arguments picklable"
            ) from error
        token, key = secrets.token_hex(16), secrets.token_bytes(wire.KEY_BYTES)
        # First, since it refuses a script that registers while it is imported by its own service.
        preparation = spawn.get_preparation_data(name)
        del preparation["authkey"]  # refuses to be pickled; there is nothing that wants it
        if b"__main__" not in made:  # nothing of it comes from the script, which is then not run
            preparation = {
                key: preparation[key] for key in preparation if not key.startswith("init_main")
            }
        claim = self._records.claim(name, token)
        if claim is None:
            raise self.taken(name)
        process = None
        try:
            process, channel = _launch(claim)
            with channel:
                order = pickle.dumps((preparation, made, claim.socket, key, most, self.door))
                found = self._await(name, process, channel, order)
            record = {"pid": process.pid, "key": key.hex(), **found}
            if not self._records.write(claim, record):
                raise ServiceError(f"service {name!r} was taken away while it was started")
        except BaseException:
            self._records.remove(name, token)
            if process is not None:
                process.kill()
                process.wait()
            with contextlib.suppress(FileNotFoundError):  # of a name that was taken away meanwhile
                os.unlink(claim.socket)
            raise
        finally:
            claim.close()  # the service's process holds it now
        self._processes[name] = (token, process)
        named = {"name": name, "token": token, "socket": claim.socket}
        return self._handle(record | named)

    def _publish(self, name: str, owner: Service[Any], client: Any) -> None:
        data = base64.b64encode(pickle.dumps(client)).decode("ascii")
        claim = self._records.claim(name, secrets.token_hex(16))
        if claim is None:
            raise self.taken(name)
        try:
            if not self._records.write(claim, {"client": data}):
                raise ServiceError(f"service {name!r} was taken away while it was registered")
        except BaseException:
            claim.close()  # first: whatever can't be removed is nobody's then
            self._records.remove(name, claim.token)
            raise
        gone = self._clients.pop(name, None)
        if gone is not None:  # a peer's reset took the name away
            gone.close()
        self._clients[name] = claim

    def _find(self, name: str) -> Found | None:
        record = self._records.find(name)
        if record is None:
            return None
        if "fleet" in record:
            return Found(record, is_fleet=True)
        if "client" in record:
            return Found(pickle.loads(base64.b64decode(record["client"])), is_client=True)
        return Found(self._handle(record))

    def _create_fleet(
        self,
        name: str,
        cls: type,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
        size: FleetSize,
    ) -> None:
        claim = self._records.claim(name, FLEET + secrets.token_hex(16))
        if claim is None:
            raise self.taken(name)
        fleet = LocalFleet(name, size, _Starter(self, claim, cls, args, kwargs, options))
        try:
            fleet.start()
            if not self._records.write(claim, {"fleet": True}):
                raise ServiceError(f"fleet {name!r} was taken away while it was started")
        except BaseException:
            fleet.close()
            claim.close()
            self._records.remove(name, claim.token)
            self._end_mine(f"{name}::")
            raise
        gone = self._fleets.pop(name, None)
        if gone is not None:  # a peer's reset took the name away
            gone[0].close()
            gone[1].close()
        self._fleets[name] = claim, fleet

    def _members(self, name: str, target: Any) -> Mapping[str, Any]:
        found = {}
        for record in self._records.all():
            if record.get("ready") and record["name"].startswith(f"{name}::"):
                handle = self._handle(record)
                found[handle.identity] = handle
        return found

    def _close_fleets(self) -> None:
        fleets, self._fleets = self._fleets, {}
        for name, (claim, fleet) in fleets.items():
            self._records.remove(name, claim.token)
            claim.close()
            fleet.close()

    def _end_mine(self, prefix: str, *, exactly: bool = False) -> None:
        """End the services that were registered here whose names begin so, or are this."""
        mine = {
            name: self._processes.pop(name)
            for name in list(self._processes)
            if name == prefix or (not exactly and name.startswith(prefix))
        }
        for name, (token, _) in mine.items():
            self._records.remove(name, token)
        _end_processes([process for _, process in mine.values()])

    def _identity(self, handle: Any) -> str:
        return str(handle.identity)

    def _let_go(self) -> None:
        clients, self._clients = self._clients, {}
        for name, claim in clients.items():
            self._records.remove(name, claim.token)
            claim.close()
        self._close_fleets()
        self._end_mine("")

    def _await(
        self,
        name: str,
        process: "subprocess.Popen[bytes]",
        channel: socket.socket,
        order: bytes,
    ) -> dict[str, Any]:
        """Tell the new process what to be, and wait until it is; return what it says of itself."""
        channel.settimeout(self.start_timeout)
        try:
            wire.send(channel, 0, wire.Kind.CALL, order)
            _, kind, payload = wire.receive(channel)
        except TimeoutError:
            raise StartTimeout(
                f"service {name!r} was not ready within start_timeout={self.start_timeout:g} s"
            ) from None
        except OSError:
            raise ServiceError(
                f"service {name!r} could not be started: its process ended with status "
                f"{process.wait()}"
            ) from None
        value = pickle.loads(payload)
        if kind is wire.Kind.ERROR:
            text = (
                str(value)
                if isinstance(value, ServiceError)
                else f"{type(value).__name__}: {value}"
            )
            raise ServiceError(f"service {name!r} could not be started: {text}") from value
        found: dict[str, Any] = value
        return found


def _listen(server: "Server") -> dict[str, str]:
    return server.listen()


class LocalService(ProcessService):
    """A registry of services on this machine, for all processes of this user.

    A service is a process of its own, which ends with the process that registered it. A class, its
    arguments and what its methods take and return must be picklable. Option: max_concurrency, the
    number of calls that run at once (1; more must be safe in the class), as on Ray.

    namespace: services in others are not seen.
    start_timeout: seconds that a service may take until its constructor has returned.
    folder: where the names are, instead of the user's usual place; nobody else may enter it.

    `shutdown` ends what this object registered; `reset` ends everything in the namespace.
    """

    kind = "local"
    door = staticmethod(_listen)

    def _handle(self, record: Mapping[str, Any]) -> Handle:
        key = bytes.fromhex(record["key"])
        return LocalHandle(record["name"], record["socket"], key, record["methods"])


class _Starter:
    """Starts the members of a fleet as services like any other, but for their names."""

    def __init__(self, services: ProcessService, claim: Claim, *of: Any) -> None:
        self._services = services
        self._claim = claim
        self._of = of

    def start(self, member: str) -> Any:
        return self._services._create(member, *self._of)

    def end(self, member: str) -> None:
        self._services._end_mine(member, exactly=True)

    def is_wanted(self) -> bool:
        return self._claim.fd >= 0 and os.fstat(self._claim.fd).st_nlink > 0

    def is_alive(self, member: str) -> bool:
        found = self._services._processes.get(member)
        return found is not None and found[1].poll() is None


def _end_processes(processes: "builtins.list[subprocess.Popen[bytes]]") -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + _END_PATIENCE_S
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _launch(claim: Claim) -> "tuple[subprocess.Popen[bytes], socket.socket]":
    """Start the process of a service, which knows this one by a pidfd: ids are used again."""
    with contextlib.ExitStack() as kept, contextlib.ExitStack() as passed:
        ours, theirs = socket.socketpair()
        kept.enter_context(ours)
        passed.enter_context(theirs)
        pidfd = os.pidfd_open(os.getpid())
        passed.callback(os.close, pidfd)
        descriptors = (pidfd, claim.fd, theirs.fileno())
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _COMMAND, _HOME, *map(str, descriptors)],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        kept.callback(process.wait)
        kept.callback(process.kill)
        # Reaps it, whenever it ends, whether or not this registry is still there then.
        reaper = threading.Thread(target=process.wait, name=f"reaper of {process.pid}", daemon=True)
        try:
            reaper.start()
        except RuntimeError as error:
            raise ServiceError(f"a service could not be started: {error}") from error
        kept.pop_all()
    return process, ours


def _end(pids: builtins.list[int]) -> None:
    """End processes of services, whoever their owners are, and wait until they are gone."""
    with contextlib.ExitStack() as stack:
        pidfds = []
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                pidfd = os.pidfd_open(pid)
                stack.callback(os.close, pidfd)
                pidfds.append(pidfd)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pidfd in pidfds:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd, number)
            deadline = time.monotonic() + _END_PATIENCE_S
            for pidfd in pidfds:
                poll = select.poll()
                poll.register(pidfd, select.POLLIN)
                poll.poll(max(deadline - time.monotonic(), 0) * 1e3)
