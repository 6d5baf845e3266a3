"""`pool fuzz` and `pool bench`, as processes of their own: exit codes, lines to paste, JSON."""

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from conftest import wait_until

COMMAND = [
    sys.executable,
    "-W",
    "error",
    "-c",
    "from interpreter_pool.pool.command import main; main()",
]
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ENVIRONMENT = {**os.environ, "PYTHONPATH": ROOT}

REFERENCE = "def f(xs: list[int]) -> int:\n    return max(xs, default=0)\n"
WRONG = "def f(xs):\n    if not xs: raise KeyError('\\x1b[2J\\n[bold]')\n    return max(xs)\n"


@pytest.fixture
def files(tmp_path):
    """A folder with programs by name."""
    programs = {
        "ref": REFERENCE,
        "wrong": WRONG,
        "right": REFERENCE.replace("max(xs, default=0)", "max([*xs, *([] if xs else [0])])"),
        "spin": "def f(n: int):\n    while True: pass\n",
        "bare": "def f(n): return n\n",
    }
    for name, program in programs.items():
        (tmp_path / f"{name}.py").write_text(program)
    return tmp_path


def fuzz(folder, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [*COMMAND, "fuzz", *options, "--function", "f"]
    return subprocess.run(
        command, capture_output=True, timeout=60, text=True, cwd=folder, env=ENVIRONMENT
    )


def test_a_difference_is_a_line_to_paste_and_status_1(files):
    """The call, and what both came to as comments, whatever a program says; found again first."""
    for _ in range(2):
        done = fuzz(files, "wrong.py", "--reference", "ref.py", "--seed", "1")
        assert done.returncode == 1, done
        assert done.stdout.splitlines()[0] == "f([])"
        assert "# reference: returned 0" in done.stdout
        assert all(line.startswith("#") for line in done.stdout.splitlines()[1:])
        assert "\x1b" not in done.stdout + done.stderr
        exec(compile(done.stdout, "pasted", "exec"), {"f": lambda xs: None})
        assert "seed 1" in done.stderr
    assert (files / ".hypothesis" / "examples").is_dir()


def test_no_difference_is_status_0(files):
    """Nothing on stdout; how many inputs were tried, and the seed, on stderr."""
    options = ("--max-examples", "30", "--database", str(files / "kept"))
    done = fuzz(files, "right.py", "--reference", "ref.py", *options)
    assert (done.returncode, done.stdout) == (0, ""), done
    assert "no difference; inputs tried: " in done.stderr
    assert not (files / ".hypothesis").exists(), "all that hypothesis keeps goes to --database"


def test_json_is_one_object(files):
    """Found or not, with the same fields of the search; nothing is kept where that is asked."""
    told = {}
    for name in ("wrong", "right"):
        options = ("--json", "--database", "none", "--max-examples", "30", "--seed", "3")
        done = fuzz(files, f"{name}.py", "--reference", "ref.py", *options)
        told[name] = json.loads(done.stdout)
        assert told[name]["found"] is bool(done.returncode) is (name == "wrong")
        assert told[name]["seed"] == 3
    assert told["wrong"]["call"] == "f([])"
    assert told["wrong"]["candidate"]["exception"] == "KeyError"
    assert told["wrong"]["reference"]["value"] == "0"
    assert told["right"]["examples"] > 9
    assert not (files / ".hypothesis").exists()


@pytest.mark.parametrize(
    "options, words",
    [
        (("wrong.py",), "--reference"),
        (("wrong.py", "--reference", "none.py"), "none.py"),
        (("wrong.py", "--reference", "bare.py"), "pass a strategy"),
        (("wrong.py", "--reference", "ref.py", "--max-examples", "0"), "max_examples=0"),
        (("wrong.py", "--reference", "ref.py", "--timeout", "soon"), "soon"),
        (("-", "--reference", "-"), "both"),
    ],
)
def test_bad_usage_is_status_125(files, options, words):
    """With a message that names what was wrong, and no difference told."""
    done = fuzz(files, *options)
    assert (done.returncode, done.stdout) == (125, ""), done
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interruption_is_no_finding(files):
    """Ctrl-C ends the search with status 130, and says with which seed it goes on."""
    command = [
        *COMMAND,
        "fuzz",
        "spin.py",
        "--reference",
        "spin.py",
        "--function",
        "f",
        "--timeout",
        "100",
    ]
    with subprocess.Popen(
        command, stdout=-1, stderr=-1, text=True, cwd=files, env=ENVIRONMENT
    ) as process:
        wait_until(lambda: (files / ".hypothesis" / "examples").exists(), 30)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "interrupted" in err


def test_a_terminal_sees_progress(files):
    """How many inputs were tried, of how many."""
    leader, follower = pty.openpty()
    command = [
        *COMMAND,
        "fuzz",
        "right.py",
        "--reference",
        "ref.py",
        "--function",
        "f",
        "--max-examples",
        "40",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=follower, cwd=files, env=ENVIRONMENT
    ) as process:
        os.close(follower)
        shown = b""
        try:
            while piece := os.read(leader, 4096):
                shown += piece
        except OSError:  # the terminal's end, once its last user has gone
            pass
        assert process.wait(30) == 0
    os.close(leader)
    assert b"/40" in shown


def test_the_bench_says_what_to_expect_here(tmp_path):
    """Rates, memory and a number of workers, one of those that were tried; as JSON, and in words."""
    done = subprocess.run(
        [*COMMAND, "bench", "--json"], capture_output=True, timeout=60, text=True, env=ENVIRONMENT
    )
    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert told["workers"] in [each["workers"] for each in told["sizes"]]
    for each in told["sizes"]:
        assert each["runs_per_s"] > 1
        assert 1 << 20 < each["memory_bytes"] < 1 << 30
        assert 0 < each["first_s"] <= each["ready_s"]
    assert 0 < told["run_p50_ms"] <= told["run_p90_ms"]
    done = subprocess.run(
        [*COMMAND, "bench", "--tier", "nonesuch"], capture_output=True, timeout=60, env=ENVIRONMENT
    )
    assert done.returncode == 125
