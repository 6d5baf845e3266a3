"""What the host knows about a finished run."""

import base64
import dataclasses
from collections.abc import Mapping
from typing import Any

from .reasons import ExitReason


@dataclasses.dataclass(frozen=True, slots=True)
class GuestException:
    """The exception that ended a program, in the program's own words."""

    type: str
    message: str
    traceback: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the host knows about a finished run.

    reason, ok: why it ended; `ok` is `reason == "ok"`.
    exit_code: 0 to 255 where the program exited by itself, else None.
    signal: the number of the signal that it died of, else None.
    completed: the program says that it ran to its end (its own word; `os._exit` leaves it out).
    stdout_bytes, stderr_bytes: the output as it was written, up to the limit; `stdout` and
        `stderr` are the same as text, with invalid UTF-8 replaced.
    exception: what ended the program, in its own words, or None.
    wall_s: seconds from hand-over to end; queue_s: seconds spent waiting for a worker.
    cpu_s: CPU seconds of the run's process, its confinement included; None if the run was lost.
    peak_memory_bytes: the most memory that the run held at once beyond the warm interpreter;
        None where this host can't tell (see `layers["memory"]`).
    files: what was collected: contents by name, relative to the working directory; files_skipped:
        what should have been, and why it was not.
    tier, layers: how the run was confined: one line for each layer, by name.
    infra_error: the failure was ours; such a run must not be scored.
    id: what the caller called the program, or None.
    value: of a session's call, the repr of a trailing expression, in the program's own words.
    checkpointed: of a session's call, whether the state before it was kept.
    rolled_back: how many calls of a session are undone, this one included, because a limit or a
        signal ended it; 0 where it has kept what it did.
    returned: what a called function returned, in our own encoding (see `Pool.function`).
    detail: an explanation for people, where there is something to explain; else "".
    not_offered: the installed distribution for want of which the program failed, as the pool does
        not offer it; by the program's own word, or None.
    refused_calls: how often each system call was refused, by name, where that is watched
        (`Pool(explain=True)`).
    """

    reason: ExitReason
    exit_code: int | None
    signal: int | None
    completed: bool
    stdout_bytes: bytes
    stderr_bytes: bytes
    stdout_truncated: bool
    stderr_truncated: bool
    exception: GuestException | None
    wall_s: float
    cpu_s: float | None
    queue_s: float
    peak_memory_bytes: int | None
    tier: str
    layers: Mapping[str, str]
    detail: str = ""
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    files_skipped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    id: str | None = None
    returned: bytes | None = dataclasses.field(default=None, repr=False)
    value: str | None = None
    checkpointed: bool = False
    rolled_back: int = 0
    not_offered: str | None = None
    refused_calls: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @classmethod
    def internal(cls, detail: str, *, tier: str, queue_s: float, id: str | None = None) -> "Result":
        """A run that never began, for a reason of ours."""
        return cls(
            reason=ExitReason.INTERNAL,
            exit_code=None,
            signal=None,
            completed=False,
            stdout_bytes=b"",
            stderr_bytes=b"",
            stdout_truncated=False,
            stderr_truncated=False,
            exception=None,
            wall_s=0.0,
            cpu_s=None,
            queue_s=queue_s,
            peak_memory_bytes=None,
            tier=tier,
            layers={},
            detail=detail,
            id=id,
        )

    @classmethod
    def refused(cls, detail: str, *, tier: str, queue_s: float, id: str | None = None) -> "Result":
        """A call that was never made: what the program has left of itself does not allow it."""
        ours = cls.internal(detail, tier=tier, queue_s=queue_s, id=id)
        text = f"{detail}\n".encode("utf-8", "replace")
        return dataclasses.replace(ours, reason=ExitReason.DENIED, stderr_bytes=text)

    @property
    def ok(self) -> bool:
        return self.reason is ExitReason.OK

    @property
    def infra_error(self) -> bool:
        return self.reason is ExitReason.INTERNAL

    @property
    def stdout(self) -> str:
        return self.stdout_bytes.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        return self.stderr_bytes.decode("utf-8", "replace")

    @property
    def returncode(self) -> int:
        """The result as one number, as `subprocess` would give it: the exit code, -N for
        signal N, and -9 for everything that was ended by force.
        """
        if self.exit_code is not None:
            return self.exit_code
        return -(self.signal or 9)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON data, with TorchRL's keys `success` and `returncode`;
        files are in base64.
        """
        return {
            "id": self.id,
            "reason": str(self.reason),
            "ok": self.ok,
            "success": self.ok,
            "exit_code": self.exit_code,
            "signal": self.signal,
            "returncode": self.returncode,
            "completed": self.completed,
            "value": self.value,
            "checkpointed": self.checkpointed,
            "rolled_back": self.rolled_back,
            "stdout": self.stdout,
            "stderr": self.stderr,
            "stdout_truncated": self.stdout_truncated,
            "stderr_truncated": self.stderr_truncated,
            "exception": None if self.exception is None else dataclasses.asdict(self.exception),
            "wall_s": self.wall_s,
            "cpu_s": self.cpu_s,
            "queue_s": self.queue_s,
            "peak_memory_bytes": self.peak_memory_bytes,
            "files": {
                name: base64.b64encode(content).decode("ascii")
                for name, content in self.files.items()
            },
            "files_skipped": dict(self.files_skipped),
            "tier": self.tier,
            "layers": dict(self.layers),
            "infra_error": self.infra_error,
            "detail": self.detail,
            "not_offered": self.not_offered,
            "refused_calls": dict(self.refused_calls),
        }
