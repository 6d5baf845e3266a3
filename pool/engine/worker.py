"""A worker: one thread, one run at a time.

The thread leases a jail of the pool's own, waits for work, drives the run, and replaces the jail
when it dies. Callers never see a replacement: a run that had not started goes back to the front of
the queue, and one that was lost with its jail is tried once more elsewhere (`retry.py`).
"""

import dataclasses
import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ...sandbox.errors import SandboxError, SetupError
from ...sandbox.guest.jail.protocol import Profile
from ...sandbox.host.hints import with_hint
from ...sandbox.jail.messages import JailLost
from ...sandbox.jail.plan import profile_of
from ...sandbox.limits import Limits
from ...sandbox.reasons import ExitReason
from ...sandbox.result import Result
from ...sandbox.run.job import Job
from ...sandbox.run.run import NotStarted, Run, RunLost
from ...sandbox.run.run_jail import RunJail
from ..errors import PoolClosed
from .ground import Ground
from .jails import Jails
from .lifecycle import Lifecycle, State
from .queue import Queue
from .stats import Counters
from .task import ForCaller, Task
from .warm import imports_of_job

if TYPE_CHECKING:
    from ...sandbox.run.dialogue import Fault
    from ...sandbox.run.interaction import Interaction
    from ...sandbox.run.pair import Pair
    from ...sandbox.run.record import Record

logger = logging.getLogger(__name__)

