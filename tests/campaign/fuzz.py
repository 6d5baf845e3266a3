"""One slice of the campaign: sequences of system calls in one kind of jail, and what must hold.

`python -m campaign.fuzz` reads what it shall do from its standard input, as JSON, and writes
what it finds, an object a line. So it can run on an imitated host, as another user, while whoever
keeps the corpus does not.
"""

import contextlib
import dataclasses
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psutil

from interpreter_pool import Limits, PolicyError, Pool, PoolError, Result, Session, SessionLost

from .calls import Sequence, answers, draw, program

WARM = 20
"""Programs before the host's memory and descriptors are first looked at."""

LOOK_EVERY = 25
"""Programs between two looks at what the host holds."""

MAX_GROWTH_BYTES = 48 << 20

PATIENCE_S = 10.0
"""What comes and goes has so long to go."""

LIMITS = Limits(
    wall_s=0.7,
    memory_bytes=48 << 20,
    output_bytes=256 << 10,
    disk_bytes=8 << 20,
    threads=8,
    open_files=32,
)

OWN = {
    "ok", "exception", "exit", "signal", "wall_timeout", "cpu_timeout", "memory", "output",
    "denied",
}  # fmt: skip
"""Reasons that are a program's own."""

SHORT = {"namespaces": "ns", "landlock": "ll"}

KINDS = ("run", "processes", "session", "explained")
"""Runs, runs with several processes, sessions, and runs whose refused calls the host answers."""

_WARNINGS = re.compile(
    r"^(?!.*traps: )"  # of which a program dies, and the kernel is well
    r".*(?:WARNING:|BUG:|Oops|general protection|KASAN|UBSAN|refcount_t|hung_task|blocked for more|"
    r"rcu.*stall|lockdep|possible recursive|soft lockup)"
)


@dataclasses.dataclass
class Counts:
    """What a slice has done, and what answers it has seen: name and errno of calls."""

    programs: int = 0
    calls: int = 0
    reasons: Counter[str] = dataclasses.field(default_factory=Counter)
    pairs: set[tuple[str, int]] = dataclasses.field(default_factory=set)


class Wrong(Exception):
    """Something did not hold."""


class Fuzzer:
    """Draws, runs and judges sequences in jails of one tier and kind.

    kept: sequences that were kept before. known: pairs that they have brought.
    """

    def __init__(
        self, tier: str, kind: str, seed: int, kept: list[Sequence], known: set[tuple[str, int]]
    ) -> None:
        self.tier = tier
        self.kind = kind
        self.chance = random.Random(seed)
        self.kept = kept
        self.known = known
        self.counts = Counts()

    def _variant(self, pool: Pool) -> str:
        """Which filter its programs have: a private one where no cgroup counts memory."""
        name = SHORT[self.tier]
        if self.kind in ("processes", "session"):
            name += f"-{self.kind}"
        if self.kind != "session" and pool.engine.plan.cgroup_parents is None:
            name += "-private"
        return name

    def run(self, seconds: float, programs: int | None = None) -> Iterator[dict[str, Any]]:
        """Go on for some seconds, or so many programs; yield what is to be kept, and what is wrong."""
        deadline = time.monotonic() + seconds
        folder = tempfile.mkdtemp(prefix="campaign-")
        os.chmod(folder, 0o755)
        canary = _Canary(folder)
        log = kernel_log()
        sequence: Sequence = []
        text = ""
        try:
            with self._pool() as pool:
                variant = self._variant(pool)
                jail = _Jail(pool, self.kind == "session", self.chance)
                holdings = None
                while time.monotonic() < deadline and self.counts.programs != programs:
                    sequence = draw(variant, self.chance, self.kept)
                    text = program(sequence, variant, folder)
                    new = self._new(sequence, variant, jail.run(text))
                    jail.require_right()
                    canary.require_untouched()
                    if new:
                        self.kept.append(sequence)
                        yield {"kept": sequence, "new": sorted(new)}
                    if self.counts.programs % LOOK_EVERY == 0:
                        jail.rest()
                        now = _Holdings.of_now()
                        if holdings is not None:
                            holdings.require_enough_for(now)
                        elif self.counts.programs >= WARM:
                            holdings = now
                jail.rest()
                replaced = pool.stats().replaced
            _require_silence(log)
        except Wrong as wrong:
            yield {"wrong": str(wrong), "sequence": sequence, "program": text}
            return
        finally:
            canary.remove()
        yield {"variant": variant, "replaced": replaced, **self.told()}

    def told(self) -> dict[str, Any]:
        """What was done, as JSON."""
        counts = self.counts
        return {
            "programs": counts.programs,
            "calls": counts.calls,
            "reasons": dict(counts.reasons),
            "pairs": sorted(counts.pairs),
        }

    def _pool(self) -> Pool:
        limits = LIMITS.replace(processes=4) if self.kind == "processes" else LIMITS
        return Pool(1, tier=self.tier, limits=limits, explain=self.kind == "explained")

    def _new(self, sequence: Sequence, variant: str, result: Result | None) -> set[tuple[str, int]]:
        """Count what a sequence got; return what no sequence got before."""
        counts = self.counts
        counts.programs += 1
        if result is None:
            counts.reasons["lost"] += 1
            return set()
        counts.reasons[str(result.reason)] += 1
        if result.reason not in OWN or result.infra_error:
            raise Wrong(f"reason {result.reason}: {result.detail} {result.stderr[-300:]}")
        made = list(answers(sequence, variant, result.stdout_bytes))
        counts.calls += len(made)
        counts.pairs.update(made)
        new = set(made) - self.known
        self.known |= new
        return new


