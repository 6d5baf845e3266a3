"""The pool: what people call, on top of the engine."""

import logging
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from ..sandbox.errors import PolicyError
from ..sandbox.host.cpus import usable_cpus
from ..sandbox.host.probe import Requirements, probe_host
from ..sandbox.jail.folder import HostFolder
from ..sandbox.limits import Limits
from ..sandbox.result import Result
from .checks import require_count, require_seconds
from .engine.engine import Engine
from .engine.stats import Stats
from .executor import Executor
from .processes import SessionProcesses
from .program import Program
from .runtime import Runtime, offers_of
from .sessions import SessionPolicy, Sessions

if TYPE_CHECKING:  # what not every pool needs is imported when it is first used
    from .session import Session
    from .snapshot import Snapshot

logger = logging.getLogger(__name__)


class Pool(Executor):
    """Runs programs, each in a fresh, confined process. Thread-safe; a context manager.

    size: how many programs run at once; None: as many as this process may use CPUs.
    limits: what a run may use unless it is given limits of its own.
    packages: names of installed distributions that programs may import, as requirements
        ("numpy", "pandas[excel]>=2"); what they need comes along. "*": all that is installed, but
        for what is there in place (pip install -e). Nothing else is visible but the
        standard library.
    preload: modules that are imported once, before programs are forked from there. None: those of
        `packages` that programs are seen to import, in the background, each program being forked
        from where what it imports is; (): none.
    python: the interpreter that programs are run by, and whose distributions are meant: the path of
        one (CPython 3.11 or newer), or the folder of a virtual environment; None: this one.
    runtimes: others, by name, beside the one that these three arguments describe: `Runtime`s, which
        programs ask for by `runtime=`. Nothing of one is made before it is asked for.
    tier: "auto" (the strongest that works when tried), "namespaces", "landlock", or "none"
        (trusted code only); require: refuse anything weaker than this.
    max_queue: how many runs may wait; None: any number.
    max_sessions: how many sessions may hold a state (a branch is one, too); session_idle_s: for how
        many seconds without a call; session_memory_bytes: how much memory all of them together.
        None: without limit. Over a limit, the session goes that was used longest ago and is not in
        use; over that on memory, first of those that hold more than their share. It answers
        `SessionLost` from then on.
    on_result: called with the `Result` of every run, call and judged program, in a worker's thread,
        before its caller has it: it should be quick, must not wait for the pool, and should not
        hold it, as a pool that nobody closes is then never collected. What it raises is logged.
    explain: watch which system calls are refused: `Result.refused_calls` counts them, and
        `Result.detail` says what they mean. For finding out; not for sessions and snapshots.

    Raises `SetupError` where no jail starts here, `PolicyError` for what can't be had together,
    TypeError and ValueError for values that make no sense. When the constructor returns, one
    worker is ready and the others are starting. A pool belongs to the process that made it: in a
    forked child it answers `PoolClosed`.

    >>> with Pool(1) as pool:
    ...     pool.run("print(6 * 7)").stdout
    '42\\n'
    """

    def __init__(
        self,
        size: int | None = None,
        *,
        limits: Limits | None = None,
        packages: Sequence[str] = (),
        preload: Sequence[str] | None = None,
        python: str | os.PathLike[str] | None = None,
        runtimes: Mapping[str, Runtime] | None = None,
        tier: str = "auto",
        require: str | None = None,
        max_queue: int | None = None,
        max_sessions: int | None = None,
        session_idle_s: float | None = None,
        session_memory_bytes: int | None = None,
        on_result: Callable[[Result], object] | None = None,
        explain: bool = False,
    ) -> None:
        size = usable_cpus() if size is None else size
        require_count("size", size, 1, 4096)
        if max_queue is not None:
            require_count("max_queue", max_queue, 0, 1 << 31)
        limits = Limits() if limits is None else limits
        if not isinstance(limits, Limits):
            raise TypeError(f"limits must be a sandbox.Limits, not {limits!r}")
        if on_result is not None and not callable(on_result):
            raise TypeError(f"on_result must be callable or None, not {on_result!r:.80}")
        if not isinstance(explain, bool):
            raise TypeError(f"explain must be True or False, not {explain!r:.80}")
        policy = SessionPolicy(
            most=max_sessions, idle_s=session_idle_s, memory_bytes=session_memory_bytes
        )
        requirements = Requirements(
            tier,
            require,
            Runtime(packages, preload, python).offer(),
            offers_of(runtimes),
            explain,
        )
        folder = HostFolder()
        try:
            probed = probe_host(requirements, limits, folder)
        except BaseException:
            folder.close()
            raise
        if probed.passed_over:
            logger.warning(
                "confining with the %s tier; stronger ones don't work here: %s",
                probed.plan.tier,
                "; ".join(probed.passed_over),
            )
        self.limits = limits
        self.tier = probed.plan.tier
        try:
            self.engine = Engine(probed, folder, limits, size, max_queue, on_result)
        except BaseException:
            probed.jail.close()
            raise
        self._sessions = Sessions(policy, self.engine.held_bytes, self.engine.timer)
        self.engine.before_end(self._sessions.close)
        # For pools that nobody closes: at the interpreter's exit, or when they are collected.
        self._finalizer = weakref.finalize(self, self.engine.close)

    def __repr__(self) -> str:
        return repr(self.engine).replace("<Engine", "<Pool", 1)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Pool belongs to its process and can't be pickled; register a PythonExecutorService, "
            'and have other processes use connect("local://NAME") or connect("ray://NAME")'
        )

    @property
    def runner(self) -> Engine:
        return self.engine

    def session(
        self,
        *,
        limits: Limits | None = None,
        history: int = 16,
        rollback: bool = True,
        numeric_threads: int = 1,
        runtime: str | None = None,
    ) -> "Session":
        """Return a new session: an interpreter whose state persists from call to call.

        limits: instead of the pool's, for the session as a whole, its times for each call.
        history: how many earlier states `rollback` can go back to; each costs a parked process.
            Together with the present one they hold at most twice `limits.memory_bytes`: where
            they would hold more, fewer are kept (`Session.history`).
        rollback: False: no state is kept, and calls are quicker; one that a limit or a signal ends
            takes the session with it.
        numeric_threads: how many threads numeric libraries (OpenBLAS, OpenMP, MKL) calculate with,
            at most. Ending those of more than one before each call costs some milliseconds; with
            `rollback=False` nothing has to be ended.
        runtime: the name of one of the pool's runtimes.

        Raises `PoolFull` where `max_sessions` are in use.
        """
        from .session import Session

        require_count("history", history, 0, 1000)
        require_count("numeric_threads", numeric_threads, 1, 1024)
        limits = self.limits if limits is None else limits
        if not isinstance(limits, Limits):
            raise TypeError(f"limits must be a sandbox.Limits, not {limits!r}")
        if not isinstance(rollback, bool):
            raise TypeError(f"rollback must be True or False, not {rollback!r}")
        if not limits.one_process:
            raise PolicyError(
                f"processes={limits.processes!r}: a session is one process, in every tier, as its "
                "states are forked; give it limits with processes=1"
            )
        if self.tier == "none":
            raise PolicyError('session: tier="none" has no sessions; use another tier')
        families = self.engine.ground(runtime).families
        self.engine.require_room()
        with self._sessions.room(1) as adopt:
            family, head = families.new_family(limits, numeric_threads)
            processes = SessionProcesses(family, head, self._sessions.discard)
            adopt(processes)
        return Session(
            self,
            self.engine,
            self._sessions,
            processes,
            history=history,
            rollback=rollback,
            numeric_threads=numeric_threads,
            runtime=runtime,
        )

    def snapshot(
        self, setup: str | bytes, *, timeout: float | None = 60.0, runtime: str | None = None
    ) -> "Snapshot":
        """Run **trusted** code once, and return what it made, to fork runs from.

        setup: imports, data, a harness; what it defines is there in the `__main__` of every run. It
            is not confined as programs are: it runs in the jail, but with its zygote's powers.
        timeout: seconds that it may take, or None.
        runtime: the name of one of the pool's runtimes, which its runs have as well.

        Raises `ProgramError` with its exception, if it fails, and `PolicyError` for what can't be
        shared by forks: live threads, shared memory, files left open.

        >>> with Pool(1) as pool, pool.snapshot("base = 40") as snapshot:
        ...     snapshot.run("base += 2; print(base)").stdout, snapshot.run("print(base)").stdout
        ('42\\n', '40\\n')
        """
        from .engine.origin import Origin
        from .snapshot import Snapshot

        if self.tier == "none":
            raise PolicyError('snapshot: tier="none" has no snapshots; use another tier')
        require_seconds("timeout", timeout)
        families = self.engine.ground(runtime).families
        source = Program(setup).job(self.limits).source
        self.engine.require_room()
        origin = Origin(families, self.engine.jails, source, timeout, runtime)
        self.engine.before_end(origin.close)
        return Snapshot(self, self.engine, origin)

    def stats(self) -> Stats:
        """Return the counters as they are now."""
        return self.engine.counters.snapshot(
            tier=self.tier,
            **self.engine.now(),
            **self.engine.imports(),
            sessions=len(self._sessions),
            session_bytes=self._sessions.bytes(),
            sessions_evicted=self._sessions.evicted,
        )

    def close(self) -> None:
        """End everything: waiting runs resolve with `PoolClosed`, running ones as `cancelled`.

        Returns when all processes of the pool are gone and all that it made is removed.
        Idempotent, also from several threads: each returns when all is done.
        """
        self._finalizer.detach()
        self.engine.close()
