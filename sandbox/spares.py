"""A jail for runs: it keeps one confined child waiting for the next job."""

import contextlib
import dataclasses
import functools
import os
import select
import socket
import stat

from .guest import protocol
from .guest.protocol import Shape
from .jail import START_PATIENCE_S, Jail, JailLost, close_all, pid_of
from .plan import Plan, describe_layers


@dataclasses.dataclass
class Spare:
    """A confined child that waits for its job."""

    serial: int
    jobs: socket.socket
    pidfd: int

    @functools.cached_property
    def pid(self) -> int:
        """The child's id on the host, 0 if it is gone already."""
        return pid_of(self.pidfd)

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


def _spare(serial: int, jobs: int, pidfd: int) -> Spare:
    """Take descriptors that a zygote says are a spare's; `JailLost` if they can't be."""
    try:
        if not stat.S_ISSOCK(os.fstat(jobs).st_mode):
            raise JailLost("the zygote sent a spare without a socket")
        pid_of(pidfd)
        return Spare(serial, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, jobs), pidfd)
    except BaseException:
        close_all([jobs, pidfd])
        raise


class RunJail(Jail):
    """A jail with a spare. `start` makes it, `close` (of `Jail`) frees everything."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.shape: Shape | None = None
        self._shapes = 0
        self._ready: Spare | None = None
        self._poll = select.poll()

    def start(self, shape: Shape) -> None:
        """Make the jail, with a first spare of `shape`. Raises `SetupError` naming the step that
        failed; then nothing is left of the jail.
        """
        self._first = shape
        self._make()

    def _settle(self) -> None:
        assert self._control is not None
        self._poll.register(self._control, select.POLLIN)
        self._join_cgroup()
        self.layers = describe_layers(self.plan, self.landlock_abi, self.group)
        self.reshape(self._first)

    def reshape(self, shape: Shape) -> None:
        """Ask for a spare of `shape` in place of the present one, if any."""
        self._say(protocol.pack_shape(shape))
        self._shapes += 1
        self.shape = shape

    def settle(self) -> None:
        """Wait until a spare is ready, which `take` then returns at once. Raises `JailLost`."""
        if self._ready is None:
            self._ready = self.next_spare()

    def is_settled(self) -> bool:
        """Whether `settle` would not wait; from any thread."""
        if self._ready is not None or self._control is None:
            return True
        return bool(select.select([self._control], [], [], 0)[0])

    def take(self, shape: Shape) -> Spare:
        """Return a spare of `shape`, which is the caller's to close. Raises `JailLost`."""
        if shape != self.shape:
            self._drop_ready()
            self.reshape(shape)
        self.settle()
        spare, self._ready = self._ready, None
        assert spare is not None
        return spare

    def close(self) -> None:
        self._drop_ready()
        super().close()

    def _drop_ready(self) -> None:
        if self._ready is not None:
            self._ready.close()
            self._ready = None

    def next_spare(self) -> Spare:
        """Wait for the next spare that has the shape last asked for."""
        while True:
            kind, serial, _, shapes, descriptors = self._receive_event(START_PATIENCE_S)
            stale = kind == protocol.READY and shapes != self._shapes  # about to be replaced
            if kind == protocol.READY and len(descriptors) == 2 and not stale:
                return _spare(serial, *descriptors)
            close_all(descriptors)
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
        close_all(descriptors)
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
        close_all(descriptors)
        if (kind, serial) != (protocol.EXIT, spare.serial):
            raise JailLost(f"the zygote sent {kind!r} {serial} instead of exit {spare.serial}")
        return status, cpu_us / 1e6

    def control_fd(self) -> int:
        """The control socket's descriptor: readable when `wait_exit` would not wait."""
        assert self._control is not None
        return self._control.fileno()
