"""The contract's checks, once for all backends of ours: they only add and find what is checked."""

import builtins
import dataclasses
import logging
from abc import abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from .base import DEFAULT_NAMESPACE, Service, ServiceBase
from .fleet import FleetSize

logger = logging.getLogger(__name__)

OPTIONS = frozenset(
    {
        "num_cpus",
        "num_gpus",
        "memory",
        "object_store_memory",
        "resources",
        "accelerator_type",
        "max_concurrency",
        "max_restarts",
        "max_task_retries",
        "max_pending_calls",
        "scheduling_strategy",
        "runtime_env",
    }
)
"""Arguments of `register` that are meant for the backend, not for the class."""


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What a name leads to: a handle on an actor, or an owner's client, or what knows a fleet."""

    target: Any
    is_client: bool = False
    is_fleet: bool = False


class Backend(ServiceBase):
    """A registry with the checks of the contract; a backend of ours is the rest.

    kind: its name in `get_services`. options: which of `OPTIONS` it knows.
    """

    kind: str
    options: frozenset[str]

    def __init__(self, namespace: str = DEFAULT_NAMESPACE, start_timeout: float = 60.0) -> None:
        check_name("namespace", namespace)
        if isinstance(start_timeout, bool) or not isinstance(start_timeout, (int, float)):
            raise TypeError(f"start_timeout must be seconds, not {start_timeout!r}")
        if not 0 < start_timeout < float("inf"):
            raise ValueError(f"start_timeout={start_timeout!r}: must be a finite time above 0")
        self.namespace = namespace
        self.start_timeout = start_timeout
        self._is_shut = False

    def __repr__(self) -> str:
        state = " shut down" if self._is_shut else ""
        return f"<{type(self).__name__} {self.namespace}{state}>"

    # ---- what a backend adds

    @abstractmethod
    def _create(
        self,
        name: str,
        cls: type,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> Any:
        """Make the service and return its handle when it is ready; ValueError: `taken`."""

    @abstractmethod
    def _publish(self, name: str, owner: Service[Any], client: Any) -> None:
        """Make an owner's client known; ValueError: `taken`."""

    @abstractmethod
    def _find(self, name: str) -> Found | None:
        """What is there, if it lives."""

    @abstractmethod
    def _create_fleet(
        self,
        name: str,
        cls: type,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
        size: FleetSize,
    ) -> None:
        """Make a fleet, and return when as many members as it has at least are ready."""

    @abstractmethod
    def _members(self, name: str, target: Any) -> Mapping[str, Any]:
        """Handles on the members of a fleet that are ready, by identity."""

    @abstractmethod
    def _identity(self, handle: Any) -> str:
        """What tells the service behind a handle from every other."""

    @abstractmethod
    def _let_go(self) -> None:
        """End what this object registered, as far as it is still there."""

    # ---- the contract

    def register(self, name: str, service_factory: Any, *args: Any, **kwargs: Any) -> Any:
        options = {key: kwargs.pop(key) for key in OPTIONS & kwargs.keys()}
        return self._register(name, service_factory, args, kwargs, options)

    def register_with_options(
        self,
        name: str,
        service_factory: Any,
        actor_options: Mapping[str, Any],
        **constructor_kwargs: Any,
    ) -> Any:
        if not isinstance(actor_options, Mapping):
            raise TypeError(f"actor_options must map options to values, not {actor_options!r}")
        return self._register(name, service_factory, (), constructor_kwargs, actor_options)

    def _register(
        self,
        name: str,
        service: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> Any:
        self._require_open()
        check_name("name", name)
        if isinstance(service, type):
            self._check_options(options)
            options = {**_own_options(service), **options}
            return self._create(name, service, args, kwargs, options)
        if not isinstance(service, Service):
            raise TypeError(
                f"service_factory must be a class, or an owner with start, shutdown, client and "
                f"is_alive, not {service!r}"
            )
        given = [*map(repr, args), *kwargs, *options]
        if given:
            raise TypeError(f"an owner is made already; it can't be given {', '.join(given)}")
        if not service.is_alive:
            raise RuntimeError(f"the owner of {name!r} is not alive; call its start() first")
        client = service.client()
        self._publish(name, service, client)
        return client

    def get(self, name: str) -> Any:
        found = self._require(name)
        if found.is_fleet:
            raise TypeError(
                f"{name!r} is a fleet, not a service: use connect({self.kind + '://' + name!r}), "
                f"or members({name!r})"
            )
        return found.target

    def register_fleet(
        self,
        name: str,
        service_factory: Any,
        *args: Any,
        min: int = 1,
        max: int | None = None,
        **kwargs: Any,
    ) -> None:
        self._require_open()
        check_name("name", name)
        if not isinstance(service_factory, type):
            raise TypeError(f"service_factory must be a class, not {service_factory!r}")
        size = FleetSize(min, max)
        options = {key: kwargs.pop(key) for key in OPTIONS & kwargs.keys()}
        self._check_options(options)
        options = {**_own_options(service_factory), **options}
        self._create_fleet(name, service_factory, args, kwargs, options, size)

    def members(self, name: str) -> Mapping[str, Any]:
        found = self._require(name)
        if found.is_client:
            raise TypeError(f"service {name!r} is an owner's, and has a client of its own")
        if found.is_fleet:
            return self._members(name, found.target)
        return {self._identity(found.target): found.target}

    def get_client(self, name: str) -> Any:
        found = self._require(name)
        if not found.is_client:
            raise TypeError(
                f"service {name!r} is a legacy raw actor, made from a class; only an owner has a "
                f"client (use get)"
            )
        return found.target

    def __contains__(self, name: object) -> bool:
        self._require_open()
        return isinstance(name, str) and self._find(name) is not None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._is_shut:  # else it has let go of everything, and can't reach the rest
            super().__exit__(kind, error, traceback)

    def shutdown(self, raise_on_error: bool = True) -> None:
        if self._is_shut:
            return
        self._is_shut = True
        try:
            self._let_go()
        except Exception as error:
            if raise_on_error:
                raise
            logger.warning("%r could not be shut down: %s", self, error)

    # ---- for backends

    def taken(self, name: str) -> ValueError:
        return ValueError(
            f"service {name!r} already exists in namespace {self.namespace!r}; get it, or choose "
            f"another name"
        )

    def _require(self, name: str) -> Found:
        self._require_open()
        check_name("name", name)
        found = self._find(name)
        if found is None:
            there = ", ".join(map(repr, self.list())) or "none"
            raise KeyError(
                f"service {name!r} not found in namespace {self.namespace!r}; there are: {there}"
            )
        return found

    def _require_open(self) -> None:
        if self._is_shut:
            raise RuntimeError(f"{self!r}: get the services anew")

    def _check_options(self, options: Mapping[str, Any]) -> None:
        unknown: builtins.list[str] = sorted(options.keys() - self.options)
        if unknown:
            raise TypeError(
                f"the {self.kind} backend has no option {', '.join(unknown)}; there are: "
                f"{', '.join(sorted(self.options))}"
            )


def _own_options(cls: type) -> dict[str, Any]:
    """Options that a class asks for, where whoever registers it says nothing of them."""
    return dict(getattr(cls, "service_options", {}))


def check_name(what: str, value: object) -> None:
    """Raise TypeError or ValueError for what can't be the name of a service or a namespace."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a string, not {value!r}")
    if not value or "::" in value:
        raise ValueError(f"{what}={value!r}: must not be empty, or hold '::'")
