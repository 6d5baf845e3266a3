"""An executor's side: it takes the orders of clients, and keeps the answers until they are taken.

No thread waits for a run: its future tells the desk of its client. What blocks (judging, opening a
session, writing a file) has threads of its own. A client that is silent for longer than its lease
has died: its runs are cancelled, and its sessions ended.
"""

import functools
import itertools
import logging
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

from ...sandbox.result import Result
from ..checks import expiry
from ..engine.task import RunFuture
from ..engine.timer import Alarm
from ..errors import PoolClosed, PoolFull, PoolTimeout, SessionLost
from ..pool import Pool
from ..session import Session
from ..snapshot import Snapshot
from . import messages
from .messages import Answer, Described, Load, Reply, Request, RunBody, Sent
from .turns import Turns

logger = logging.getLogger(__name__)

LEASE_S = 60.0
"""A client that was not heard of for so long is gone."""

_PARK_S = 1.0
"""How long a request waits for something to answer."""

_EARLIER_S = 10.0
"""How long a request waits for those before it; then its client's link is taken for broken."""

_MOST_REPLY_BYTES = 64 << 20
"""Of output and files in a reply; one answer may have more."""

_ENOUGH = 2
"""Orders under way for each worker with which a patient client need not be answered at once."""

_MOST_THREADS = 64
"""For what blocks and is no judging: most of it is over in a few milliseconds."""

InThread = Callable[..., "Future[Any]"]

_METHODS = frozenset({"write", "read", "listdir", "rollback", "reset", "history", "is_lost"})
"""Of a session, that are called as they are."""


class Desks:
    """The desks of all clients of a pool."""

    def __init__(self, pool: Pool, *, lease_s: float = LEASE_S) -> None:
        self._pool = pool
        self._lease_s = lease_s
        self._incarnation = uuid.uuid4().hex
        self._size = len(pool.engine.workers)
        # Of what is submitted to the pool, as much as keeps its workers busy: it goes by who came
        # first, and here clients take turns. Of judging, as many as there are threads for it.
        self._turns = Turns(2 * self._size), Turns(self._size + 2)
        self._lock = threading.Lock()
        self._desks: dict[str, _Desk] = {}  # guarded by _lock
        self._threads: tuple[ThreadPoolExecutor, ThreadPoolExecutor] | None = (
            None  # guarded by _lock
        )
        self._watched = False  # guarded by _lock
        self.draining = False

    def describe(self) -> bytes:
        pool = self._pool
        return messages.pack(
            Described(self._incarnation, pool.limits, pool.tier, self._load(), pool.engine.runtimes)
        )

    def exchange(self, data: bytes) -> bytes:
        """Take a request's orders, and return a reply when there is something to say."""
        request = messages.unpack_request(data)
        if request.incarnation != self._incarnation:
            raise messages.Nonsense("this executor was started again since")
        desk = self._desk(request.client)
        desk.draining = self.draining
        leaves = any(order.kind == messages.LEAVE for order in request.orders)
        answers = desk.exchange(request, wait=not leaves)
        if leaves:
            with self._lock:
                self._desks.pop(request.client, None)
            desk.close()
        return messages.pack(Reply(answers, self._load(), desk.name))

    def waiting(self) -> int:
        """Runs and judgings that wait for their turn."""
        return sum(map(len, self._turns))

    def clients(self) -> int:
        with self._lock:
            return len(self._desks)

    def under_way(self) -> int:
        """Orders that have no answer yet, or whose answer nobody has taken, and sessions."""
        with self._lock:
            return sum(map(len, self._desks.values()))

    def close(self) -> None:
        """End what clients have begun, and let go of them. The pool is its owner's."""
        with self._lock:
            desks = list(self._desks.values())
            self._desks.clear()
            threads, self._threads = self._threads, None
        for desk in desks:
            desk.close()
        for each in threads or ():
            each.shutdown(wait=False, cancel_futures=True)

    def _load(self) -> Load:
        waiting = len(self._pool.engine.queue) + sum(map(len, self._turns))
        return Load(self._size, waiting, self.draining, len(self._desks))

    def _desk(self, client: str) -> "_Desk":
        with self._lock:
            desk = self._desks.get(client)
            if desk is None:
                if self._threads is None:
                    # Apart, so that nobody's file waits for a batch to be judged.
                    self._threads = (
                        ThreadPoolExecutor(self._size + 2, thread_name_prefix="judge"),
                        ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="order"),
                    )
                judges, others = self._threads
                threads = judges.submit, others.submit
                desk = _Desk(self._pool, self._size, self._turns, threads)
                self._desks[client] = desk
            if not self._watched:
                self._watched = True
                self._pool.engine.timer.at(time.monotonic() + self._lease_s / 4, self._look_after)
            return desk

    def _look_after(self) -> None:
        """Let go of clients that are silent."""
        now = time.monotonic()
        with self._lock:
            gone = {
                client: desk
                for client, desk in self._desks.items()
                if now - desk.heard_at > self._lease_s
            }
            for client in gone:
                del self._desks[client]
            self._watched = bool(self._desks)
            again = self._watched
        for client, desk in gone.items():
            logger.debug("client %s is gone: silent for %g s", client, self._lease_s)
            threading.Thread(target=desk.close, name="leaver", daemon=True).start()
        if again:
            self._pool.engine.timer.at(now + self._lease_s / 4, self._look_after)


