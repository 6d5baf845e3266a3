"""Calibration: which rows are kept, why the others are left out, and what trainers make of it."""

import contextlib
import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import time

import pytest
from shapes import JUDGED, KNOWN, THRICE, TWICE

from interpreter_pool import Asserts, Call, CaseResult, Limits, Stdio, Verdict
from interpreter_pool.pool import Calibration, calibrate, read_row
from interpreter_pool.pool.command.calibrate import ReportsFile, columns_of
from interpreter_pool.pool.judge.verdict import Outcome
from interpreter_pool.pool.rows import Kind, RowReport
from interpreter_pool.pool.rows.calibrating import calibrating
from interpreter_pool.pool.rows.calibration import digest_of
from interpreter_pool.pool.rows.cheats import IN_WORDS, Answers, cheats_for
from interpreter_pool.pool.rows.reading import Reading
from interpreter_pool.pool.rows.tables import renamed
from interpreter_pool.transforms import CodeRewardFunction

TEST = ["assert twice(1) == 2", "assert twice(3) == 6"]
KEPT = {"test_list": TEST, "code": TWICE}
WRONG = {"test_list": TEST, "code": THRICE}
BURNS = "import time\ndef twice(x):\n    while time.process_time() < 0.3: pass\n    return 2 * x"
ENDLESS = "def twice(x):\n    while True: pass"
TOSSES = "import os\ndef twice(x): return 2 * x if os.urandom(1)[0] & 1 else None"
ECHO = "import sys; sys.stdout.write(sys.stdin.read())"
BLANK = {"inputs": ["a\n", "\n"], "outputs": ["a\n", "\n"], "solution": ECHO}


def kinds(calibration: Calibration) -> list[str]:
    return [str(report.kind) for report in calibration.rows]


def test_a_row_is_kept_if_its_solution_passes_and_nothing_that_solves_nothing_does(pool):
    """Each other row is left out for a reason, which is said; none takes another with it."""
    rows = [
        KEPT,
        WRONG,
        BLANK,
        {"test_list": TEST, "code": "import numpy\n" + TWICE},
        {"test_list": TEST},
        {"test_list": TEST, "code": [1]},
        KNOWN[0][1],
        {"nothing": 1},
        {"test": "def check(candidate):\n    raise KeyError(1)", "entry_point": "f", "code": TWICE},
        {"test_list": TEST, "code": [THRICE, TWICE]},
        {"test_list": TEST, "code": [THRICE, "1/0", "x"]},
    ]
    seen = []
    found = calibrate(pool, rows, timeout=5, on_row=seen.append)
    assert kinds(found) == [
        *("kept", "wrong", "weak", "not_offered", "no_solution", "no_solution"),
        *("unjudged", "unreadable", "harness_error", "kept", "wrong"),
    ]
    assert seen == list(found.rows) and found.keep == [0, 9]
    assert [report.row for report in found.left_out] == [1, 2, 3, 4, 5, 6, 7, 8, 10]
    assert found.counts["kept"] == 2 and "2 kept, 2 wrong, 1 weak" in repr(found)
    assert "0 of 2 pass; case 0: assertion" in found.rows[1].why
    assert found.rows[1].why == found.rows[10].why
    assert found.rows[2].why == "an empty program scores 0.5"
    assert found.rows[2].cheats["empty"] == 0.5
    assert "numpy" in found.rows[3].why
    assert all(report.why for report in found.left_out)


def test_solutions_that_pass_at_times_or_take_long_are_left_out(pool):
    """As those that take all their time, which are slow and not wrong."""
    tosses, burns, endless = ({"test_list": TEST[:1], "code": c} for c in (TOSSES, BURNS, ENDLESS))
    (report,) = calibrate(pool, [tosses], repeats=24).rows
    assert report.kind is Kind.FLAKY and "of 24 times" in report.why
    (report,) = calibrate(pool, [burns], repeats=1, slow=0.02).rows
    assert report.kind is Kind.SLOW and "more than 0.2 s" in report.why
    (report,) = calibrate(pool, [endless], repeats=1, timeout=0.2).rows
    assert report.kind is Kind.SLOW and "_timeout" in report.why


