"""Services as Monarch actors, for the processes of one user on one machine.

Theory of operation. Monarch (torchmonarch 0.7) has no names that another client can ask for, no
list and no removal. Our records (`local/records.py`) have: a service is a process of its own, as a
local one is, with the same record, lock, owner and end; only the calls go over Monarch.

    owner process                      service process                another process
    MonarchService.register ─ starts ─► Monarch's host, one actor     MonarchService.get
        │                                 ▲        ▲                       │
        └──────── Monarch's ipc ──────────┘        └──── Monarch's ipc ────┘
             <folder>/<namespace>/<name>: a record, which holds a reference on the actor

The service is no proc that its owner's Monarch has spawned: one that dies would be a failure of the
owner's mesh, which by default ends the owner. A reference on an actor says nothing of whether the
actor lives, and a call to a dead one has no end. So a connection watches the process by a pidfd.

Monarch itself is imported when a service is first made or called: it starts threads.
"""

import base64
import contextlib
import functools
import logging
import os
import pickle
import secrets
import select
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .errors import ServiceDied, ServiceError, StartTimeout
from .fleet import FLEET, FleetSize
from .local.handle import Channel, Handle
from .local.records import Records
from .local.service import ProcessService
from .local.wire import Kind

if TYPE_CHECKING:
    from .local.server import Server

logger = logging.getLogger(__name__)

_END_S = 10.0

_LAST_S = 0.1
"""How long answers of a process that has just died may still be on their way."""

_NOTICE = b"Monarch internal logs are being written to "


class MonarchService(ProcessService):
    """A registry of Monarch actors on this machine, for all processes of this user.

    A service is an actor in a process of its own, which ends with the process that registered it.
    A class, its arguments and what its methods take and return must be picklable; the class is an
    ordinary one, no `monarch.actor.Actor`. Option: max_concurrency, the number of calls that run at
    once (1; more must be safe in the class), as on Ray.

    A fleet may be made on a mesh of processes that Monarch has spawned, also on other machines:
    `register_fleet(name, cls, ..., procs=mesh)` makes a member on each proc, none more, and none
    anew where one ends. They are found, like all of this, by processes of this machine. A proc that
    ends is a failure of its owner's mesh, by which Monarch ends the owner, unless that has a
    `monarch.actor.unhandled_fault_hook`.

    namespace: services in others are not seen; nor are those of other backends.
    start_timeout: seconds that a service may take until its constructor has returned.
    folder: where the names are, instead of the user's usual place; nobody else may enter it.

    `shutdown` ends what this object registered; `reset` ends everything in the namespace. A process
    that has forked after its first use of a service can't use one in the child.
    """

    kind = "monarch"

    def _create(self, name: str, *of: Any) -> Any:
        _require_monarch()
        return super()._create(name, *of)

    def _create_fleet(
        self,
        name: str,
        cls: type,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
        size: FleetSize,
    ) -> None:
        kwargs = dict(kwargs)
        procs = kwargs.pop("procs", None)
        if procs is None:
            super()._create_fleet(name, cls, args, kwargs, options, size)
            return
        if not hasattr(procs, "spawn"):
            raise TypeError(f"procs must be a mesh of Monarch's processes, not {procs!r:.80}")
        claim = self._records.claim(name, FLEET + secrets.token_hex(16))
        if claim is None:
            raise self.taken(name)
        fleet = MeshFleet(name, procs)
        try:
            members = fleet.start(cls, args, kwargs, options, self.start_timeout)
            if not self._records.write(claim, {"fleet": True, "mesh": members}):
                raise ServiceError(f"fleet {name!r} was taken away while it was started")
        except BaseException:
            fleet.close()
            claim.close()
            self._records.remove(name, claim.token)
            raise
        self._fleets[name] = claim, fleet

    def _members(self, name: str, target: Any) -> Mapping[str, Any]:
        if "mesh" not in target:
            return super()._members(name, target)
        return {
            each["key"]: MeshHandle(name, each) for each in target["mesh"] if not _has_ended(each)
        }

    def reset(self) -> None:
        self._require_open()
        # Members whose processes are somebody else's end what they hold.
        meshes = [record for record in self._records.all() if "mesh" in record]
        for record in meshes:
            for handle in self._members(record["name"], record).values():
                with contextlib.suppress(Exception):  # it has no such method, or has just ended
                    handle.cleanup.remote().result(_END_S)
        super().reset()

    def _namespace_of_records(self) -> str:
        return f"monarch::{self.namespace}"  # no namespace of a local service can be called so

    def _handle(self, record: Mapping[str, Any]) -> Handle:
        return MonarchHandle(
            record["name"],
            record["token"],
            self._records.path,
            base64.b64decode(record["actor"]),
            record["methods"],
        )


