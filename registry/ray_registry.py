"""The registry's actor: which names are taken, by what. One a namespace; it takes no CPU.

It serves one question at a time, and so is where it is decided who gets a name. It forgets actors
that have died, and reservations that nobody renews.
"""

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

from .fleet import FLEET
from .ray_fleet import prefix_of

REGISTRY_NAME = "_registry"
_PREFIX = "service::"


def actor_name(name: str, token: str) -> str:
    return f"{_PREFIX}{name}::{token}"


def is_fleet(actor: str) -> bool:
    return actor.rpartition("::")[2].startswith(FLEET)


def kill(ray: Any, namespace: str, actor: str) -> None:
    """End an actor, if it is there; and, of a fleet, the members."""
    _kill_all(ray, namespace, [actor])
    if not is_fleet(actor):
        return
    name, _, token = actor.removeprefix(_PREFIX).rpartition("::")
    prefix = prefix_of(name, token)
    for pause_s in (0.0, 0.2):  # it may have been about to add one when it was killed
        time.sleep(pause_s)
        listed = ray.util.list_named_actors(all_namespaces=True)
        members = [each["name"] for each in listed if each["namespace"] == namespace]
        _kill_all(ray, namespace, [each for each in members if each.startswith(prefix)])


def _kill_all(ray: Any, namespace: str, actors: list[str]) -> None:
    for each in actors:
        try:
            handle = ray.get_actor(each, namespace=namespace)
        except ValueError:
            continue  # it was never made, or is dead
        ray.kill(handle, no_restart=True)


@dataclasses.dataclass(slots=True)
class Record:
    """client: an owner's, pickled; None: an actor. lease_until: of a reservation, else None."""

    token: str
    client: bytes | None = None
    lease_until: float | None = None


class RayRegistry:
    """Started again after its process has died, it finds the actors by their names."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._records: dict[str, Record] = {}
        for each in self._living():
            name, _, token = each.removeprefix(_PREFIX).rpartition("::")
            self._records[name] = Record(token)

    def reserve(self, name: str, token: str, lease_s: float) -> bool:
        """Take `name`; false if it is taken."""
        self._sweep()
        if name in self._records:
            return self._records[name].token == token  # asked twice, after an answer was lost
        self._records[name] = Record(token, lease_until=time.monotonic() + lease_s)
        return True

    def renew(self, name: str, token: str, lease_s: float) -> bool:
        """Keep a reservation; false if it is gone."""
        record = self._own(name, token)
        if record is None:
            return False
        record.lease_until = time.monotonic() + lease_s
        return True

    def commit(self, name: str, token: str) -> bool:
        """Make a reservation a service; false if it is gone."""
        record = self._own(name, token)
        if record is None:
            return False
        record.lease_until = None
        return True

    def publish(self, name: str, token: str, client: bytes) -> bool:
        """Take `name` for an owner's client; false if it is taken."""
        self._sweep()
        if name in self._records:
            return self._records[name].token == token
        self._records[name] = Record(token, client=client)
        return True

    def drop(self, name: str, token: str) -> str | None:
        """Forget what was registered with `token`; return the name of the actor to be killed."""
        record = self._own(name, token)
        if record is None:
            return None
        del self._records[name]
        return None if record.client is not None else actor_name(name, token)

    def clear(self) -> list[str]:
        """Forget everything; return the names of the actors to be killed."""
        actors = [
            actor_name(name, record.token)
            for name, record in self._records.items()
            if record.client is None
        ]
        self._records.clear()
        return actors

    def find(self, name: str) -> bytes | str | None:
        """Return a client, the name of an actor, or None where there is nothing (yet)."""
        self._sweep()
        record = self._records.get(name)
        if record is None or record.lease_until is not None:
            return None
        return actor_name(name, record.token) if record.client is None else record.client

    def names(self) -> list[str]:
        self._sweep()
        return sorted(name for name, record in self._records.items() if record.lease_until is None)

    def leave(self) -> None:
        """End, unless a name is taken."""
        self._sweep()
        if not self._records:
            import ray

            ray.actor.exit_actor()

    # ---- within

    def _own(self, name: str, token: str) -> Record | None:
        record = self._records.get(name)
        return record if record is not None and record.token == token else None

    def _sweep(self) -> None:
        """Forget actors that are dead, and reservations that have run out with what they made."""
        living = set(self._living())
        for name, record in list(self._records.items()):
            actor = actor_name(name, record.token)
            if record.lease_until is not None:
                if time.monotonic() > record.lease_until:
                    del self._records[name]
                    self._kill(actor)
            elif record.client is None and actor not in living:
                del self._records[name]

    def _living(self) -> Iterator[str]:
        import ray

        for each in ray.util.list_named_actors(all_namespaces=True):
            if each["namespace"] == self._namespace and each["name"].startswith(_PREFIX):
                yield each["name"]

    def _kill(self, actor: str) -> None:
        import ray

        kill(ray, self._namespace, actor)
