"""A jail for runs: it keeps one confined child waiting for the next job."""

import contextlib
import dataclasses
import os
import select
import socket
import stat

from ..guest.jail import protocol
from ..guest.jail.protocol import Profile
from ..jail.jail import START_PATIENCE_S, Jail
from ..jail.messages import JailLost, close_all
from ..jail.pidfd import Pidfd
from ..jail.plan import Plan, describe_layers


@dataclasses.dataclass
class Prewarmed:
    """A confined child that waits for its job."""

    serial: int
    jobs: socket.socket
    process: Pidfd

    def die_first(self) -> None:
        """Have the kernel choose the run when its cgroup is out of memory, not the zygote: the
        verdict would be the same, but the worker would have to be replaced.
        """
        with contextlib.suppress(OSError):
            adjust = os.open(f"/proc/{self.process.pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(adjust, b"1000")
            finally:
                os.close(adjust)

    def close(self) -> None:
        self.jobs.close()
        self.process.close()


def _prewarmed(serial: int, jobs: int, pidfd: int) -> Prewarmed:
    """Take descriptors that a zygote says are a prewarmed process's; `JailLost` if they can't
    be, and then both are closed.
    """
    with contextlib.ExitStack() as owned:
        owned.callback(os.close, jobs)
        process = owned.enter_context(contextlib.closing(Pidfd(pidfd)))
        if not stat.S_ISSOCK(os.fstat(jobs).st_mode):
            raise JailLost("the zygote sent a prewarmed process without a socket")
        taken = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, jobs)
        owned.pop_all()
        return Prewarmed(serial, taken, process)


class RunJail(Jail):
    """A jail with a prewarmed process. `start` makes it, `close` (of `Jail`) frees everything."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.profile: Profile | None = None
        self.explains = plan.explain  # its runs ask for what is refused
        self._profiles = 0
        self._ready: Prewarmed | None = None
        self._poll = select.poll()

    def start(self, profile: Profile) -> None:
        """Make the jail, with a first prewarmed process of `profile`. Raises `SetupError` naming
        the step that failed; then nothing is left of the jail.
        """
        self._first = profile
        self._make()

    def _settle(self) -> None:
        assert self._control is not None
        self._poll.register(self._control, select.POLLIN)
        self._join_cgroup()
        self.layers = describe_layers(self.plan, self.landlock_abi, self.group)
        self.ask_for(self._first)

    def ask_for(self, profile: Profile) -> None:
        """Ask for a prewarmed process of `profile` in place of the present one, if any."""
        self._say(protocol.pack_profile(profile))
        self._profiles += 1
        self.profile = profile

    def settle(self) -> None:
        """Wait until a prewarmed process is ready, which `take` then returns at once. Raises
        `JailLost`.
        """
        if self._ready is None:
            self._ready = self.next_prewarmed()

    def is_settled(self) -> bool:
        """Whether `settle` would not wait; from any thread."""
        if self._ready is not None or self._control is None:
            return True
        poll = select.poll()  # its own: the jail's may be in use
        poll.register(self._control, select.POLLIN)
        return bool(poll.poll(0))

    def take(self, profile: Profile) -> Prewarmed:
        """Return a prewarmed process of `profile`, which is the caller's to close. Raises
        `JailLost`.
        """
        if profile != self.profile:
            self._drop_ready()
            self.ask_for(profile)
        self.settle()
        prewarmed, self._ready = self._ready, None
        assert prewarmed is not None
        return prewarmed

    def close(self) -> None:
        self._drop_ready()
        super().close()

    def _drop_ready(self) -> None:
        if self._ready is not None:
            self._ready.close()
            self._ready = None

    def next_prewarmed(self) -> Prewarmed:
        """Wait for the next prewarmed process that has the profile last asked for."""
        while True:
            kind, serial, _, profiles, descriptors = self._receive_event(START_PATIENCE_S)
            stale = kind == protocol.READY and profiles != self._profiles  # about to be replaced
            if kind == protocol.READY and len(descriptors) == 2 and not stale:
                return _prewarmed(serial, *descriptors)
            close_all(descriptors)
            if (
                kind != protocol.EXIT and not stale
            ):  # of a prewarmed process that was replaced, or killed while it waited
                raise JailLost(f"the zygote sent {kind!r} with {len(descriptors)} descriptors")

    def hold(self, prewarmed: Prewarmed) -> int | None:
        """Have the scratch of `prewarmed` kept when it has ended, until `release`; return a
        descriptor of its working directory, which is the caller's to close. None if the prewarmed
        process has ended.
        """
        self._say(protocol.pack_hold(prewarmed.serial))
        kind, serial, _, _, descriptors = self._receive_event(START_PATIENCE_S)
        if (kind, serial) == (protocol.HELD, prewarmed.serial) and len(descriptors) == 1:
            return descriptors[0]
        close_all(descriptors)
        if (kind, serial) == (protocol.EXIT, prewarmed.serial):
            return None
        raise JailLost(f"the zygote sent {kind!r} {serial} instead of the scratch")

    def release(self) -> None:
        """Let the scratch go that `hold` kept."""
        self._say(protocol.pack_release())

    def wait_exit(self, prewarmed: Prewarmed, timeout_s: float) -> tuple[int, float] | None:
        """Return (wait status, CPU seconds) of the run on `prewarmed`, or None after
        `timeout_s`.
        """
        if not self._poll.poll(max(timeout_s, 0.0) * 1e3):
            return None
        kind, serial, status, cpu_us, descriptors = self._receive_event(0.0)
        close_all(descriptors)
        if (kind, serial) != (protocol.EXIT, prewarmed.serial):
            raise JailLost(f"the zygote sent {kind!r} {serial} instead of exit {prewarmed.serial}")
        return status, cpu_us / 1e6

    def control_fd(self) -> int:
        """The control socket's descriptor: readable when `wait_exit` would not wait."""
        assert self._control is not None
        return self._control.fileno()
