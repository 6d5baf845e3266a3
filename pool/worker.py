"""A worker: one thread, one jail at a time, one run at a time.

The thread starts the jail, waits for work, drives the run, and replaces the jail when it dies.
Callers never see a replacement: a run that had not started goes back to the front of the queue,
and one that was lost with its jail is tried once more elsewhere.
"""

import dataclasses
import logging
import threading
from collections.abc import Callable

from ..sandbox.dialogue import Fault
from ..sandbox.errors import SandboxError, SetupError
from ..sandbox.guest.protocol import Shape
from ..sandbox.jail import JailLost
from ..sandbox.job import Job
from ..sandbox.limits import Limits
from ..sandbox.pair import Pair, Record
from ..sandbox.plan import Plan, shape_of
from ..sandbox.reasons import ExitReason
from ..sandbox.result import Result
from ..sandbox.run import NotStarted, Run, RunLost
from ..sandbox.spares import RunJail, Spare
from .errors import PoolClosed
from .lifecycle import Lifecycle, State
from .queue import Queue
from .stats import Counters
from .task import Task

logger = logging.getLogger(__name__)

_HEARTBEAT_S = 0.5
"""How often an idle worker looks whether its jail still lives."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
"""Between attempts to start a jail: doubled after each failure."""

_HOPELESS = 3
"""Failed starts in a row after which the pool's waiting runs are answered as infra errors, if
no other worker is alive: nothing waits for ever."""

_MAX_UNSTARTED = 3
"""Jails on which a run may fail to start before it is answered as an infra error."""


class Worker:
    """One place where a run can take place. `start` begins its thread, `join` waits for its end.

    `hopeless` is called with a reason when starting fails again and again.
    """

    def __init__(
        self,
        plan: Plan,
        limits: Limits,
        queue: Queue,
        counters: Counters,
        closing: threading.Event,
        hopeless: Callable[[str], None],
        jail: RunJail | None = None,
    ) -> None:
        self._plan = plan
        self._limits = limits
        self._queue = queue
        self._counters = counters
        self._closing = closing
        self._hopeless = hopeless
        self._jail = jail
        self._spare: Spare | None = None
        self._partner: RunJail | None = None  # for tests, made when the first one comes
        self._partner_spare: Spare | None = None
        self._life = Lifecycle()
        self._proven = False  # this jail has had a spare
        self._failures = 0  # in a row: jails that never had one
        self._lock = threading.Lock()
        self._task: Task | None = None  # guarded by _lock, as jails are: `end` is for any thread
        self._thread = threading.Thread(target=self._live, name=f"worker-{id(self):x}", daemon=True)

    def __repr__(self) -> str:
        return f"<Worker {self._life.state.value} {self._jail!r}>"

    @property
    def state(self) -> State:
        return self._life.state

    @property
    def is_alive(self) -> bool:
        return self._life.state in (State.IDLE, State.RUNNING, State.SETTLING)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; tell whether it has ended (its own thread never waits)."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def end(self) -> None:
        """Cancel the run and kill the jail, whatever state they are in; from any thread."""
        with self._lock:
            if self._task is not None:
                self._task.stop(ExitReason.CANCELLED)
            for jail in (self._jail, self._partner):
                if jail is not None:
                    jail.kill()

    # ---- the thread

    def _live(self) -> None:
        try:
            while not self._closing.is_set():
                if self._jail is None and not self._start_jail():
                    continue
                if self._life.state is State.STARTING:
                    self._life.to(State.SETTLING)
                try:
                    self._serve()
                except JailLost as lost:
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
            self._drop_jail()
            self._life.to(State.CLOSED)

    def _start_jail(self) -> bool:
        """Make a jail, with pauses that double; False if the pool was closed meanwhile."""
        shape = shape_of(self._limits, 0, self._plan)
        while not self._closing.is_set():
            try:
                jail = RunJail(self._plan)
                self._hold(jail)
                self._proven = False
                jail.start(shape)
                return True
            except Exception as error:  # noqa: BLE001  (out of threads, of memory: it may pass)
                self._drop_jail()
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
        assert self._jail is not None
        if self._spare is None:
            self._spare = self._jail.next_spare()
            self._proven, self._failures = True, 0
        self._settle_partner()
        if self._life.state is State.SETTLING:
            self._life.to(State.IDLE)
        task = self._queue.take(_HEARTBEAT_S)
        if task is None:
            if not self._jail.is_alive():
                raise JailLost("it died while it was idle")
            return
        self._life.to(State.RUNNING)
        with self._lock:
            self._task = task
        if self._closing.is_set():
            task.stop(ExitReason.CANCELLED)
        try:
            self._run(task, self._jail)
        finally:
            with self._lock:
                self._task = None
        if self._life.state is State.RUNNING:
            self._life.to(State.SETTLING)

    def _run(self, task: Task, jail: RunJail) -> None:
        if task.call is not None:
            self._call(task, task.call)
            return
        run: Run | Pair | None = None
        try:
            run = self._prepare(task, jail)
            result = run.drive(task.queue_s())
        except RunLost as lost:
            self._retry_lost(task, lost, run.lost if isinstance(run, Pair) else None)
            raise JailLost(str(lost)) from None
        except (NotStarted, JailLost) as error:
            self._retry_unstarted(task, str(error))
            raise JailLost(str(error)) from None
        except BaseException as error:
            # Ours, and unforeseen: the caller must not wait for ever, the worker must not die.
            logger.exception("a run failed inside the host")
            self._answer(task, self._internal(task, f"{type(error).__name__}: {error}"))
            raise JailLost(f"{type(error).__name__}: {error}") from error
        if task.trial is not None and isinstance(run, Pair) and run.record is not None:
            task.trial.record = run.record
            self._counters.ended(run.record.test)
        self._answer(task, result)
        if run.jail_lost:
            raise JailLost(result.detail)

    def _call(self, task: Task, call: Callable[[Task], Result]) -> None:
        """Make a session's call: it takes this worker's turn, not its jail."""
        try:
            result = call(task)
        except SandboxError as error:
            task.fail(error)
        except BaseException as error:
            logger.exception("a call failed inside the host")
            self._answer(task, self._internal(task, f"{type(error).__name__}: {error}"))
        else:
            self._answer(task, result)

    def _prepare(self, task: Task, jail: RunJail) -> Run | Pair:
        """What is to be driven for a task: a run, or, where a test calls it, a pair of them."""
        if task.trial is None:
            return Run(jail, self._take_spare(task, jail), task.job, task.stop, task.on_output)
        test = task.trial.job
        # First: to make the second jail may take a while, and fail.
        partner = self._partner_jail(self._shape_of(test))
        assert self._partner_spare is not None
        theirs, self._partner_spare = self._partner_spare, None
        try:
            spare = self._take_spare(task, jail)
        except BaseException:
            theirs.close()
            raise
        return Pair((jail, spare, task.job), (partner, theirs, test), task.stop)

    def _take_spare(self, task: Task, jail: RunJail) -> Spare:
        """The spare that waits, or another one where the task's limits want another shape."""
        assert self._spare is not None
        shape = self._shape_of(task.job)
        if shape != jail.shape:
            self._spare.close()
            jail.reshape(shape)
            self._spare = jail.next_spare()
        spare, self._spare = self._spare, None
        return spare

    def _shape_of(self, job: Job) -> Shape:
        return shape_of(job.limits, len(job.source), self._plan)

    def _partner_jail(self, shape: Shape) -> RunJail:
        """The second jail, made where there is none that lives, with a spare of `shape`."""
        if self._partner is not None and not self._partner.is_alive():
            self._drop_partner()
        jail = self._partner
        if jail is None:
            jail = RunJail(self._plan)
            with self._lock:
                self._partner = jail
                if self._closing.is_set():
                    jail.kill()
            try:
                jail.start(shape)
            except SetupError as error:
                self._drop_partner()
                raise NotStarted(str(error)) from None
        elif jail.shape != shape:
            if self._partner_spare is not None:
                self._partner_spare.close()
                self._partner_spare = None
            jail.reshape(shape)
        if self._partner_spare is None:
            self._partner_spare = jail.next_spare()
        return jail

    def _settle_partner(self) -> None:
        """Wait for the second jail's next spare, too, where there is one: a worker that is idle has
        nothing left to do. A jail that is lost is made again when it is wanted.
        """
        if self._partner is not None and self._partner_spare is None:
            try:
                self._partner_spare = self._partner.next_spare()
            except JailLost:
                self._drop_partner()

    def _retry_lost(self, task: Task, lost: RunLost, whose: Fault | None) -> None:
        """Try a lost run once more; the second jail that it brings down is charged to it, or to the
        test if that was `whose` run it was.
        """
        task.lost += 1
        if task.lost < 2:
            self._counters.was_retried()
            self._queue.put_back(task)
            return
        detail = f"brought down its worker twice: {lost}"
        result = dataclasses.replace(lost.so_far, reason=ExitReason.DENIED, detail=detail)
        if task.trial is not None:
            task.trial.record = Record(result, lost=whose)
        self._answer(task, result)

    def _retry_unstarted(self, task: Task, why: str) -> None:
        task.unstarted += 1
        if task.unstarted < _MAX_UNSTARTED:
            self._queue.put_back(task)
            return
        self._answer(task, self._internal(task, f"could not be started: {why}"))

    def _answer(self, task: Task, result: Result) -> None:
        self._counters.ended(result)
        task.answer(result)

    def _internal(self, task: Task, detail: str) -> Result:
        return Result.internal(detail, tier=self._plan.tier, queue_s=task.queue_s(), id=task.job.id)

    def _discard(self) -> None:
        self._life.to(State.BROKEN)
        self._counters.was_replaced()
        self._drop_jail()
        if not self._closing.is_set():
            self._life.to(State.STARTING)

    def _drop_jail(self) -> None:
        if self._spare is not None:
            self._spare.close()
            self._spare = None
        if self._jail is not None:
            self._jail.close()
            self._hold(None)
        self._drop_partner()

    def _drop_partner(self) -> None:
        if self._partner_spare is not None:
            self._partner_spare.close()
            self._partner_spare = None
        if self._partner is not None:
            self._partner.close()
            with self._lock:
                self._partner = None

    def _hold(self, jail: RunJail | None) -> None:
        with self._lock:
            self._jail = jail
            if jail is not None and self._closing.is_set():
                jail.kill()
