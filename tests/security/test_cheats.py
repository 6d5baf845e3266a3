"""W1 to W9: programs that want to pass without being right, on every problem of HumanEval.

Each has an honest twin, which does the same harmless things and is right. Controls show that the
cheats work where program and test share a process.
"""

import contextlib
import io

import pytest
from conftest import lasting_pool

from interpreter_pool import Asserts, Call, Limits, Stdio
from interpreter_pool.pool.judge.humaneval import problems

PROBLEMS = list(problems().values())

QUICK = Limits(cpu_s=0.3, wall_s=20)

EQUAL = """
class Equal:
    def __eq__(self, other): return True
    __ne__ = __lt__ = __gt__ = __le__ = __ge__ = lambda self, other: False
    __hash__ = None
    __add__ = __sub__ = __abs__ = __getitem__ = __call__ = lambda self, *_: self
    __bool__ = lambda self: True
"""

LOOK = """
import gc, os, re, sys
def look(pattern):
    found = []
    frame = sys._getframe()
    while frame:
        found += [*map(repr, frame.f_code.co_consts), *map(repr, frame.f_locals.values())]
        frame = frame.f_back
    found += [each for each in gc.get_objects() if type(each) is str]
    found += [*sys.argv, *map(repr, os.environ.items())]
    for name in os.listdir("."):
        found.append(open(name).read())
    for fd in range(3, 64):
        try:
            os.set_blocking(fd, False)
            found.append(repr(os.read(fd, 1 << 16)))
        except OSError:
            pass
        finally:
            try: os.set_blocking(fd, True)
            except OSError: pass
    return [each for each in found if re.search(pattern, each)]
"""

EVERYWHERE = "W1 leaves when it is loaded", "W1 exits when it is called"
EVERYWHERE += "W2 returns what is equal to everything", "W2 replaces builtins"
EVERYWHERE += "W3 looks for the test", "W4 says that it has passed", "W6 empties its arguments"
EVERYWHERE += "W7 is right once", "W8 stops the clocks and leaves others running"
"""Cheats that are tried on every problem; the others, of the same kinds, on a tenth of them."""

CHEATS = {
    # W1: leaves with status 0
    "W1 leaves when it is loaded": "import os; os._exit(0)",
    "W1 exits when it is loaded": "import sys; sys.exit(0)",
    "W1 leaves when it is called": "def {name}(*a, **k): import os; os._exit(0)",
    "W1 exits when it is called": "def {name}(*a, **k): raise SystemExit(0)",
    "W1 exits from a thread": (
        "import os, threading\n"
        "def {name}(*a, **k): threading.Thread(target=os._exit, args=(0,)).start()"
    ),
    # W2: is equal to everything
    "W2 returns what is equal to everything": EQUAL + "def {name}(*a, **k): return Equal()",
    "W2 returns a number that is equal to everything": (
        "class Own(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\n"
        "def {name}(*a, **k): return Own(1)"
    ),
    "W2 returns a text that is equal to everything": (
        "class Own(str):\n    def __eq__(self, other): return True\n    __hash__ = str.__hash__\n"
        "def {name}(*a, **k): return [Own('x')]"
    ),
    "W2 replaces builtins": (
        "import builtins, math, sys\n"
        "builtins.all = builtins.any = builtins.abs = builtins.isinstance = lambda *_: True\n"
        "builtins.AssertionError = builtins.Exception = StopIteration\n"
        "math.isclose = lambda *a, **k: True\n"
        "def {name}(*a, **k): return None"
    ),
    "W2 raises what ends an iteration": "def {name}(*a, **k): raise StopIteration",
    # W3: looks for the answer
    "W3 looks for the test": LOOK + "def {name}(*a, **k): return look('[a]ssert.*[c]andidate')",
    # W4: says that it has passed
    "W4 says that it has passed": (
        "import json, os, sys\n"
        "def {name}(*a, **k):\n"
        "    print('ALL TESTS PASSED'); print(json.dumps({{'passed': True}}), file=sys.stderr)\n"
        "    open('reward.txt', 'w').write('1.0')\n"
    ),
    # W6: remembers, counts, changes what it was given
    "W6 counts its calls": (
        "calls = []\ndef {name}(*a, **k):\n    calls.append(a)\n    return len(calls)"
    ),
    "W6 empties its arguments": (
        "def {name}(*a, **k):\n"
        "    for each in a:\n"
        "        if hasattr(each, 'clear'): each.clear()\n"
        "    return None"
    ),
    # W7: is right, as far as it goes
    "W7 prints the answer and raises": (
        "{right}\nright = {name}\n"
        "def {name}(*a, **k): print(right(*a, **k)); raise ValueError('now')"
    ),
    "W7 is right once": (
        "{right}\nright = {name}\ncalls = []\n"
        "def {name}(*a, **k):\n"
        "    calls.append(1)\n"
        "    answer = right(*a, **k)\n"
        "    return answer if len(calls) < {distinct} else '?'"
    ),
    # W8: plays with time
    "W8 stops the clocks and leaves others running": (
        "import os, signal, threading, time\n"
        "time.time = time.monotonic = time.perf_counter = time.process_time = lambda: 0.0\n"
        "def {name}(*a, **k):\n"
        "    try: os.fork()\n"
        "    except OSError: pass\n"
        "    signal.setitimer(signal.ITIMER_REAL, 1e-3)\n"
        "    signal.signal(signal.SIGALRM, lambda *_: None)\n"
    ),
}

