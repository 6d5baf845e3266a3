"""Scheduling: who runs when, who waits, and how waiting ends."""

import concurrent.futures
import itertools
import os
import signal
import threading
import time

import pytest
from conftest import run_script, wait_until

from interpreter_pool import Limits, Pool, PoolClosed, PoolFull, PoolTimeout

FOREVER = "while True: pass"
SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def single():
    """A pool of one worker, so that what waits is known."""
    with Pool(1, limits=Limits(wall_s=60)) as pool:
        yield pool


@pytest.fixture
def occupied(single):
    """The same with its worker busy until the future is cancelled."""
    future = single.submit(SLEEP)
    wait_until(lambda: single.stats().workers_busy == 1)
    yield single, future
    future.cancel()


def test_a_long_run_blocks_nobody_while_a_worker_is_free(pool):
    """Work-conserving: short runs all pass a long one by the other worker."""
    long = pool.submit(SLEEP, timeout=30)
    wait_until(lambda: pool.stats().workers_busy == 1)
    assert [pool.run(f"print({n})").stdout for n in range(10)] == [f"{n}\n" for n in range(10)]
    assert not long.done()
    long.cancel()
    assert long.result().reason == "cancelled"


def test_waiting_runs_start_in_the_order_of_their_arrival(occupied):
    """First come, first served."""
    single, blocker = occupied
    done: list[int] = []
    futures = [single.submit("pass") for _ in range(10)]
    for number, future in enumerate(futures):
        future.add_done_callback(lambda _, number=number: done.append(number))
    blocker.cancel()
    concurrent.futures.wait(futures)
    wait_until(lambda: len(done) == 10)
    assert done == list(range(10))


def test_queueing_is_told_apart_from_running(occupied):
    """queue_s is the wait for a worker, and no part of the wall time."""
    single, blocker = occupied
    future = single.submit("pass", timeout=5)
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 0.2)
    blocker.cancel()
    result = future.result()
    assert result.ok
    assert result.queue_s >= 0.2
    assert result.wall_s < result.queue_s


def test_a_full_queue_refuses(tier):
    """max_queue runs may wait; the next one is PoolFull, and a free place is taken again."""
    with Pool(1, tier=tier, max_queue=2) as pool:
        blocker = pool.submit(SLEEP, timeout=60)
        wait_until(lambda: pool.stats().workers_busy == 1)
        waiting = [pool.submit("print(1)") for _ in range(2)]
        with pytest.raises(PoolFull, match="max_queue=2"):
            pool.submit("print(1)")
        assert waiting[0].cancel(), "a run that was taken back leaves its place"
        waiting[0] = pool.submit("print(1)")
        with pytest.raises(PoolFull):
            pool.run("print(1)")
        blocker.cancel()
        assert [future.result().stdout for future in waiting] == ["1\n", "1\n"]
        assert pool.run("print(2)").ok


def test_waiting_ends_with_the_queue_timeout(occupied):
    """While every worker is busy, run and submit give up at queue_timeout, unrun."""
    single, blocker = occupied
    began = time.monotonic()
    with pytest.raises(PoolTimeout, match="queue_timeout"):
        single.run("print(1)", queue_timeout=0.2)
    assert 0.2 <= time.monotonic() - began < 5
    future = single.submit("print(1)", queue_timeout=0.1)
    patient = single.submit("print('patient')", queue_timeout=60)
    with pytest.raises(TimeoutError):
        future.result(10)
    assert isinstance(future.exception(), PoolTimeout)
    blocker.cancel()
    assert patient.result().stdout == "patient\n"
    assert single.stats().runs == 2


def test_a_queue_timeout_does_not_cut_a_run(single):
    """It bounds the wait, not the run."""
    code = "import time; time.sleep(0.5); print(1)"
    assert single.run(code, queue_timeout=0.2).stdout == "1\n"


def test_no_time_to_wait_is_enough_when_a_worker_is_free(single):
    """queue_timeout=0: the run is made, or it is refused at once."""
    for _ in range(5):
        wait_until(lambda: single.engine.queue.takers == 1)
        assert single.run("print(1)", queue_timeout=0).ok
    blocker = single.submit(SLEEP)
    wait_until(lambda: single.stats().workers_busy == 1)
    with pytest.raises(PoolTimeout):
        single.run("print(1)", queue_timeout=0)
    blocker.cancel()