class _Desk:
    """What one client has ordered, and what has come of it."""

    def __init__(
        self,
        pool: Pool,
        size: int,
        turns: tuple[Turns, Turns],
        in_thread: tuple[InThread, InThread],
    ) -> None:
        self.name = uuid.uuid4().hex
        self._pool = pool
        self._enough = _ENOUGH * size
        self._runs, self._judgings = turns
        self._in_judge, self._in_thread = in_thread
        self._changed = threading.Condition(threading.Lock())
        # Guarded by _changed's lock, as is everything below.
        self._under_way: dict[int, Callable[[], object]] = {}  # what ends each
        self._waiting: set[int] = set()  # for their turn
        self._alarms: dict[int, Alarm] = {}  # of those that may wait for so long only
        self._answers: list[Answer] = []
        self._first_at = 0.0
        self._taken = -1  # requests; none yet
        self._closed = False
        self._sessions: dict[str, Session] = {}
        self._snapshots: dict[str, Future[Snapshot]] = {}
        self.heard_at = time.monotonic()
        self.draining = False
        self._ids = itertools.count()

    def __len__(self) -> int:
        return len(self._under_way) + len(self._answers) + len(self._sessions)

    def exchange(self, request: Request, *, wait: bool) -> list[Answer]:
        with self._changed:
            if self._taken < 0:  # the client may have been here before, and silent since
                self._taken = request.oldest
            # Requests come in several threads: an earlier one's orders are begun first.
            if not self._changed.wait_for(
                lambda: self._taken >= request.sequence or self._closed, _EARLIER_S
            ):
                raise messages.Nonsense(
                    f"request {request.sequence} has come, and {self._taken} before it has not"
                )
        for order in request.orders:
            self._begin(order)
        with self._changed:
            self._taken = max(self._taken, request.sequence + 1)
            self.heard_at = time.monotonic()
            self._changed.notify_all()
            if wait:
                self._wait(request.sequence + 1, request.patience_s)
            self.heard_at = time.monotonic()
            return self._take_answers()

    def close(self) -> None:
        """End all of it."""
        with self._changed:
            self._closed = True
            ends = list(self._under_way.values())
            sessions = list(self._sessions.values())
            snapshots = list(self._snapshots.values())
            self._changed.notify_all()
        for end in ends:
            end()
        for session in sessions:
            session.close()
        for made in snapshots:
            made.add_done_callback(_close_snapshot)

    def _wait(self, number: int, patience_s: float) -> None:
        """Until there is something to say, or the client has more to say itself."""
        deadline = time.monotonic() + _PARK_S
        while True:
            now = time.monotonic()
            until = deadline
            if self._answers:
                until = min(self._first_at + patience_s, deadline)
                if not patience_s or len(self._under_way) <= self._enough:
                    return
            if self._closed or self._taken > number or now >= until:
                return
            self._changed.wait(until - now)

    def _take_answers(self) -> list[Answer]:
        """As many as make up a reply that both sides can hold; the others follow."""
        size = count = 0
        for answer in self._answers:
            count += 1
            size += _size_of(answer.value)
            if size > _MOST_REPLY_BYTES:
                break
        answers, self._answers = self._answers[:count], self._answers[count:]
        return answers

    def _answer(self, number: int, value: Any, error: BaseException | None = None) -> None:
        if error is not None:
            error = messages.portable(error)
        with self._changed:
            if self._under_way.pop(number, None) is None:
                return
            if not self._answers:
                self._first_at = time.monotonic()
            self._answers.append(Answer(number, value, error))
            if len(self._answers) == 1 or len(self._under_way) <= self._enough:
                self._changed.notify_all()

    # ---- orders

    def _begin(self, order: Sent) -> None:
        number, kind, body = order
        if kind == messages.LEAVE:
            return
        if kind == messages.CANCEL:
            with self._changed:
                end = self._under_way.get(body)
            if end is not None:
                end()
            return
        with self._changed:
            if self._closed:
                return
            self._under_way[number] = _nothing
        try:
            if self.draining and (
                kind in (messages.RUN, messages.JUDGE)
                or (kind == messages.SESSION and body[1] == "open")
            ):
                raise PoolFull("this executor takes nothing new: it is to go", retry_after_s=1.0)
            if kind == messages.UNREADABLE:
                raise messages.Unreadable(body)
            if kind == messages.RUN:
                self._run(number, body)
            elif kind == messages.CALL:
                session_id, code, request, options = body
                session = self._session(session_id)
                future = (
                    session.submit(code, **options)
                    if request is None
                    else session.submit_request(request, **options)
                )
                self._follow(number, future, _result)
            elif kind == messages.JUDGE:
                self._judge(number, *body)
            elif kind == messages.SNAPSHOT:
                self._make_snapshot(number, *body)
            elif kind == messages.FORGET:
                with self._changed:
                    made = self._snapshots.pop(body, None)
                if made is not None:
                    made.add_done_callback(_close_snapshot)
                self._answer(number, None)
            elif kind == messages.STATS:
                self._answer(number, self._pool.stats())
            else:
                self._do(number, functools.partial(self._of_session, *body))
        except BaseException as error:  # noqa: BLE001  (whatever it is, its client is to know)
            self._answer(number, None, error)

    def _run(self, number: int, order: RunBody) -> None:
        expires_at = expiry(order.queue_timeout)
        submit = functools.partial(
            self._pool.engine.submit, order.job, test=order.test, expires_at=expires_at
        )
        if expires_at is not None:
            expire = functools.partial(self._expire, number)
            with self._changed:
                self._alarms[number] = self._pool.engine.timer.at(expires_at, expire)
        if not order.snapshot:
            self._in_turn(self._runs, number, functools.partial(self._begin_run, number, submit))
            return
        with self._changed:
            made = self._snapshots.get(order.snapshot)
            self._under_way[number] = functools.partial(self._take_back, number)
        if made is None:
            raise SessionLost("there is no such snapshot: its client was silent for too long")
        made.add_done_callback(functools.partial(self._run_from, number, submit))

    def _run_from(
        self, number: int, submit: Callable[..., RunFuture], made: "Future[Snapshot]"
    ) -> None:
        """Begin a run that is forked from a snapshot, now that that is made."""
        try:
            submit = functools.partial(submit, source=made.result().origin)
        except BaseException as error:  # noqa: BLE001  (whatever it is, its client is to know)
            self._answer(number, None, error)
        else:
            self._in_turn(self._runs, number, functools.partial(self._begin_run, number, submit))

    def _in_turn(self, turns: Turns, number: int, begin: Callable[[], bool]) -> None:
        """Have something begun when it is this client's turn, unless it is no longer wanted."""
        with self._changed:
            if number not in self._under_way:
                return
            self._under_way[number] = functools.partial(self._take_back, number)
            self._waiting.add(number)
        turns.add(self, functools.partial(self._take_turn, number, begin))

    def _take_turn(self, number: int, begin: Callable[[], bool]) -> bool:
        with self._changed:
            self._waiting.discard(number)
            alarm = self._alarms.pop(number, None)
            wanted = number in self._under_way
        if alarm is not None:
            alarm.cancel()
        if not wanted:
            return False
        try:
            return begin()
        except BaseException as error:  # noqa: BLE001  (such as PoolFull)
            self._answer(number, None, error)
            return False

    def _take_back(self, number: int) -> None:
        self._answer(number, None, CancelledError())

    def _expire(self, number: int) -> None:
        with self._changed:
            waits = number in self._waiting
        if waits:
            self._answer(number, None, PoolTimeout("the run waited queue_timeout for its turn"))

    def _begin_run(self, number: int, submit: Callable[[], RunFuture]) -> bool:
        future = submit()
        self._follow(number, future, _with_record)
        future.add_done_callback(lambda _: self._runs.over())
        return True

    def _follow(self, number: int, future: RunFuture, value_of: Callable[[RunFuture], Any]) -> None:
        with self._changed:
            wanted = number in self._under_way
            if wanted:
                self._under_way[number] = future.cancel
        if not wanted:  # it was taken back in this very moment
            future.cancel()

        def done(future: Any) -> None:
            try:
                self._answer(number, value_of(future))
            except BaseException as error:  # noqa: BLE001
                self._answer(number, None, error)

        future.add_done_callback(done)

    def _judge(self, number: int, source: Any, cases: Any, options: Any) -> None:
        def work() -> Any:
            try:
                judging = self._pool.judging([(source, cases)], options, numbered=False)
                with self._changed:
                    if number in self._under_way:
                        self._under_way[number] = judging.cancel
                    else:
                        judging.cancel()
                return judging.run()[0]
            finally:
                self._judgings.over()

        def begin() -> bool:
            self._do(number, work, self._in_judge)
            return True

        self._in_turn(self._judgings, number, begin)

    def _do(
        self,
        number: int,
        work: Callable[[], Any],
        in_thread: "InThread | None" = None,
    ) -> None:
        def done() -> None:
            try:
                self._answer(number, work())
            except BaseException as error:  # noqa: BLE001
                self._answer(number, None, error)

        (in_thread or self._in_thread)(done)

    def _make_snapshot(
        self, number: int, key: str, setup: bytes, timeout: float | None, runtime: str | None
    ) -> None:
        made: Future[Snapshot] = Future()
        with self._changed:
            self._snapshots[key] = made

        def make() -> None:
            try:
                made.set_result(self._pool.snapshot(setup, timeout=timeout, runtime=runtime))
            except BaseException as error:
                made.set_exception(error)
                raise

        self._do(number, make)

    # ---- sessions

    def _session(self, session_id: str) -> Session:
        with self._changed:
            session = self._sessions.get(session_id)
        if session is None:
            raise SessionLost(f"there is no session {session_id!r}: it was closed or taken away")
        return session

    def _keep(self, session: Session) -> str:
        with self._changed:
            if not self._closed:
                session_id = f"{next(self._ids)}"
                self._sessions[session_id] = session
                return session_id
        session.close()
        raise PoolClosed("the client's lease has ended")

    def _of_session(
        self, session_id: str, method: str, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        if method == "open":
            return self._keep(self._pool.session(**options))
        if method == "close":
            with self._changed:
                gone = self._sessions.pop(session_id, None)
            if gone is not None:
                gone.close()
            return None
        session = self._session(session_id)
        if method == "fork":
            branches = session.fork(*args)
            if isinstance(branches, Session):
                return self._keep(branches)
            return [self._keep(branch) for branch in branches]
        if method not in _METHODS:
            raise AttributeError(f"a session has no {method!r} from afar")
        value = getattr(session, method)
        return value(*args, **options) if callable(value) else value


def _nothing() -> None:
    pass


def _size_of(value: Any) -> int:
    """About how many bytes a run's result takes on its way; nothing for what is small."""
    if not (isinstance(value, tuple) and value and isinstance(value[0], Result)):
        value = (value,)
    result = value[0]
    if not isinstance(result, Result):
        return len(result) if isinstance(result, bytes) else 0
    files = result.files or {}
    returned = result.returned or b""
    pieces = (result.stdout_bytes, result.stderr_bytes, returned, *files.values())
    return sum(map(len, pieces))


def _result(future: RunFuture) -> Any:
    return future.result()


def _with_record(future: RunFuture) -> Any:
    return future.result(), future.record


def _close_snapshot(made: "Future[Snapshot]") -> None:
    if made.exception() is None:
        # In a thread: this may be a worker's, or the one that has made it.
        threading.Thread(target=made.result().close, name="forgetter", daemon=True).start()
