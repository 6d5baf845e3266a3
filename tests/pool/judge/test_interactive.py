"""Programs that talk to an interactor: both are confined, and the interactor alone decides."""

import pickle

import pytest
from conftest import lasting_pool

from interpreter_pool import Interactive, Limits, Program
from interpreter_pool.pool.judge import Outcome, case_from_dict

GUESS = """
import sys
number = int(open(sys.argv[1]).read())
for _ in range(12):
    kind, value = input().split()
    if kind == "!":
        sys.exit(0 if int(value) == number else 1)
    print("<" if number < int(value) else ">=", flush=True)
sys.exit("too many questions")
"""
SEARCH = """
low, high = 0, 1000
while low + 1 < high:
    middle = (low + high) // 2
    print("?", middle, flush=True)
    if input() == "<": high = middle
    else: low = middle
print("!", low, flush=True)
"""


@pytest.fixture(scope="module")
def pool(tier):
    yield from lasting_pool(tier)


def only(verdict):
    (case,) = verdict.cases
    return case


def ended(pool, code, interactor=GUESS, **options):
    options.setdefault("timeout", 0.25)
    return only(pool.judge(code, [Interactive(interactor, input="777", expected="x")], **options))


def test_a_program_is_right_if_its_interactor_says_so(pool):
    """They talk turn by turn; the case is of a kind of its own."""
    found = ended(pool, SEARCH)
    assert (found.kind, found.outcome, found.reason, found.score) == (
        "interactive",
        "pass",
        "ok",
        1,
    )
    assert found.wall_s > 0 and found.cpu_s > 0
    numbers = [Interactive(GUESS, input=str(number)) for number in (0, 1, 500, 999)]
    assert pool.judge(SEARCH, numbers).passed


WRONG = {
    "print('! 3')": ("wrong_output", "status 1"),
    "for _ in range(99): print('? 1')": ("wrong_output", "status 1"),
    "print('hello')": ("interactor", "ValueError"),
    "": ("interactor", "EOFError"),
    "import os; os.close(1); input()": ("exception", "EOFError"),
    "1 / 0": ("exception", "ZeroDivisionError"),
    "import sys; sys.exit(3)": ("exit", "status 3"),
    SEARCH + "1 / 0": ("exception", "ZeroDivisionError"),
    SEARCH + "import os; os._exit(0)": ("incomplete", "os._exit"),
    "print('! 777', flush=True)\nwhile True: print('x' * 999)": ("output", "too much"),
    "while True: pass": ("cpu_timeout", "CPU"),
}


@pytest.mark.parametrize("code", WRONG)
def test_anything_else_fails_the_program(pool, code):
    """Whatever the interactor makes of what the program said, or of its end."""
    found = ended(pool, code)
    reason, words = WRONG[code]
    assert (found.outcome, found.score) == ("fail", 0), found
    if found.reason == "wall_timeout":  # on a busy machine
        reason, words = (found.reason, "wall") if reason == "cpu_timeout" else (reason, words)
    assert found.reason == reason and words in found.detail, found


def test_a_program_that_goes_on_after_the_end_is_let_go(pool):
    """Its interactor has decided: it finds the end of its input, and has a moment to end."""
    for goes_on in ("import time; time.sleep(60)", "while True: pass"):
        assert ended(pool, SEARCH + goes_on).passed, goes_on
    assert ended(pool, SEARCH + "import sys; assert sys.stdin.read() == ''").passed


def test_whoever_was_to_speak_next_loses(pool):
    """Where both wait, it is the program whose time is over."""
    found = ended(pool, "input()", timeout=0.1)
    assert (found.outcome, found.reason) == ("fail", "wall_timeout")
    silent = "import sys, time\nsys.stdin.readline()\ntime.sleep(60)"
    found = ended(pool, "print('a', flush=True); input()", silent, timeout=0.1)
    assert (found.outcome, found.reason) == ("fail", "wall_timeout")


BROKEN = [
    "raise ValueError",
    "import sys; sys.exit(3)",
    "while True: pass",
    "print('x' * (2 << 20))",
]


@pytest.mark.parametrize("interactor", BROKEN)
@pytest.mark.parametrize("says", ["hello", ""])
def test_an_interactor_that_fails_unheard_is_at_fault_itself(pool, interactor, says):
    """Before it has read anything, whatever there was to be read: no program is judged by it."""
    code = f"import sys\nprint({says!r}, end='', flush=True)\nsys.stdin.read()"
    found = ended(pool, code, interactor)
    assert found.outcome is Outcome.HARNESS_ERROR, found


@pytest.mark.parametrize("does", BROKEN)
def test_an_interactor_that_fails_when_it_has_read_something_fails_the_program(pool, does):
    """Or that finds the end of what it was to read."""
    for code in ("print('hello', flush=True); input()", "pass"):
        found = ended(pool, code, f"import sys\nsys.stdin.readline()\n{does}")
        assert found.outcome is Outcome.FAIL and not found.passed, (code, found)


