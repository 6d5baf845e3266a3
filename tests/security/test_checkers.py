"""Programs that try to pass by way of their checker, or of the interactor that they talk to.

Each must score 0 and count. Controls show that the same works on a judge that is less careful.
"""

import subprocess
import sys

import pytest

from interpreter_pool import CheckerProgram, Interactive, Limits, Stdio
from interpreter_pool.pool import read_row

from .test_cheats import BREAKER, BREAKERS

QUICK = Limits(cpu_s=0.3, wall_s=3)
BRIEF = QUICK.replace(wall_s=0.4)

SUM = """
import sys
given, expected, output = sys.argv[1:]
numbers = [int(each) for each in open(output).read().split()]
print(1 if sum(numbers) == int(open(expected).read()) else 0)
"""
EVALUATING = {
    "evaluates": "import sys\nprint(int(eval(open(sys.argv[3]).read()) == 4))",
    "unpickles": "import pickle, sys\nprint(int(pickle.load(open(sys.argv[3], 'rb')) == 4))",
}
ANSWERS = {
    "evaluates": b"print(1) or __import__('os')._exit(0)",
    "unpickles": b"cbuiltins\nprint\n(I1\ntR0cos\n_exit\n(I0\ntR.",
}
ECHOES = """
import sys
output = open(sys.argv[3]).read()
print('comparing', output)
print(1 if output.split() == ['4'] else 0)
"""
"""A checker of a careless author, who shows what he was given."""

ASKS = """
import sys
number = int(open(sys.argv[1]).read())
print(number, flush=True)
answer = sys.stdin.readline()
sys.exit(0 if int(answer) == 2 * number else 1)
"""


def writing(data: bytes) -> str:
    return f"import sys; sys.stdout.buffer.write({data!r})"


def checked_outside(folder, checker: str, output: bytes) -> "subprocess.CompletedProcess[bytes]":
    """A checker's run where nothing is looked at before."""
    names = ["input.txt", "correct_output.txt", "solution_output.txt"]
    for name, content in zip(names, (b"2", b"4", output), strict=True):
        (folder / name).write_bytes(content)
    (folder / "checker.py").write_text(checker)
    return subprocess.run(
        [sys.executable, "checker.py", *names], cwd=folder, capture_output=True, timeout=30
    )


@pytest.mark.parametrize("how", EVALUATING)
def test_j1_a_checker_that_runs_what_it_is_given_is_refused(pool, how, tmp_path, control):
    """J1: when the case is made, and in rows, for their text alone; outside, the answer says 1."""
    with pytest.raises(ValueError, match="the checker runs what it is given"):
        CheckerProgram(EVALUATING[how])
    row = {
        "official_tests": [{"input": "2", "output": "4"}],
        "generated_checker": EVALUATING[how],
    }
    for code in ("print(4)", writing(ANSWERS[how])):
        reading = read_row(row, code)
        assert reading.cases == () and "runs what it is given" in reading.why
    with pytest.raises(ValueError, match="the interactor runs what it is given"):
        Interactive(EVALUATING[how])
    done = checked_outside(tmp_path, EVALUATING[how], ANSWERS[how])
    assert (done.returncode, done.stdout.strip()) == (0, b"1"), done
    control()
    # And it is of no use where a checker only reads.
    assert not pool.judge(
        writing(ANSWERS[how]), [Stdio("2", "4", checker=CheckerProgram(SUM))]
    ).passed


@pytest.mark.parametrize(
    "output", [b"1", b"0\n1", b"1\n\n", b"\x1b[2K\r1\n\x1b[8m", b"1\0", b"1" * 99]
)
def test_j1_a_verdict_in_the_output_is_none(pool, output, tmp_path, control):
    """J1: all that a checker prints is its verdict, or there is none."""
    case = Stdio("2", "4", checker=CheckerProgram(ECHOES))
    verdict = pool.judge(writing(output), [case])
    assert not verdict.passed and verdict.score == 0
    printed = checked_outside(tmp_path, ECHOES, output).stdout
    assert b"1" in printed  # enough for who looks for that
    control()