def test_slow_goes_by_the_time_of_a_case_also_where_asserts_share_a_process(pool):
    """That of all together is not what a limit is for; that of loading counts once."""
    tests = [f"assert twice({n}) == {2 * n}" for n in range(8)]
    burn = "    ends = time.process_time() + 0.1\n    while time.process_time() < ends: pass\n"
    each = f"import time\ndef twice(x):\n{burn}    return 2 * x"
    loading = f"import time\nif True:\n{burn * 6}{TWICE}"
    rows = [{"test_list": tests, "code": code} for code in (each, loading, TWICE)]
    one, load, quick = calibrate(pool, rows, repeats=1, timeout=5, slow=0.05).rows
    assert one.kind is Kind.KEPT and 0.05 <= one.cpu_s < 0.25
    assert load.kind is Kind.SLOW and 0.3 <= load.cpu_s < 1.2
    assert quick.kind is Kind.KEPT and 0 < quick.cpu_s < 0.1
    (report,) = calibrate(pool, rows[:1], repeats=1, timeout=5, slow=0.01).rows
    assert report.kind is Kind.SLOW
    # Together they take more than one of them may: each is judged all the same.
    (report,) = calibrate(pool, rows[:1], repeats=1, timeout=0.3, slow=1.0).rows
    assert report.kind is Kind.KEPT and 0.05 <= report.cpu_s < 0.3


def test_programs_that_solve_nothing_get_nothing_in_any_shape(pool):
    """Of every shape that is judged, each of the five is judged, conclusively, and scores 0."""
    rows = [{**row, "own": right} for _, row, right, _ in JUDGED]
    found = calibrate(pool, rows, solution="own", repeats=1)
    assert [(report.shape, report.kind, report.cheats) for report in found.rows] == [
        (shape, Kind.KEPT, {}) for shape, *_ in JUDGED
    ]
    answers = Answers()
    readings = [read_row(row, right) for _, row, right, _ in JUDGED]
    for reading in readings:
        answers.note(reading)
    tried = {name for reading in readings for name in cheats_for(reading, answers)}
    assert tried == set(IN_WORDS)


def test_the_answer_of_another_row_is_none_of_the_rows_own():
    """Nor one that a tolerant comparison would take for it: that is luck, and no weakness."""
    answers = Answers()
    for text in ("2.0\n", "[2]", "yes"):
        answers.note(Reading(shape="x", cases=(Stdio("", text),)))
    answers.note(Reading(shape="x", cases=(Call("f", expected=[1.0000001]),)))
    program = answers.other_than([Stdio("", "2"), Stdio("", "YES\n")])
    assert program is None
    assert "b'2.0\\n'" in (answers.other_than([Stdio("", "3")]) or "")
    assert answers.other_than([Call("f", expected=1)]) is None
    assert "return [1.0000001]" in (answers.other_than([Call("f", expected=2)]) or "")
    assert answers.other_than([Asserts("assert f(1)", "f")]) is None


@pytest.mark.parametrize(
    "test",
    [
        "assert f(1) == [3, 4]",
        "def check(candidate):\n    assert candidate(1) == [3, 4], 'why'\n    assert True",
        "assert Solution().f(1) == (3, 4)",
        "inputs, results = [], 0\nresults = [[3, 4], [5]]\nfor i, e in z: same(f(i), e)",
    ],
)
def test_tests_of_asserts_are_given_the_answer_of_another_row_too(test):
    """One that they expect of nothing themselves; numbers may be right by luck."""
    answers = Answers()
    asserts = Asserts(test, "f")
    for other in ("assert g() == 7", "assert g() == []", test, "assert g() == ['a']"):
        answers.note(Reading(shape="x", cases=(Asserts(other, "g" if "g()" in other else "f"),)))
    assert (answers.other_than([asserts]) or "").endswith("return ['a']\n")


@pytest.mark.parametrize(
    "test",
    [
        "assert f(1)",
        "assert len(f(1)) == 2",
        "assert f(1)[0] == 3",
        "assert sorted(f(1)) == [3]",
        "assert f(1) == g",
        "assert f(1) == 2 and f(3)",
        "results = 3\nf(1)",
        "f(1) ==",
    ],
)
def test_a_test_that_other_answers_may_pass_is_given_none(test):
    """Nor has it one to give; that a row is passed by luck does not make it weak."""
    answers = Answers()
    answers.note(Reading(shape="x", cases=(Asserts(test, "f"),)))
    assert answers.other_than([Asserts("assert f(1) == 5", "f")]) is None
    answers.note(Reading(shape="x", cases=(Asserts("assert g() == ['a']", "g"),)))
    assert answers.other_than([Asserts(test, "f")]) is None
    assert answers.other_than([Asserts("assert f(1) == 5", "f")]) is not None