def test_what_is_not_read_is_waited_for(pool):
    """Neither is held back more than a pipe and a little: each waits in its own write."""
    interactor = (
        "import sys, time\ntime.sleep(0.3)\n"
        "sys.exit(0 if len(sys.stdin.buffer.read()) == 3 << 20 else 1)"
    )
    code = (
        "import os, time\nbegan = time.monotonic()\nleft = memoryview(bytes(3 << 20))\n"
        "while left: left = left[os.write(1, left):]\n"
        "assert time.monotonic() - began > 0.1"
    )
    limits = Limits(output_bytes=4 << 20, wall_s=20)
    case = Interactive(interactor)
    assert only(pool.judge(code, [case], limits=limits)).reason == "ok"
    both = (  # as much the other way
        "import sys\nsys.stdout.write('7' * (3 << 20)); sys.stdout.flush()\n"
        "sys.exit(0 if input() == 'all' else 1)"
    )
    code = "import sys, time\ntime.sleep(0.2)\nprint('all' if len(sys.stdin.read()) == 3 << 20 else 'no', flush=True)"
    code = code.replace("sys.stdin.read()", "sys.stdin.read(3 << 20)")
    assert only(pool.judge(code, [Interactive(both)], limits=limits)).reason == "ok"


def test_bytes_cross_as_they_are(pool):
    """Whatever they are: nothing in between reads them."""
    data = bytes(range(256)) * 20
    interactor = (
        "import sys\ndata = bytes(range(256)) * 20\n"
        "sys.stdout.buffer.write(data); sys.stdout.flush()\n"
        "sys.exit(0 if sys.stdin.buffer.read(len(data)) == data[::-1] else 1)"
    )
    code = f"import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read({len(data)})[::-1])"
    assert pool.judge(code, [Interactive(interactor)]).passed


def test_an_interactor_has_its_files(pool):
    """Input and expected output by name, and one that it may write; the program has none of them."""
    interactor = (
        "import os, sys\ngiven, own, expected = sys.argv[1:]\n"
        "assert open(given, 'rb').read() == b'1\\0' and open(expected).read() == '2'\n"
        "open(own, 'w').write('log')\nsys.exit(0 if input() == '[]' else 1)"
    )
    code = "import os\nprint([each for each in os.listdir('.') if each != 'main.py'])"
    assert pool.judge(code, [Interactive(interactor, input=b"1\0", expected="2")]).passed


def test_limits_are_each_ones_own(pool):
    """The program has its own; its interactor those of judging."""
    interactor = "import sys\nx = bytearray(100 << 20)\nsys.exit(0 if input() == 'a' else 1)"
    small = Program("print('a')", limits=Limits(memory_bytes=32 << 20, cpu_s=1, wall_s=9))
    assert pool.judge(small, [Interactive(interactor)]).passed
    large = Program("x = bytearray(100 << 20)\nprint('a')", limits=small.limits)
    assert only(pool.judge(large, [Interactive(interactor)])).reason == "memory"
    with pytest.raises(ValueError, match=r"the interactor has .* limits.source_bytes=200"):
        pool.judge("", [Interactive(GUESS)], limits=Limits(source_bytes=200))


def test_many_talk_at_once_and_nothing_is_left(pool):
    """Of every kind, on all workers; the pool is as good afterwards."""
    codes = [SEARCH, *WRONG, SEARCH] * 2
    items = [(code, [Interactive(GUESS, input="777")]) for code in codes]
    verdicts = pool.judge_many(items, timeout=0.3, stop_at_first_timeout=True)
    assert all(verdict.conclusive for verdict in verdicts)
    assert [v.passed for v, code in zip(verdicts, codes, strict=True) if code == SEARCH] == [
        True
    ] * 4
    assert pool.run("print(1)").stdout == "1\n"


def test_interactive_cases_come_from_json_and_cross_to_services():
    case = case_from_dict(
        {"kind": "interactive", "interactor": GUESS, "input": {"base64": "Nw=="}, "expected": "1"}
    )
    assert case == Interactive(GUESS, input=b"7", expected="1") == pickle.loads(pickle.dumps(case))
    with pytest.raises(ValueError, match="the interactor runs what it is given"):
        case_from_dict({"kind": "interactive", "interactor": "eval(input())"})
    with pytest.raises(ValueError, match="'interactor' is missing"):
        case_from_dict({"kind": "interactive", "input": ""})
    with pytest.raises(TypeError, match="the interactor must be the source"):
        Interactive(None)
    with pytest.raises(TypeError, match="input must be str or bytes"):
        Interactive(GUESS, input=1)
