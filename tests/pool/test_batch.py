"""`pool batch`: every program once, whatever interrupts it; whole lines; mistakes by line number."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest

from interpreter_pool import Pool
from interpreter_pool.pool.command.progress import Progressing
from interpreter_pool.pool.command.results import SAME

COMMAND = [
    sys.executable,
    "-W",
    "error",
    "-c",
    "from interpreter_pool.pool.command import main; main()",
    "batch",
]

KINDS = (
    # code, limits; how it ends is a property of the kind
    ("print({n} * 2)", None),
    ("import sys; print({n}); sys.exit({n} % 7)", None),
    ("print('before', flush=True)\nraise KeyError({n})", None),
    ("while True: pass", {"cpu_s": 0.02, "wall_s": 30}),
    ("while True: print('x' * 5000)", {"output_bytes": 10_000}),
)


def write_programs(path, count: int) -> None:
    """Mostly short programs; one in fifty loops, one in fifty floods."""
    with open(path, "w", encoding="utf-8") as file:
        for n in range(count):
            kind = 3 if n % 50 == 3 else 4 if n % 50 == 4 else n % 3
            code, limits = KINDS[kind]
            program = {"id": f"p{n}", "code": code.format(n=n)}
            if limits:
                program["limits"] = limits
            file.write(json.dumps(program) + "\n")


def start(*args: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*COMMAND, "--workers", "2", *args],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def batch(*args: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [*COMMAND, "--workers", "2", *args], input=stdin, capture_output=True, timeout=200
    )


def read(path) -> list[dict]:
    """Every line of the file, each of which must be whole, with the fields that it leaves out."""
    data = path.read_bytes()
    assert data == b"" or data.endswith(b"\n")
    found, last = [], {}
    for line in data.splitlines():
        last = {**last, **json.loads(line)}
        found.append(last)
    return found


def ends(results: list[dict]) -> dict[str, tuple]:
    found = {r["id"]: (r["reason"], r["exit_code"], r["stdout"]) for r in results}
    assert len(found) == len(results), "an id twice"
    return found


def wait_for_lines(path, count: int) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(400)  # 4,000 runs, on whatever machine
def test_an_interrupted_batch_goes_on_where_it_stopped(tmp_path):
    """2,000 mixed programs, interrupted by Ctrl-C, SIGTERM and SIGKILL: every id once, and the
    results are an uninterrupted run's.
    """
    programs, results, whole = (tmp_path / name for name in ("p.jsonl", "r.jsonl", "w.jsonl"))
    write_programs(programs, 2000)
    assert batch(str(programs), "--out", str(whole)).returncode == 0
    ways = ((300, signal.SIGINT, 130), (700, signal.SIGKILL, -9), (1100, signal.SIGTERM, 130))
    for lines, number, code in ways:
        process = start(str(programs), "--out", str(results))
        wait_for_lines(results, lines)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=20)
        assert process.returncode == code, stderr
        if number == signal.SIGKILL:
            with open(results, "ab") as file:  # as a crash in the middle of a line would leave it
                file.write(b'{"id": "p1999", "reas')
        else:
            assert lines <= len(read(results)) < 2000
            assert b"goes on from here" in stderr
    done = batch(str(programs), "--out", str(results))
    assert done.returncode == 0, done.stderr
    assert b"going on from there" in done.stderr
    found = ends(read(results))
    assert found.keys() == {f"p{n}" for n in range(2000)}
    assert found == ends(read(whole))
    reasons = [reason for reason, _, _ in found.values()]
    assert set(reasons) == {"ok", "exit", "exception", "cpu_timeout", "output"}
    assert reasons.count("cpu_timeout") == reasons.count("output") == 40


def test_lines_without_a_program_are_reported_and_the_rest_is_run(tmp_path):
    """Each with its number and what is wrong; exit code 1."""
    lines = [
        '{"code": "print(1)"}',
        "{broken",
        '{"id": "a", "code": "print(2)"}',
        "",
        '{"id": "a", "code": "print(3)"}',
        "[]",
        '{"id": "b"}',
        '{"id": "c", "code": "pass", "files": {"../x": ""}}',
        '{"id": "d", "code": "pass", "colect": []}',
        "[" * 100_000,
        '\xff{"code": "pass"}',
        '{"id": "e", "code": "pass", "limits": {"wall_s": -1}}',
        '{"id": "f", "code": "print(4)"}',
    ]
    done = batch("-", "--out", str(tmp_path / "r"), stdin="\n".join(lines).encode("latin-1"))
    assert done.returncode == 1
    found = ends(read(tmp_path / "r"))
    assert {name: stdout for name, (_, _, stdout) in found.items()} == {
        "1": "1\n", "a": "2\n", "f": "4\n",
    }  # fmt: skip
    stderr = done.stderr.decode()
    for number, words in (
        (2, "Expecting"), (5, "'a' was there"), (6, "JSON object"), (7, "'code'"), (8, "'../x'"),
        (9, "'colect'"), (10, ""), (11, ""), (12, "wall_s"),
    ):  # fmt: skip
        (line,) = [each for each in stderr.splitlines() if f"line {number}:" in each]
        assert words in line
    assert "9 lines" in stderr


def test_complaints_are_bounded(tmp_path):
    """Twenty are told, all are counted."""
    done = batch("-", "--out", "-", stdin=b"?\n" * 1000)
    assert done.stderr.count(b"pool: line ") == 20
    assert b"1000 lines" in done.stderr


def test_standard_streams_carry_a_batch():
    """Programs from a pipe are run as they come: results do not wait for the end of the input."""
    process = subprocess.Popen(
        [*COMMAND, "-", "--out", "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        for n in range(3):
            process.stdin.write(json.dumps({"code": f"print({n})"}).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["stdout"] == f"{n}\n"
        process.send_signal(signal.SIGINT)  # while it waits for input
        assert process.wait(10) == 130
    finally:
        process.kill()
        process.communicate()


def test_infra_errors_are_tried_again(tmp_path):
    """A result that says nothing about its program is not kept."""
    results = tmp_path / "r"
    results.write_text(
        '{"id": "1", "reason": "internal", "infra_error": true}\n'
        '{"id": "2", "reason": "ok", "infra_error": false, "stdout": "kept"}\n'
        '{"id": "3", "infra_err'  # cut off
    )
    stdin = b'{"code": "print(1)"}\n{"code": "print(2)"}'
    assert batch("-", "--out", str(results), stdin=stdin).returncode == 0
    assert {r["id"]: r["stdout"] for r in read(results)} == {"1": "1\n", "2": "kept"}
    assert batch("-", "--out", str(results), "--overwrite", stdin=stdin).returncode == 0
    assert {r["id"]: r["stdout"] for r in read(results)} == {"1": "1\n", "2": "2\n"}
    assert sorted(os.listdir(tmp_path)) == ["r"]


def test_options_are_defaults_for_programs_without_limits(tmp_path):
    """--timeout holds where a program brings no limits of its own."""
    stdin = (
        b'{"code": "import time; time.sleep(1)"}\n'
        b'{"code": "import time; time.sleep(1)", "limits": {"wall_s": 20}}\n'
    )
    done = batch("-", "--out", "-", "--timeout", "0.3", stdin=stdin)
    found = {r["id"]: r["reason"] for r in map(json.loads, done.stdout.splitlines())}
    assert found == {"1": "wall_timeout", "2": "ok"}


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("{p}",), "--out"),
        (("/nowhere/p", "--out", "{r}"), "/nowhere/p"),
        (("{p}", "--out", "/nowhere/r"), "/nowhere/r"),
        (("{p}", "--out", "{p}"), "itself"),
        (("{p}", "--out", "{r}", "--workers", "0"), "size"),
        (("{p}", "--out", "{r}", "--with", "surely-not-installed"), "surely-not-installed"),
    ],
)
def test_bad_usage_is_told_and_nothing_is_written(tmp_path, arguments, words):
    """Exit code 125; no results file is made or touched."""
    (tmp_path / "p").write_text('{"code": "print(1)"}\n')
    names = {"p": tmp_path / "p", "r": tmp_path / "r"}
    done = batch(*(each.format(**names) for each in arguments))
    assert done.returncode == 125, done
    assert words in done.stderr.decode()
    assert os.listdir(tmp_path) == ["p"]
    assert (tmp_path / "p").read_text() == '{"code": "print(1)"}\n'


@pytest.mark.parametrize("content", ["my notes\n", "my notes", '{"id": 7}\n', '{"code": "pass"}\n'])
def test_a_file_that_is_not_ours_is_not_touched(tmp_path, content):
    """Without --overwrite a file that holds anything but results is refused, and stays."""
    other = tmp_path / "other"
    other.write_text(content)
    done = batch("-", "--out", str(other), stdin=b'{"code": "print(1)"}')
    assert done.returncode == 125
    assert b"--overwrite" in done.stderr
    assert other.read_text() == content
    assert os.listdir(tmp_path) == ["other"]


def test_programs_from_a_redirected_file_are_not_overwritten(tmp_path):
    """`pool batch - --out p < p` is refused, with --overwrite, too; and so is `... p --out - >> p`."""
    path = tmp_path / "p"
    path.write_text('{"code": "print(1)"}\n')
    with open(path, "r+b") as file:
        for args in (
            ("-", "--out", str(path)),
            ("-", "--out", str(path), "--overwrite"),
            (str(path), "--out", "-"),
        ):
            done = subprocess.run(
                [*COMMAND, *args], stdin=file, stdout=file, stderr=subprocess.PIPE, timeout=60
            )
            assert done.returncode == 125, done.stderr
            assert b"itself" in done.stderr
    assert path.read_text() == '{"code": "print(1)"}\n'


@pytest.mark.parametrize("kind", ["pipe", "link", "private"])
def test_what_the_output_is_stays(tmp_path, kind):
    """A pipe is written to, never replaced by a file; a link stays one; nobody else may read."""
    out, real = tmp_path / "out", tmp_path / "real"
    reader = None
    if kind == "pipe":
        os.mkfifo(out)
        reader = os.open(out, os.O_RDONLY | os.O_NONBLOCK)
    else:
        real.touch(0o600)
        (out.symlink_to if kind == "link" else out.hardlink_to)(real)
    assert batch("-", "--out", str(out), stdin=b'{"code": "print(1)"}').returncode == 0
    if reader is not None:
        assert json.loads(os.read(reader, 65536))["stdout"] == "1\n"
        os.close(reader)
        assert out.is_fifo()
    else:
        assert out.is_symlink() is (kind == "link")
        assert out.stat().st_mode & 0o777 == 0o600
        assert ends(read(out))["1"] == ("ok", 0, "1\n")


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_a_batch_that_nobody_reads(tmp_path, times):
    """A reader that stopped reading holds up neither the first Ctrl-C nor the second; both are 130."""
    programs = tmp_path / "p"
    programs.write_text("".join('{"code": "print(\'x\' * 200000)"}\n' for _ in range(50)))
    process = start(str(programs), "--out", "-")
    try:
        process.stdout.read(1)  # it has begun; and soon the pipe is full
        time.sleep(0.5)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        assert process.wait(10) == 130
        assert b"Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def test_limits_that_a_tier_cannot_hold_are_a_complaint_about_their_line(tmp_path):
    """The others are run."""
    programs, out = tmp_path / "programs", tmp_path / "results"
    lines = [{"code": "print(1)"}, {"code": "2", "limits": {"processes": 4}}, {"code": "print(3)"}]
    programs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = batch(str(programs), "--out", str(out), "--tier", "landlock")
    assert done.returncode == 1
    assert b"line 2: processes=4" in done.stderr
    assert sorted(result["stdout"] for result in read(out)) == ["1\n", "3\n"]


def test_packages_that_are_not_offered_are_in_the_summary(tmp_path):
    """How many programs failed for them, and the option that was left out."""
    programs, results = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    codes = ["import numpy"] * 3 + ["import markdown_it", "print(1)"]
    programs.write_text("".join(json.dumps({"code": code}) + "\n" for code in codes))
    done = batch(str(programs), "--out", str(results))
    assert done.returncode == 0, done
    said = " ".join(done.stderr.decode().split())
    assert "3 of 5 programs import numpy, which this pool does not offer: --with numpy" in said
    assert (
        "1 of 5 programs imports markdown-it-py, which this pool does not offer: --with markdown-it-py"
        in said
    )
    records = map(json.loads, results.read_text().splitlines())
    assert [each["not_offered"] for each in records].count("numpy") == 3
    programs.write_text(json.dumps({"code": "print(1)"}) + "\n")
    done = batch(str(programs), "--out", str(tmp_path / "other.jsonl"))
    assert b"offer" not in done.stderr


# ---- records


def write_lines(path, *lines: dict) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_what_all_records_have_in_common_is_said_once(tmp_path):
    """How they were confined is in the first record, also in the one that goes on; a result that
    was confined otherwise says so, and the next one again.
    """
    programs, out = tmp_path / "p", tmp_path / "r"
    write_lines(programs, *({"id": f"p{n}", "code": f"print({n})"} for n in range(4)))
    with Pool(1) as pool:
        whole = pool.run("print(1)").to_dict()
    for count in (2, 4):
        first = b"".join(programs.read_bytes().splitlines(True)[:count])
        assert batch("-", "--out", str(out), stdin=first).returncode == 0
    first, *others = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert first.keys() == whole.keys()
    for record in others:
        assert whole.keys() - record.keys() == set(SAME)
    assert {record["stdout"] for record in read(out)} == {f"{n}\n" for n in range(4)}
    assert all(record["layers"] == whole["layers"] for record in read(out))
    write_lines(programs, {"id": "x", "code": "pass"}, {"id": "y", "code": "pass"})
    assert batch(str(programs), "--out", str(out), "--tier", "landlock").returncode == 0
    *_, x, y = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert (x["tier"], x["layers"]["tier"]) == ("landlock", "landlock")
    assert "tier" not in y


def test_results_of_the_old_form_are_taken_up(tmp_path):
    """A file whose records have all fields: nothing is run again, and new records join it."""
    programs, out = tmp_path / "p", tmp_path / "r"
    write_lines(programs, *({"id": f"p{n}", "code": f"print({n})"} for n in range(4)))
    with Pool(1) as pool:
        old = [
            {**pool.run(f"print({n})").to_dict(), "id": f"p{n}", "stdout": "old"} for n in (0, 1)
        ]
    write_lines(out, *old)
    done = batch(str(programs), "--out", str(out))
    assert b"2 had results already" in done.stderr
    assert [record["stdout"] for record in read(out)[:2]] == ["old", "old"]
    assert read(out)[:2] == old
    assert {record["stdout"] for record in read(out)[2:]} == {"2\n", "3\n"}
    assert read(out)[3]["layers"] == old[0]["layers"]
    assert b"4 results" in done.stderr


# ---- again


def test_what_failed_is_run_again_by_its_reason(tmp_path):
    """After an option that was forgotten, the message says what to type; --rerun replaces the
    records of that reason and no others, and the summary is that of the whole file.
    """
    programs, out = tmp_path / "p", tmp_path / "r"
    codes = ["print(1)", "open('there')", "while True: pass", "import sys; sys.exit(3)"]
    write_lines(programs, *({"id": f"p{n}", "code": code} for n, code in enumerate(codes)))
    command = (str(programs), "--out", str(out), "--timeout", "0.3")
    assert b"--rerun" not in batch(*command).stderr
    before = {record["id"]: record for record in read(out)}
    done = batch(*command)
    assert b"3 of those that had results already did not pass" in done.stderr
    assert b"--rerun exception --rerun exit --rerun wall_timeout" in done.stderr
    write_lines(
        programs, *({"id": f"p{n}", "code": c, "files": {"there": ""}} for n, c in enumerate(codes))
    )
    done = batch(*command, "--rerun", "exception,wall_timeout")
    assert done.returncode == 0
    assert b"2 had results already" in done.stderr and b"2 runs in" in done.stderr
    after = {record["id"]: record for record in read(out)}
    assert len(read(out)) == 4
    reasons = {name: record["reason"] for name, record in after.items()}
    assert reasons == {"p0": "ok", "p1": "ok", "p2": "wall_timeout", "p3": "exit"}
    assert (after["p0"], after["p3"]) == (before["p0"], before["p3"])
    assert after["p2"]["wall_s"] != before["p2"]["wall_s"]
    table = dict(re.findall(r"^(\w+) +(\d+) +[\d.]+%$", done.stderr.decode(), re.M))
    assert table == {"ok": "2", "exit": "1", "wall_timeout": "1"}
    assert b"4 results in " in done.stderr and b"2 passed, 0 infra errors" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["p", "r"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_rerun_that_is_interrupted_loses_nothing(tmp_path, number):
    """A record is replaced when the new one is there: by the end of an interrupted command, or
    when the file is taken up after a crash. A reader that takes an id's last record is right
    at any time.
    """
    programs, out, gate = (tmp_path / name for name in ("p", "r", "gate"))
    lines = [{"id": f"p{n}", "code": f"print({n}); 1/0"} for n in range(6)]
    write_lines(programs, *lines)
    assert batch(str(programs), "--out", str(out)).returncode == 0
    os.mkfifo(gate)
    process = start(str(gate), "--out", str(out), "--rerun", "exception")
    with open(gate, "wb") as writer:
        for n in (3, 1):
            writer.write(json.dumps({"id": f"p{n}", "code": "print('new')"}).encode() + b"\n")
        writer.flush()
        wait_for_lines(out, 8)
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode == (130 if number == signal.SIGINT else -9)
    found = {record["id"]: record["stdout"] for record in read(out)}
    assert found == {f"p{n}": "new\n" if n in (1, 3) else f"{n}\n" for n in range(6)}
    assert len(read(out)) == (6 if number == signal.SIGINT else 8)
    done = batch(str(programs), "--out", str(out))
    assert b"6 had results already" in done.stderr
    assert len(read(out)) == 6
    assert {record["id"]: record["stdout"] for record in read(out)} == found
    assert read(out)[5]["layers"]["tier"]


def test_what_a_rerun_does_not_find_stays(tmp_path):
    """A program that is not among the lines any more keeps its record."""
    programs, out = tmp_path / "p", tmp_path / "r"
    write_lines(programs, {"id": "a", "code": "1/0"}, {"id": "b", "code": "1/0"})
    assert batch(str(programs), "--out", str(out)).returncode == 0
    write_lines(programs, {"id": "b", "code": "pass"})
    assert batch(str(programs), "--out", str(out), "--rerun", "exception").returncode == 0
    assert {r["id"]: r["reason"] for r in read(out)} == {"a": "exception", "b": "ok"}


@pytest.mark.parametrize(
    "args, words",
    [
        (("--out", "r", "--rerun", "failed"), "'failed': there are ok, "),
        (("--out", "-", "--rerun", "exit"), "--rerun needs --out FILE"),
        (("--out", "r", "--overwrite", "--rerun", "exit"), "no --overwrite"),
    ],
)
def test_a_rerun_of_nothing_is_bad_usage(args, words):
    done = batch("-", *args)
    assert done.returncode == 125
    assert words in done.stderr.decode()


# ---- progress


def test_an_interrupted_batch_has_what_is_finished_and_says_how_to_go_on(tmp_path):
    """Every run that had ended is in the file; --overwrite, which would begin anew, is to be left
    out.
    """
    programs, out = tmp_path / "p", tmp_path / "r"
    codes = ["print(1)"] * 8 + ["import time; time.sleep(60)"] * 2
    write_lines(programs, *({"code": code} for code in codes))
    process = start(str(programs), "--out", str(out), "--overwrite", "--timeout", "100")
    wait_for_lines(out, 8)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert len(read(out)) == 8
    assert b"the same command, without --overwrite, goes on from here" in stderr


def test_the_total_is_known_and_time_left_is_told(monkeypatch):
    """As far as it is known: of a pipe there is no total; of nothing that has run, no time."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    progress = Progressing(10_001)
    progress.is_blank()
    assert progress.text(0) == "0 of 10,000"
    for n in range(1200):
        progress.advance(failed=n < 3, ran=n >= 200)
    clock[0] += 100.0  # 1,000 runs
    assert progress.text(7_800) == "1,200 of 10,000, 3 failed, 2 min left"
    assert progress.text(0) == "1,200 of 10,000, 3 failed, 15 min left"
    progress = Progressing(None)
    progress.advance(failed=True, ran=True)
    assert progress.text(0) == "1 done, 1 failed"