def test_a_digest_is_of_the_tests_alone():
    """A trainer's row has lost its prompt; sets have no order; methods are found by any name."""
    row = {"test": "def check(f): assert f(1) == 2", "entry_point": "twice"}
    same = {**row, "prompt": "import math\ndef twice(x):\n    pass\n", "extra": 1}
    assert digest_of(read_row(row).cases) == digest_of(read_row(same).cases)
    calls = {"inputs": [[1]], "outputs": [2], "fn_name": "twice"}
    method = "class Solution:\n    def twice(self, x): return 2 * x"
    assert digest_of(read_row(calls).cases) == digest_of(read_row(calls, method).cases)
    assert digest_of([Stdio("1", "2")]) != digest_of([Stdio("12", "")])
    assert digest_of([Call("f", [1], expected=1)]) != digest_of([Call("f", [1.0], expected=1)])
    code = (
        "from interpreter_pool import Call\n"
        "from interpreter_pool.pool.rows.calibration import digest_of\n"
        "print(digest_of([Call('f', [set('abcdef')], expected={'x': frozenset('gh')})]))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "012"
    }
    assert len(seen) == 1 and "" not in seen


def test_what_is_saved_is_loaded_and_a_cut_line_is_no_report(tmp_path):
    """The last word on a row counts; a file of another kind is refused."""
    reports = [
        RowReport(row=0, kind=Kind.INFRA_ERROR, digest="a"),
        RowReport(row=1, kind=Kind.WEAK, why="é\n", cheats={"empty": 0.5}, cpu_s=0.1, name="n"),
        RowReport(row=0, kind=Kind.KEPT, digest="a"),
    ]
    whole = Calibration(reports, {"solution": None})
    whole.save(tmp_path / "file")
    assert Calibration.load(tmp_path / "file").rows == whole.rows == (reports[2], reports[1])
    data = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(data[:-3])
    assert Calibration.load(tmp_path / "file").rows == (reports[2],)
    (tmp_path / "file").write_bytes(data.splitlines(keepends=True)[0])
    assert Calibration.load(tmp_path / "file").rows == ()
    for other in (b"", b"[]\n", b'{"calibration": 99, "settings": {}}\n', data[:-2] + b"}}\n"):
        (tmp_path / "file").write_bytes(other)
        with pytest.raises(ValueError, match="no file of a calibration"):
            Calibration.load(tmp_path / "file")


