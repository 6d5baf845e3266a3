"""Checkers that are programs: each is run in a jail of its own, and its verdict is read there."""

import pickle
import threading
import zlib
from concurrent.futures import CancelledError

import pytest
from conftest import lasting_pool

from interpreter_pool import Call, CheckerProgram, Limits, Program, Result, Stdio
from interpreter_pool.pool.judge import Outcome, case_from_dict
from interpreter_pool.pool.judge.evaluating import why_unusable
from interpreter_pool.pool.judge.judging import plan

ANY_ORDER = """
import sys
def main(given, expected, output):
    numbers = sorted(map(int, open(given).read().split()))
    found = list(map(int, open(output).read().split()))
    print(1 if sorted(found) == numbers else 0)
main(*sys.argv[1:])
"""
TESTLIB = """
import sys
given, output, expected = [open(name).read().split() for name in sys.argv[1:]]
if len(output) < len(given): sys.exit(8)
sys.exit(0 if sorted(output) == sorted(given) else 1)
"""
ECHO = "import sys; print(open(sys.argv[3]).read())"
"""A checker whose verdict is what the program writes."""


@pytest.fixture(scope="module")
def pool(tier):
    yield from lasting_pool(tier)


def only(verdict):
    (case,) = verdict.cases
    return case


@pytest.mark.parametrize(
    "source, protocol", [(ANY_ORDER, "printed"), (TESTLIB, "testlib")], ids=["printed", "testlib"]
)
def test_a_checker_accepts_any_right_answer(pool, source, protocol):
    """It is given input, expected output and output as files; what it accepts passes."""
    case = Stdio("3 1 2", "1 2 3", checker=CheckerProgram(source, protocol=protocol))
    for code in ("print(1, 2, 3)", "print(2, 3, 1)", "print(3); print(2); print(1)"):
        assert only(pool.judge(code, [case])).reason == "ok", code
    for code in ("print(1, 2, 4)", "print(1)", "pass"):
        found = only(pool.judge(code, [case]))
        assert (found.outcome, found.reason, found.score) == ("fail", "wrong_output", 0), code
    for code, reason in {
        "print(1, 2, 3); 1 / 0": "exception",
        "import os; os._exit(0)": "incomplete",
    }.items():
        assert only(pool.judge(code, [case])).reason == reason


@pytest.mark.parametrize(
    "said, score",
    {
        "1": 1, " 1.0\n\n": 1, "0": 0, "0.25": 0.25, ".5": 0.5,
        "": None, "1 1": None, "2": None, "-1": None, "nan": None, "1e0": None, "True": None,
        "got 0\n1": None, "0\n1": None, "1\0": None, "\N{FULLWIDTH DIGIT ONE}": None,
    }.items(),
)  # fmt: skip
def test_a_printed_verdict_is_one_number_and_nothing_else(pool, said, score):
    """What a checker lets through of an output is no verdict: all that it prints has to be one."""
    case = Stdio("", "1", checker=CheckerProgram(ECHO))
    found = only(pool.judge(f"print(end={said!r})", [case]))
    if score is None:
        assert (found.outcome, found.reason, found.score) == ("fail", "checker", 0)
    else:
        assert found.score == score and found.passed is (score == 1)


@pytest.mark.parametrize(
    "end", [3, 7, 100, "raise ValueError", "import os; os.kill(os.getpid(), 9)"]
)
def test_other_ends_are_no_verdict_of_testlibs(pool, end):
    """Status 3 is the jury's fault; an exception ends with status 1, and is none all the same."""
    end = f"sys.exit({end})" if isinstance(end, int) else end
    source = f"import sys\nif open(sys.argv[2]).read() == 'x':\n    {end}"
    case = Stdio("", "1", checker=CheckerProgram(source, protocol="testlib"))
    found = only(pool.judge("print(end='x')", [case]))
    assert (found.outcome, found.reason) == ("fail", "checker")