def test_lines_tell_how_far_it_is_where_there_is_no_terminal(tmp_path):
    """On stderr, from time to time."""
    programs = tmp_path / "p"
    write_lines(programs, *({"code": "import time; time.sleep(0.2); 1/0"} for _ in range(6)))
    code = (
        "from interpreter_pool.pool.command import main, progress\n"
        "progress._LINE_EVERY_S = 0.3\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "batch", str(programs), "--out", "-", "--workers", "1"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert re.search(r"^pool: [1-5] of 6, [1-5] failed, \d+ s left$", done.stderr, re.M), done


def test_a_terminal_shows_a_bar(tmp_path):
    """With the total, of a file also where it is standard input; complaints stand above it."""
    programs = tmp_path / "p"
    programs.write_text('{"code": "print(1)"}\n\nnonsense\n{"code": "print(2)"}')
    ours, theirs = pty.openpty()
    with open(programs, "rb") as source, subprocess.Popen(
        [*COMMAND, "-", "--out", str(tmp_path / "r")], stdin=source, stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # EIO: nobody has the other end any more
                break
        os.close(ours)
    assert process.returncode == 1
    shown = re.sub(rb"\x1b\[[0-9;]*m", b"", shown)
    assert b"3 of 3, 1 failed" in shown
    assert "━".encode() in shown
    assert b"pool: line 3: " in shown
