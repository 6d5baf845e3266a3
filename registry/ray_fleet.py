"""A fleet on Ray: the actor that has its members be as many as they should, one on every node.

Ray places, starts again and ends them; this only says how many, and on which node. It finds them by
their names when it is started again itself.
"""

import threading
import uuid
from collections.abc import Mapping
from typing import Any

from .fleet import LOOK_S, FleetSize, Growth, MemberState

_PREFIX = "member::"
_ANYWHERE = "any"
_ANSWER_S = 10.0
_SHORTEST_S, _LONGEST_PAUSE_S = 0.1, 30.0


def prefix_of(name: str, token: str) -> str:
    """How the names of a fleet's members begin."""
    return f"{_PREFIX}{name}::{token}::"


class _Member:
    def __init__(self, handle: Any, node: str) -> None:
        self.handle = handle
        self.node = node
        self.key: str = handle._actor_id.hex()
        self.ready_ref = handle.__ray_ready__.remote()
        self.is_ready = False
        self.state = MemberState()
        self.asked: Any = None


class RayFleet:
    """cls: pickled, with its arguments. asked: what a member must find on its node, by Ray's names
    of resources.
    """

    def __init__(
        self,
        namespace: str,
        name: str,
        token: str,
        made: bytes,
        options: Mapping[str, Any],
        asked: Mapping[str, float],
        size: tuple[int, int | None],
    ) -> None:
        import ray

        self._ray = ray
        self._namespace = namespace
        self._prefix = prefix_of(name, token)
        self._cls, self._args, self._kwargs = ray.cloudpickle.loads(made)
        self._options = dict(options)
        self._asked = dict(asked)
        self._size = FleetSize(*size)
        self._growth = Growth(self._size)
        self._lock = threading.Lock()
        self._members: dict[str, _Member] = {}  # guarded by _lock
        self._trouble = ""
        for each in ray.util.list_named_actors(all_namespaces=True):
            if each["namespace"] == namespace and each["name"].startswith(self._prefix):
                node = each["name"].removeprefix(self._prefix).partition("::")[0]
                try:
                    self._keep(ray.get_actor(each["name"], namespace=namespace), node)
                except ValueError:
                    continue
        threading.Thread(target=self._live, name="fleet", daemon=True).start()

    def members(self) -> dict[str, Any]:
        """Handles on those that are ready, by the actors' ids."""
        with self._lock:
            return {key: each.handle for key, each in self._members.items() if each.is_ready}

    def state(self) -> tuple[int, int, str]:
        """How many are ready, how many there are, and what kept the last one from being so."""
        with self._lock:
            ready = sum(each.is_ready for each in self._members.values())
            return ready, len(self._members), self._trouble

    # ---- its thread

    def _live(self) -> None:
        while True:
            try:
                self._look()
            except Exception as error:  # noqa: BLE001  (Ray's own trouble: it may pass)
                self._trouble = f"{type(error).__name__}: {error}"
            # A class whose constructor fails is not made anew ten times a second.
            failed = self._failures
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S) if failed else _SHORTEST_S
            self._failures = 0
            threading.Event().wait(LOOK_S if self._settled and not failed else self._pause_s)

    _settled = False
    _failures = 0
    _pause_s = _SHORTEST_S

    def _look(self) -> None:
        nodes = {each["NodeID"]: each["Resources"] for each in self._ray.nodes() if each["Alive"]}
        self._forget_dead(nodes)
        self._ask_all()
        places = [
            node
            for node, has in nodes.items()
            if all(has.get(key, 0) >= amount for key, amount in self._asked.items())
        ]
        with self._lock:
            members = list(self._members.values())
        taken = {each.node for each in members if not each.state.draining}
        base = len(places) if self._size.most is None else min(len(places), self._size.most)
        states = [each.state for each in members if each.is_ready]
        wanted = self._growth.wanted(base, states)
        active = [each for each in members if not each.state.draining]
        for node in places:
            if len(active) < wanted and node not in taken:
                active.append(self._add(node))
        while len(active) < wanted:  # more than nodes: where Ray finds room, or makes it
            active.append(self._add(_ANYWHERE))
        for each in active[wanted:]:
            if hasattr(each.handle, "drain"):
                each.handle.drain.remote()
        self._settled = all(each.is_ready for each in active)

    def _forget_dead(self, nodes: Mapping[str, Any]) -> None:
        with self._lock:
            members = list(self._members.values())
        for each in members:
            gone = each.node not in nodes and each.node != _ANYWHERE
            if not each.is_ready and not gone:
                done, _ = self._ray.wait([each.ready_ref], timeout=0)
                if done:
                    try:
                        self._ray.get(each.ready_ref, timeout=_ANSWER_S)
                        each.is_ready = True
                    except Exception as error:  # noqa: BLE001  (its constructor's, or Ray's)
                        self._trouble = str(error)
                        self._failures += 1
                        gone = True
            if gone or (each.state.draining and each.state.drained):
                with self._lock:
                    del self._members[each.key]
                self._ray.kill(each.handle, no_restart=True)

    def _ask_all(self) -> None:
        """Have all say how they are; take what has been said since the last look."""
        with self._lock:
            members = [each for each in self._members.values() if each.is_ready]
        for each in members:
            if not hasattr(each.handle, "fleet_state"):
                continue
            if each.asked is not None:
                done, _ = self._ray.wait([each.asked], timeout=0)
                if not done:
                    continue
                try:
                    each.state = MemberState(*self._ray.get(each.asked, timeout=_ANSWER_S))
                except self._ray.exceptions.ActorDiedError:
                    with self._lock:
                        self._members.pop(each.key, None)
                    continue
                except self._ray.exceptions.RayError:  # it is started again, say
                    pass
            each.asked = each.handle.fleet_state.remote()

    def _add(self, node: str) -> _Member:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        where: Any = "SPREAD"
        if node != _ANYWHERE:
            where = NodeAffinitySchedulingStrategy(node, soft=False)
        options = {"max_restarts": -1, "scheduling_strategy": where, **self._options}
        handle = (
            self._ray.remote(self._cls)
            .options(
                name=f"{self._prefix}{node}::{uuid.uuid4().hex}",
                namespace=self._namespace,
                lifetime="detached",
                **options,
            )
            .remote(*self._args, **self._kwargs)
        )
        return self._keep(handle, node)

    def _keep(self, handle: Any, node: str) -> _Member:
        member = _Member(handle, node)
        with self._lock:
            self._members[member.key] = member
        return member
