"""A fleet of local services: the thread of its owner that has them be as many as they should."""

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from ..fleet import LOOK_S, FleetSize, Growth, MemberState

logger = logging.getLogger(__name__)

_ANSWER_S = 10.0
"""How long members have, all of them together, to say how they are."""

SILENT_S = 60.0
"""A member that has said nothing for so long stands still, and is replaced; clients have gone
elsewhere by then."""


class Starter(Protocol):
    """What starts and ends the processes of members, by name."""

    def start(self, member: str) -> Any:
        """Return a handle on a new member."""
        ...

    def end(self, member: str) -> None: ...

    def is_alive(self, member: str) -> bool: ...

    def is_wanted(self) -> bool:
        """Whether the fleet still has its name."""
        ...


class LocalFleet:
    """The members of a fleet, from `start` until `close`. name: of the fleet; its members' begin
    with it.
    """

    def __init__(self, name: str, size: FleetSize, starter: Starter) -> None:
        self._name = name
        self._size = size
        self._starter = starter
        self._growth = Growth(size)
        self._handles: dict[str, Any] = {}
        self._states: dict[str, MemberState] = {}  # as they were when they last said so
        self._heard_at: dict[str, float] = {}
        self._numbers = itertools.count()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._live, name=f"fleet {name}", daemon=True)

    def start(self) -> None:
        """Start the members; if one of them can't be, none is left, and the error is raised."""
        errors: list[BaseException] = []
        threads = [
            threading.Thread(target=self._try_add, args=(errors.append,), daemon=True)
            for _ in range(self._size.least)
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:  # Ctrl-C: what is still being started ends itself
            self._closing.set()
            for member in list(self._handles):
                self._starter.end(member)
            raise
        if errors:
            for member in list(self._handles):
                self._starter.end(member)
            raise errors[0]
        self._look()
        self._thread.start()

    def close(self) -> None:
        """Look after them no more. Who calls this ends them."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _try_add(self, failed: Callable[[BaseException], None]) -> None:
        try:
            self._add()
        except BaseException as error:  # noqa: BLE001  (for the thread that waits)
            failed(error)

    def _add(self) -> None:
        member = f"{self._name}::{next(self._numbers)}"
        handle = self._starter.start(member)
        if self._closing.is_set() or not self._starter.is_wanted():  # meanwhile
            self._starter.end(member)
            return
        self._handles[member] = handle
        self._heard_at[member] = time.monotonic()

    def _live(self) -> None:
        pause_s = LOOK_S
        while not self._closing.wait(pause_s):
            try:
                if not self._starter.is_wanted():  # somebody's reset has taken it away
                    for member in list(self._handles):
                        self._starter.end(member)
                    return
                self._look()
                pause_s = LOOK_S
            except Exception as error:  # noqa: BLE001  (out of memory, of processes: it may pass)
                if not self._closing.is_set():
                    logger.warning("fleet %s: a member can't be started: %s", self._name, error)
                pause_s = min(pause_s * 2, 30.0)

    def _look(self) -> None:
        for member in list(self._handles):
            if not self._starter.is_alive(member):
                logger.warning("fleet %s: %s has died, and is replaced", self._name, member)
                self._end(member)
        self._ask_all()
        states = self._states
        for member, state in list(states.items()):
            silent_s = time.monotonic() - self._heard_at[member]
            if silent_s > SILENT_S:
                logger.warning(
                    "fleet %s: %s has said nothing for %.0f s, and is replaced",
                    *(self._name, member, silent_s),
                )
            if silent_s > SILENT_S or (state.drained and state.draining):
                self._end(member)
        wanted = self._growth.wanted(self._size.least, states.values())
        active = [name for name in self._handles if name in states and not states[name].draining]
        while len(active) < wanted and not self._closing.is_set():
            self._add()
            active.append("")
        for member in active[wanted:]:
            if "drain" in dir(self._handles[member]):
                self._handles[member].drain.remote()

    def _end(self, member: str) -> None:
        for each in (self._handles, self._states, self._heard_at):
            each.pop(member, None)
        self._starter.end(member)

    def _ask_all(self) -> None:
        """Have all say how they are, side by side; who says nothing is as it was."""
        asked = []
        for member, handle in self._handles.items():
            self._states.setdefault(member, MemberState())
            if "fleet_state" not in dir(handle):  # a class that has nothing to say
                self._heard_at[member] = time.monotonic()
                continue
            with contextlib.suppress(Exception):  # it has just died
                asked.append((member, handle.fleet_state.remote()))
        deadline = time.monotonic() + _ANSWER_S
        for member, answer in asked:
            left_s = max(deadline - time.monotonic(), 0.01)
            try:
                self._states[member] = MemberState(*answer.result(left_s))
            except TimeoutError:
                continue
            except Exception:  # noqa: BLE001  (its own, or it has just died)
                pass
            self._heard_at[member] = time.monotonic()
