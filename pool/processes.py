"""What a session holds: its states, and the family that they are of."""

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..sandbox.guest.jail import proc
from ..sandbox.session.group import SPARE_BYTES
from .errors import SessionLost
from .mailbox import Mailbox

if TYPE_CHECKING:  # what only sessions need is not imported by those who run programs
    from ..sandbox.session.family import Family
    from ..sandbox.session.state import State

logger = logging.getLogger(__name__)

_GOES_S = 0.5
"""In which a process that is killed gives back what it held, on any machine."""

PARKED_BYTES = 1 << 20
"""What a parked process, or a family init, costs in tables and copied pages, measured with
1,000."""


class Checkpoint(NamedTuple):
    """An earlier state of a session. calls: how many of its calls had been made then; resident:
    bytes that it had mapped then, where no cgroup counts them.
    """

    state: "State"
    calls: int
    resident: int = 0


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
        family.use(head.home)
        self.family = family
        self.head: State | None = head
        self.calls = 0  # that the head has in it
        self.why_lost = ""
        self.lost_by_program = False
        self.head_bytes = 0  # that it had mapped after its last call, where no cgroup counts them
        self._doomed: tuple[str, int, Callable[[], object]] | None = None
        self._looked_at: tuple[tuple[int, ...], int] | None = None
        self.used_at = time.monotonic()
        logger.debug("session %x made: process %d", id(self), head.pid)

    def idle_s(self) -> float:
        """Seconds since the last call; 0 while one is made."""
        return 0.0 if self.turns.is_busy else time.monotonic() - self.used_at

    def states(self) -> "list[State]":
        """Its processes, as they are now."""
        head = self.head
        return [] if head is None else [*(each.state for each in list(self.past)), head]

    def held_bytes(self, enough: int = 0) -> int:
        """What its states hold together in memory. enough: up to that, more may be returned, which
        is quicker.

        Where no cgroup counts it: what each has mapped beyond the zygote that all were forked from,
        of what they share a part each; where nobody may look at that, each state in full.
        """
        states = self.states()
        if not states:
            return 0
        group = states[-1].group
        if group is not None:
            with contextlib.suppress(OSError, ValueError):  # somebody has taken it away
                charged = group.charged_bytes()
                return charged if charged <= enough else group.held_bytes()
        base = proc.anonymous_bytes(self.family.fork_server.zygote_pid)
        most = sum(max(each.resident_bytes() - base, 0) for each in states)
        costs = PARKED_BYTES * (len(states) + 1)
        if most + costs <= enough:
            return most + costs
        # Of states that are stopped it is the same until the next call.
        known, key = self._looked_at, (self.calls, *(each.pid for each in states))
        if known is not None and known[0] == key:
            return min(most, known[1]) + costs
        parts = [each.proportional_bytes() for each in states]
        found = sum(part for part in parts if part is not None) if None not in parts else most
        if not self.turns.is_busy:
            self._looked_at = (key, found)
        return min(most, found) + costs

    def holds_more_than(self, most: int) -> bool:
        return self.held_bytes(most) > most

    def go_back(self, checkpoint: Checkpoint) -> int:
        """Have the head be what it was at `checkpoint`, which is not of the past any more; return
        how many calls that undoes. Whoever calls has the turn.
        """
        undone = self.calls - checkpoint.calls
        if self.head is not None:
            self.head.close()
        self.head = checkpoint.state
        self.calls = checkpoint.calls
        self.head_bytes = checkpoint.resident
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

    def settle(self, memory_bytes: int | None, *, keeps: bool) -> int:
        """After a call: give up the oldest states, while all together hold more than twice
        `memory_bytes`, the session's limit; one that the last call has rewritten whole is kept. Let
        the next call have as much as the limit beyond what is kept. Whoever calls has the turn.

        keeps: there will be a state that the next call is forked from. Returns 0; or what is held,
        if by the cgroup that counts it the present state holds more than it may.
        """
        if memory_bytes is None or self.head is None:
            return 0
        most = memory_bytes + SPARE_BYTES
        group = self.head.group
        if group is None:
            self.head_bytes = self.head.resident_bytes()
            self._trim(2 * most)
            return 0
        with contextlib.suppress(OSError, ValueError):  # somebody has taken it away
            charged = group.charged_bytes()
            if charged > most:
                self._trim(2 * most)
                held = self._excess(most)
                if held:
                    return held
                charged = group.charged_bytes()
            step = max(memory_bytes >> 4, 1 << 20)
            kept = charged // step * step + step if keeps or self.past else 0
            group.cap(most + min(kept, 2 * most))
        return 0

    def _trim(self, budget: int) -> None:
        while len(self.past) > 1 and self._weighs_more_than(budget):
            self.past.popleft().state.end()

    def _weighs_more_than(self, most: int) -> bool:
        """Whether two states that share nothing could not be as large as these together. What a
        fork does not copy (shared memory, files in memory), each of the two would have.
        """
        assert self.head is not None
        group = self.head.group
        if group is not None:
            return group.held_bytes() + group.shared_bytes() > most
        known = sum(each.resident for each in self.past) + self.head_bytes
        return known > most and self.holds_more_than(most)

    def _excess(self, most: int) -> int:
        ends_at = time.monotonic() + _GOES_S
        while self._weighs_more_than(2 * most) if self.past else self.holds_more_than(most):
            if time.monotonic() > ends_at:
                return self.held_bytes()
            time.sleep(0.005)  # one that was given up is still on its way out
        return 0

    def doom(self, why: str, share: int, then: Callable[[], object]) -> None:
        """Have what it holds be taken away when the present turn is over, if that is more than
        `share` bytes then. then: called if so.
        """
        self._doomed = (why, share, then)

    def go_if_doomed(self) -> None:
        """The turn is about to end. Whoever calls has it."""
        doomed, self._doomed = self._doomed, None
        if doomed is not None and self.head is not None:
            why, share, then = doomed
            if self.holds_more_than(share):
                self.drop(why, by_program=True)
                then()

    def abandon(self, why: str) -> None:
        """Take away what it holds, when the call under way has ended."""
        with self.turns.turn():
            self.drop(why)

    def lose(self, why: str) -> SessionLost:
        """End its processes for a failure of ours, and return the error that says so. Whoever calls
        has the turn.
        """
        self.drop(why)
        return SessionLost(f"this session is gone: {why}; `reset` begins anew")

    def drop(self, why: str, *, by_program: bool = False) -> None:
        """End its processes. Whoever calls has the turn. by_program: it is its program's doing."""
        if self.head is None:
            return
        group, home = self.head.group, self.head.home
        for state in self.states():
            state.close()
        self.past.clear()
        self.head = None
        self.why_lost = why
        self.lost_by_program = by_program
        logger.debug("session %x has ended: %r", id(self), why)  # some of it may be its program's
        if group is not None:
            self.family.uncount(group)
        self.family.unuse(home)
        self._on_drop(self)
