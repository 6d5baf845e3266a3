"""`--on URL`: the commands, with executors elsewhere."""

import json
import signal
import subprocess
import sys

import pytest
from conftest import wait_until
from small_services import OPTIONS, new_namespace

from interpreter_pool import PythonExecutorService, get_services

COMMAND = [
    *(sys.executable, "-W", "error", "-c"),
    "from interpreter_pool.pool.command import main; main()",
]


@pytest.fixture(scope="module")
def url():
    with get_services("local", namespace=new_namespace()) as services:
        services.register_fleet("executors", PythonExecutorService, min=2, **OPTIONS)
        yield f"local://executors?namespace={services.namespace}"


def command(*args, stdin=""):
    return subprocess.run(
        [*COMMAND, *args], input=stdin, capture_output=True, text=True, timeout=60
    )


def test_run_has_output_input_files_and_exit_code(url, tmp_path):
    """As without --on, but that its output comes in the end."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nprint(sys.argv[1], input(), open('in.txt').read())\n"
        "open('out.txt', 'w').write('out'); print('err', file=sys.stderr); sys.exit(3)"
    )
    (tmp_path / "in.txt").write_text("content")
    options = ["--file", str(tmp_path / "in.txt"), "--collect", "out.txt", "--out", str(tmp_path)]
    done = command("run", "--on", url, *options, str(program), "arg", stdin="line\n")
    assert (done.returncode, done.stdout) == (3, "arg line content\n"), done.stderr
    assert "err\n" in done.stderr
    assert (tmp_path / "out.txt").read_text() == "out"
    done = command("run", "--on", url, "--timeout", "0.3", "--json", "-", stdin="while True: pass")
    assert done.returncode == 124
    assert json.loads(done.stdout)["reason"] == "wall_timeout"


@pytest.mark.parametrize(
    "options, said",
    [
        (["--tier", "landlock"], "--tier can't be had with --on"),
        (["--with", "numpy"], "--with can't be had with --on"),
        (["--explain"], "--explain can't be had with --on"),
    ],
)
def test_what_an_executor_has_of_its_own_is_refused(url, options, said):
    done = command("run", "--on", url, *options, "-", stdin="print(1)")
    assert done.returncode == 125
    assert said in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "url, said",
    [
        ("rya://executors", "did you mean ray://?"),
        ("local://nobody", "'nobody' not found in namespace"),
        ("ray://head:10001", "Ray Client's addresses"),
    ],
)
def test_a_url_that_leads_nowhere_is_one_line(url, said):
    done = command("run", "--on", url, "-", stdin="print(1)")
    assert done.returncode == 125
    assert said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_judge_batch_and_fuzz_work_elsewhere(url, tmp_path):
    (tmp_path / "double.py").write_text("def f(x: int): return 2 * x if x < 9 else 0")
    (tmp_path / "reference.py").write_text("def f(x: int): return 2 * x")
    case = {"kind": "call", "function": "f", "args": [2], "expected": 4}
    (tmp_path / "cases.jsonl").write_text(json.dumps(case))
    cases = ["--cases", str(tmp_path / "cases.jsonl")]
    done = command("judge", "--on", url, str(tmp_path / "double.py"), *cases, "--json")
    assert done.returncode == 0, done.stderr
    programs = "".join(json.dumps({"code": f"print({n})"}) + "\n" for n in range(30))
    done = command("batch", "--on", url, "-", "--out", "-", stdin=programs)
    assert done.returncode == 0, done.stderr
    results = {each["id"]: each["stdout"] for each in map(json.loads, done.stdout.splitlines())}
    assert results == {str(n + 1): f"{n}\n" for n in range(30)}
    files = [str(tmp_path / "double.py"), "--reference", str(tmp_path / "reference.py")]
    done = command("fuzz", "--on", url, *files, "--function", "f", "--json")
    assert done.returncode == 1, done.stderr


def test_ctrl_c_ends_a_run_elsewhere(url):
    process = subprocess.Popen(
        [*COMMAND, "run", "--on", url, "--timeout", "60", "--stdin", "none", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    process.stdin.write(b"import time; time.sleep(60)")
    process.stdin.close()
    services = get_services("local", namespace=url.rpartition("=")[2])
    members = services.members("executors").values()

    def busy():
        states = services.result([each.stats.remote() for each in members])
        return sum(state["workers_busy"] for state in states)

    wait_until(lambda: busy() == 1, 30)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    wait_until(lambda: busy() == 0)
    services.shutdown()
    process.stdout.close()
    process.stderr.close()