def _enter(server: "Server") -> dict[str, str]:
    """In the service's process: have an actor take its calls; return a reference on that."""
    _begin()
    from . import monarch_actor

    return {"actor": base64.b64encode(monarch_actor.spawn(server)).decode("ascii")}


MonarchService.door = staticmethod(_enter)


class MonarchHandle(Handle):
    """A service behind an actor. folder: of the records; actor: the pickle of a reference on it."""

    def __init__(
        self, name: str, token: str, folder: str, actor: bytes, methods: Sequence[str]
    ) -> None:
        super().__init__(name, methods)
        self._token = token
        self._folder = folder
        self._actor = actor

    @property
    def identity(self) -> str:
        return self._token

    def __reduce__(self) -> tuple[Any, ...]:
        state = (self._name, self._token, self._folder, self._actor, sorted(self._methods))
        return MonarchHandle, state

    def _open(self) -> Channel:
        _begin()
        pidfd = self._open_process()
        try:
            return MonarchChannel(pidfd, self._actor)
        except BaseException:
            if pidfd is not None:
                os.close(pidfd)
            raise

    def _open_process(self) -> int | None:
        """A pidfd of the service's process. The record is locked by that process for as long as it
        lives: if it still is there afterwards, the id was not another's by then.
        """
        pid = self._pid()
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            raise self._died() from None
        try:
            self._pid()
        except BaseException:
            os.close(pidfd)
            raise
        return pidfd

    def _pid(self) -> int:
        record = Records.at(self._folder).find(self._name)
        if record is None or record["token"] != self._token:
            raise self._died()
        pid: int = record["pid"]
        return pid

    def _died(self) -> ServiceDied:
        return ServiceDied(f"service {self._name!r} is gone")


class MeshFleet:
    """A fleet on the procs of a mesh, which is its owner's, and not ended here."""

    def __init__(self, name: str, procs: Any) -> None:
        self._name = name
        self._procs = procs
        self._actors: Any = None

    def start(
        self,
        cls: type,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
        timeout_s: float,
    ) -> list[dict[str, Any]]:
        """Make a member on each proc; return what the record is to say of them."""
        _begin()
        from . import monarch_actor

        made = pickle.dumps((cls, args, dict(kwargs)))
        self._actors = monarch_actor.spawn_fleet(self._procs)
        try:
            answers = self._actors.make.call(made, options.get("max_concurrency")).get(timeout_s)
        except TimeoutError:
            raise StartTimeout(
                f"fleet {self._name!r} was not ready within start_timeout={timeout_s:g} s"
            ) from None
        found = []
        for _, answer in answers.items():
            member = pickle.loads(answer)
            if "error" in member:
                raise ServiceError(f"fleet {self._name!r} could not be started: {member['error']}")
            actor = base64.b64encode(member["actor"]).decode("ascii")
            found.append({**member, "actor": actor, "key": secrets.token_hex(16)})
        return found

    def close(self) -> None:
        """End the members, as far as they can be reached."""
        if self._actors is not None:
            with contextlib.suppress(Exception):  # a proc is gone, say
                self._actors.end.call().get(_END_S)


