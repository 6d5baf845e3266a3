"""Theory of operation: one jail, from its making to its end.

    host process                          jail (namespaces tier: made by nsjail)
    ------------                          --------------------------------------
    worker thread ---- control socket --- zygote, process 1: forks, reaps, clears up
        |                                    |
        |                                    +- prewarmed process, then run: one child at a time
        +------------- job socket -----------+     | confined before it sees its job
        +------------- stdin, stdout, stderr ------+
        +------------- report (shared memory) -----+

Who knows what: the host knows limits, clocks and results; the zygote knows only its child's
process id; a run knows its program and nothing else. No process in a jail ever holds another
run's data, and nothing of the host's memory is in a jail, because the zygote is executed, not
forked.

Who owns what: `Jail` owns the launcher process (nsjail, or the zygote itself in the landlock
tier), the control socket, the zygote's `Pidfd`, the report, the cgroup and the scratch folder;
`close` gives all of them back, whatever state they are in. `Prewarmed` (in run_jail.py) owns
the job socket and the child's `Pidfd`.

Who kills whom: the host kills a run by its pidfd; the zygote then kills whatever else the run
started (in a pid namespace, by one kill(-1)). The host kills a zygote by its pidfd, and with
process 1 of a pid namespace everything in it dies. When the host dies, the control socket
closes and the zygote leaves; a run dies with its zygote.

Starting, step by step; a `SetupError` names the step that failed:

    1. folder     the host folder's part for this worker (landlock tier: the scratch)
    2. launch     nsjail, which executes the zygote; or the zygote itself
    3. configure  what the zygote must know, and the report's memory
    4. hello      the zygote has loaded everything, has one thread, and is confined
    5. cgroup     from here on, memory is charged to the worker's group
    6. prewarmed  the first child is forked; "ready" follows (`RunJail`)
"""

import contextlib
import itertools
import logging
import os
import signal
import socket
import subprocess
import threading
import time
import weakref
from collections import deque
from typing import Any

from ..errors import SetupError
from ..guest.jail import protocol, wire
from ..guest.jail.report import REGION, Report
from ..host.interpreter import DEVICES, SHARED_MEMORY
from . import cgroups, layout, nsjail, orphans, seccomp
from .launch import end, end_group
from .messages import JailLost, close_all, credentials_pid, descriptors_in, quoted, understood
from .pidfd import Pidfd
from .plan import Plan

logger = logging.getLogger(__name__)

START_PATIENCE_S = 60.0
"""A jail that has not said hello by then never will; importing large packages takes seconds."""

HIDDEN = "watch"
"""The step that fails where /proc hides what can't be traced: there is another plan for that."""

KILL_PATIENCE_S = 2.0
"""A killed process that has not gone by then is given up together with its jail."""

_NONE: frozenset[str] = frozenset()

_BYTES = range(1 << 47)
"""Sizes that a process can have."""

_FIRST_ID = 1_000_000_000
_IDS = 1024
"""User ids that a process has for its jails. Beyond them it takes those of the process id that is
`_FAR` from its own: one that as a rule nobody has who makes jails.
"""

_FAR = 349_525
_slots = itertools.count()
_free_slots: "deque[int]" = deque()  # without a lock, which a fork could leave held
_numbers = itertools.count()
_open: "weakref.WeakSet[Jail]" = weakref.WeakSet()