INTRUDER = """
import glob, os
for name in ("correct_output.txt", "solution_output.txt", "checker.py", "main.py", "input.txt"):
    for folder in (".", "..", os.path.dirname(os.path.abspath(__file__)), "/tmp"):
        try: open(os.path.join(folder, name), "w").write("print(1)" if ".py" in name else "0")
        except OSError: pass
try: os.symlink("/proc/self/mem", "link")
except OSError: pass
for fd in range(3, 64):
    try: os.set_blocking(fd, False); os.write(fd, b"1")
    except OSError: pass
print(0)
"""


def test_j2_a_checkers_files_are_out_of_reach(pool, outside, tmp_path):
    """J2: it begins in a jail of its own when nothing of the program is left; outside, a program
    that shares its folder has the expected output be what it likes.
    """
    case = Stdio("2", "4", checker=CheckerProgram(SUM))
    verdict = pool.judge(INTRUDER, [case])
    assert verdict.conclusive and verdict.score == 0, verdict.cases
    assert pool.judge("print(1, 3)", [case]).passed
    names = ("input.txt", "correct_output.txt", "solution_output.txt")
    (tmp_path / "correct_output.txt").write_text("4")
    (tmp_path / "checker.py").write_text(SUM)
    done = outside(INTRUDER)
    (tmp_path / "solution_output.txt").write_bytes(done.stdout)
    done = subprocess.run(
        [sys.executable, "checker.py", *names], cwd=tmp_path, capture_output=True, timeout=30
    )
    assert done.stdout.strip() == b"1"


def test_j2_an_interactors_files_and_verdict_are_out_of_reach(pool, outside):
    """J2: the program holds two pipes, and sees nothing of whom it talks to."""
    look = (
        "import os, sys\nfound = []\nfor fd in range(64):\n"
        "    try: found.append((fd, os.readlink(f'/proc/self/fd/{fd}')))\n    except OSError: pass\n"
        "print(found, [each for each in os.listdir('.') if each != 'main.py'], file=sys.stderr)\n"
        "1 / 0"
    )
    interactor = "import sys\nsys.exit(0 if sys.stdin.read() == '' else 1)"
    case = Interactive(interactor + "\nSECRET = 1", input="SECRET")
    result = pool.run(look)
    assert result.stderr.startswith("[(0, '/dev/null'), (1, 'pipe:") or result.stderr, result
    for code in (
        INTRUDER,
        look,
        "import os; os.kill(-1, 9)",
        "import os; os.kill(os.getppid(), 9)",
    ):
        verdict = pool.judge(code, [case], limits=QUICK)
        assert verdict.conclusive and verdict.score == 0, (code, verdict.cases)
    assert b"main.py" in outside("import os; print(os.listdir('.'))").stdout


FAILING = {
    "endless": "while True: print('7' * 9999)",
    "huge": "print('7 ' * 400_000)",
    "a long number": "print('7' * 5000)",
    "no text": writing(b"\xff\xfe"),
    "zeros": writing(b"\0" * 99),
    "nothing": "pass",
    "a word": "print('four')",
    "escapes": writing(b"\x1b]0;1\x07\x1b[2J"),
    "deep": "print('[' * 90_000)",
}


@pytest.mark.parametrize("what", FAILING)
def test_j3_leading_a_checker_to_where_it_fails_counts_as_0(pool, what, tmp_path, control):
    """J3: if it gives a verdict on what is expected, whatever it does on something else is the
    program's doing; outside it ends by an exception, or says no, and some do not count that.
    """
    case = Stdio("2", "4", checker=CheckerProgram(SUM))
    verdict = pool.judge(FAILING[what], [case], limits=QUICK)
    assert verdict.conclusive and verdict.score == 0, verdict.cases
    assert checked_outside(tmp_path, SUM, b"four").returncode == 1
    control()