_HEARTBEAT_S = 0.5
"""How often an idle worker looks whether its jail still lives."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
"""Between attempts to start a jail: doubled after each failure."""

_HOPELESS = 3
"""Failed starts in a row after which the pool's waiting runs are answered as infra errors, if
no other worker is alive: nothing waits for ever."""


class Worker:
    """One place where a run can take place. `start` begins its thread, `join` waits for its end.

    `hopeless` is called with a reason when starting fails again and again. jail: one that it has
    leased already.
    """

    def __init__(
        self,
        grounds: Mapping[str | None, Ground],
        limits: Limits,
        queue: Queue,
        jails: Jails,
        counters: Counters,
        closing: threading.Event,
        hopeless: Callable[[str], None],
        jail: RunJail | None = None,
    ) -> None:
        self._grounds = grounds
        self._plan = grounds[None].plan
        self._limits = limits
        self._queue = queue
        self._jails = jails
        self._counters = counters
        self._closing = closing
        self._hopeless = hopeless
        self._jail = jail
        self._life = Lifecycle()
        self._proven = False  # this jail has had a prewarmed process
        self._failures = 0  # in a row: jails that never had one
        self._lock = threading.Lock()
        self._task: Task | None = None  # guarded by _lock: `end` is for any thread
        self._thread = threading.Thread(target=self._live, name=f"worker-{id(self):x}", daemon=True)

    def __repr__(self) -> str:
        return f"<Worker {self._life.state.value} {self._jail!r}>"

    @property
    def state(self) -> State:
        return self._life.state

    @property
    def is_alive(self) -> bool:
        return self._life.state in (State.IDLE, State.RUNNING, State.SETTLING)

    @property
    def jail(self) -> RunJail | None:
        """The one that its runs are made in, as long as it has one."""
        return self._jail

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; tell whether it has ended (its own thread never waits)."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def end(self) -> None:
        """Cancel the run, whatever state it is in; from any thread."""
        with self._lock:
            if self._task is not None:
                self._task.stop(ExitReason.CANCELLED)

    # ---- the thread

    def _live(self) -> None:
        try:
            while not self._closing.is_set():
                if self._jail is None and not self._lease_jail():
                    continue
                if self._life.state is State.STARTING:
                    self._life.to(State.SETTLING)
                try:
                    self._serve()
                except JailLost as lost:
                    if not self._closing.is_set():  # else it was the pool itself that ended it
                        logger.info("a jail was lost and is replaced: %s", lost)
                    self._discard()
                    if not self._proven:
                        self._failed(str(lost))
                except PoolClosed:
                    raise
                except Exception:
                    logger.exception("a worker failed; its jail is replaced")
                    self._discard()
        except PoolClosed:
            pass
        finally:
            if self._jail is not None:
                self._jails.discard(self._jail)
                self._jail = None
            self._life.to(State.CLOSED)

    def _lease_jail(self) -> bool:
        """Lease a jail, with pauses that double; False if the pool was closed meanwhile."""
        profile = profile_of(self._limits, 0, self._plan)
        while not self._closing.is_set():
            self._proven = False
            try:
                self._jail = self._jails.lease(self._jails.own, profile)
                return True
            except PoolClosed:
                return False
            except Exception as error:  # noqa: BLE001  (out of threads, of memory: it may pass)
                self._failed(str(error))
        return False

    def _failed(self, why: str) -> None:
        """Count a jail that could not be started, or not fork, and pause before the next."""
        if self._closing.is_set():
            return  # it was killed, by us
        self._failures += 1
        logger.warning("a jail could not be started (try %d): %s", self._failures, why)
        if self._failures >= _HOPELESS:
            self._hopeless(why)
        doublings = min(self._failures - 1, 10)
        self._closing.wait(min(_FIRST_PAUSE_S * 2**doublings, _LONGEST_PAUSE_S))

    def _serve(self) -> None:
        """Serve one task, or notice that the jail has died while there was none."""
        jail = self._jail
        assert jail is not None
        jail.settle()
        self._proven, self._failures = True, 0
        if self._life.state is State.SETTLING:
            self._life.to(State.IDLE)
        task = self._queue.take(_HEARTBEAT_S)
        if task is None:
            if not jail.is_alive():
                raise JailLost("it died while it was idle")
            return
        self._life.to(State.RUNNING)
        with self._lock:
            self._task = task
        if self._closing.is_set():
            task.stop(ExitReason.CANCELLED)
        try:
            if task.call is not None:
                self._call(task, task.call)
            else:
                self._run(task, jail)
        finally:
            with self._lock:
                self._task = None
        if self._life.state is State.RUNNING:
            self._life.to(State.SETTLING)

    def _run(self, task: Task, own: RunJail) -> None:
        """Make one run, or a pair of them; raise `JailLost` where this worker's jail was lost."""
        used: list[RunJail] = []
        run: Run | Pair | Interaction | None = None
        lost: str | None = None
        try:
            run = self._prepare(task, own, used)
            result = run.drive(task.queue_s())
        except RunLost as error:
            lost = str(error)
            self._retry_lost(task, error, run.lost if run is not None else None)
        except (NotStarted, JailLost, SetupError) as error:
            lost = str(error)
            self._retry_unstarted(task, lost)
        except SandboxError as error:  # of a snapshot that is gone, or can't be made again
            task.fail(error)
        except BaseException as error:
            # Ours, and unforeseen: the caller must not wait for ever, the worker must not die.
            logger.exception("a run failed inside the host")
            lost = f"{type(error).__name__}: {error}"
            self._answer(task, self._internal(task, lost))
        else:
            lost = result.detail if run.jail_lost else None
            record = run.record
            if record is not None:
                assert task.test is not None
                plan = self._grounds[task.test.runtime].plan
                record = dataclasses.replace(record, test=with_hint(record.test, plan))
                self._counters.ended(record.test, of_test=True)
            self._answer(task, result, record)
        for jail in used:
            if jail is not own:
                self._jails.give_back(jail) if lost is None else self._jails.discard(jail)
        if lost is not None and own in used:
            raise JailLost(lost)

    def _prepare(self, task: Task, own: RunJail, used: list[RunJail]) -> "Run | Pair | Interaction":
        """What is to be driven for a task: a run, or, where a test calls it or an interactor talks
        to it, a pair of them. The jails that it takes place in are added to `used`.
        """
        if task.test is not None:
            # Not needed by those who only run programs.
            from ...sandbox.run.interaction import Interaction
            from ...sandbox.run.pair import Pair

            # First: to make the second jail may take a while, and fail.
            second = self._jail_for(task.test, task, None, used)
            theirs = second.take(self._profile_of(task.test))
            try:
                jail = self._jail_for(task.job, task, own, used)
                prewarmed = jail.take(self._profile_of(task.job))
            except BaseException:
                theirs.close()
                raise
            two = Interaction if task.test.role is None else Pair
            return two((jail, prewarmed, task.job), (second, theirs, task.test), task.stop)
        jail = self._jail_for(task.job, task, own, used)
        prewarmed = jail.take(self._profile_of(task.job))
        return Run(jail, prewarmed, task.job, task.stop, task.on_output)

    def _jail_for(self, job: Job, task: Task, own: RunJail | None, used: list[RunJail]) -> RunJail:
        """The jail that a job of a task is run in, which is added to `used`: from the task's
        source, a warm one, or a bare one of its runtime, which this worker's `own` may be.
        """
        ground = self._grounds[job.runtime]
        jail: RunJail | None = None
        imports = imports_of_job(job)
        if task.source is None and not task.attempts.any:
            jail = ground.warm.lease(job, imports)
        if jail is None:
            if task.source is None and job.runtime is None and own is not None:
                jail = own
            else:
                source = ground.zygotes if task.source is None else task.source
                jail = self._jails.lease(source, self._profile_of(job))
        used.append(jail)
        if task.source is None:
            ground.warm.count(imports, jail.loaded)
        return jail

    def _profile_of(self, job: Job) -> Profile:
        return profile_of(job.limits, len(job.source), self._plan)

    def _call(self, task: Task, call: Callable[[Task], Result]) -> None:
        """Make a session's call: it takes this worker's turn, not its jail."""
        try:
            result = call(task)
        except SandboxError as error:
            task.fail(error)
        except ForCaller as error:
            task.fail(error.__cause__ or error)
        except BaseException as error:
            logger.exception("a call failed inside the host")
            self._answer(task, self._internal(task, f"{type(error).__name__}: {error}"))
        else:
            self._answer(task, result)

    def _retry_lost(self, task: Task, lost: RunLost, whose: "Fault | None") -> None:
        """Try a lost run once more; the second jail that it brings down is charged to it, or to the
        test if that was `whose` run it was. So is the first one where input was read that is gone.
        """
        feed = task.job.feed
        repeatable = feed is None or feed.again()
        if task.attempts.again_after_loss() and repeatable:
            logger.debug("run %s is tried again, as its jail was lost: %s", task.job.id, lost)
            self._counters.was_retried()
            self._queue.put_back(task)
            return
        detail = f"brought down its worker twice: {lost}"
        if not repeatable:
            detail = f"brought down its worker, and its input can't be given again: {lost}"
        result = dataclasses.replace(lost.so_far, reason=ExitReason.DENIED, detail=detail)
        record = None
        if task.test is not None:
            from ...sandbox.run.record import Record

            record = Record(result, lost=whose)
        self._answer(task, result, record)

    def _retry_unstarted(self, task: Task, why: str) -> None:
        if task.attempts.again_unstarted():
            logger.debug("run %s is tried again, as it did not start: %s", task.job.id, why)
            self._queue.put_back(task)
        else:
            self._answer(task, self._internal(task, f"could not be started: {why}"))

    def _answer(self, task: Task, result: Result, record: "Record | None" = None) -> None:
        result = with_hint(result, self._grounds[task.job.runtime].plan)
        self._counters.ended(result)
        task.answer(result, record)

    def _internal(self, task: Task, detail: str) -> Result:
        return Result.internal(detail, tier=self._plan.tier, queue_s=task.queue_s(), id=task.job.id)

    def _discard(self) -> None:
        self._life.to(State.BROKEN)
        if self._jail is not None:
            self._jails.discard(self._jail)
            self._jail = None
        if not self._closing.is_set():
            self._life.to(State.STARTING)
