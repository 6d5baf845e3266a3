"""`PersistentPythonProcess`: TorchRL's small interface, and none of what hurt behind it."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from conftest import SOON_S

from interpreter_pool import PersistentPythonProcess, Pool, PoolClosed, SessionLost


@pytest.fixture
def process(pool):
    process = PersistentPythonProcess(timeout=10.0, pool=pool)
    yield process
    process.cleanup()


def stdout(process, code) -> str:
    answer = process.execute(code)
    assert answer["success"], answer
    return answer["stdout"]


def test_state_persists_and_the_answer_is_a_dictionary(process):
    """success, stdout, stderr and returncode are there, whatever the code did."""
    answer = process.execute("x = 20")
    wanted = {"success": True, "stdout": "", "stderr": "", "returncode": 0}
    assert answer | wanted == answer
    answer = process.execute("print(x + 1)")
    assert (answer["success"], answer["stdout"], answer["returncode"]) == (True, "21\n", 0)
    answer = process.execute("1 / 0")
    assert (answer["success"], answer["returncode"]) == (False, 1)
    assert "ZeroDivisionError" in answer["stderr"]
    assert not process.execute("def f(:")["success"]
    assert process.timeout == 10.0


NAMESPACE = [
    ("recursion", "def f(n): return 1 if n < 2 else n * f(n - 1)\nprint(f(5))", "120\n"),
    (
        "functions that call each other",
        "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n > 0 and even(n - 1)\nprint(even(10))",
        "True\n",
    ),
    ("imports used inside functions", "import math\ndef g(): return math.floor(2.5)\nprint(g())", "2\n"),
    ("comprehensions over globals", "k = 3\nprint([k * i for i in range(k)])", "[0, 3, 6]\n"),
    ("classes that name themselves", "class A:\n    def new(self): return A()\nprint(A().new() is None)", "False\n"),
]  # fmt: skip


@pytest.mark.parametrize("what, code, wanted", NAMESPACE, ids=[each[0] for each in NAMESPACE])
def test_there_is_one_namespace(process, what, code, wanted):
    """What a program defines is found from inside its functions, in this call and in later ones."""
    assert stdout(process, code) == wanted
    assert stdout(process, code.splitlines()[-1]) == wanted


def test_output_on_stderr_is_no_failure(process):
    """A warning, or a progress bar, fails nothing."""
    answer = process.execute("import sys, warnings\nwarnings.warn('careful')\nprint(1)")
    assert (answer["success"], answer["stdout"]) == (True, "1\n")
    assert "careful" in answer["stderr"]


def test_no_print_shifts_the_next_answer(process):
    """What looks like a marker is output like any other, and is an input like any other."""
    for text in ("---END---", "---START---", "---READY---", "---EXEC---"):
        assert stdout(process, f"print({text!r})") == text + "\n"
        assert stdout(process, f"s = '''\n{text}\n'''\nprint(len(s))") == f"{len(text) + 2}\n"
    assert stdout(process, "print('next')") == "next\n"


@pytest.mark.parametrize("text", ["no newline", "a\nb", "\n\n", "\r\n", "é\0", ""])
def test_output_is_whole(process, text):
    """Without a final newline, with several, with none."""
    assert stdout(process, f"import sys\nsys.stdout.write({text!r})\nNone") == text
    assert stdout(process, f"import os\nos.write(1, {text!r}.encode())\nNone") == text


@pytest.mark.parametrize(
    "code, success, returncode",
    [
        ("import sys; sys.exit()", True, 0),
        ("import sys; sys.exit(3)", False, 3),
        ("exit()", True, 0),
        ("raise SystemExit('text')", False, 1),
        ("import os; os._exit(5)", False, 5),
        ("import os; os.kill(os.getpid(), 9)", False, -9),
        ("import ctypes; ctypes.string_at(0)", False, -11),
    ],
)
def test_no_exit_is_the_end(process, code, success, returncode):
    """The call ends, with its code; the state goes on."""
    stdout(process, "x = 'kept'")
    answer = process.execute(code)
    assert (answer["success"], answer["returncode"]) == (success, returncode)
    assert stdout(process, "print(x)") == "kept\n"


@pytest.mark.parametrize(
    "code", ["while True: pass", "while True: print(1)", "input_ = __import__('time').sleep(1e6)"]
)
def test_every_program_times_out(pool, code):
    """Loops, also those that print, and sleeps; the state from before is still there."""
    process = PersistentPythonProcess(timeout=0.5, pool=pool)
    stdout(process, "x = 'kept'")
    began = time.monotonic()
    answer = process.execute(code)
    assert not answer["success"]
    assert answer["reason"] in ("wall_timeout", "output")
    assert time.monotonic() - began < SOON_S
    assert stdout(process, "print(x)") == "kept\n"
    process.cleanup()


def test_threads_get_their_own_answers(process):
    """8 threads on one process, 20 calls each: 160 right answers, in turns."""
    stdout(process, "n = 0")
    wrong = []

    def work(number: int) -> None:
        for turn in range(20):
            if stdout(process, f"n += 1\nprint({number}, {turn})") != f"{number} {turn}\n":
                wrong.append((number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert stdout(process, "print(n)") == "160\n"


def test_nothing_leaks_from_one_to_another(pool):
    """Neither names, nor modules, nor files, nor the environment."""
    first = PersistentPythonProcess(pool=pool)
    stdout(
        first,
        "import os, sys, builtins\nx = 1\nopen('f', 'w').write('x')\nos.environ['LEFT'] = '1'\n"
        "sys.modules['left'] = sys\nbuiltins.left = 1\nNone",
    )
    second = PersistentPythonProcess(pool=pool)
    first.cleanup()
    third = PersistentPythonProcess(pool=pool)
    code = (
        "import os, sys, builtins\nprint('x' in globals(), os.listdir('.'), 'LEFT' in os.environ, "
        "'left' in sys.modules, hasattr(builtins, 'left'))"
    )
    for process in (second, third):
        assert stdout(process, code) == "False [] False False False\n"
        process.cleanup()


def test_a_thread_that_stays_stops_no_call(pool):
    """Such a state can't be gone back to: with the call that is ended, those that had the thread
    are undone.
    """
    process = PersistentPythonProcess(timeout=0.5, pool=pool)
    stdout(process, "import threading\nevent = threading.Event()\nx = 1")
    stdout(process, "threading.Thread(target=event.wait, daemon=True).start()")
    assert stdout(process, "print(x, threading.active_count())") == "1 2\n"
    answer = process.execute("while True: pass")
    assert (answer["reason"], answer["rolled_back"]) == ("wall_timeout", 3)
    assert stdout(process, "print(x, threading.active_count())") == "1 1\n"
    process.cleanup()


def test_cleanup_ends_a_call_under_way_and_is_idempotent(pool):
    """From another thread; afterwards the process says that it is gone."""
    process = PersistentPythonProcess(timeout=60, pool=pool)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(process.execute("while True: pass")))
    thread.start()
    time.sleep(0.3)
    began = time.monotonic()
    process.cleanup()
    thread.join()
    process.cleanup()
    assert time.monotonic() - began < SOON_S
    assert answers[0]["reason"] == "cancelled"
    with pytest.raises(SessionLost, match="closed"):
        process.execute("1")
    assert pool.run("print(1)").ok  # a pool that is shared stays


def test_alone_it_has_a_pool_of_its_own():
    """One worker, closed with it; its time-out is the limit, and it is a context manager."""
    with PersistentPythonProcess(timeout=0.5) as process:
        assert stdout(process, "print(1)") == "1\n"
        assert process.execute("while True: pass")["reason"] == "wall_timeout"
    with pytest.raises(SessionLost):
        process.execute("1")


@pytest.mark.parametrize(
    "options, error", [({"timeout": "x"}, TypeError), ({"timeout": -1}, ValueError), ({"pool": 3}, TypeError)]
)  # fmt: skip
def test_what_makes_no_sense_is_refused(options, error):
    """The error names the argument, and nothing is left behind."""
    with pytest.raises(error, match=r"wall_s|pool"):
        PersistentPythonProcess(**options)


HOST = """
import sys
from interpreter_pool import PersistentPythonProcess
process = PersistentPythonProcess(timeout=60)
print("ready", flush=True)
process.execute("while True: pass")
"""


def test_a_busy_interpreter_does_not_outlive_its_host():
    """H5: gone 2 s after the host's SIGKILL."""
    host = subprocess.Popen([sys.executable, "-c", HOST], stdout=subprocess.PIPE)
    assert host.stdout.readline() == b"ready\n"
    time.sleep(0.3)
    family = psutil.Process(host.pid).children(recursive=True)
    assert len(family) > 2
    host.kill()
    host.wait()
    host.stdout.close()
    _, alive = psutil.wait_procs(family, timeout=2)
    assert not alive


def test_a_forked_child_of_the_host_harms_nothing(pool):
    """The child can't use it, and what it closes stays open for its parent."""
    process = PersistentPythonProcess(pool=pool)
    stdout(process, "x = 1")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            with contextlib.suppress(PoolClosed):
                process.execute("x = 2")
                status = 2
            process.cleanup()
            status -= 1
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert stdout(process, "print(x)") == "1\n"
    child = os.fork()
    if child == 0:
        signal.pause()
    try:  # a copy of its sockets in another process holds nothing up
        began = time.monotonic()
        process.cleanup()
        assert time.monotonic() - began < 4
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_many_share_a_pool(tier):
    """As many as there are environments, with two runs at once."""
    with Pool(2, tier=tier) as pool:
        processes = [PersistentPythonProcess(pool=pool) for _ in range(8)]
        for number, process in enumerate(processes):
            stdout(process, f"x = {number}")
        assert [stdout(each, "print(x)") for each in processes] == [f"{n}\n" for n in range(8)]
        for process in processes:
            process.cleanup()