@pytest.mark.parametrize(
    "does",
    [
        "raise ValueError('bad')",
        "while True: pass",
        "while True: print('x' * 9999)",
        "x = 'x' * (1 << 33)",
    ],
)
def test_a_checker_that_fails_on_an_output_fails_the_program(pool, does):
    """However it fails, if it gives a verdict on the expected output."""
    source = f"import sys\nif open(sys.argv[3]).read() == 'x':\n    {does}\nprint(1)"
    case = Stdio("", "1", checker=CheckerProgram(source))
    found = only(pool.judge("print(end='x')", [case], timeout=0.25))
    assert (found.outcome, found.reason, found.score) == ("fail", "checker", 0)
    assert only(pool.judge("print(end='y')", [case])).passed


def test_whether_a_case_counts_follows_from_its_text(pool):
    """A checker without a verdict on the expected output is at fault: no program is judged by the
    case, right, wrong, crashing or none at all.
    """
    case = Stdio("1", "one", checker=CheckerProgram(ANY_ORDER))
    codes = ["print(1)", "print(2)", "print('x')", "1 / 0", "import os; os._exit(0)", ""]
    verdicts = pool.judge_many([(code, [case]) for code in codes])
    for verdict in (*verdicts, pool.judge("print(2)", [case])):
        assert only(verdict).outcome is Outcome.HARNESS_ERROR
        assert "expected" in only(verdict).detail and not verdict.conclusive
    wrong = Stdio("1", "2", checker=CheckerProgram(ANY_ORDER))  # a verdict, if a strange one
    verdicts = pool.judge_many([(code, [wrong]) for code in codes])
    assert [only(each).outcome for each in verdicts] == ["pass", *["fail"] * 5]


def test_without_an_expected_output_the_checker_decides_alone(pool):
    case = Stdio("3 1 2", checker=CheckerProgram(ANY_ORDER))
    codes = ["print(2, 1, 3)", "print(1)", "print('x')", "1 / 0"]
    verdicts = pool.judge_many([(code, [case]) for code in codes])
    assert [only(each).reason for each in verdicts] == [
        "ok",
        "wrong_output",
        "checker",
        "exception",
    ]
    empty = CheckerProgram("import sys; print(int(open(sys.argv[2]).read() == ''))")
    assert pool.judge("", [Stdio("", checker=empty)]).passed


class Counting:
    """The runs of a pool, of which those of a checker are counted, and may be lost."""

    def __init__(self, pool, lost=()):
        self._engine = pool.engine
        self.limits, self.tier, self.ahead = pool.limits, pool.tier, 4
        self.when_room = self._engine.when_room
        self.require_runtime = self._engine.require_runtime
        self.checked = []
        self._lost = list(lost)

    def submit(self, job, *, test=None, wait=False):
        future = self._engine.submit(job, test=test, wait=wait)
        if job.source != ANY_ORDER.encode():
            return future
        self.checked.append(job)
        if not self._lost or not self._lost.pop(0):
            return future
        future.result()
        lost = type(future)(future._stop)
        lost.set_result(Result.internal("lost", tier=self.tier, queue_s=0.0))
        return lost


def judge(runner, items, **options):
    return plan(runner, items, numbered=True, **options).run()


def test_the_expected_output_is_looked_at_once(pool):
    """For all programs of one call; not at all where a program has written the same."""
    case = Stdio("3 1 2", "1 2 3", checker=CheckerProgram(ANY_ORDER))
    runner = Counting(pool)
    codes = [f"print({a})" for a in ("1, 3, 2", "1", "'x'", "3, 2, 1")] * 2
    verdicts = judge(runner, [(code, [case]) for code in codes])
    assert [only(each).passed for each in verdicts] == [True, False, False, True] * 2
    outputs = [job.files["solution_output.txt"] for job in runner.checked]
    assert len(outputs) == 9 and outputs.count(b"1 2 3") == 1
    runner = Counting(pool)
    assert only(judge(runner, [("print('1 2 3', end='')", [case])])[0]).passed
    assert len(runner.checked) == 1