TALKERS = {
    **FAILING,
    "says nothing": "input()\ninput()",
    "closes its output": "import os, time\nos.close(1); time.sleep(60)",
    "closes its input": "import os, time\nos.close(0); time.sleep(60)",
    "takes all that is said": "import os\nwhile os.read(0, 1): pass",
    "fills its own input": "import os\nos.fchmod(0, 0o666)\nfd = os.open('/proc/self/fd/0', 2 | os.O_NONBLOCK)\nwhile True: os.write(fd, b'4')",
    "reads its own output": "import os\nos.fchmod(1, 0o666)\nfd = os.open('/proc/self/fd/1', 0)\nwhile True: os.write(1, b'x'); os.read(fd, 1)",
    "does not wait": "import fcntl, os\n[fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_DIRECT) for fd in (0, 1)]\nprint('x')",
    "enlarges its pipes": "import fcntl\n[fcntl.fcntl(fd, 1031, 1 << 20) for fd in (0, 1)]\nprint('x')",
    "a byte at a time": "import os\nwhile True: os.write(1, b'1')",
    "half a line": "import time\nprint('4', end='', flush=True)\ntime.sleep(60)",
    "the end at once": "import os; os._exit(0)",
}


@pytest.mark.parametrize("what", TALKERS)
def test_j3_an_interactor_is_flooded_and_starved_in_vain(pool, what):
    """J3, J4: whatever a program says or does not say ends soon, and counts as 0; the next one is
    judged.
    """
    case = Interactive(ASKS, input="7")
    verdict = pool.judge(TALKERS[what], [case], limits=BRIEF)
    assert verdict.conclusive and verdict.score == 0, verdict.cases
    assert pool.judge("print(2 * int(input()))", [case]).passed


@pytest.mark.parametrize("breaker", BREAKERS)
def test_j3_breaking_things_is_charged_to_the_program(pool, breaker):
    """J3, W9: what it does to its worker, and so to the run beside it, is its failure, not ours."""
    cases = [Interactive(ASKS, input="7"), Stdio("2", "4", checker=CheckerProgram(SUM))]
    verdict = pool.judge(BREAKER + BREAKERS[breaker], cases, limits=BRIEF)
    assert verdict.conclusive and verdict.score == 0, verdict.cases
    assert pool.judge("print(2 * int(input()))", [cases[0]]).passed


DAEMON = """
import os, sys, time
number = int(sys.stdin.readline() or 7)
if os.fork() == 0:
    os.setsid()
    time.sleep(0.3)
    print(2 * number, flush=True)
    os._exit(0)
"""


def test_j4_a_daemon_does_not_go_on_talking(pool, tier, outside):
    """J4: with the program, all that it left is ended, and its interactor finds the end."""
    limits = QUICK.replace(processes=8) if tier == "namespaces" else QUICK
    verdict = pool.judge(DAEMON, [Interactive(ASKS, input="7")], limits=limits)
    assert verdict.conclusive and verdict.score == 0, verdict.cases
    assert outside(DAEMON).stdout == b"14\n"


def test_j4_who_ends_badly_is_wrong_whatever_he_has_said(pool, outside):
    """J4: the right words before a crash, a kill, or a limit are not enough."""
    right = "print(2 * int(input() or 7), flush=True)\n"
    for end in (
        "1 / 0",
        "import os; os._exit(0)",
        "import os; os.abort()",
        "while True: print('x' * 9999)",
    ):
        verdict = pool.judge(right + end, [Interactive(ASKS, input="7")], limits=QUICK)
        assert verdict.conclusive and verdict.score == 0, (end, verdict.cases)
    done = outside("print(14, flush=True)\n1 / 0")
    assert done.stdout == b"14\n"  # enough for who looks at nothing else
