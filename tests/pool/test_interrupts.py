"""Ctrl-C that the kernel has another thread take: whoever waits in the main thread sees it."""

import textwrap

import pytest
from conftest import run_script

SLEEP = "import time; time.sleep(60)"

WAYS = {
    "run": "pool.run(SLEEP)",
    "result": "pool.submit(SLEEP).result()",
    "result with a timeout": "pool.submit(SLEEP).result(50)",
    "exception": "pool.submit(SLEEP).exception()",
    "map": "list(pool.map([SLEEP] * 3))",
    "full queue": "[pool.run(SLEEP, queue_timeout=50) for each in [pool.submit(SLEEP)]]",
    "judge": "pool.judge(SLEEP, [Stdio('', 'x')])",
    "judge_many": "list(pool.judge_many([(SLEEP, [Stdio('', 'x')])] * 3))",
    "asserts": "pool.judge(SLEEP, [Asserts('assert f(1)', 'f')])",
    "session": "session.run(SLEEP)",
    "turn of a session": "[session.fork() for each in [session.submit(SLEEP)]]",
    "function": "pool.function('def f(): ' + SLEEP, 'f')()",
}
SCRIPT = """
    import signal, threading, time
    from interpreter_pool import Asserts, Limits, Pool, Stdio
    SLEEP = "import time; time.sleep(60)"
    with Pool(1, limits=Limits(wall_s=60)) as pool, pool.session() as session:
        def take():
            wait = time.monotonic() + 20
            while pool.stats().workers_busy == 0 and time.monotonic() < wait:
                time.sleep(0.01)
            time.sleep(0.3)
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        threading.Thread(target=take).start()
        try:
            WAY
        except KeyboardInterrupt:
            print("interrupted")
"""


@pytest.mark.parametrize("way", WAYS)
def test_a_signal_that_another_thread_takes_ends_the_wait(way, tmp_path):
    done = run_script(textwrap.dedent(SCRIPT.replace("WAY", WAYS[way])), tmp_path)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
