"""A session with its branches, from the host's side: a family init, and the states that it
reaps."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator

from ..guest.jail.scratch import wipe
from ..guest.session import branching as table
from ..guest.session.head import HEADER
from ..jail.jail import KILL_PATIENCE_S, START_PATIENCE_S
from ..jail.messages import JailLost, close_all, quoted
from ..limits import Limits
from .branching import Forking, new_name, wake_up
from .channel import Channel
from .fork_server import ForkServer
from .group import SPARE_BYTES, Group
from .state import Home, State, StateLost, fault_of
from .supervisor import Supervisor

_LAST_WORDS_S = 0.2
"""In which a family init that is ended together with a state of its is seen to be gone."""


class Family:
    """A family init and its processes. Forks are made one at a time; `close` ends all of them.
    numeric_threads: how many a numeric library has, until the program changes that.
    """

    def __init__(self, fork_server: ForkServer, limits: Limits, numeric_threads: int) -> None:
        self._forking = threading.RLock()
        self._counting = threading.Lock()
        self._users = 0  # guarded by _counting, as is _groups
        self._groups: list[Group] = []
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        folder = os.urandom(16).hex()
        # Where what is written can only be watched, and branches have their folders side by side.
        self._scratch = None if fork_server.scratch is None else f"{fork_server.scratch}/{folder}"
        self._home = Home() if self._scratch is None else Home(self._scratch, new_name())
        self.fork_server = fork_server
        self.limits = limits
        try:
            with theirs:
                self._process = fork_server.fork_family_init(
                    theirs, folder, self._home.name, limits, numeric_threads
                )
        except BaseException:
            ours.close()  # of which the family init learns that it has nothing to keep
            raise
        self.pid = self._process.pid
        try:
            self.channel = Channel(fork_server.monitor, ours, Supervisor(self.pid))
        except BaseException:
            self._end()
            raise

    def use(self, home: Home) -> None:
        """Count one that needs the family, and the files in `home`."""
        with self._counting:
            self._users += 1
            home.users += 1

    def unuse(self, home: Home) -> None:
        """It needs them no longer, and the states that had them have ended, or will: the last one
        of a home has the files removed, the last one of all closes the family.
        """
        with self._counting:
            self._users -= 1
            home.users -= 1
            last, unneeded = self._users == 0, home.users == 0
        if last:
            self.close()
        elif unneeded and home.path is not None:  # elsewhere they have gone with the processes
            # Nobody is left who could reach them. An ordinary user's host can't take the folder
            # away as well, which is empty then; it goes with the family.
            with contextlib.suppress(OSError):
                wipe(home.path)
                os.rmdir(home.path)

    def first(self) -> State:
        """Fork the first head."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self.channel.tell(("first",), theirs.fileno())
            state = self._meet(ours)
            state.park()
            self._count(state)
            return state
        except BaseException:
            ours.close()
            raise

    def _meet(self, jobs: socket.socket) -> State:
        """Take the first head's id from the family init, and its notifications from itself."""
        word = self.channel.hear()
        match word:
            case ("first", int(inner)):
                pass
            case _:
                raise JailLost(f"a family init said {quoted(word)}")
        jobs.settimeout(START_PATIENCE_S)
        try:
            data, fds, _, _ = socket.recv_fds(jobs, HEADER.size, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            raise JailLost(f"the first head is gone, or silent ({error})") from None
        if len(fds) != 1:
            close_all(fds)
            raise JailLost(f"the first head was not confined: {fault_of(jobs, data)}")
        supervisor = self.channel.supervisor
        self.channel.listen(fds[0])
        try:
            head = State(supervisor.host_pid(inner), inner, jobs, self._home)
        except OSError as error:
            raise JailLost(f"the first head is gone ({error})") from None
        supervisor.know(head)
        return head

    def fork(self, state: State) -> State:
        """Fork a parked state; return its checkpoint, which is parked. The state is awake
        afterwards.

        Raises `NotForkable` for a state that can't be forked as it is, `StateLost` where it does
        not do it: its program has seen to that. What was
        ended while it was parked, or with its family init, is no program's doing, and a `JailLost`.
        """
        with self._blaming(state):
            state.require_one_thread()
            with self._forking:
                found = Forking(self.channel, state, table.CHECKPOINT, state.home).checkpoint()
                found.take_over(state)
                return found

    def quiesce(self, state: State) -> list[tuple[int, str]]:
        """Have a parked state give up what libraries keep, before it is branched any number of
        times; return what it has open, for `branch`. Raises as that does.
        """
        with self._blaming(state):
            wake_up(state)
            return state.quiesce()

    def branch(self, state: State, files: list[tuple[int, str]]) -> State:
        """Fork a parked state into one that shares nothing with it, with files of its own. Raises
        `NotForkable` for a state that can't be forked as it is, and as `fork` does. files: what it
        has open, as `quiesce` returned it.
        """
        more = table.WITH_FILES if files else ""
        with self._forking, self._blaming(state):
            if self._scratch is None:
                way, home = table.IN_NAMESPACES, state.home
            else:
                way, home = table.SIDE_BY_SIDE, Home(self._scratch, new_name())
            branch = Forking(self.channel, state, way + more, home).branch(files)
            try:
                self._count(branch)
            except BaseException:
                branch.close()
                raise
            return branch

    def _count(self, state: State) -> None:
        """Have what a state of a new session touches from now on be counted as that session's."""
        try:
            group = self.fork_server.groups.make()
            if group is None:
                return
            with self._counting:
                self._groups = [each for each in self._groups if each in self.fork_server.groups]
                self._groups.append(group)
            memory_bytes = self.limits.memory_bytes
            if memory_bytes is not None:
                group.cap(memory_bytes + SPARE_BYTES)
            group.add(state.pid)
        except OSError as error:  # somebody has taken it away, or the state has ended
            raise JailLost(f"a session's cgroup does not answer ({error})") from None
        state.group = group

    def uncount(self, group: Group) -> None:
        """The session that the group is of has ended, and so have its states, or they will."""
        self.fork_server.groups.retire(group)

    @contextlib.contextmanager
    def _blaming(self, state: State) -> Iterator[None]:
        if not state.is_at_rest():  # it has not run since it was
            raise JailLost("a parked state was ended from outside")
        try:
            yield
        except StateLost as error:
            # Who ends a fork server ends all below it, not at once.
            if self._process.has_ended(_LAST_WORDS_S):
                raise JailLost(f"a family init is gone ({error})") from None
            raise

    def close(self) -> None:
        """End every process of the family."""
        self.channel.close()
        self._end()
        self.channel.supervisor.close()
        with self._counting:
            groups, self._groups = self._groups, []
        for group in groups:
            self.fork_server.groups.remove(group, KILL_PATIENCE_S)

    def _end(self) -> None:
        """Wait for the family init, whose socket is closed; take away what it leaves."""
        if not self._process.has_ended(KILL_PATIENCE_S):
            self._process.send(signal.SIGKILL)
            self._process.has_ended(KILL_PATIENCE_S)
        self._process.close()
        if self._scratch is not None:
            with contextlib.suppress(OSError):
                os.chmod(self._scratch, 0o700)
                wipe(self._scratch)
                os.rmdir(self._scratch)
