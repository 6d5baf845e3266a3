"""The jail of all sessions of a pool: its zygote forks a family init for each family."""

import socket
import threading

from ..errors import SetupError
from ..guest.jail import landlock, wire
from ..guest.jail.confine import SPARE_INODES
from ..jail.jail import Jail
from ..jail.messages import JailLost, close_all, descriptors_in
from ..jail.pidfd import Pidfd
from ..jail.plan import Plan, describe_layers
from ..limits import Limits
from .group import Groups
from .monitor import Monitor

_FORK_PATIENCE_S = 10.0
"""It only forks: what has not come by then never will."""


class ForkServer(Jail):
    """A jail that holds families. `start` makes it; `fork_family_init` is for any thread."""

    families = True

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._forking = threading.Lock()
        self.groups = Groups(plan.cgroup_parents, self.name, plan.folder)
        self._monitor: Monitor | None = None

    @property
    def monitor(self) -> Monitor:
        """The thread that attends to its families."""
        assert self._monitor is not None
        return self._monitor

    def is_alive(self) -> bool:
        return not self._killed and super().is_alive()

    def _settle(self) -> None:
        self._join_cgroup()

    def held_bytes(self, enough: int | None = None) -> int | None:
        """What all its families hold in memory, as cgroups count it; None without them. enough: up
        to that, pages of files may be counted, too, which is quicker.
        """
        if self.group is None:
            return None
        own, charged = self.group.held_bytes(), self.groups.charged_bytes()
        if enough is None or own + charged <= enough:
            return own + charged
        return own + self.groups.held_bytes()

    def start(self) -> None:
        """Make the jail. Raises `SetupError` naming the step that failed; then nothing is left."""
        if self.plan.shown:
            self.close()
            raise SetupError(
                "sessions",
                "processes that can't be traced are hidden in /proc here (hidepid), and no state "
                "that can be is kept from another; mount /proc without, or run as root",
            )
        self._make()
        try:
            self._monitor = Monitor()
        except (OSError, RuntimeError) as error:  # no more descriptors, or threads
            self.close()
            raise SetupError("monitor", str(error)) from error
        self.layers = describe_layers(self.plan, self.landlock_abi, None)
        if self.group is not None:
            self.layers["memory"] = (
                f"{self.group.describe().partition(':')[0]}, one for each session; RLIMIT_DATA; "
                "watched; peak unknown"
            )
        self.layers["system calls"] += "; forks and signals are asked for at the host"
        self.layers["branches"] = (
            "namespaces of their own, checked before they run"
            if self.plan.tier == "namespaces"
            else "files under names that only they know, checked before they run"
        )

    def close(self) -> None:
        self.kill()
        if self._monitor is not None:  # before their files go, all families are known to be lost
            self._monitor.close()
        super().close()
        self.groups.close()

    def release_after_fork(self) -> None:
        super().release_after_fork()
        if self._monitor is not None:
            self._monitor.release_after_fork()

    def _more_rules(self) -> list[tuple[str, int]]:
        # For family inits, which look at branches there; the states are not given it.
        return [("/proc", landlock.READ)] if self.plan.tier == "landlock" else []

    def fork_family_init(
        self,
        control: socket.socket,
        folder: str,
        home: str,
        limits: Limits,
        numeric_threads: int,
    ) -> Pidfd:
        """Have a family init forked that serves the other end of `control`; the caller closes it.
        folder: a name for its scratch, where families have theirs side by side, and home for its
        first session's files there.
        """
        inodes = None if limits.files is None else limits.files + SPARE_INODES
        message: wire.Value = {
            "disk_bytes": limits.disk_bytes,
            "inodes": inodes,
            "folder": folder,
            "home": home,
            "numeric_threads": numeric_threads,
        }
        return self._fork(message, control.fileno())

    def fork_template(self, control: socket.socket, setup: int, folder: str) -> Pidfd:
        """Have a template forked that serves the other end of `control` when it has run the code in
        the file `setup`; the caller closes it. folder: as for a family init.
        """
        return self._fork({"folder": folder}, control.fileno(), setup)

    def _fork(self, message: wire.Value, *descriptors: int) -> Pidfd:
        with self._forking:
            try:
                self._say(wire.encode(message), *descriptors)
                data, ancillary = self._receive(_FORK_PATIENCE_S)
                found = descriptors_in(ancillary)
                if len(found) != 1:
                    close_all(found)
                    raise JailLost(f"the fork server said {data!r:.80} instead of a process")
                return Pidfd(found[0])
            except JailLost:
                self.kill()  # or whoever wants a session next would wait as long, for ever
                raise