@pytest.mark.parametrize("lost", [(True,), (False, True)], ids=["of the output", "of the expected"])
def test_a_checker_that_we_lose_is_no_verdict(pool, lost):
    """Our failure is never the program's 0; the next program of the same call is judged."""
    case = Stdio("3 1 2", "1 2 3", checker=CheckerProgram(ANY_ORDER))
    runner = Counting(pool, lost)
    runner.ahead = 1
    first, second = judge(runner, [("print(1)", [case]), ("print(3, 2, 1)", [case])])
    assert only(first).outcome is Outcome.INFRA_ERROR and not first.conclusive
    assert second.passed


def test_stopping_and_reporting_mean_what_they_did(pool):
    """The cases behind a failure are skipped, those behind a timeout fail; each result is reported
    once, when it is known.
    """
    checked = [
        Stdio(str(number), str(number), checker=CheckerProgram(ANY_ORDER)) for number in range(6)
    ]
    seen = []
    code = "n = input()\nprint(n if n != '2' else 'x')"
    verdict = pool.judge(code, checked, stop_at_first_failure=True, on_result=seen.append)
    assert [case.outcome for case in verdict.cases] == ["pass", "pass", "fail", *["skipped"] * 3]
    indices = [each.index for each in seen]
    assert {0, 1, 2} <= set(indices) and len(indices) == len(set(indices))
    seen.clear()
    code = "n = input()\nwhile n == '2': pass\nprint(n)"
    verdict = pool.judge(
        code, checked, stop_at_first_timeout=True, timeout=0.3, on_result=seen.append
    )
    reasons = [case.reason for case in verdict.cases]
    assert reasons == ["ok", "ok", "cpu_timeout", *["skipped_timeout"] * 3]
    indices = [each.index for each in seen]
    assert {0, 1, 2} <= set(indices) and len(indices) == len(set(indices))


def test_a_checker_that_an_output_keeps_busy_is_not_waited_for_again(pool):
    """As a program that never ends, it costs its time once."""
    busy = "import sys\nwhile open(sys.argv[3]).read() == 'x': pass\nprint(1)"
    cases = [Stdio("", str(number), checker=CheckerProgram(busy)) for number in range(12)]
    verdict = pool.judge("print(end='x')", cases, timeout=0.1, stop_at_first_timeout=True)
    reasons = [case.reason for case in verdict.cases]
    assert reasons == ["checker", *["skipped_timeout"] * 11] and verdict.conclusive


class Holding(Counting):
    """A checker's run ends when the program of another item has been asked for behind it."""

    def __init__(self, pool):
        super().__init__(pool)
        self._held = []

    def submit(self, job, *, test=None, wait=False):
        future = super().submit(job, test=test, wait=wait)
        if self.checked and job is self.checked[-1]:
            held = type(future)(future._stop)
            self._held.append((held, future.result()))
            return held
        for held, result in self._held:
            held.set_result(result)
        self._held.clear()
        return future


def test_checkers_overlap_with_other_cases(pool):
    """While one is being run, so are other programs; as many at once as a caller may have."""
    case = Stdio("3 1 2", checker=CheckerProgram(ANY_ORDER))
    runner = Holding(pool)
    runner.ahead = 2
    items = [("print(1, 2, 3)", [case]), ("import time; time.sleep(0.3)", [Stdio("", "")])]
    verdicts = judge(runner, [*items, ("print(1)", [Stdio("", "1")])])
    assert all(verdict.passed for verdict in verdicts)


@pytest.mark.parametrize(
    "output",
    [b"", b"\0\0\n\0", b"\xff\xfe\xc3(", b"\x1b[2J\x1b]0;1\x07\r1", b"7" * (9 << 20)],
    ids=["nothing", "zeros", "no text", "escapes", "much"],
)
def test_a_checker_finds_every_byte_of_an_output(pool, output):
    """Whatever the bytes are, and however many; its own limits have room for them."""
    source = (
        "import sys, zlib\noutput = open(sys.argv[3], 'rb').read()\n"
        f"print(int((len(output), zlib.crc32(output)) == {(len(output), zlib.crc32(output))}))"
    )
    case = Stdio(output, checker=CheckerProgram(source))
    code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
    limits = Limits(output_bytes=10 << 20, disk_bytes=1 << 20, files=8)
    assert only(pool.judge(code, [case], limits=limits)).reason == "ok"