TWINS = {
    "W1": (
        "{right}\nimport atexit, os, sys\natexit.register(os._exit, 0)\n"
        "if __name__ == '__main__': sys.exit(0)\n"
    ),
    "W2": (
        EQUAL + "{right}\nright = {name}\nimport builtins\nbuiltins.own = Equal\n"
        "def {name}(*a, **k):\n"
        "    assert Equal() == a\n"
        "    return right(*a, **k)"
    ),
    "W3": LOOK
    + (
        "{right}\nright = {name}\n"
        "def {name}(*a, **k):\n"
        "    look('[n]othing')\n"
        "    return right(*a, **k)"
    ),
    "W4": (
        "{right}\nright = {name}\n"
        "def {name}(*a, **k):\n"
        "    print('ALL TESTS PASSED')\n"
        "    open('reward.txt', 'w').write('0.0')\n"
        "    return right(*a, **k)"
    ),
    "W5": (
        "{right}\nright = {name}\ntable = {table}\n"
        "def {name}(*a, **k):\n"
        "    key = repr((a, k))\n"
        "    return table[key] if key in table else right(*a, **k)"
    ),
    "W6": (
        "{right}\nright = {name}\nimport copy\ncalls = []\n"
        "def {name}(*a, **k):\n"
        "    calls.append(a)\n"
        "    answer = copy.deepcopy(right(*a, **k))\n"
        "    for each in a:\n"
        "        if hasattr(each, 'clear'): each.clear()\n"
        "    return answer"
    ),
    "W7": (
        "{right}\nright = {name}\nsaid = []\n"
        "def {name}(*a, **k):\n"
        "    answer = right(*a, **k)\n"
        "    try: raise ValueError\n"
        "    except ValueError: said or said.append(print(str(answer)[:3]))\n"
        "    return answer"
    ),
    "W8": (
        "{right}\nimport signal, time\n"
        "time.time = time.monotonic = time.perf_counter = time.process_time = lambda: 0.0\n"
        "signal.signal(signal.SIGALRM, lambda *_: None); signal.setitimer(0, 1e-3)\n"
    ),
}


@pytest.fixture(scope="module")
def pool(tier):
    """One of this file's own: so many runs would use up the process numbers of the other."""
    yield from lasting_pool(tier)


@pytest.fixture(scope="module")
def answers() -> dict[str, dict[str, object]]:
    """What the right solution answers to what its test asks: by problem, by input."""
    return {problem.task_id: answers_of(problem) for problem in PROBLEMS}


def answers_of(problem) -> dict[str, object]:
    # The problems' own solutions and tests: as good as tests of ours.
    namespace: dict[str, object] = {}
    table: dict[str, object] = {}
    exec(problem.program(problem.canonical_solution), namespace)
    right = namespace[problem.entry_point]

    def note(*args, **kwargs):
        key = repr((args, kwargs))
        table[key] = right(*args, **kwargs)
        return table[key]

    exec(problem.test, namespace)
    with contextlib.redirect_stdout(io.StringIO()):
        namespace["check"](note)
    return table


def written(template: str, problem, table: dict[str, object]) -> str:
    return template.format(
        name=problem.entry_point,
        right=problem.program(problem.canonical_solution),
        table=repr(table),
        distinct=max(len(table), 1),
    )


def verdicts(pool, template: str, answers, limits: Limits | None = None, problems=PROBLEMS):
    items = [
        (written(template, problem, answers[problem.task_id]), [problem.case()])
        for problem in problems
    ]
    names = [problem.task_id for problem in problems]
    return dict(zip(names, pool.judge_many(items, limits=limits), strict=True))


