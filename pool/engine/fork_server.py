"""The jail of all sessions and snapshots of a pool, made when the first one is wanted."""

import logging
import threading

from ...sandbox import descriptors
from ...sandbox.family import Family
from ...sandbox.jail import JailLost
from ...sandbox.limits import Limits
from ...sandbox.nursery import Nursery
from ...sandbox.plan import Plan
from ...sandbox.state import State
from ..errors import PoolClosed, PoolError

logger = logging.getLogger(__name__)


class ForkServer:
    """Makes the jail that families and templates are forked in, and another where it was lost.
    closing: whether the pool is being closed. Safe to use from any thread.
    """

    def __init__(self, plan: Plan, closing: threading.Event) -> None:
        self.plan = plan
        self._closing = closing
        self._nursery: Nursery | None = None
        self._lock = threading.Lock()  # guards _nursery

    def nursery(self) -> Nursery:
        """The jail that lives now."""
        with self._lock:
            if self._closing.is_set():
                raise PoolClosed("the pool is closed")
            if self._nursery is not None and not self._nursery.is_alive():
                logger.info("the jail of sessions was lost and is replaced")
                self._nursery.close()
                self._nursery = None
            if self._nursery is None:
                nursery = Nursery(self.plan)
                nursery.start()
                self._nursery = nursery
            return self._nursery

    def new_family(self, limits: Limits) -> tuple[Family, State]:
        """Return a family, and a first head of it, which is parked. Raises `PoolError`."""
        for last in (False, True):  # the first try may find that the jail of sessions is dead
            try:
                return self._try_new_family(limits)
            except JailLost as lost:
                if last:
                    raise PoolError(f"a session could not be made: {lost}") from None
        raise AssertionError

    def _try_new_family(self, limits: Limits) -> tuple[Family, State]:
        descriptors.require()
        family = Family(self.nursery(), limits)
        try:
            head = family.first()
        except BaseException:
            family.close()
            raise
        head.park()
        return family, head

    def held_bytes(self) -> int | None:
        """What all its families hold in memory, as a cgroup counts it; None where none does."""
        nursery = self._nursery
        try:
            return nursery.held_bytes() if nursery is not None else 0
        except (OSError, ValueError):  # its cgroup is gone, or being taken away with it
            return None

    def kill(self) -> None:
        nursery = self._nursery
        if nursery is not None:
            nursery.kill()

    def close(self) -> None:
        with self._lock:
            if self._nursery is not None:
                self._nursery.close()
