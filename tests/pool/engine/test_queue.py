"""The queue: nothing is lost in it, and nobody waits who need not."""

import threading
import time
import weakref

import pytest
from conftest import is_idle, wait_until

from interpreter_pool import Limits, Pool, PoolError, PoolFull, SetupError
from interpreter_pool.pool.engine.queue import Queue
from interpreter_pool.pool.engine.task import Task
from interpreter_pool.sandbox import Result
from interpreter_pool.sandbox.run.job import Job


def make_task(timeout_s: float | None = None) -> Task:
    expires_at = None if timeout_s is None else time.monotonic() + timeout_s
    return Task(Job(b"", (), b"", Limits()), expires_at=expires_at)


def test_a_wait_that_was_won_does_not_expire(timer):
    """A run that is tried again keeps its turn, however long its first try took."""
    queue = Queue(None, timer)
    first, second = make_task(0.5), make_task(0.6)
    queue.put(first)
    assert queue.take(1) is first
    first.attempts.lost = 1
    queue.put(second)  # keeps the watch on deadlines alive
    queue.put_back(first)
    assert isinstance(second.future.exception(timeout=2), TimeoutError)
    assert queue.take(1) is first
    assert not first.future.done()
    queue.close()


def test_waits_end_each_at_its_own_time(timer):
    """Whoever is patient waits on; a shorter wait that began later ends first, and on time."""
    queue = Queue(None, timer)
    patient, first = make_task(60), make_task(0.02)
    queue.put(patient)
    queue.put(first)
    assert isinstance(first.future.exception(timeout=2), TimeoutError)
    # From here on, who watches the deadlines sleeps towards the patient one's.
    later, sooner = make_task(0.4), make_task(0.1)
    queue.put(later)
    queue.put(sooner)
    ended = []
    for task in (sooner, later):
        assert isinstance(task.future.exception(timeout=2), TimeoutError)
        ended.append(task.queue_s())
    assert 0.1 <= ended[0] < 0.4 <= ended[1]
    assert queue.take(1) is patient
    assert not patient.future.done()
    queue.close()


def test_without_a_thread_for_deadlines_there_is_no_pool(tier, monkeypatch):
    """A deadline that is accepted will be kept: where it could not be, `Pool` says so at once."""
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name == "timer":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(SetupError, match="can't start new thread"):
            Pool(1, tier=tier)
    with Pool(1, tier=tier) as pool:
        assert pool.run("print(1)").ok


def test_a_callback_that_raises_leaves_deadlines_working(timer):
    """What a caller's callback raises, SystemExit even, does not end the thread of all deadlines."""

    def leave(_: object) -> None:
        raise SystemExit

    queue = Queue(None, timer)
    first, second = make_task(0.02), make_task(0.04)
    first.future.add_done_callback(leave)
    queue.put(first)
    queue.put(second)
    assert isinstance(second.future.exception(timeout=2), TimeoutError)
    queue.close()


@pytest.mark.parametrize("patience_s", [1e12, float("inf")])
def test_no_deadline_is_too_far_away(timer, patience_s):
    """Who waits longer than a thread can sleep does not end the one that all deadlines hang on."""
    queue = Queue(None, timer)
    queue.put(make_task(patience_s))
    time.sleep(0.05)  # long enough for it to have fallen
    sooner = make_task(0.05)
    queue.put(sooner)
    assert isinstance(sooner.future.exception(timeout=2), TimeoutError)
    queue.close()


def test_waits_that_were_won_leave_nothing_behind(timer):
    """However long a run might have waited, its deadline is not kept when it did not."""
    queue = Queue(None, timer)
    for _ in range(1000):
        task = make_task(3600)
        queue.put(task)
        assert queue.take(1) is task
    assert len(timer) < 100
    forgotten = weakref.ref(task)
    del task
    assert forgotten() is None
    queue.close()


def test_a_full_queue_counts_who_waits(tier):
    """`max_queue` bounds the waiting runs: with idle workers there are none."""
    with Pool(2, tier=tier, max_queue=0) as pool:
        wait_until(lambda: is_idle(pool))
        assert pool.run("print(1)").ok
        wait_until(lambda: is_idle(pool))
        sleeping = [pool.submit("import time; time.sleep(30)") for _ in range(2)]
        wait_until(lambda: pool.stats().workers_busy == 2)
        with pytest.raises(PoolFull, match="max_queue=0"):
            pool.submit("print(1)")
        for future in sleeping:
            future.cancel()


def test_close_returns_when_all_is_done_to_everyone(tier):
    """Of two threads that close a pool, neither goes on before it is closed."""
    pool = Pool(2, tier=tier)
    left: list[bool] = []

    def close() -> None:
        pool.close()
        left.append(any(worker.is_alive for worker in pool.engine.workers))

    closers = [threading.Thread(target=close) for _ in range(3)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join()
    assert left == [False] * 3


def test_a_callback_that_raises_harms_nobody(tier):
    """What a caller's callback raises, SystemExit even, is not the worker's end."""

    def leave(_: object) -> None:
        raise SystemExit

    with Pool(1, tier=tier) as pool:
        future = pool.submit("import time; time.sleep(0.2)")
        future.add_done_callback(leave)
        assert future.result(timeout=10).ok
        assert pool.run("print(1)").stdout == "1\n"


def test_a_callback_that_raises_when_a_call_fails_harms_nobody(tier):
    """The same where a session's call ends with an error of ours: the worker goes on."""

    def leave(_: object) -> None:
        raise SystemExit

    def fail(task: Task) -> Result:
        task.future.add_done_callback(leave)
        raise PoolError("it failed")

    with Pool(1, tier=tier) as pool:
        future = pool.engine.put(Task(Job(b"", (), b"", Limits()), call=fail))
        assert isinstance(future.exception(timeout=10), PoolError)
        assert pool.run("print(1)", queue_timeout=10).stdout == "1\n"