def test_rows_that_are_known_are_not_judged_again(pool):
    """If their tests are the same: by number and digest."""
    first = calibrate(pool, [KEPT, WRONG], repeats=1)
    known = {(report.row, report.digest) for report in first.rows}
    rows = [KEPT, {**WRONG, "test_list": ["assert twice(1) == 3"]}]
    found = list(calibrating(pool, rows, repeats=1, known=known))
    assert [(report.row, report.kind) for report in found] == [(1, Kind.KEPT)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solution": "x"}, "no row has this column"),
        ({"repeats": 0}, "repeats=0"),
        ({"slow": 2}, "slow=2"),
        ({"compare": "y"}, "compare='y'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(pool, options, message):
    with pytest.raises(ValueError, match=message):
        calibrate(pool, [KEPT], **options)


def test_a_trainer_leaves_out_what_the_calibration_does(pool, tmp_path, caplog):
    """Whatever the program: None. A row that it does not know is judged, with one warning."""
    calibration = calibrate(pool, [KEPT, {**BLANK, "test_list": None}], repeats=1)
    assert kinds(calibration) == ["kept", "weak"]
    calibration.save(tmp_path / "file")
    other = ["assert twice(5) == 10"]
    columns = {
        "test_list": [TEST, None, other, other, TEST],
        "inputs": [None, BLANK["inputs"], None, None, None],
        "outputs": [None, BLANK["outputs"], None, None, None],
    }
    answers = [f"```python\n{code}\n```" for code in (TWICE, ECHO, TWICE, THRICE, THRICE)]
    for keep in (calibration, tmp_path / "file", str(tmp_path / "file")):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            reward = CodeRewardFunction(pool, keep=keep)
            metrics: dict[str, float] = {}
            for _ in range(2):
                rewards = reward(None, answers, log_metric=metrics.__setitem__, **columns)
                assert rewards == [1.0, None, 1.0, 0.0, 0.0]
        assert metrics["code/unreadable"] == 0
        (record,) = caplog.records
        assert record.getMessage().startswith("row 2 is not in the calibration")
    with pytest.raises(TypeError, match="keep must be a Calibration"):
        CodeRewardFunction(pool, keep=[0])


class Failing:
    """A pool that fails in whatever it judges."""

    limits = Limits()

    def judge_many(self, items, **options):
        broken = CaseResult(index=0, kind="x", outcome=Outcome.INFRA_ERROR, reason="internal")
        return [Verdict((broken,)) for _ in items]


def test_an_infra_error_says_nothing_of_a_row():
    """It is not kept, and not blamed on the row."""
    (report,) = calibrate(Failing(), [KEPT]).rows
    assert report.kind is Kind.INFRA_ERROR and not report.keep


# ---- the command


COMMAND = [
    sys.executable,
    "-W",
    "error",
    "-c",
    "from interpreter_pool.pool.command import main; main()",
    "calibrate",
]


def command(*args: object, **options) -> "subprocess.CompletedProcess[str]":
    done = [*COMMAND, "--workers", "2", *map(str, args)]
    return subprocess.run(done, capture_output=True, timeout=100, text=True, **options)


@pytest.fixture
def data(tmp_path):
    """A file of rows, one of them no JSON."""
    path = tmp_path / "rows.jsonl"
    rows = [KEPT, {"task_id": "[red]a", **WRONG}, KEPT]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    return path


def test_the_command_writes_a_report_for_each_row_and_sums_up(data, tmp_path):
    """A line of a file, and what is left out, for people, or as JSON."""
    out = tmp_path / "out.jsonl"
    done = command(data, "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("[red]a", "wrong", "2 of 4 rows kept", "50.0%", "line 4 is no JSON"):
        assert words in done.stdout
    found = Calibration.load(out)
    assert found.keep == [0, 2] and found.settings["repeats"] == 2
    again = command(data, "--json", "--solution", "code", "--repeats", 1, "--out", out)
    assert again.returncode == 125 and "made with other repeats, solution" in again.stderr
    asked = command(
        data, "--json", "--solution", "code", "--repeats", 1, "--out", out, "--overwrite"
    )
    said = json.loads(asked.stdout)
    assert (asked.returncode, said["keep"], said["kept"], said["rows"]) == (0, [0, 2], 2, 4)
    assert [each["kind"] for each in said["left_out"]] == ["wrong", "unreadable"]
    assert said["counts"] == {"kept": 2, "wrong": 1, "unreadable": 1}
    assert len(out.read_text().splitlines()) == 5


def test_a_command_that_is_told_to_stop_keeps_what_is_done(tmp_path):
    """By Ctrl-C or SIGTERM, with exit code 130; the same command goes on."""
    path, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    slow = {"test_list": TEST, "code": "import time; time.sleep(300)\n" + TWICE}
    rows = [KEPT] * 24 + [slow]  # of the next ones that are judged together
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    args = [*COMMAND, str(path), "--out", str(out), "--timeout", "200", "--repeats", "1"]
    for number in (signal.SIGTERM, signal.SIGINT):
        process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if number == signal.SIGINT:  # where it goes on
            assert process.stderr is not None
            assert "24 rows have a report already" in process.stderr.readline()
        while not out.exists() or len(out.read_text().splitlines()) < 25:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(number)
        said, complaints = process.communicate(timeout=60)
        assert process.returncode == 130, complaints
        assert "24 of 25 rows kept" in said and "the same command goes on" in complaints
    assert Calibration.load(out).keep == list(range(24))


def test_a_file_of_reports_is_taken_up_whole_and_no_other_is_written_to(tmp_path):
    """A line that was cut off is written anew."""
    path, report = tmp_path / "file", RowReport(row=0, kind=Kind.KEPT, digest="a")
    settings = {"repeats": 2, "columns": {}}

    def opened(settings=settings, overwrite=False):
        return contextlib.closing(ReportsFile(str(path), settings, overwrite=overwrite))

    with opened() as file:
        file.write(report)
    whole = path.read_bytes()
    head = whole[: whole.index(b"\n") + 1]
    for cut, known in ((head[:5], 0), (head, 0), (whole[:-2], 0), (whole, 1)):
        path.write_bytes(cut)
        with opened() as file:
            assert len(file.reports) == known
            if not known:
                file.write(report)
        assert path.read_bytes() == whole
    with pytest.raises(ValueError, match="made with other repeats; name another file"):
        ReportsFile(str(path), {**settings, "repeats": 3}, overwrite=False)
    assert path.read_bytes() == whole
    with opened({"repeats": 3}, overwrite=True) as file:
        assert file.reports == []
    path.write_text('{"task_id": 1}\n')
    with pytest.raises(ValueError, match="no file of a calibration"):
        ReportsFile(str(path), settings, overwrite=False)
    assert path.read_text() == '{"task_id": 1}\n'


def test_columns_may_be_named_otherwise(tmp_path):
    """Or left out, as TRL leaves out prompt."""
    path = tmp_path / "rows.json"
    row = {"my_tests": TEST, "prompt": "def other(): pass", "code": TWICE, "entry_point": ""}
    assert renamed(row, {"test_list": "my_tests", "prompt": ""}).keys() == {
        *("my_tests", "test_list", "code", "entry_point")
    }
    assert renamed(row, {}) is row
    path.write_text(json.dumps([row]))
    done = command(path, "--column", "test_list=my_tests", "--column", "prompt=", "--repeats", 1)
    assert "1 of 1 row kept (1 mbpp)" in done.stdout
    for wrong in ("x", "=x"):
        with pytest.raises(ValueError, match="give NAME=COLUMN"):
            columns_of([wrong])


def test_a_folder_of_a_dataset_is_read(tmp_path):
    """One split of it; what is no such folder is refused, with the reason."""
    if importlib.util.find_spec("datasets") is None:  # not imported here: its threads would stay
        pytest.skip("datasets is not installed")
    code = """
import sys, datasets
from interpreter_pool.pool.command.rows import read_rows
split = datasets.Dataset.from_list([{"code": "a", "n": [1, 2]}, {"code": "b", "n": None}])
split.save_to_disk("one")
datasets.DatasetDict({"train": split}).save_to_disk("several")
for name in ("one", "several/train", "several", "."):
    try:
        print([dict(row) for row in read_rows(name)])
    except ValueError as error:
        print(error)
"""
    args = [sys.executable, "-c", code]
    done = subprocess.run(args, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    rows = str([{"code": "a", "n": [1, 2]}, {"code": "b", "n": None}])
    one, train, several, none = done.stdout.splitlines()
    assert one == train == rows, done.stderr
    assert "name the folder of one" in several and "no folder of a dataset" in none


def test_a_row_that_needs_to_see_changes_of_arguments_is_told_so(pool):
    """It is proposed, and never done: a row asks for it by a column."""
    row = {
        "test_list": ["x = [2, 1]\nput_in_order(x)\nassert x == [1, 2]"],
        "code": "def put_in_order(x): x.sort()",
    }
    (report,) = calibrate(pool, [row]).rows
    assert report.kind is Kind.WRONG and "mutates=true in the row" in report.why
    (report,) = calibrate(pool, [{**row, "mutates": True}]).rows
    assert report.kind is Kind.KEPT, report


def test_a_row_whose_tests_ask_the_program_about_itself_alone_is_weak(pool):
    row = {
        "test": "from solution import Vec\ndef test_v():\n    assert Vec(1) + Vec(2) == Vec(3)\n",
        "solution": (
            "class Vec:\n    def __init__(self, x): self.x = x\n"
            "    def __add__(self, o): return Vec(self.x + o.x)\n"
            "    def __eq__(self, o): return self.x == o.x\n"
        ),
    }
    (report,) = calibrate(pool, [row]).rows
    assert report.kind is Kind.WEAK and "says of itself" in report.why