def test_its_limits_are_those_of_judging(pool):
    """Not those of a program that has less; its time is not the program's."""
    source = "import sys, time\nx = bytearray(100 << 20)\nend = time.process_time() + 0.25\nwhile time.process_time() < end: pass\nprint(1)"
    program = Program("print(1)", limits=Limits(cpu_s=0.15, wall_s=9, memory_bytes=32 << 20))
    found = only(pool.judge(program, [Stdio("", checker=CheckerProgram(source))]))
    assert found.passed and found.cpu_s < 0.15


REFUSED = {
    "eval(open(sys.argv[3]).read())": "eval",
    "exec(x)": "exec",
    "import builtins as b; b.eval(x)": "builtins",
    "compile(x, '', 'eval')": "compile",
    "__import__('os')": "__import__",
    "import importlib; importlib.import_module(x)": "importlib",
    "from runpy import run_path": "runpy",
    "import pickle": "pickle",
    "import numpy as np; np.load(x, allow_pickle=True)": "allow_pickle",
    "import pandas as pd; pd.read_pickle(x)": "pandas.read_pickle",
    "import marshal, sys": "marshal",
    "import shelve": "shelve",
    "import subprocess": "subprocess",
    "import ctypes.util": "ctypes",
    "import yaml; yaml.load(x, yaml.Loader)": "yaml.load",
    "from yaml import unsafe_load": "yaml.unsafe_load",
    "import os; os.system(x)": "os.system",
    "from os import popen": "os.popen",
    "import os as o; o.execv(x, [])": "os.execv",
    "from sympy import sympify": "sympy",
    "getattr(sys, '__builtins__')": "__builtins__",
}


@pytest.mark.parametrize("line", REFUSED)
def test_a_checker_that_evaluates_what_it_is_given_is_refused(line):
    """When the case is made; the error names what it uses, and in which line."""
    with pytest.raises(ValueError, match=r"the checker runs what it is given") as found:
        CheckerProgram(f"import sys\nx = 1\nif x:\n    {line}")
    assert REFUSED[line] in str(found.value) and "line 4" in str(found.value)


def test_what_only_looks_like_that_is_not_refused():
    """Patterns are compiled, literals read, safe loaders used, and words may stand in texts."""
    for line in (
        "import re; re.compile(x)",
        "import ast; ast.literal_eval(x)",
        "import yaml; yaml.safe_load(x)",
        "import os; os.path.exists(x)",
        "print('eval(1)')  # eval",
        "x.compile = x.load = x.system = 1",
        "import numpy as np; np.load(x, allow_pickle=False)",
        "'\\d'",
    ):
        assert why_unusable(f"x = ''\n{line}") == "", line


@pytest.mark.parametrize(
    "source, words",
    [
        (
            '#include "testlib.h"\nint main() { registerTestlibCmd(argc, argv); }',
            "written in C\\+\\+",
        ),
        ("import java.util.*;\npublic class Checker { }", "written in Java"),
        ("print 1", "is no Python"),
        ("x = '\0'", "is no Python"),
        ("(" * 9999, "is no Python"),
        ("  \n", "is empty"),
    ],
)
def test_a_checker_in_another_language_says_so(source, words):
    with pytest.raises(ValueError, match=f"the checker .*{words}|the checker {words}"):
        CheckerProgram(source)


def test_checkers_come_from_json_and_cross_to_services():
    """As an object, or as the source alone; a case with one can be pickled."""
    for given in ({"source": ECHO}, ECHO, {"source": ECHO, "protocol": "printed"}):
        case = case_from_dict({"kind": "stdio", "input": "1", "checker": given})
        assert case == Stdio("1", checker=CheckerProgram(ECHO)) == pickle.loads(pickle.dumps(case))
    for given, words in (
        ({"protocol": "testlib"}, "'source' is missing"),
        ({"source": ECHO, "x": 1}, "unknown field 'x'"),
        ({"source": ECHO, "protocol": "x"}, "printed, testlib"),
        ({"source": "eval(1)"}, "runs what it is given"),
    ):
        with pytest.raises(ValueError, match=words):
            case_from_dict({"kind": "stdio", "input": "1", "checker": given})
    with pytest.raises(TypeError, match="source"):
        case_from_dict({"kind": "stdio", "input": "1", "checker": 1})
    with pytest.raises(ValueError, match="checker"):
        case_from_dict({"kind": "call", "function": "f", "checker": ECHO})
    with pytest.raises(TypeError, match="callable"):
        Call("f", checker=CheckerProgram(ECHO))
    with pytest.raises(TypeError, match="expected must be str or bytes"):
        Stdio("", [1], checker=CheckerProgram(ECHO))