class _Jail:
    """Where programs are run: each in a run of its own, or several in a session."""

    def __init__(self, pool: Pool, in_session: bool, chance: random.Random) -> None:
        self._pool = pool
        self._in_session = in_session
        self._chance = chance
        self._session: Session | None = None
        self._other: Session | None = None

    def run(self, text: str) -> Result | None:
        """Its result; None where a session was lost by it."""
        if not self._in_session:
            return self._pool.run(text)
        if self._session is None or self._chance.random() < 0.1:
            self.rest()
            self._session = self._pool.session(
                history=self._chance.randrange(3), rollback=self._chance.random() < 0.8
            )
            self._other = self._pool.session()
            self._other.run("x = 'other'")
        try:
            result = self._session.run(text)
            if self._chance.random() < 0.2:
                branch = self._session.fork()
                with branch:
                    branch.run("1")
            if self._chance.random() < 0.1:
                with contextlib.suppress(ValueError):
                    self._session.rollback()
        except SessionLost:
            self.rest()
            return None
        except (PolicyError, PoolError):
            return None
        return result

    def require_right(self) -> None:
        """A right program is right, where the one before was; another session is what it was."""
        found = self._pool.run("print(6 * 7)", timeout=30)
        if found.stdout != "42\n" or not found.ok:
            raise Wrong(f"the next program: {found}")
        if self._other is not None:
            found = self._other.run("x", timeout=30)
            if found.value != "'other'":
                raise Wrong(f"another session: {found}")

    def rest(self) -> None:
        """Close its sessions, and wait until nothing moves."""
        for each in (self._session, self._other):
            if each is not None:
                each.close()
        self._session = self._other = None
        deadline = time.monotonic() + 20
        while not self._pool.engine.is_settled():
            if time.monotonic() > deadline:
                raise Wrong("the pool does not come to rest")
            time.sleep(0.01)


class _Canary:
    """A folder outside of every scratch that no program may change."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._file = os.path.join(folder, "canary")
        with open(self._file, "w", encoding="ascii") as file:
            file.write("canary")
        self._state = self._now()

    def _now(self) -> tuple[Any, ...]:
        told = [os.lstat(each) for each in (self._folder, self._file)]
        with open(self._file, encoding="ascii") as file:
            content = file.read()
        # Not st_atime: this reads, too.
        kept = [
            (s.st_mode, s.st_uid, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_nlink) for s in told
        ]
        return os.listdir(self._folder), content, kept

    def require_untouched(self) -> None:
        now = self._now()
        if now != self._state:
            raise Wrong(f"outside was changed: {self._state} is {now}")

    def remove(self) -> None:
        for name in os.listdir(self._folder):
            os.unlink(os.path.join(self._folder, name))
        os.rmdir(self._folder)


@dataclasses.dataclass(frozen=True)
class _Holdings:
    """What this process holds."""

    resident_bytes: int
    descriptors: int
    threads: int
    processes: int

    @classmethod
    def of_now(cls) -> "_Holdings":
        me = psutil.Process()
        return cls(
            me.memory_info().rss,
            me.num_fds(),
            me.num_threads(),
            len([each for each in me.children(recursive=True) if each.is_running()]),
        )

    def require_enough_for(self, now: "_Holdings") -> None:
        """Wait for `now` to be no more than this; what comes and goes has a moment to go."""
        deadline = time.monotonic() + PATIENCE_S
        while (
            now.descriptors > self.descriptors + 8
            or now.threads > self.threads + 2
            or now.processes > self.processes + 6
            or now.resident_bytes > self.resident_bytes + MAX_GROWTH_BYTES
        ):
            if time.monotonic() > deadline:
                raise Wrong(f"the host grows: {self} is {now}")
            time.sleep(0.05)
            now = _Holdings.of_now()


def kernel_log() -> list[str] | None:
    """The warnings in the kernel's log; None where it may not be read."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(["dmesg"], capture_output=True, timeout=10, check=True)
        text = done.stdout.decode("utf-8", "replace")
        return [line for line in text.splitlines() if _WARNINGS.search(line)]
    return None


def _require_silence(before: list[str] | None) -> None:
    now = kernel_log()
    if (
        before is not None
        and now is not None
        and (new := [each for each in now if each not in before])
    ):
        raise Wrong(f"the kernel warns: {new[:3]}")


def main() -> None:
    told = json.load(sys.stdin)
    known = {(name, error) for name, error in told["known"]}
    fuzzer = Fuzzer(told["tier"], told["kind"], told["seed"], told["kept"], known)
    for each in fuzzer.run(told["seconds"]):
        print(json.dumps(each), flush=True)


if __name__ == "__main__":
    main()