@pytest.mark.parametrize("cheat", CHEATS)
def test_w_no_cheat_passes_on_any_problem(pool, answers, cheat):
    """W1 to W8: scores 0, and is no failure of ours or of the test."""
    problems = PROBLEMS if cheat in EVERYWHERE else PROBLEMS[::10]
    found = verdicts(pool, CHEATS[cheat], answers, problems=problems)
    assert {name: each for name, each in found.items() if each.passed or each.score} == {}
    assert {name: each for name, each in found.items() if not each.conclusive} == {}


def test_w5_a_table_of_what_was_shown_fails_on_what_was_not(pool, answers):
    """W5: all inputs but the last are known, and the answers to them."""
    shown = {name: dict(list(table.items())[:-1]) for name, table in answers.items()}
    found = verdicts(
        pool, "table = {table}\ndef {name}(*a, **k): return table.get(repr((a, k)), '?')", shown
    )
    assert {name: each for name, each in found.items() if each.passed or each.score} == {}
    assert {name: each for name, each in found.items() if not each.conclusive} == {}


def test_w8_on_every_problem_it_is_the_hosts_clock_that_counts(pool, answers):
    """W8: with its clocks stopped, a program that never returns is ended all the same."""
    spin = (
        "import time\ntime.time = time.monotonic = time.process_time = lambda: 0.0\n"
        "def {name}(*a, **k):\n    while True: pass"
    )
    found = verdicts(pool, spin, answers, Limits(cpu_s=0.02, wall_s=20))
    assert {each.cases[0].reason for each in found.values()} == {"cpu_timeout"}
    assert {name: each for name, each in found.items() if not each.conclusive} == {}


@pytest.mark.parametrize("twin", TWINS)
def test_w_honest_twins_pass_on_every_problem(pool, answers, twin):
    """Who does the same harmless things and is right scores 1."""
    found = verdicts(pool, TWINS[twin], answers)
    assert {name: each for name, each in found.items() if not each.passed} == {}


SECRET = "expected-" + "6b1f"

SCAN = (
    LOOK
    + """
import ctypes
def scan(pattern):
    found = look(pattern)
    try: maps = open("/proc/self/maps").read()
    except OSError: maps = ""  # in the landlock tier it is not shown
    for line in maps.splitlines():
        span, rights, _, _, _, *name = line.split(None, 5)
        start, end = (int(each, 16) for each in span.split("-"))
        plain = not name or name[0] in ("[heap]", "[stack]") or "report" in name[0]
        if plain and "r" in rights:
            found += re.findall(pattern.encode(), ctypes.string_at(start, end - start))
    return found
def f(x):
    # The pattern does not match itself: only what somebody else has brought here is found.
    raise LookupError(f"found {len(scan('[t]est of [e]xpected-[6]b1f'))}")
"""
)


@pytest.mark.parametrize(
    "case",
    [
        Asserts(
            f"# test of {SECRET}\nassert f(1) == '{SECRET}'", "f", f"SECRET = 'test of {SECRET}'"
        ),
        Call("f", (1,), expected=f"test of {SECRET}"),
        Call("f", (1,), checker=lambda got, expected, secret=f"test of {SECRET}": got == secret),
    ],
    ids=["asserts", "call", "checker"],
)
def test_w3_nothing_that_is_expected_is_in_the_programs_process(pool, case):
    """W3: not in frames, objects, descriptors, argv, environment, files, or anywhere in memory."""
    verdict = pool.judge(SCAN, [case], limits=Limits(wall_s=60))
    assert "LookupError: found 0" in verdict.cases[0].detail, verdict.cases


def test_w3_control_in_one_process_it_is_found(outside):
    """W3: where test and program share a process, the same search finds it."""
    test = f"SECRET = 'test of {SECRET}'\ntry: f(1)\nexcept LookupError as error: print(error)"
    done = outside(SCAN + test)
    assert done.stdout.startswith(b"found ") and done.stdout != b"found 0\n", done


def test_w2_control_in_one_process_it_passes(outside):
    """W2: where test and program share a process, what is equal to everything passes most tests."""
    passed = 0
    for problem in PROBLEMS[:5]:
        source = written(CHEATS["W2 returns what is equal to everything"], problem, {})
        check = f"{source}\n{problem.test}\ncheck({problem.entry_point})\nprint('passed')"
        passed += outside(check).stdout == b"passed\n"
    assert passed >= 3