def test_a_checker_too_large_is_refused_before_anything_runs(pool):
    case = Stdio("", checker=CheckerProgram(f"print(1)  # {'x' * 9000}"))
    with pytest.raises(ValueError, match=r"the checker has .* limits.source_bytes=8000"):
        pool.judge("print(1)", [case], limits=Limits(source_bytes=8000))


def test_input_and_output_may_be_files(pool):
    """Standard input is empty then, and what is printed counts for nothing."""
    case = Stdio("3\n", "6\n", input_file="in/put.txt", output_file="output.txt")
    double = "open('output.txt', 'w').write(str(2 * int(open('in/put.txt').read())))"
    assert pool.judge(
        f"import sys; assert sys.stdin.read() == ''\n{double}\nprint(7)", [case]
    ).passed
    for code, words in {
        "print(6)": "there is none",
        "import os; open('x', 'w').write('6'); os.symlink('x', 'output.txt')": "a link",
        "import os; os.mkdir('output.txt')": "there is none",
        "import os; os.mkfifo('output.txt')": "no regular file",
        "open('output.txt', 'w').write('7')": "not what was expected",
    }.items():
        found = only(pool.judge(code, [case]))
        assert found.outcome == "fail", (code, found)
        assert words in found.detail or found.reason == "exception", (code, found)
    found = only(pool.judge("open('output.txt', 'w').write('6' * (2 << 20))", [case]))
    assert (found.outcome, found.reason) == ("fail", "output")
    assert only(pool.judge(f"{double}\n1 / 0", [case])).reason == "exception"
    mixed = Stdio("3\n", "6\n", input_file="input.txt")
    assert pool.judge("print(2 * int(open('input.txt').read()))", [mixed]).passed
    mixed = Stdio("3 1", output_file="out", checker=CheckerProgram(ANY_ORDER))
    assert pool.judge("open('out', 'w').write('1 3')", [mixed]).passed
    assert only(pool.judge("open('out', 'w').write('1 2')", [mixed])).reason == "wrong_output"


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "main.py", "a//b", "", "*.txt", "x\0"])
def test_files_of_a_case_are_plain_names(name):
    for argument in ("input_file", "output_file"):
        with pytest.raises(ValueError, match=argument):
            Stdio("", "", **{argument: name})


def test_files_of_a_case_must_fit(pool):
    """Where its limits leave no room for one, or the program has one of its own there."""
    limits = Limits(disk_bytes=1 << 20)
    with pytest.raises(ValueError, match=r"cases\[0\]: the input has .* limits.disk_bytes"):
        pool.judge("", [Stdio("x" * (2 << 20), "", input_file="x")], limits=limits)
    with pytest.raises(ValueError, match=r"cases\[0\]: the expected output has .* limits.disk_b"):
        pool.judge("", [Stdio("", "x" * (2 << 20), output_file="x")], limits=limits)
    with pytest.raises(ValueError, match=r"cases\[0\]: files: 'a' can't be a file and a folder"):
        pool.judge(Program("", files={"a": ""}), [Stdio("", "", input_file="a/b")])


def test_cancelling_reaches_checkers(pool):
    """One that would take long is ended with the judging that wants it."""
    sleeps = CheckerProgram("import time; time.sleep(60); print(1)")
    judging = plan(pool.engine, [("print(1)", [Stdio("", checker=sleeps)])], numbered=True)
    timer = threading.Timer(0.5, judging.cancel)
    timer.start()
    with pytest.raises(CancelledError):
        judging.run()
    timer.join()