class Jail:
    """One jail with its zygote: how it is made and how it ends. What it is for, a kind of jail adds
    (`RunJail` in run_jail.py). `close` frees everything; all is for one thread, but for
    `kill`.
    """

    families = False
    """Whether it is for families of sessions."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.number = next(_numbers)
        self.name = f"{cgroups.PREFIX}{os.path.basename(plan.folder.path)}-{self.number}"
        self.layers: dict[str, str] = {}
        self.scratch: str | None = None
        self.group: cgroups.Group | None = None
        self.address_bytes = self.data_bytes = 0
        self.loaded = _NONE  # what its zygote has imported
        self.landlock_abi = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._zygote: Pidfd | None = None
        self._log = self.report_fd = -1
        self._slot: int | None = None
        self._lock = threading.Lock()
        self._killed = False
        self._closed = False  # guarded by _lock, and what `kill` uses is only taken away after it
        try:
            with step("memory"):
                self._log = os.memfd_create("log", os.MFD_CLOEXEC)
                self.report_fd = os.memfd_create("report", os.MFD_CLOEXEC)
                os.ftruncate(self.report_fd, REGION)
                self.report = Report(self.report_fd)
        except BaseException:
            for fd in (self._log, self.report_fd):
                if fd >= 0:
                    os.close(fd)
            raise
        _open.add(self)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._zygote is not None else "unstarted"
        return f"<Jail {self.number} {self.plan.tier} {state}>"

    @property
    def zygote_pid(self) -> int:
        """The zygote's process id on the host; 0 before it has said hello."""
        return 0 if self._zygote is None else self._zygote.pid

    # ---- starting

    def _make(self) -> None:
        """Make the jail. Raises `SetupError` naming the step that failed; then nothing is left."""
        began = time.monotonic()
        try:
            self._start()
        except JailLost as lost:
            text = f"{lost}; {self.log() or 'nothing was logged'}"
            self.close()
            raise SetupError("hello", text) from None
        except BaseException:
            self.close()
            raise
        took_s = time.monotonic() - began
        kind = type(self).__name__
        said = (self.number, kind, self.plan.tier, self.zygote_pid, took_s)
        logger.debug("jail %d started: %s, tier %s, process %d, in %.3f s", *said)

    def _start(self) -> None:
        ids = self._ids()
        own = (ids, ids) if ids is not None else None
        if self.plan.tier != "namespaces":
            with step("folder"):
                self.scratch = self.plan.folder.make_folder(f"scratch-{self.number}", own)
        with step("launch"):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = ours
        with theirs, step("launch"):
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            ours.settimeout(START_PATIENCE_S)
            where = self._launch(theirs.fileno(), own)
        with self._lock:
            if self._killed:  # before there was anything to kill
                raise JailLost("killed while it was started")
        configuration = wire.encode(self._configuration(where))
        if len(configuration) > protocol.MAX_MESSAGE:
            raise SetupError(
                "configure",
                f"the paths of the packages take {len(configuration)} bytes, more than "
                f"{protocol.MAX_MESSAGE}; offer fewer packages",
            )
        self._say(configuration, self.report_fd)
        self._meet()
        self._settle()

    def _ids(self) -> int | None:
        """An id that no other jail on this host has now, as far as process ids tell."""
        if not self.plan.own_ids:
            return None
        try:
            self._slot = _free_slots.popleft()
        except IndexError:
            self._slot = next(_slots)
        block = os.getpid() + self._slot // _IDS * _FAR
        return _FIRST_ID + block % (1 << 20) * _IDS + self._slot % _IDS

    def _launch(self, control_fd: int, own: tuple[int, int] | None) -> layout.Layout:
        plan = self.plan
        options: dict[str, Any] = {}
        counted = plan.tier == "none" or plan.cgroup_parents is not None
        devices = tuple(each for each in DEVICES if counted or each != SHARED_MEMORY)
        if plan.tier == "namespaces":
            where, mounts = layout.in_namespaces(plan.interpreter, plan.packages, devices)
            command = nsjail.command(
                where,
                plan.launcher.mounts(mounts),
                outer_id=own or (os.geteuid(), os.getegid()),
                control_fd=control_fd,
                families=self.families,
            )
        else:
            assert self.scratch is not None
            where = layout.in_place(
                plan.interpreter, plan.packages, self.scratch, plan.package_links, devices
            )
            command = where.command(control_fd)
            options = {"cwd": self.scratch, "env": where.environment}
            if own is not None:
                options |= {"user": own[0], "group": own[1], "extra_groups": []}
        self._process = plan.launcher.start(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            pass_fds=(control_fd,),
            start_new_session=True,  # a Ctrl-C in the terminal is for the host to answer
            **options,
        )
        return where

    def _configuration(self, where: layout.Layout) -> wire.Value:
        confined = self.plan.tier != "none"
        explain = self.plan.explain and not self.families
        private = self.plan.cgroup_parents is None
        return {
            "tier": self.plan.tier,
            "scratch": where.scratch,
            "rules": where.rules + self._more_rules(),
            "families": self.families,
            "filter": (
                seccomp.build(
                    self.plan.tier, session=self.families, private=private, explain=explain
                )
                if confined
                else b""
            ),
            "explain": explain,
            # For zygotes that are forked from a template.
            "run_filter": (
                seccomp.build(self.plan.tier, private=private)
                if confined and self.families
                else b""
            ),
            "process_filter": (
                seccomp.build(self.plan.tier, processes=True, private=private, explain=explain)
                if self.plan.tier == "namespaces"
                else b""
            ),
            "private_maps": confined and (private or self.families),
            "counted": not private,
            "path": where.path,
            "preload": list(self.plan.preload),
            "warm": list(self.plan.warm),
            "shown": self.plan.shown,
        }

    def _more_rules(self) -> list[tuple[str, int]]:
        """What the zygote of this kind of jail may touch besides."""
        return []

    def _meet(self) -> None:
        """Take the zygote's hello, and with it, from the kernel, its process id."""
        assert self._control is not None
        data, ancillary = self._receive(START_PATIENCE_S)
        close_all(descriptors_in(ancillary))  # it has none to give
        pid = next((pid for pid in map(credentials_pid, ancillary) if pid), 0)
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        self.landlock_abi = self._take_hello(data)
        if not pid:
            raise JailLost("the kernel did not tell the zygote's process id")
        try:
            self._zygote = Pidfd.of(pid)
        except OSError as error:
            raise JailLost(f"the zygote is gone ({error})") from None
        if not os.path.exists(f"/proc/{pid}/status") and self.is_alive():
            raise SetupError(
                HIDDEN, "what runs in jails is hidden in /proc (hidepid), and can't be watched"
            )

    def _take_hello(self, data: bytes) -> int:
        """Take what a zygote says of itself; return the Landlock ABI that it has found."""
        match understood(data):
            case ("hello", {"address_bytes": int(address), "data_bytes": int(own), **facts}) if (
                address in _BYTES and own in _BYTES
            ):
                self.address_bytes, self.data_bytes = address, own
                abi = facts.get("landlock_abi", 0)
                loaded = facts.get("loaded")
                self.loaded = frozenset(loaded.split(" ")) if isinstance(loaded, str) else _NONE
                return abi if isinstance(abi, int) and abi in range(1000) else 0
            case ("fault", str(step), str(text)):
                raise SetupError(step, f"{text}; {self.log()}".rstrip("; "))
            case message:
                raise JailLost(f"the zygote said {quoted(message)} instead of hello")

    def _settle(self) -> None:
        """What a kind of jail still needs when its zygote has said hello."""

    def _join_cgroup(self) -> None:
        """Put the zygote, and with it all that it will fork, into a group of its own."""
        if self.plan.cgroup_parents is None:
            return
        with step("cgroup"):
            # Noted before it is made: what is written down too much is swept for nothing.
            parents = self.plan.cgroup_parents
            for folder in (parents.memory, parents.tasks, parents.cpu):
                if folder:
                    self.plan.folder.note_cgroup(os.path.join(folder, self.name))
            self.group = cgroups.make(self.plan.cgroup_parents, self.name)
            self.group.add(self.zygote_pid)

    # ---- living

    def is_alive(self) -> bool:
        return self._zygote is not None and not self._killed and not self._zygote.has_ended()

    def log(self) -> str:
        """What nsjail and the zygote wrote to stderr, its end."""
        size = os.fstat(self._log).st_size
        return os.pread(self._log, 4000, max(0, size - 4000)).decode("utf-8", "replace").strip()

    # ---- ending

    def kill(self) -> None:
        """Have everything in the jail die, from any thread; who waits for it gets `JailLost`."""
        with self._lock:
            self._killed = True
            if self._closed:
                return
            if self._control is not None:
                with contextlib.suppress(OSError):
                    self._control.shutdown(socket.SHUT_RDWR)
            if self._zygote is not None:
                self._zygote.send(signal.SIGKILL)
            elif self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Kill everything in the jail, wait for it, and give back all that it had. Idempotent."""
        self.kill()
        with self._lock:
            if self._closed:
                return
            self._closed = True
        logger.debug("jail %d is closed", self.number)
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            if self._process.pid == self.zygote_pid:
                end_group(self._process)
            end(self._process, KILL_PATIENCE_S)
        if self._zygote is not None:
            self._zygote.has_ended(KILL_PATIENCE_S)
            self._zygote.reap()  # where nsjail was killed before it could
            self._zygote.close()
        if self._process is not None and self.plan.tier != "namespaces":
            orphans.reap(self._process.pid, KILL_PATIENCE_S)
        if self.group is not None:
            self.group.remove()
        if self.scratch is not None:
            with contextlib.suppress(OSError):
                self._remove_scratch(self.scratch)
        self.report.close()
        for fd in (self.report_fd, self._log):
            os.close(fd)
        if self._slot is not None:
            _free_slots.append(self._slot)

    def _remove_scratch(self, scratch: str) -> None:
        self.plan.folder.remove_folder(os.path.basename(scratch))

    def release_after_fork(self) -> None:
        """In a forked child: let go of the control socket. A copy of it would keep the jail
        alive after its owner's death, which the zygote learns from this socket's end of file.
        """
        if self._control is not None:
            self._control.close()
        self._closed = True

    # ---- the wire

    def _say(self, message: bytes, *descriptors: int) -> None:
        assert self._control is not None
        try:
            socket.send_fds(self._control, [message], descriptors)
        except OSError as error:
            raise JailLost(f"the zygote is gone ({error})") from None

    def _receive_event(self, timeout_s: float) -> tuple[bytes, int, int, int, list[int]]:
        data, ancillary = self._receive(timeout_s)
        descriptors = descriptors_in(ancillary)
        event = protocol.unpack_event(data)
        if event is None:
            close_all(descriptors)
            raise JailLost(f"the zygote sent {data[:40]!r}, which is no event")
        return *event, descriptors

    def _receive(self, timeout_s: float) -> tuple[bytes, list[tuple[int, int, bytes]]]:
        assert self._control is not None
        self._control.settimeout(timeout_s)
        room = socket.CMSG_SPACE(12) + socket.CMSG_SPACE(2 * 4)
        try:
            data, ancillary, _, _ = self._control.recvmsg(
                protocol.MAX_MESSAGE, room, socket.MSG_CMSG_CLOEXEC
            )
        except TimeoutError:
            raise JailLost(f"the zygote was silent for {timeout_s:.0f} s") from None
        except OSError as error:
            raise JailLost(f"the zygote is gone ({error})") from None
        if not data:
            raise JailLost("the zygote is gone")
        return data, ancillary


@contextlib.contextmanager
def step(name: str) -> Any:
    try:
        yield
    except OSError as error:
        raise SetupError(name, str(error)) from error


def _after_fork_in_child() -> None:
    for jail in list(_open):
        jail.release_after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
