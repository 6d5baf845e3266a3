"""The jail of all sessions and snapshots of a pool, made when the first one is wanted."""

import logging
import threading
from typing import TYPE_CHECKING

from ...sandbox.jail import descriptors
from ...sandbox.jail.messages import JailLost
from ...sandbox.jail.plan import Plan
from ...sandbox.limits import Limits
from ..errors import PoolClosed, PoolError

if TYPE_CHECKING:  # what only sessions need is not imported by those who run programs
    from ...sandbox.session.family import Family
    from ...sandbox.session.fork_server import ForkServer
    from ...sandbox.session.state import State

logger = logging.getLogger(__name__)


class Families:
    """Makes the jail that families and templates are forked in, and another where it was lost.
    closing: whether the pool is being closed. Safe to use from any thread.
    """

    def __init__(self, plan: Plan, closing: threading.Event) -> None:
        self.plan = plan
        self._closing = closing
        self._fork_server: ForkServer | None = None
        self._lock = threading.Lock()  # guards _fork_server

    def fork_server(self) -> "ForkServer":
        """The jail that lives now."""
        with self._lock:
            if self._closing.is_set():
                raise PoolClosed("the pool is closed")
            if self._fork_server is not None and not self._fork_server.is_alive():
                logger.info("the jail of sessions was lost and is replaced")
                self._fork_server.close()
                self._fork_server = None
            if self._fork_server is None:
                from ...sandbox.session.fork_server import ForkServer

                fork_server = ForkServer(self.plan)
                fork_server.start()
                self._fork_server = fork_server
            return self._fork_server

    def new_family(self, limits: Limits, numeric_threads: int) -> "tuple[Family, State]":
        """Return a family, and a first head of it, which is parked. numeric_threads: of libraries.
        Raises `PoolError`.
        """
        for last in (False, True):  # the first try may find that the jail of sessions is dead
            try:
                return self._try_new_family(limits, numeric_threads)
            except JailLost as lost:
                if last:
                    raise PoolError(f"a session could not be made: {lost}") from None
        raise AssertionError

    def _try_new_family(self, limits: Limits, numeric_threads: int) -> "tuple[Family, State]":
        descriptors.require()
        from ...sandbox.session.family import Family

        family = Family(self.fork_server(), limits, numeric_threads)
        try:
            head = family.first()
        except BaseException:
            family.close()
            raise
        return family, head

    def held_bytes(self, enough: int | None = None) -> int | None:
        """What all its families hold in memory, as cgroups count it; None where none do. enough: as
        for `ForkServer.held_bytes`.
        """
        fork_server = self._fork_server
        try:
            return fork_server.held_bytes(enough) if fork_server is not None else 0
        except (OSError, ValueError):  # its cgroup is gone, or being taken away with it
            return None

    def are_settled(self) -> bool:
        """Whether nothing is left of the sessions that have ended."""
        fork_server = self._fork_server
        return fork_server is None or fork_server.groups.are_settled()

    def kill(self) -> None:
        fork_server = self._fork_server
        if fork_server is not None:
            fork_server.kill()

    def close(self) -> None:
        with self._lock:
            if self._fork_server is not None:
                self._fork_server.close()
