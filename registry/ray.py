"""Services on a Ray cluster: a named, detached actor each, and one more that knows their names.

The registry's actor decides alone who gets a name, so that of several at once one wins:

    register:  reserve the name ──► make the actor ──► wait for its constructor ──► commit
                                          └── it fails, or takes too long ──► drop

A reservation is a lease, renewed while its owner waits: one whose owner has died runs out, and
what was made under it is killed. An actor's name holds a token, so that a successor never meets
the name of one that is still dying.
"""

import builtins
import time
import uuid
from collections.abc import Mapping
from typing import Any

from . import loopback
from .backend import OPTIONS, Backend, Found
from .base import DEFAULT_NAMESPACE, Service
from .errors import Infeasible, ServiceDied, ServiceError, StartTimeout
from .fleet import FLEET, FleetSize
from .ray_fleet import RayFleet
from .ray_registry import REGISTRY_NAME, RayRegistry, actor_name, is_fleet, kill

_ANSWER_S = 60.0
"""How long the registry's actor may take to answer; its process may have to be started first."""

_LEASE_S = 12.0
"""A reservation that nobody has renewed for so long is free again."""

_TRIES = 5
"""Registries that may go away, as their last user leaves, before that is told to a caller."""

_PAUSE_S = 0.1


class RayService(Backend):
    """A registry of services on Ray. Connects to the Ray of this process, or starts one.

    ray_init_config: for `ray.init`, where Ray is not initialized yet. A Ray that is started here,
        rather than connected to (`address`, $RAY_ADDRESS, or what `ray start` has started last),
        listens on the loopback interface only and has no dashboard, unless this says otherwise
        (`_node_ip_address`, `include_dashboard`). With the address "local", one is started in any
        case.
    namespace: services in others are not seen.
    start_timeout: seconds that a service may take until its constructor has returned.

    `shutdown` ends what this object registered; `reset` ends everything in the namespace.
    """

    kind = "ray"
    options = OPTIONS

    def __init__(
        self,
        ray_init_config: Mapping[str, Any] | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        start_timeout: float = 60.0,
    ) -> None:
        super().__init__(namespace, start_timeout)
        self._ray = loopback.import_ray()
        if not self._ray.is_initialized():
            loopback.init(self._ray, {"namespace": namespace, **(ray_init_config or {})})
        self._registry: Any = None
        self._mine: dict[str, str] = {}  # names registered here, and their tokens
        self._ask("names")  # whatever is wrong shows now

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (None, self.namespace, self.start_timeout)

    def list(self) -> builtins.list[str]:
        self._require_open()
        names: builtins.list[str] = self._ask("names")
        return names

    def reset(self) -> None:
        self._require_open()
        self._mine.clear()
        for each in self._ask("clear"):
            self._kill(each)

    def result(self, ref: Any, timeout: float | None = None) -> Any:
        refs = builtins.list(ref) if isinstance(ref, tuple) else ref
        try:
            return self._ray.get(refs, timeout=timeout)
        except self._ray.exceptions.RayActorError as error:
            raise ServiceDied(f"the service has died: {error}") from error

    # ---- for Backend

    def _create(
        self,
        name: str,
        cls: type,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> Any:
        asked = resources(options)
        self._require_feasible(name, asked)
        token = uuid.uuid4().hex
        if not self._ask("reserve", name, token, _LEASE_S):
            raise self.taken(name)
        try:
            actor = (
                self._ray.remote(cls)
                .options(
                    name=actor_name(name, token),
                    namespace=self.namespace,
                    lifetime="detached",
                    **options,
                )
                .remote(*args, **kwargs)
            )
            self._await(name, token, actor, asked)
            if not self._ask("commit", name, token):
                raise ServiceError(f"service {name!r} was taken away while it was started")
        except BaseException:
            self._drop(name, token)
            raise
        self._mine[name] = token
        return actor

    def _create_fleet(
        self,
        name: str,
        cls: type,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
        size: FleetSize,
    ) -> None:
        asked = resources(options)
        self._require_feasible(name, asked)
        token = FLEET + uuid.uuid4().hex
        if not self._ask("reserve", name, token, _LEASE_S):
            raise self.taken(name)
        try:
            made = self._ray.cloudpickle.dumps((cls, args, dict(kwargs)))
            manager = (
                self._ray.remote(RayFleet)
                .options(
                    name=actor_name(name, token),
                    namespace=self.namespace,
                    lifetime="detached",
                    num_cpus=0,
                    max_restarts=-1,
                    max_concurrency=16,
                )
                .remote(
                    *(self.namespace, name, token, made, dict(options), asked),
                    (size.least, size.most),
                )
            )
            self._await_fleet(name, token, manager, asked, size)
            if not self._ask("commit", name, token):
                raise ServiceError(f"fleet {name!r} was taken away while it was started")
        except BaseException:
            self._drop(name, token)
            raise
        self._mine[name] = token

    def _await_fleet(
        self,
        name: str,
        token: str,
        manager: Any,
        asked: Mapping[str, float],
        size: FleetSize,
    ) -> None:
        """Wait for as many members as it has at least, and keep the reservation meanwhile."""
        deadline = time.monotonic() + self.start_timeout
        renewed = time.monotonic()
        while True:
            ready, there, trouble = self._ray.get(manager.state.remote(), timeout=_ANSWER_S)
            if ready >= size.least:
                return
            if trouble and not there:
                raise ServiceError(f"fleet {name!r} could not be started: {trouble}")
            if time.monotonic() > deadline:
                free = self._ray.available_resources()
                raise StartTimeout(
                    f"fleet {name!r}: {ready} of min={size.least} members were ready within "
                    f"start_timeout={self.start_timeout:g} s; each asks for {said(asked)}; free "
                    f"now in the whole cluster: "
                    f"{said({key: free.get(key, 0) for key in asked})} {trouble}".rstrip()
                )
            if time.monotonic() - renewed > _LEASE_S / 4:
                renewed = time.monotonic()
                if not self._ask("renew", name, token, _LEASE_S):
                    raise ServiceError(f"fleet {name!r} was taken away while it was started")
            time.sleep(_PAUSE_S)

    def _members(self, name: str, target: Any) -> Mapping[str, Any]:
        members: dict[str, Any] = self._ray.get(target.members.remote(), timeout=_ANSWER_S)
        return members

    def _publish(self, name: str, owner: Service[Any], client: Any) -> None:
        token = uuid.uuid4().hex
        # As bytes: the registry's process need not have the client's class.
        if not self._ask("publish", name, token, self._ray.cloudpickle.dumps(client)):
            raise self.taken(name)
        self._mine[name] = token

    def _find(self, name: str) -> Found | None:
        found = self._ask("find", name)
        if isinstance(found, bytes):
            return Found(self._ray.cloudpickle.loads(found), is_client=True)
        if found is None:
            return None
        try:
            handle = self._ray.get_actor(found, namespace=self.namespace)
            return Found(handle, is_fleet=is_fleet(found))
        except ValueError:  # it has just died
            return None

    def _identity(self, handle: Any) -> str:
        return str(handle._actor_id.hex())

    def _let_go(self) -> None:
        if not self._ray.is_initialized():
            return  # what was there went with it
        mine, self._mine = self._mine, {}
        for name, token in mine.items():
            self._drop(name, token)
        if self._registry is not None:
            try:
                self._ray.get(self._registry.leave.remote(), timeout=_ANSWER_S)
            except self._ray.exceptions.RayActorError:
                pass  # nobody is registered any more, and it has left

    # ---- steps

    def _require_feasible(self, name: str, asked: Mapping[str, float]) -> None:
        """An actor that fits on no machine would wait for ever: say so before it is made."""
        nodes = [each["Resources"] for each in self._ray.nodes() if each["Alive"]]
        if any(all(node.get(key, 0) >= asked[key] for key in asked) for node in nodes):
            return
        most = {key: max((node.get(key, 0) for node in nodes), default=0) for key in asked}
        raise Infeasible(
            f"service {name!r} asks for {said(asked)}; of {len(nodes)} machines here, none has "
            f"all of that: at most {said(most)}"
        )

    def _await(self, name: str, token: str, actor: Any, asked: Mapping[str, float]) -> None:
        """Wait for the constructor, and keep the reservation meanwhile."""
        ready = actor.__ray_ready__.remote()
        deadline = time.monotonic() + self.start_timeout
        while True:
            left_s = deadline - time.monotonic()
            done, _ = self._ray.wait([ready], timeout=max(min(left_s, _LEASE_S / 4), 0))
            if done:
                break
            if left_s <= 0:
                free = self._ray.available_resources()
                raise StartTimeout(
                    f"service {name!r} was not ready within start_timeout={self.start_timeout:g} "
                    f"s; it asks for {said(asked)}; free now in the whole cluster: "
                    f"{said({key: free.get(key, 0) for key in asked})}"
                )
            if not self._ask("renew", name, token, _LEASE_S):
                raise ServiceError(f"service {name!r} was taken away while it was started")
        try:
            self._ray.get(ready, timeout=_ANSWER_S)
        except self._ray.exceptions.RayError as error:
            raise ServiceError(f"service {name!r} could not be started: {error}") from error

    def _drop(self, name: str, token: str) -> None:
        dropped = self._ask("drop", name, token)
        if dropped is not None:
            self._kill(dropped)

    def _kill(self, actor: str) -> None:
        kill(self._ray, self.namespace, actor)

    def _ask(self, question: str, *args: Any) -> Any:
        """Ask the registry's actor; make it, where there is none or the last one has left."""
        for tried in range(1, _TRIES + 1):
            if self._registry is None:
                self._registry = (
                    self._ray.remote(RayRegistry)
                    .options(
                        name=REGISTRY_NAME,
                        namespace=self.namespace,
                        lifetime="detached",
                        get_if_exists=True,
                        num_cpus=0,
                        max_restarts=-1,
                    )
                    .remote(self.namespace)
                )
            try:
                return self._ray.get(
                    getattr(self._registry, question).remote(*args), timeout=_ANSWER_S
                )
            except self._ray.exceptions.RayActorError as error:
                self._registry = None
                if tried == _TRIES:
                    raise ServiceError(f"the registry's actor can't be reached: {error}") from error
                time.sleep(_PAUSE_S)
        raise AssertionError("unreachable")


def resources(options: Mapping[str, Any]) -> dict[str, float]:
    """What an actor with these options must find on one machine, by Ray's names of resources."""
    asked = dict(options.get("resources") or {})
    for option, resource in (("num_cpus", "CPU"), ("num_gpus", "GPU"), ("memory", "memory")):
        if options.get(option):
            asked[resource] = options[option]
    if options.get("num_cpus") is None:
        asked["CPU"] = 1  # to be placed; it is given back then
    if options.get("accelerator_type"):
        asked[f"accelerator_type:{options['accelerator_type']}"] = 0.001
    return asked


def said(amounts: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in amounts.items()) or "nothing"
