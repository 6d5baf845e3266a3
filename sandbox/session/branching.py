"""Forks of states, made by the host: it walks the table of guest/session/branching.py."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator, Sequence

from ..guest.jail import kernel, wire
from ..guest.session import branching as table
from ..guest.session import open_files
from ..guest.session.branching import CHECKPOINT, IN_NAMESPACES, SIDE_BY_SIDE, WITH_FILES, At, Walk
from ..jail.messages import close_all
from .channel import Channel
from .state import Home, NotForkable, State, StateLost
from .supervisor import Order

_CLONE_FLAGS = signal.SIGCHLD | kernel.CLONE_PARENT | kernel.CLONE_SETS_TID
_FLAGS = {
    CHECKPOINT: _CLONE_FLAGS,
    IN_NAMESPACES: _CLONE_FLAGS | kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS,
    SIDE_BY_SIDE: _CLONE_FLAGS,
}
_FLAGS |= {way + WITH_FILES: _FLAGS[way] for way in (IN_NAMESPACES, SIDE_BY_SIDE)}

_MOST_SAID = 4096
"""Bytes of a list of descriptors."""


class Forking:
    """One fork of a parked state, from its beginning to where its process is parked.

    `checkpoint` and `branch` return it; they raise `StateLost` where it is the state that is lost,
    `NotForkable` where it goes on, and can't be forked as it is. home: of what is forked.
    """

    def __init__(self, channel: Channel, state: State, way: str, home: Home) -> None:
        self._channel = channel
        self._state = state
        self._home = home
        self._walk = Walk(way)
        self._order: Order | None = None

    def checkpoint(self) -> State:
        """Make an earlier state of the same session. The one that is forked is awake afterwards."""
        with self._losing():
            return self._parked(self._ordered(table.FORK))

    def branch(self, files: list[tuple[int, str]]) -> State:
        """Make a state that shares nothing with the one that is forked. files: what that has open
        (`State.quiesce`).
        """
        home, supervisor = self._home, self._channel.supervisor
        side_by_side = home.path is not None
        with self._losing():
            if side_by_side:
                self._ask(table.COPY, self._state.home.name, home.name)
            try:
                branch = self._ordered(table.BRANCH, bool(files))
            finally:
                self._state.park()
            if not side_by_side:
                self._ask(table.PLACE, branch.inner)
            try:
                # Looked at without a capability, it must let itself be looked at for that long.
                supervisor.on_view = branch if side_by_side else None
                self._say(branch, table.SETTLE, home.path)
                self._hear(branch, table.SETTLED)
                if files:
                    self._renew(branch, files)
                self._parked(branch)
                if not branch.is_at_rest():
                    raise StateLost("a new state is gone")
                self._ask(table.CHECK, branch.inner, home.name)
                if side_by_side:
                    self._rename(self._state.home)
                branch.wake()
                self._walk.take(table.WAKE)
            finally:
                supervisor.on_view = None
            self._say(branch, table.GO)
            self._hear(branch, table.HELLO)
            if not side_by_side:
                return self._parked(branch)
            self._ask(table.HIDDEN, branch.inner)
            self._parked(branch)
            # It could be looked at for a moment, and could have been seen where it was.
            self._rename(home)
            return branch

    def _rename(self, home: Home) -> None:
        """Take files to where those who have known their place don't find them."""
        name = new_name()
        self._ask(table.RENAME, home.name, name)
        home.name = name

    def _renew(self, branch: State, files: list[tuple[int, str]]) -> None:
        """Have what it has open, and nobody can change, be opened anew for it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds: list[int] = []
        with ours, theirs, contextlib.ExitStack() as owned:
            owned.callback(close_all, fds)
            self._ask(table.REOPEN, branch.inner, files, descriptors=(theirs.fileno(),))
            ours.setblocking(False)
            flags = socket.MSG_CMSG_CLOEXEC
            data, found, _, _ = socket.recv_fds(ours, _MOST_SAID, open_files.MOST, flags)
            fds += found
            self._say(branch, table.RENEW, wire.decode(data), descriptors=fds)
        self._hear(branch, table.RENEWED)

    def _ordered(self, word: bytes, *value: wire.Value) -> State:
        wake_up(self._state)
        order = Order(self._state, _FLAGS[self._walk.way], self._home, self._walk)
        with contextlib.closing(order):
            self._state.wake()
            self._order = order
            return self._channel.order(order, word, *value)

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        """Where a step fails: end what was being made, and say whose fault it is."""
        try:
            yield
        except BaseException as error:
            if self._order is not None and self._order.child is not None:
                self._order.child.close()
            # It may have been interrupted on its last way out.
            lost = table.NEW if self._walk.at is At.PARKED else self._walk.lose()
            if lost != table.FORERUNNER and isinstance(error, (OSError, StateLost)):
                raise NotForkable(f"a branch of it did not settle ({error})") from None
            raise

    # ---- steps

    def _ask(self, word: str, *arguments: wire.Value, descriptors: Sequence[int] = ()) -> None:
        self._walk.take(word)
        self._channel.ask(word, *arguments, descriptors=descriptors)
        self._walk.take(table.ANSWERS[word])

    def _say(
        self, new: State, word: bytes, *value: wire.Value, descriptors: Sequence[int] = ()
    ) -> None:
        self._walk.take(word)
        new.say(word, *value, descriptors=descriptors)

    def _hear(self, new: State, word: bytes) -> None:
        new.expect(word)
        self._walk.take(word)

    def _parked(self, new: State) -> State:
        new.park()
        self._walk.take(table.STOP)
        return new


def wake_up(state: State) -> None:
    """Have a checkpoint that is asleep come to where it waits for commands, and park it there."""
    walk = state.walk
    if walk is None or walk.at is not At.ASLEEP:
        return
    state.wake()
    walk.take(table.WAKE)
    try:
        state.expect(table.HELLO)
    except BaseException:
        walk.lose()
        raise
    walk.take(table.HELLO)
    state.park()
    walk.take(table.STOP)


def new_name() -> str:
    """A folder's name that nobody can guess: who knows it has the files."""
    return os.urandom(16).hex()
