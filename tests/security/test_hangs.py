"""Timeouts and hangs: the host's clock decides, and nothing waits for a program's goodwill."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

import psutil
import pytest

from interpreter_pool.sandbox.jail import folder

from .conftest import GRACE_S

IGNORE = """
import signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
"""
BLOCK = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
ENDLESS = {
    "loop": "while True: pass",
    "sleep": "import time; time.sleep(1000)",
    "pause": "import signal; signal.pause()",
    "ignores signals": IGNORE + "while True: pass",
    "blocks signals": BLOCK + "import time; time.sleep(1000)",
    "stops itself": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "waits for a thread": "import threading; threading.Event().wait()",
    "its own exception handler": "while True:\n try:\n  while True: pass\n except BaseException: pass",
    "sigalrm storm": "import signal; signal.signal(14, lambda *_: None)\n"
    "signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)\nwhile True: signal.pause()",
    "main thread gone": "import ctypes, threading, time\n"
    "threading.Thread(target=time.sleep, args=(1000,)).start()\n"
    "ctypes.CDLL(None).pthread_exit(0)",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_h1_the_time_limit_ends_everything(attack, outside, name):
    """H1: loops and sleeps, whatever they do with signals, end as `wall_timeout` in time."""
    result = attack(ENDLESS[name], timeout=0.3)
    assert (result.reason, result.exit_code, result.signal) == ("wall_timeout", None, None)
    assert 0.3 <= result.wall_s < 1.5
    with pytest.raises(subprocess.TimeoutExpired):
        outside(ENDLESS[name], timeout=0.5)


@pytest.mark.parametrize("timeout", [0.0001, 0.01, 0.1])
def test_h1_handing_over_counts(attack, timeout):
    """H1: the clock runs from the moment a program is handed over, however large it is."""
    code = "#" + "x" * (15 << 20) + "\nwhile True: pass"
    result = attack(code, timeout=timeout)
    assert result.reason == "wall_timeout" and result.wall_s < GRACE_S


DAEMON = """
import os, time
try:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            print(os.getpid(), flush=True)
            time.sleep(1000)
        os._exit(0)
except OSError:
    import threading
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    print("no daemon", flush=True)
"""


def test_h2_a_daemon_does_not_hold_the_result_back(attack, control):
    """H2: what a program leaves running is dead, and its result is there at once."""
    result = attack(DAEMON, timeout=10)
    assert result.ok and result.wall_s < 1
    assert result.stdout == "no daemon\n"
    # Outside, the daemon lives on and holds standard output open.
    with subprocess.Popen([sys.executable, "-c", DAEMON], stdout=subprocess.PIPE) as process:
        daemon = psutil.Process(int(process.stdout.readline()))
        assert process.wait(10) == 0
        assert not select.select([process.stdout], [], [], 0.1)[0]
        daemon.kill()
    control()


AT_ONCE = {
    "closes its streams": "import os; os.closerange(0, 3)",
    "closes everything": "import os; os.closerange(0, 1 << 16)",
    "reads empty input": "import sys; assert sys.stdin.read() == ''",
    "input()": "try:\n input()\nexcept EOFError: pass",
    "takes the streams for a pipe": "import os; r, w = os.pipe(); [os.dup2(w, n) for n in (0, 1, 2)]",
    "keeps a daemon thread": "import threading\n"
    "def f():\n while True: pass\nthreading.Thread(target=f, daemon=True).start()",
}


@pytest.mark.parametrize("name", AT_ONCE)
def test_h3_closed_or_empty_streams_do_not_hang(attack, outside, name):
    """H3: without input, without streams, the end is as soon and as good as elsewhere."""
    result = attack(AT_ONCE[name], timeout=5)
    assert result.ok and result.wall_s < 1, result
    assert outside(AT_ONCE[name]).returncode in (0, 120)


FIFO = "import os; os.mkfifo('fifo'); print('made', flush=True); open('fifo').read()"


def test_h3_a_fifo_hangs_nobody_but_the_program(attack, outside):
    """H3: a program that waits for the other end of a FIFO ends with its time."""
    result = attack(FIFO, timeout=0.3)
    assert (result.reason, result.stdout) == ("wall_timeout", "made\n")
    with pytest.raises(subprocess.TimeoutExpired):
        outside(FIFO, timeout=0.5)


AT_THE_END = {
    "atexit": "import atexit\ndef f():\n while True: pass\natexit.register(f)",
    "atexit for ever": "import atexit\ndef f(): atexit.register(f); 1/0\natexit.register(f)\n"
    "import threading; threading.Thread(target=threading.Event().wait).start()",
    "__del__": "class A:\n def __del__(self):\n  while True: pass\na = A()",
    "thread": "import threading\ndef f():\n while True: pass\nthreading.Thread(target=f).start()",
    "excepthook": "import sys\ndef f(*_):\n while True: pass\nsys.excepthook = f\n1/0",
    "str of the exception": "class E(Exception):\n def __str__(self):\n  while True: pass\nraise E",
    "flush of stdout": "import sys\nclass S:\n def flush(self):\n  while True: pass\n"
    " def write(self, text): pass\nsys.stdout = S()",
}


@pytest.mark.parametrize("name", AT_THE_END)
def test_h4_what_loops_at_the_end_is_bounded(attack, outside, name):
    """H4: callbacks, finalisers, threads and hooks that never return end with the time limit."""
    assert attack(AT_THE_END[name], timeout=0.3).reason == "wall_timeout"
    with pytest.raises(subprocess.TimeoutExpired):
        outside(AT_THE_END[name], timeout=0.5)


LAST_WORDS = """
import atexit, threading, time
class A:
    def __del__(self):
        print("finaliser")
