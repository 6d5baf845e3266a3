"""What a run may use."""

import dataclasses

from .errors import PolicyError

_MAX_BYTES = 1 << 62
_MOST_TASKS = (4 << 20) - 2
"""Linux has 4194304 process ids at most (PID_MAX_LIMIT), and pids.max takes no larger number; one
task is the zygote."""

MAX_SECONDS = 10 * 365 * 86400.0
"""Far below what the kernel's and Python's clocks can hold (threading.TIMEOUT_MAX)."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may use. None means unlimited; zero and negative values are refused.

    wall_s: seconds from the moment the program is handed over, by the host's monotonic clock;
        waiting for a free worker is not counted, nor is a start that takes longer than the limit
        itself. Ends the run with reason `wall_timeout`.
    cpu_s: CPU seconds of all its threads and processes, read by the host; fractions count.
        Ends the run with reason `cpu_timeout`. Never derived from wall_s.
    memory_bytes: what the run may allocate beyond the warm interpreter it starts from, its
        scratch files included. An allocation over it raises MemoryError; uncaught, or past the
        kernel's patience, the reason is `memory`. Of a session, each state may hold that much,
        and all that are kept together twice as much.
    output_bytes: for each of stdout and stderr. Ends the run with reason `output`.
    disk_bytes, files: size and number of files of the scratch directory (ENOSPC; EFBIG for a
        single file). A tier that can't cap them watches them, and ends the run as `denied`.
    processes: processes at once, the program itself included. With more than 1 it can fork, and
        execute what the jail holds (`sys.executable`; there is no shell); that needs the namespaces
        tier. Seen to be more, they end the run as `denied`. Sessions have one process.
    threads: threads at once, the main one included (EAGAIN, "can't start new thread"). The kernel
        counts both alike: of processes and threads together there are at most
        `processes + threads - 1`, and where either is None, any number.
    open_files: descriptors at once, the standard three included (EMFILE); 512 less than this
        process may have (ulimit -Hn) at most.
    source_bytes: size of the program itself; a larger one is the caller's mistake.
    """

    wall_s: float | None = 10.0
    cpu_s: float | None = None
    memory_bytes: int | None = 512 << 20
    output_bytes: int | None = 1 << 20
    disk_bytes: int | None = 64 << 20
    files: int | None = 4096
    processes: int | None = 1
    threads: int | None = 64
    open_files: int | None = 256
    source_bytes: int | None = 16 << 20

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if field.name in ("wall_s", "cpu_s"):
                require_limit(field.name, value)
                object.__setattr__(self, field.name, float(value))
            else:
                _require_count(field.name, value, _MINIMA.get(field.name, 1))

    @property
    def one_process(self) -> bool:
        """Whether the program itself is all there is."""
        return self.processes == 1

    @property
    def tasks(self) -> int | None:
        """Processes and threads at once, as the kernel counts them, without the zygote; None is
        any number, and so is more than the kernel can have.
        """
        if self.processes is None or self.threads is None:
            return None
        tasks = self.processes + self.threads - 1
        return tasks if tasks <= _MOST_TASKS else None

    def require_fit(self, tier: str) -> None:
        """Raise `PolicyError` where `tier` can't hold a run to these limits."""
        if tier == "landlock" and not self.one_process:
            raise PolicyError(
                f"processes={self.processes!r}: the landlock tier has no pid namespace to hold "
                "more than one; use processes=1, or a host where the namespaces tier works "
                "(`pool doctor` tells why it does not)"
            )

    def replace(self, **changes: object) -> "Limits":
        """Return these limits with some of them changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


_MINIMA = {
    # Less than this and not even an empty program runs.
    "memory_bytes": 8 << 20,
    "disk_bytes": 4096,
    "open_files": 8,
}


def require_limit(name: str, value: object) -> None:
    """Refuse what is no limit on time: `name` is what the caller calls it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds or None, not {value!r:.80}")
    # Comparing is enough: NaN and the infinities fail it, and no whole number is too large for it.
    if not 0 < value <= MAX_SECONDS:
        raise ValueError(
            f"{name}={value!r}: must be over 0 and at most {MAX_SECONDS:.0f} s; None is unlimited"
        )


def _require_count(name: str, value: object, minimum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number or None, not {value!r}")
    if not minimum <= value <= _MAX_BYTES:
        raise ValueError(f"{name}={value!r}: must be {minimum} to 2**62; None is unlimited")
