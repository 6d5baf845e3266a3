"""What a session holds: its states, and the family that they are of."""

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from .mailbox import Mailbox

if TYPE_CHECKING:  # what only sessions need is not imported by those who run programs
    from ..sandbox.session.family import Family
    from ..sandbox.session.state import State

logger = logging.getLogger(__name__)


class Checkpoint(NamedTuple):
    """An earlier state of a session. calls: how many of its calls had been made then."""

    state: "State"
    calls: int


class SessionProcesses:
    """The processes of one session. Who has the turn may change them; `drop` ends them all.

    Knows neither its session nor their pool: a pool keeps what is open, and would otherwise never
    be collected when nobody has it, or its sessions, any more.
    on_drop: called with this when it holds nothing any more.
    """

    def __init__(
        self, family: "Family", head: "State", on_drop: "Callable[[SessionProcesses], object]"
    ) -> None:
        self.turns = Mailbox()
        self.past: deque[Checkpoint] = deque()  # the last one at the end
        self._on_drop = on_drop
        self.take(family, head)

    def take(self, family: "Family", head: "State") -> None:
        """Begin with the first state of a family."""
        family.use()
        self.family = family
        self.head: State | None = head
        self.calls = 0  # that the head has in it
        self.why_lost = ""
        self.lost_by_program = False
        self.used_at = time.monotonic()
        logger.debug("session %x made: process %d", id(self), head.pid)

    def idle_s(self) -> float:
        """Seconds since the last call; 0 while one is made."""
        return 0.0 if self.turns.is_busy else time.monotonic() - self.used_at

    def states(self) -> "list[State]":
        """Its processes, as they are now."""
        head = self.head
        return [] if head is None else [*(each.state for each in self.past), head]

    def zygote_pid(self) -> int:
        """The process that all of them have their first pages from."""
        return self.family.fork_server.zygote_pid

    def go_back(self, checkpoint: Checkpoint) -> int:
        """Have the head be what it was at `checkpoint`, which is not of the past any more; return
        how many calls that undoes. Whoever calls has the turn.
        """
        undone = self.calls - checkpoint.calls
        if self.head is not None:
            self.head.close()
        self.head = checkpoint.state
        self.calls = checkpoint.calls
        return undone

    def evict(self, why: str, *, by_program: bool = False) -> bool:
        """Take away what it holds, unless it is in use; tell whether that was done. by_program: as
        for `drop`.
        """
        if not self.turns.try_begin():
            return False
        try:
            held = self.head is not None
            self.drop(why, by_program=by_program)
            return held
        finally:
            self.turns.done()

    def abandon(self, why: str) -> None:
        """Take away what it holds, when the call under way has ended."""
        with self.turns.turn():
            self.drop(why)

    def drop(self, why: str, *, by_program: bool = False) -> None:
        """End its processes. Whoever calls has the turn. by_program: it is its program's doing."""
        if self.head is None:
            return
        for state in self.states():
            state.close()
        self.past.clear()
        self.head = None
        self.why_lost = why
        self.lost_by_program = by_program
        logger.debug("session %x has ended: %r", id(self), why)  # some of it may be its program's
        self.family.unuse()
        self._on_drop(self)