def test_what_is_cancelled_and_dropped_is_told_to_those_who_wait():
    """`concurrent.futures.wait` knows of it, also when no worker has come across it."""
    with Pool(1, max_queue=1) as single:
        blocker = single.submit(SLEEP, timeout=60)
        wait_until(lambda: single.stats().workers_busy == 1)
        dropped = single.submit("print(1)")
        dropped.cancel()
        waiting = single.submit("print(2)")
        assert not concurrent.futures.wait([dropped], timeout=5).not_done
        blocker.cancel()
        assert waiting.result().ok


def test_an_interrupted_map_leaves_nothing_running(single, monkeypatch):
    """Not even the program whose result was waited for."""
    results = single.map([SLEEP])
    thread = threading.get_ident()
    threading.Timer(0.5, signal.pthread_kill, (thread, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        next(results)
    wait_until(lambda: single.stats().workers_busy == 0)


def test_cancelling_a_waiting_run_takes_it_back(occupied):
    """As with any future: cancelled, never run, and CancelledError for who asks."""
    single, blocker = occupied
    future = single.submit("print(1)")
    assert future.cancel()
    assert future.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    blocker.cancel()
    blocker.result()
    assert single.run("print(2)").ok
    assert single.stats().runs == 2


def test_cancelling_a_running_run_kills_it(pool):
    """The process dies, and the future resolves with a result whose reason is cancelled."""
    future = pool.submit("print('begun', flush=True)\n" + FOREVER, timeout=60)
    wait_until(future.running)
    assert future.cancel()
    result = future.result(10)
    assert result.reason == "cancelled"
    assert not result.infra_error
    assert pool.run("print(1)").ok


def test_a_wait_may_be_interrupted_at_any_moment(tmp_path):
    """Wherever in it the signal's exception is raised: no lock stays held, and the pool goes on."""
    script = """
import signal
from interpreter_pool import Pool
with Pool(1) as pool:
    def interrupt(*_):
        raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, interrupt)
    for number in range(400):
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-5 + number * 5e-6)
            pool.run("print(1)")
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            pass
    print(pool.run("print(1)").stdout)
"""
    done = run_script(script, tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done


def test_cancelling_what_has_ended_changes_nothing(pool):
    """Too late is False, and the result stays."""
    future = pool.submit("print(1)")
    future.result()
    assert not future.cancel()
    assert future.result().ok


def test_cancelling_at_any_moment_gives_one_answer(pool):
    """Before, at, and after the start: cancelled, or a whole result; and the pool goes on."""
    for number in range(40):
        future = pool.submit("print(1)")
        gate = threading.Event()
        gate.wait(number / 8000)
        future.cancel()
        try:
            assert future.result(10).reason in ("ok", "cancelled")
        except concurrent.futures.CancelledError:
            pass
    assert pool.run("print(1)").stdout == "1\n"


def test_an_interrupted_wait_kills_the_run(tmp_path):
    """Ctrl-C while waiting for a run: KeyboardInterrupt, and the program is gone."""
    script = f"""
import signal, threading
from interpreter_pool import Pool
with Pool(1) as pool:
    def interrupt():
        while pool.stats().workers_busy == 0: pass
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    threading.Thread(target=interrupt).start()
    try:
        pool.run({FOREVER!r}, timeout=60)
    except KeyboardInterrupt:
        print("interrupted")
    print(pool.run("print(1)").stdout, pool.stats().runs_by_reason)
"""
    done = run_script(script, tmp_path)
    assert done.stdout.startswith("interrupted\n1\n"), done.stderr
    assert "'cancelled': 1" in done.stdout


def test_a_closed_pool_refuses(tier):
    """After close: PoolClosed for run and submit; closing again is nothing."""
    pool = Pool(1, tier=tier)
    pool.close()
    pool.close()
    for door in (pool.run, pool.submit):
        with pytest.raises(PoolClosed):
            door("print(1)")
    assert pool.stats().workers_alive == 0


def test_closing_ends_what_runs_and_what_waits(tier):
    """Running runs resolve as cancelled, waiting ones with PoolClosed, and close returns soon."""
    pool = Pool(1, tier=tier)
    running = pool.submit(FOREVER, timeout=60)
    wait_until(lambda: pool.stats().workers_busy == 1)
    waiting = [pool.submit("print(1)") for _ in range(3)]
    began = time.monotonic()
    pool.close()
    assert time.monotonic() - began < 5
    assert running.result(0).reason == "cancelled"
    for future in waiting:
        assert isinstance(future.exception(0), PoolClosed)


def test_closing_while_workers_start(tier):
    """A pool can be closed before all its workers are there."""
    for _ in range(3):
        Pool(3, tier=tier).close()


def test_a_pool_that_nobody_closes_ends_with_its_process(tmp_path):
    """At the interpreter's exit everything is ended and removed, without a word."""
    script = """
from interpreter_pool import Pool
pool = Pool(1)
print(pool.run("print(1)").stdout, end="")
future = pool.submit("while True: pass", timeout=60)
"""
    done = run_script(script, tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("1\n", "", 0)
    assert leftovers(tmp_path) == []


def test_in_a_forked_child_the_pool_is_closed(tmp_path):
    """A forked child gets PoolClosed and harms nothing; the parent's pool goes on."""
    script = """
import os, warnings
warnings.simplefilter("ignore")
from interpreter_pool import Pool, PoolClosed
pool = Pool(1)
pid = os.fork()
if pid == 0:
    for door in (pool.run, pool.submit):
        try:
            door("print(1)")
        except PoolClosed as error:
            print(type(error).__name__, flush=True)
    pool.close()
    raise SystemExit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(pool.run("print('parent')").stdout, end="")
pool.close()
"""
    done = run_script(script, tmp_path)
    assert done.stdout == "PoolClosed\nPoolClosed\n7\nparent\n", done.stderr
    assert leftovers(tmp_path) == []


def test_a_forked_child_can_have_a_pool_of_its_own(tmp_path):
    """What a child inherits does not stand in the way of a new pool."""
    script = """
import os, warnings
warnings.simplefilter("ignore")
from interpreter_pool import Pool
with Pool(1) as pool:
    pid = os.fork()
    if pid == 0:
        with Pool(1) as own:
            print(own.run("print('child')").stdout, end="", flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    print(pool.run("print('parent')").stdout, end="")
"""
    done = run_script(script, tmp_path)
    assert done.stdout == "child\nparent\n", done.stderr


def test_every_thread_gets_its_own_result(pool):
    """Twenty threads with twenty runs each: no result is lost or swapped."""
    before = pool.stats().runs

    def work(thread: int) -> list[str]:
        return [pool.run(f"print({thread}, {n})").stdout for n in range(20)]

    with concurrent.futures.ThreadPoolExecutor(20) as executor:
        outputs = list(executor.map(work, range(20)))
    for thread, lines in enumerate(outputs):
        assert lines == [f"{thread} {n}\n" for n in range(20)]
    assert pool.stats().runs == before + 400


def test_stats_count(single):
    """Counters count from the pool's beginning, each by its definition."""
    for code in ("pass", "pass", "1/0", "import sys; sys.exit(3)"):
        single.run(code)
    stats = single.stats()
    assert stats.runs == 4
    assert stats.runs_by_reason == {"ok": 2, "exception": 1, "exit": 1}
    assert (stats.workers, stats.workers_alive, stats.workers_busy) == (1, 1, 0)
    assert (stats.queued, stats.replaced, stats.retried) == (0, 0, 0)
    assert stats.run_s > 0
    assert stats.cpu_s > 0
    assert stats.queue_s >= 0
    assert stats.tier == single.tier


def test_repr_tells_the_states(occupied):
    """A pool's repr says its tier, its workers' states and how many runs wait."""
    single, blocker = occupied
    waiting = single.submit("pass")
    assert repr(single) == f"<Pool {single.tier}: 1 running; 1 queued>"
    blocker.cancel()
    waiting.result()
    wait_until(lambda: repr(single) == f"<Pool {single.tier}: 1 idle; 0 queued>")
    single.close()
    assert "closed" in repr(single)


def test_limits_that_change_the_shape_of_a_run_work_by_turns(pool):
    """Runs of different disk, file and thread limits may follow one another in any order."""
    profiles = [
        Limits(disk_bytes=n << 20, threads=t) for n, t in itertools.product((4, 8), (8, 16))
    ]
    for limits in profiles * 3:
        assert pool.run("print(1)", limits=limits).ok


def leftovers(folder) -> list[str]:
    """Runtime folders below `folder`."""
    return [
        name
        for base in os.listdir(folder)
        if base.startswith("interpreter-pool-")
        for name in os.listdir(os.path.join(folder, base))
    ]
