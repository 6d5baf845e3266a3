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


def test_a_wait_for_an_executor_elsewhere_may_be_interrupted_at_any_moment(tmp_path):
    """No lock stays held, nothing is left under way, and the client goes on."""
    script = """
        import os, signal
        from interpreter_pool import PythonExecutorService, connect, get_services
        with get_services("local", namespace=f"interrupts-{os.getpid()}") as services:
            services.register("one", PythonExecutorService, pool_size=1)
            url = f"local://one?namespace={services.namespace}"
            with connect(url) as executor, executor.session(history=0) as session:
                def interrupt(*_):
                    raise KeyboardInterrupt
                signal.signal(signal.SIGALRM, interrupt)
                for number in range(300):
                    try:
                        signal.setitimer(signal.ITIMER_REAL, 1e-5 + number * 1e-5)
                        executor.run("print(1)") if number % 2 else session.run("1")
                        signal.setitimer(signal.ITIMER_REAL, 0)
                    except KeyboardInterrupt:
                        pass
                signal.setitimer(signal.ITIMER_REAL, 0)
                print(executor.run("print(1)").stdout, session.run("1").value)
        """
    done = run_script(textwrap.dedent(script), tmp_path)
    assert (done.returncode, done.stdout) == (0, "1\n 1\n"), done.stderr
