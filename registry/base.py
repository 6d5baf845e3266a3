"""What every registry of services offers, whichever backend is behind it.

A backend of your own is a subclass of `ServiceBase` with five methods; `examples/` has one.
"""

import builtins
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar, runtime_checkable

DEFAULT_NAMESPACE = "interpreter_pool_services"
"""Where services are when nobody says otherwise: the same for all who register or look for one."""

ClientT = TypeVar("ClientT", covariant=True)


@runtime_checkable
class Service(Protocol, Generic[ClientT]):
    """The owner's side of a service that lives long: it starts it, ends it, and gives out clients.

    Registering an owner makes its client known; the service stays its owner's.
    """

    def start(self) -> Self:
        """Start the service and return the owner."""
        ...

    def shutdown(self, timeout: float | None = None) -> None:
        """End the service and give back what it holds, within `timeout` seconds."""
        ...

    def client(self) -> ClientT:
        """Return what others may use: cheap to pickle, and unable to end the service."""
        ...

    @property
    def is_alive(self) -> bool:
        """Whether the service can be used."""
        ...


class ServiceBase(ABC):
    """A registry: names to services. `services["x"]`, `services["x"] = Class`, `"x" in services`.

    As a context manager it is for whoever owns the namespace: at the end, everything in it is
    taken away (`reset`).
    """

    @abstractmethod
    def register(self, name: str, service_factory: Any, *args: Any, **kwargs: Any) -> Any:
        """Make a service of a class, under `name`, and return a handle on it.

        args, kwargs: for the class, and options of the backend. Instead of a class, an owner (see
        `Service`) whose client is to be known. Raises ValueError where the name is taken.
        """

    @abstractmethod
    def get(self, name: str) -> Any:
        """Return a handle on the service `name`, or an owner's client; KeyError: there is none."""

    @abstractmethod
    def __contains__(self, name: object) -> bool:
        """Whether there is a service `name` now."""

    @abstractmethod
    def list(self) -> builtins.list[str]:
        """Return the names of all services that there are now, sorted."""

    @abstractmethod
    def reset(self) -> None:
        """End all services of the namespace, whoever registered them; owners only lose the name."""

    def register_with_options(
        self,
        name: str,
        service_factory: Any,
        actor_options: Mapping[str, Any],
        **constructor_kwargs: Any,
    ) -> Any:
        """`register` with the backend's options apart from the arguments of the class."""
        return self.register(name, service_factory, **{**actor_options, **constructor_kwargs})

    def register_fleet(
        self,
        name: str,
        service_factory: Any,
        *args: Any,
        min: int = 1,
        max: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Make several services of a class under one name, and keep them as many as they should be:
        one that dies is replaced.

        min: how many there are at least; max: at most. args, kwargs: as for `register`. What they
        are used by is what asks for `members`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no fleets")

    def members(self, name: str) -> Mapping[str, Any]:
        """Return handles on the members of the fleet `name`, or on the service `name`, by what
        tells each from any other that there was or will be. KeyError: there is neither.
        """
        raise NotImplementedError(f"{type(self).__name__} has no fleets")

    def get_client(self, name: str) -> Any:
        """Return the client of the owner that was registered as `name`."""
        raise NotImplementedError(f"{type(self).__name__} has no owners, and no clients of theirs")

    def result(self, ref: Any, timeout: float | None = None) -> Any:
        """Return what `handle.method.remote(...)` has led to; of a list of these, a list.

        timeout: seconds for all of them, then TimeoutError. What a method raised is raised here.
        """
        raise NotImplementedError(f"{type(self).__name__} has no results to wait for")

    def shutdown(self, raise_on_error: bool = True) -> None:  # noqa: B027 (may have nothing)
        """Let go of the registry: what this object registered ends, what others did stays.

        raise_on_error: false where a failure is only to be logged.
        """

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def __setitem__(self, name: str, service_factory: Any) -> None:
        self.register(name, service_factory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.reset()
        finally:
            self.shutdown(raise_on_error=error is None)
