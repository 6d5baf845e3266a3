"""The jail of all sessions of a pool: its zygote forks a keeper for each family."""

import socket
import threading

from .guest import wire
from .jail import START_PATIENCE_S, Jail, JailLost, descriptors_in
from .limits import Limits
from .plan import Plan


class Nursery(Jail):
    """A jail that holds families. `start` makes it; `fork_keeper` is for any thread."""

    families = True

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._forking = threading.Lock()

    def start(self) -> None:
        """Make the jail. Raises `SetupError` naming the step that failed."""
        self._make()

    def fork_keeper(self, control: socket.socket, limits: Limits) -> int:
        """Have a keeper forked that serves the other end of `control`; return its pidfd."""
        message: wire.Value = {"disk_bytes": limits.disk_bytes, "inodes": limits.files}
        with self._forking:
            self._say(wire.encode(message), control.fileno())
            data, ancillary = self._receive(START_PATIENCE_S)
        descriptors = descriptors_in(ancillary)
        if len(descriptors) != 1:
            raise JailLost(f"the nursery said {data!r:.80} instead of a keeper")
        return descriptors[0]