a = A()
atexit.register(print, "callback")
def late():
    time.sleep(0.05)
    print("thread")
threading.Thread(target=late).start()
print("main")
"""


def test_h4_last_words_are_heard(attack, outside):
    """H4: output of threads, callbacks and finalisers at the end is complete and in order."""
    result = attack(LAST_WORDS)
    assert result.ok
    assert result.stdout_bytes == outside(LAST_WORDS).stdout
    assert result.stdout.split() == ["main", "thread", "callback", "finaliser"]


HOST = """
import os, psutil, sys, threading
from interpreter_pool import Pool
pool = Pool(1, tier=sys.argv[1])
threading.Thread(target=pool.run, args=("while True: pass",), daemon=True).start()
while not pool.stats().workers_busy:
    threading.Event().wait(0.01)
print(*[each.pid for each in psutil.Process().children(recursive=True)], flush=True)
threading.Event().wait()
"""


def test_h5_nothing_outlives_its_host(tier):
    """H5: when the host process is killed mid-run, every process of its jails ends by itself."""
    command = [sys.executable, "-c", HOST, tier]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as host:
        process_tree = [psutil.Process(int(pid)) for pid in host.stdout.readline().split()]
        assert process_tree
        host.kill()
    gone, alive = psutil.wait_procs(process_tree, timeout=5)
    for each in alive:
        with contextlib.suppress(psutil.Error):
            each.kill()
    assert not alive and len(gone) == len(process_tree)
    # What can't end by itself, folders and cgroups, the next pool on this host sweeps up.
    folder.sweep()
    left = [name for name in os.listdir(folder.base_folder()) if name.startswith(f"{host.pid}-")]
    assert left == []


def test_h5_a_cancelled_run_is_dead(pool):
    """A run that is cancelled ends at once, and its result says so."""
    future = pool.submit("while True: pass")
    while not future.running():
        time.sleep(0.001)
    assert future.cancel()
    result = future.result(timeout=2)
    assert (result.reason, result.exit_code) == ("cancelled", None)
    assert signal.SIGKILL not in (result.signal, result.exit_code)
    assert os.getpid() not in {each.pid for each in psutil.Process().children()}