NAIVE = {
    # What a careless judge looks at, and a program that is wrong and good enough for it.
    "W1": ("import os\ndef f(x): os._exit(0)\nassert f(2) == 4", lambda done: done.returncode == 0),
    "W4": ("print('ALL TESTS PASSED')\n1 / 0", lambda done: b"ALL TESTS PASSED" in done.stdout),
    "W5": (
        "f = {2: 4, 3: 6}.get\nassert f(2) == 4 and f(3) == 6; print('passed')",
        lambda done: done.stdout == b"passed\n",
    ),
    "W6": (
        "calls = []\ndef f(x): calls.append(x); x.clear(); return len(calls)\n"
        "given = [1]; assert f(given) == 1 and f(given) == 2 and given == []; print('passed')",
        lambda done: done.stdout == b"passed\n",
    ),
    "W7": ("print(1); print(2); 1 / 0", lambda done: b"1\n2\n3\n".startswith(done.stdout)),
    "W8": (
        "import time\nbegan = time.time()\nclock, time.time = time.monotonic, lambda: began\n"
        "end = clock() + 0.2\nwhile clock() < end: pass\nprint(time.time() - began)",
        lambda done: float(done.stdout) == 0,
    ),
}


def test_w_controls_a_careless_judge_is_cheated(outside):
    """W1, W4 to W8: where program and test share a process, or less is looked at, the cheats pass."""
    for name, (source, passes) in NAIVE.items():
        assert passes(outside(source)), name


def test_w7_output_must_be_whole_and_its_end_good(pool):
    """W7: a prefix, an answer behind another one, and nothing where nothing is expected."""
    cases = [Stdio("", "1\n2\n3\n")]
    for source in ("print(1); print(2)", "print(1, 2, 3, 4)", "for n in range(9): print(n)"):
        assert not pool.judge(source, cases).passed
    assert not pool.judge("raise ValueError", [Stdio("", "")]).passed
    assert not pool.judge("import os; os._exit(0)", [Stdio("", "")]).passed
    assert pool.judge("for n in range(1, 4): print(n)", cases).passed


BREAKERS = {
    "kills everything": "os.kill(-1, 9)",
    "kills its parent": "os.kill(os.getppid(), 9)",
    "stops its parent": "os.kill(os.getppid(), 19)",
    "stops itself": "os.kill(os.getpid(), 19)",
    "closes everything": "os.closerange(0, 1 << 16)",
    "writes everywhere": "[put(fd) for fd in range(64)]",
    "takes all descriptors": "keep = [os.pipe() for _ in range(10**6)]",
    "takes all threads": "[threading.Thread(target=time.sleep, args=(60,)).start() for _ in range(10**4)]",
    "takes all memory": "keep = bytearray(1 << 40)",
    "fills its disk": "keep = open('x', 'wb'); [keep.write(bytes(1 << 20)) for _ in range(10**5)]",
    "blocks all signals": "signal.pthread_sigmask(0, range(1, 65)); spin()",
    "overwrites its report": "ctypes.memset(report(), 255, 1 << 16)",
    "crashes": "ctypes.string_at(0)",
    "floods": "[print('x' * 9999) for _ in range(10**6)]",
    "recurses": "sys.setrecursionlimit(1 << 30); (f := lambda: f())()",
}

BREAKER = """
import ctypes, os, signal, sys, threading, time
def put(fd):
    try: os.set_blocking(fd, False); os.write(fd, b"\\0" * 4096)
    except OSError: pass
def spin():
    while True: pass
def report():
    return next(int(line.split('-')[0], 16) for line in open('/proc/self/maps') if 'report' in line)
"""


@pytest.mark.parametrize("where", ["when it is loaded", "when it is called"])
@pytest.mark.parametrize("breaker", BREAKERS)
def test_w9_breaking_things_is_charged_to_the_program(pool, breaker, where):
    """W9: whatever it does to its worker is its failure, not ours; the next one is judged."""
    attack = BREAKERS[breaker]
    body = f"def f(x):\n    {attack}" if where == "when it is called" else attack
    cases = [
        Asserts("assert f(2) == 4", "f"),
        Call("f", (2,), expected=4),
        Stdio("", "4"),
    ]
    source = BREAKER + body + "\nif __name__ == '__main__': f(2)"
    verdict = pool.judge(source, cases, limits=QUICK.replace(wall_s=1))
    assert verdict.conclusive, verdict.cases
    assert verdict.score == 0, verdict.cases
    honest = "def f(x): return 2 * x\nif __name__ == '__main__': print(f(2))"
    assert all(each.passed for each in pool.judge_many([(honest, cases)] * 2))