class MeshHandle(MonarchHandle):
    """A member of such a fleet. member: what the record says of it."""

    def __init__(self, name: str, member: Mapping[str, Any]) -> None:
        actor = base64.b64decode(member["actor"])
        super().__init__(name, member["key"], "", actor, member["methods"])
        self._member = member

    def __reduce__(self) -> tuple[Any, ...]:
        return MeshHandle, (self._name, self._member)

    def _open_process(self) -> int | None:
        """On another machine, it is told by its silence alone that it has ended."""
        if self._member["boot"] != _boot_id():
            return None
        if _has_ended(self._member):
            raise self._died()
        try:
            return os.pidfd_open(self._member["pid"])
        except ProcessLookupError:
            raise self._died() from None


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _has_ended(member: Mapping[str, Any]) -> bool:
    """Whether a process of this machine is no more, or its number another's; of other machines,
    nothing is known here.
    """
    if member["boot"] != _boot_id():
        return False
    try:
        with open(f"/proc/{member['pid']}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return True
    return fields[0] in (b"Z", b"X") or int(fields[19]) != member["began"]


class MonarchChannel:
    """Calls of this process to one actor, and their answers, which come to one port.

    Two threads: whoever calls `receive` waits for the port, without limit, since Monarch's waits
    that end by a time limit swallow the message that comes next. The other waits for the end of the
    service's process, or for `shut`, and tells it to the first by a message to the same port.
    """

    def __init__(self, pidfd: int | None, actor: bytes) -> None:
        from monarch.actor import Channel as Ports

        self._actor = pickle.loads(actor)
        self._port, self._receiver = Ports.open()
        self._pidfd = pidfd
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._is_open = True  # guarded by _lock, as is what descriptors are used for
        self._watcher = threading.Thread(target=self._watch, name="end of a service", daemon=True)
        try:
            self._watcher.start()
        except RuntimeError as error:
            os.close(self._wake)
            raise ServiceError(f"a service can't be called: {error}") from error

    def send(self, number: int, payload: bytes) -> None:
        with self._lock:
            if not self._is_open or (self._pidfd is not None and _ends(self._pidfd)):
                raise ConnectionResetError("its process has ended")
        try:
            self._actor.take.broadcast(self._port, number, payload)
        except Exception as error:
            raise ConnectionResetError(f"Monarch: {type(error).__name__}: {error}") from error

    def receive(self) -> tuple[int, Kind, bytes]:
        try:
            number, kind, payload = self._receiver.recv().get()
        except Exception as error:  # Monarch has been shut down in this process, or it is ending
            raise ConnectionResetError(f"Monarch: {type(error).__name__}: {error}") from error
        if number < 0:
            raise ConnectionResetError(payload.decode())
        return number, Kind(kind), payload

    def shut(self) -> None:
        with self._lock:
            if self._is_open:
                os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        if os.getpid() != self._pid:
            if self._is_open:  # copies; the event is the parent's, too, and must not occur
                self._close_all()
            return
        self.shut()
        self._watcher.join()  # it closes what it waits for

    def _watch(self) -> None:
        poll = select.poll()
        if self._pidfd is not None:
            poll.register(self._pidfd, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        ready = dict(poll.poll())
        why = "the connection was closed"
        if self._wake not in ready:
            why = "its process has ended"
            select.select([self._wake], [], [], _LAST_S)
        with contextlib.suppress(Exception):  # Monarch has been shut down: there is nobody to tell
            self._port.send((-1, 0, why.encode()))
        with self._lock:
            self._is_open = False
            self._close_all()

    def _close_all(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
        os.close(self._wake)


def _ends(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], 0)[0])


_beginning = threading.Lock()
_begun = False
_is_forked = False


def _begin() -> None:
    """Have this process be a client of Monarch, which it stays until its end."""
    global _begun
    if _is_forked:
        raise ServiceError(
            "this process was forked after Monarch had been started, which can't be used here: use "
            'the start method "spawn", or fork before the first service is made or called'
        )
    with _beginning:
        if _begun:
            return
        _require_monarch()
        import monarch.actor

        with _quietly():
            monarch.actor.context()
        theirs = monarch.actor.unhandled_fault_hook
        monarch.actor.unhandled_fault_hook = functools.partial(_pass_on_fault, theirs)
        _begun = True


def _pass_on_fault(theirs: Callable[[Any], object], failure: Any) -> object:
    """Take a failure of an actor of ours, as of a message to one that has just ended, for what it
    is: its callers are told, and this process has no reason to end, as it would have by default.
    """
    from .monarch_actor import SERVICE_ACTOR

    if SERVICE_ACTOR in str(failure):
        logger.debug("an actor has ended: %s", str(failure).partition("\n")[0])
        return None
    return theirs(failure)


def _require_monarch() -> None:
    try:
        import monarch.actor  # noqa: F401
    except ImportError as error:
        raise ServiceError(
            f"the monarch backend needs Monarch ({error}): pip install 'interpreter-pool[monarch]'"
        ) from error


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep from standard error the line that Monarch's start writes there, whatever its log levels
    are: straight to the descriptor. All else that comes meanwhile is passed on.
    """
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    with contextlib.suppress(AttributeError, ValueError, OSError):
        sys.stderr.flush()
    taken = os.memfd_create("stderr", os.MFD_CLOEXEC)
    try:
        os.dup2(taken, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.lseek(taken, 0, os.SEEK_SET)
            with open(taken, "rb", closefd=False) as file:
                rest = [line for line in file if not line.startswith(_NOTICE)]
            with contextlib.suppress(OSError):
                os.write(2, b"".join(rest))
    finally:
        os.close(taken)
        os.close(kept)


def _after_fork_in_child() -> None:
    global _is_forked, _beginning
    _is_forked = _begun or _beginning.locked()
    _beginning = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
