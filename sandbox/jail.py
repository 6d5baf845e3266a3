"""Theory of operation: one jail, from its making to its end.

    host process                          jail (namespaces tier: made by nsjail)
    ------------                          --------------------------------------
    worker thread ---- control socket --- zygote, process 1: forks, reaps, clears up
        |                                    |
        |                                    +- spare, then run: one child at a time
        +------------- job socket -----------+     | confined before it sees its job
        +------------- stdin, stdout, stderr ------+
        +------------- report (shared memory) -----+

Who knows what: the host knows limits, clocks and results; the zygote knows only its child's
process id; a run knows its program and nothing else. No process in a jail ever holds another
run's data, and nothing of the host's memory is in a jail, because the zygote is executed, not
forked.

Who owns what: `Jail` owns the launcher process (nsjail, or the zygote itself in the landlock
tier), the control socket, the pidfd of the zygote, the report, the cgroup and the scratch
folder; `close` gives all of them back, whatever state they are in. `Spare` owns the job socket
and the child's pidfd.

Who kills whom: the host kills a run by its pidfd; the zygote then kills whatever else the run
started (in a pid namespace, by one kill(-1)). The host kills a zygote by its pidfd, and with
process 1 of a pid namespace everything in it dies. When the host dies, the control socket
closes and the zygote leaves; a run dies with its zygote.

Starting, step by step; a `SetupError` names the step that failed:

    1. folder     the runtime folder's part for this worker (landlock tier: the scratch)
    2. launch     nsjail, which executes the zygote; or the zygote itself
    3. configure  what the zygote must know, and the report's memory
    4. hello      the zygote has loaded everything, has one thread, and is confined
    5. cgroup     from here on, memory is charged to the worker's group
    6. spare      the first child is forked; "ready" follows
"""

import contextlib
import dataclasses
import functools
import itertools
import os
import select
import signal
import socket
import subprocess
import threading
import time
import weakref
from typing import Any

from . import cgroups, layout, nsjail, seccomp
from .errors import SetupError
from .guest import protocol, wire
from .guest.protocol import Shape
from .guest.report import REGION, Report
from .plan import Plan, describe_layers

START_PATIENCE_S = 60.0
"""A jail that has not said hello by then never will; importing large packages takes seconds."""

KILL_PATIENCE_S = 2.0
"""A killed process that has not gone by then is given up together with its jail."""

_FIRST_ID = 1_000_000_000
_numbers = itertools.count()
_open: "weakref.WeakSet[Jail]" = weakref.WeakSet()


