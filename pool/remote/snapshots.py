"""Snapshots of executors elsewhere."""

import uuid
from typing import TYPE_CHECKING

from ..errors import SessionLost
from . import messages
from .order import Order

if TYPE_CHECKING:
    from .router import Router


class Origin:
    """The set-up code of a snapshot, which each executor that makes runs from it runs for itself.
    Made at one of them at once, so that what is wrong with it shows.
    """

    def __init__(
        self, router: "Router", setup: bytes, timeout_s: float | None, runtime: str | None
    ) -> None:
        self.key = uuid.uuid4().hex
        self.runtime = runtime
        self.order = (self.key, setup, timeout_s, runtime)
        self.closed = False
        self._router = router
        link = router.least_busy()
        link.known_snapshots.add(self.key)
        router.hold(link, 1)
        try:
            router.ask(Order(messages.SNAPSHOT, self.order, link))
        except BaseException:
            self.close()
            raise

    def require_open(self) -> None:
        if self.closed:
            raise SessionLost("this snapshot is gone: it was closed")

    def close(self) -> None:
        """Have every executor forget it."""
        if not self.closed:
            self.closed = True
            for link in self._router.executors():
                if self.key in link.known_snapshots:
                    link.known_snapshots.discard(self.key)
                    self._router.hold(link, -1)
                    self._router.tell(link, messages.FORGET, self.key)