@dataclasses.dataclass
class Spare:
    """A confined child that waits for its job."""

    serial: int
    jobs: socket.socket
    pidfd: int

    @functools.cached_property
    def pid(self) -> int:
        """The child's id on the host, 0 if it is gone already."""
        with open(f"/proc/self/fdinfo/{self.pidfd}", "rb", buffering=0) as file:
            fields = file.read(512).split()
        return max(int(fields[fields.index(b"Pid:") + 1]), 0)

    def die_first(self) -> None:
        """Have the kernel choose the run when its cgroup is out of memory, not the zygote: the
        verdict would be the same, but the worker would have to be replaced.
        """
        with contextlib.suppress(OSError):
            adjust = os.open(f"/proc/{self.pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(adjust, b"1000")
            finally:
                os.close(adjust)

    def close(self) -> None:
        self.jobs.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


class JailLost(Exception):
    """The jail has died, does not answer, or breaks the protocol. Only `close` is left."""


class Jail:
    """One jail with its zygote. `start` makes it, `close` frees everything; both, and all else,
    are for one thread, but for `kill`.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.number = next(_numbers)
        self.name = f"{cgroups.PREFIX}{os.path.basename(plan.runtime.path)}-{self.number}"
        self.layers: dict[str, str] = {}
        self.scratch: str | None = None
        self.group: cgroups.Group | None = None
        self.zygote_pid = 0
        self.address_bytes = self.data_bytes = 0
        self.landlock_abi = 0
        self.shape: Shape | None = None
        self._shapes = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._zygote_pidfd = -1
        self._log = os.memfd_create("log", os.MFD_CLOEXEC)
        self._lock = threading.Lock()
        self._killed = False
        self._closed = False  # guarded by _lock, and what `kill` uses is only taken away after it
        report_fd = os.memfd_create("report", os.MFD_CLOEXEC)
        os.ftruncate(report_fd, REGION)
        self._report_fd = report_fd
        self.report = Report(report_fd)
        self._poll = select.poll()
        _open.add(self)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._zygote_pidfd >= 0 else "unstarted"
        return f"<Jail {self.number} {self.plan.tier} {state}>"

    # ---- starting

    def start(self, shape: Shape) -> None:
        """Make the jail, with a first spare of `shape`. Raises `SetupError` naming the step that
        failed; then nothing is left of the jail.
        """
        try:
            self._start(shape)
        except JailLost as lost:
            text = f"{lost}; {self.log() or 'nothing was logged'}"
            self.close()
            raise SetupError("hello", text) from None
        except BaseException:
            self.close()
            raise

    def _start(self, shape: Shape) -> None:
        ids = self._ids()
        own = (ids, ids) if ids is not None else None
        if self.plan.tier != "namespaces":
            with _step("folder"):
                self.scratch = self.plan.runtime.make_folder(f"scratch-{self.number}", own)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = ours
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        ours.settimeout(START_PATIENCE_S)
        self._poll.register(ours, select.POLLIN)
        with theirs, _step("launch"):
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
        self._say(configuration, self._report_fd)
        self._meet()
        with _step("cgroup"):
            self._join_cgroup()
        self.layers = describe_layers(self.plan, self.landlock_abi, self.group)
        self.reshape(shape)

    def _ids(self) -> int | None:
        """An id that no other worker on this host has, as far as process ids tell."""
        if not self.plan.own_ids:
            return None
        return _FIRST_ID + os.getpid() % (1 << 20) * 1024 + self.number % 1024

    def _launch(self, control_fd: int, own: tuple[int, int] | None) -> layout.Layout:
        plan = self.plan
        options: dict[str, Any] = {}
        if plan.tier == "namespaces":
            where, mounts = layout.in_namespaces(plan.interpreter, plan.packages)
            command = nsjail.command(
                where,
                plan.launcher.mounts(mounts),
                outer_id=own or (os.geteuid(), os.getegid()),
                control_fd=control_fd,
            )
        else:
            assert self.scratch is not None
            where = layout.in_place(
                plan.interpreter, plan.packages, self.scratch, plan.package_links
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
        return {
            "tier": self.plan.tier,
            "scratch": where.scratch,
            "rules": where.rules,
            "filter": seccomp.build(self.plan.tier) if confined else b"",
            "path": where.path,
            "preload": list(self.plan.preload),
        }

    def _meet(self) -> None:
        """Take the zygote's hello, and with it, from the kernel, its process id."""
        assert self._control is not None
        data, ancillary = self._receive(START_PATIENCE_S)
        pid = next((pid for pid in map(_credentials_pid, ancillary) if pid), 0)
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        try:
            message = wire.decode(data, max_nodes=1000)
        except wire.WireError as error:
            raise JailLost(f"the zygote's hello can't be read: {error}") from None
        match message:
            case (
                "hello",
                {
                    "address_bytes": int(address_bytes),
                    "data_bytes": int(data_bytes),
                    "landlock_abi": int(abi),
                },
            ):
                self.address_bytes = address_bytes
                self.data_bytes = data_bytes
                self.landlock_abi = abi
            case ("fault", str(step), str(text)):
                raise SetupError(step, f"{text}; {self.log()}".rstrip("; "))
            case _:
                raise JailLost(f"the zygote said {message!r:.200} instead of hello")
        if not pid:
            raise JailLost("the kernel did not tell the zygote's process id")
        self.zygote_pid = pid
        self._zygote_pidfd = os.pidfd_open(pid)

    def _join_cgroup(self) -> None:
        if self.plan.cgroup_parents is None:
            return
        # Noted before it is made: what is written down too much is swept for nothing.
        for folder in (self.plan.cgroup_parents.memory, self.plan.cgroup_parents.tasks):
            if folder:
                self.plan.runtime.note_cgroup(os.path.join(folder, self.name))
        self.group = cgroups.make(self.plan.cgroup_parents, self.name)
        self.group.add(self.zygote_pid)

    # ---- living

    def reshape(self, shape: Shape) -> None:
        """Ask for a spare of `shape` in place of the present one, if any."""
        self._say(protocol.pack_shape(shape))
        self._shapes += 1
        self.shape = shape

    def next_spare(self) -> Spare:
        """Wait for the next spare that has the shape last asked for."""
        while True:
            kind, serial, _, shapes, descriptors = self._receive_event(START_PATIENCE_S)
            stale = kind == protocol.READY and shapes != self._shapes  # about to be replaced
            if kind == protocol.READY and len(descriptors) == 2 and not stale:
                jobs = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=descriptors[0])
                return Spare(serial, jobs, descriptors[1])
            for fd in descriptors:
                os.close(fd)
            if (
                kind != protocol.EXIT and not stale
            ):  # of a spare that was replaced, or killed while it waited
                raise JailLost(f"the zygote sent {kind!r} with {len(descriptors)} descriptors")

    def hold(self, spare: Spare) -> int | None:
        """Have the scratch of `spare` kept when it has ended, until `release`; return a descriptor
        of its working directory, which is the caller's to close. None if the spare has ended.
        """
        self._say(protocol.pack_hold(spare.serial))
        kind, serial, _, _, descriptors = self._receive_event(START_PATIENCE_S)
        if (kind, serial) == (protocol.HELD, spare.serial) and len(descriptors) == 1:
            return descriptors[0]
        for fd in descriptors:
            os.close(fd)
        if (kind, serial) == (protocol.EXIT, spare.serial):
            return None
        raise JailLost(f"the zygote sent {kind!r} {serial} instead of the scratch")

    def release(self) -> None:
        """Let the scratch go that `hold` kept."""
        self._say(protocol.pack_release())

    def wait_exit(self, spare: Spare, timeout_s: float) -> tuple[int, float] | None:
        """Return (wait status, CPU seconds) of the run on `spare`, or None after `timeout_s`."""
        if not self._poll.poll(max(timeout_s, 0.0) * 1e3):
            return None
        kind, serial, status, cpu_us, descriptors = self._receive_event(0.0)
        for fd in descriptors:
            os.close(fd)
        if (kind, serial) != (protocol.EXIT, spare.serial):
            raise JailLost(f"the zygote sent {kind!r} {serial} instead of exit {spare.serial}")
        return status, cpu_us / 1e6

    def control_fd(self) -> int:
        """The control socket's descriptor: readable when `wait_exit` would not wait."""
        assert self._control is not None
        return self._control.fileno()

    def is_alive(self) -> bool:
        if self._zygote_pidfd < 0:
            return False
        poll = select.poll()
        poll.register(self._zygote_pidfd, select.POLLIN)
        return not poll.poll(0)

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
            if self._zygote_pidfd >= 0:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._zygote_pidfd, signal.SIGKILL)
            elif self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Kill everything in the jail, wait for it, and give back all that it had. Idempotent."""
        self.kill()
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            _end(self._process)
        if self._zygote_pidfd >= 0:
            poll = select.poll()
            poll.register(self._zygote_pidfd, select.POLLIN)
            poll.poll(KILL_PATIENCE_S * 1e3)
            os.close(self._zygote_pidfd)
            self._zygote_pidfd = -1
        if self.group is not None:
            self.group.remove()
        if self.scratch is not None:
            with contextlib.suppress(OSError):
                self.plan.runtime.remove_folder(os.path.basename(self.scratch))
        self.report.close()
        for fd in (self._report_fd, self._log):
            os.close(fd)

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
        descriptors = _descriptors(ancillary)
        event = protocol.unpack_event(data)
        if event is None:
            for fd in descriptors:
                os.close(fd)
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
def _step(name: str) -> Any:
    try:
        yield
    except OSError as error:
        raise SetupError(name, str(error)) from error


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a process whose work is over; kill it where it does not leave by itself."""
    deadline = time.monotonic() + KILL_PATIENCE_S
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(deadline - time.monotonic(), 0.1))


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found: list[int] = []
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found += memoryview(data[: len(data) - len(data) % 4]).cast("i").tolist()
    return found


def _credentials_pid(item: tuple[int, int, bytes]) -> int:
    """The process id in an SCM_CREDENTIALS message (struct ucred), which the kernel vouches for."""
    level, kind, data = item
    if (level, kind) != (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
        return 0
    return int.from_bytes(data[:4], "little")


def _after_fork_in_child() -> None:
    for jail in list(_open):
        jail.release_after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
