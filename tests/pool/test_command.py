"""The `pool` command, as a process of its own: exit codes, bytes, and words for people."""

import importlib.metadata
import json
import os
import pty
import signal
import subprocess
import sys
import time

import psutil
import pytest
from conftest import wait_until

from interpreter_pool import Result
from interpreter_pool.pool.command import options
from interpreter_pool.sandbox.jail.nsjail import VARIABLE

COMMAND = [
    sys.executable,
    "-W",
    "error",
    "-c",
    "from interpreter_pool.pool.command import main; main()",
]
TIERS = ["namespaces", "landlock"]


def pool(
    *args: str, stdin: bytes = b"", **environment: str
) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [*COMMAND, *args],
        input=stdin,
        capture_output=True,
        timeout=60,
        env=os.environ | environment,
    )


@pytest.fixture
def program(tmp_path):
    """Write a program to a file and return its path."""

    def write(source: str) -> str:
        path = tmp_path / "snippet.py"
        path.write_text(source)
        return str(path)

    return write


ENDS = [
    # program, options, exit code
    ("pass", (), 0),
    ("import sys; sys.exit(7)", (), 7),
    ("import sys; sys.exit(255)", (), 255),
    ("1/0", (), 1),
    ("import os; os.kill(os.getpid(), 15)", (), 128 + 15),
    ("import os; os.abort()", (), 128 + 6),
    ("while True: pass", ("--timeout", "0.3"), 124),
    ("while True: pass", ("--cpu-time", "0.2"), 124),
    ("x = bytearray(1 << 40)", (), 137),
    ("x = bytearray(100 << 20)", ("--memory", "50M"), 137),
    ("while True: print('x' * 9999)", (), 153),
]


def test_a_traceback_names_the_file(program, tmp_path):
    """As under python; from standard input it is main.py. A file to be given needs another name."""
    done = pool("run", program("import sys\nprint(sys.argv)\n1 / 0"), "x")
    assert done.stdout == b"['snippet.py', 'x']\n"
    assert b'/snippet.py", line 3, in <module>\n    1 / 0\n' in done.stderr
    assert b'/main.py", line 1' in pool("run", "-", stdin=b"1 / 0").stderr
    other = tmp_path / "other" / "snippet.py"
    other.parent.mkdir()
    other.write_text("")
    refused = pool("run", "--file", str(other), program("pass"))
    assert refused.returncode == 125
    assert b"'snippet.py' is the program's own; take another name" in refused.stderr
    assert pool("run", "--file", f"{other}:main.py", program("import main")).returncode == 0


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("code, options, expected", ENDS)
def test_the_exit_code_and_one_json_object_tell_the_end(program, tier, code, options, expected):
    """The own code; 128+N, 124, 137, 153; and --json prints Result.to_dict(), nothing else."""
    done = pool("run", "--json", "--tier", tier, *options, program(code))
    data = json.loads(done.stdout)
    assert set(data) == set(Result.internal("", tier="none", queue_s=0.0).to_dict())
    assert done.returncode == expected
    assert done.stderr == b""
    assert data["tier"] == tier
    assert data["ok"] is (expected == 0)


def test_denied_is_159(program):
    """A program that breaks what can only be watched: 159."""
    code = "import time\nfor n in range(9): open(f'{n}', 'wb').write(bytes(9 << 20))\ntime.sleep(9)"
    assert pool("run", "--tier", "landlock", program(code)).returncode == 159


@pytest.mark.parametrize(
    "args, words",
    [
        (("run",), "FILE"),
        (("run", "--no-such-option", "x.py"), "no-such-option"),
        (("run", "/nonexistent/file.py"), "/nonexistent/file.py"),
        (("run", "/"), "/"),
        (("run", "--memory", "lots", "-"), "--memory"),
        (("run", "--memory", "1K", "-"), "memory"),
        (("run", "--memory", "9" * 400, "-"), "memory"),
        (("run", "--timeout", "soon", "-"), "--timeout"),
        (("run", "--timeout", "0", "-"), "--timeout '0': must be over 0"),
        (("run", "--timeout", "nan", "-"), "--timeout 'nan'"),
        (("run", "--cpu-time", "1e12", "-"), "--cpu-time '1e12'"),
        (("run", "--tier", "best", "-"), "best"),
        (("run", "--require", "none", "-"), "none"),
        (("run", "--tier", "landlock", "--require", "namespaces", "-"), "weaker"),
        (("run", "--stdin", "-", "-"), "standard input"),
        (("no-such-command",), "no-such-command"),
        (("--no-such-option",), "no-such-option"),
    ],
)
def test_bad_usage_is_125_and_says_what(args, words):
    """Every kind of bad usage: exit code 125, a message that names it, no traceback."""
    done = pool(*args, TERM="dumb", NO_COLOR="1", COLUMNS="500")
    assert done.returncode == 125, done
    assert done.stdout == b""
    assert words in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_requirement_that_cannot_be_met_is_125(program):
    """--require namespaces where that can't be: 125 and the reason, nothing runs."""
    path = program("print('ran')")
    done = pool("run", "--require", "namespaces", path, **{VARIABLE: "/nonexistent"})
    assert done.returncode == 125
    assert VARIABLE.encode() in done.stderr
    assert done.stdout == b""


def test_a_weaker_tier_is_never_silent(program):
    """Without a requirement the weaker tier runs the program, and stderr says so."""
    done = pool("run", program("print('ran')"), **{VARIABLE: "/nonexistent"})
    assert (done.returncode, done.stdout) == (0, b"ran\n")
    assert b"landlock" in done.stderr


def test_a_dash_reads_the_program_from_standard_input():
    """FILE - is the program; it has no input of its own then."""
    done = pool("run", "-", "a", stdin=b"import sys; print(sys.argv[1:], repr(sys.stdin.read()))")
    assert done.stdout == b"['a'] ''\n", done.stderr


def test_what_follows_file_is_the_programs(program):
    """Arguments behind FILE arrive untouched, also those that look like our options."""
    args = ["--json", "-x", "--timeout", "0", "--", "-", "--help", ""]
    done = pool("run", program("import sys; print(sys.argv[1:])"), *args)
    assert done.stdout.decode() == f"{args}\n", done.stderr


def test_input_comes_from_a_file_or_from_here(program, tmp_path):
    """--stdin FILE is what the program reads; else, and by name, this command's own input."""
    path = program("import sys; print(sys.stdin.buffer.read())")
    (tmp_path / "data").write_bytes(b"\xff\0data")
    assert pool("run", "--stdin", str(tmp_path / "data"), path).stdout == b"b'\\xff\\x00data'\n"
    assert pool("run", "--stdin", "-", path, stdin=b"here").stdout == b"b'here'\n"
    assert pool("run", path, stdin=b"here").stdout == b"b'here'\n"


@pytest.mark.parametrize("size", ["64m", "65536K", "0.0625G", "64MiB"])
def test_sizes_as_people_type_them(program, size):
    """K, M and G, in either case, with fractions."""
    code = "try: bytearray(80 << 20)\nexcept MemoryError: print('over')\nbytearray(40 << 20)"
    done = pool("run", "--memory", size, program(code))
    assert (done.returncode, done.stdout) == (0, b"over\n"), done.stderr


def test_none_lifts_a_limit(program):
    """'none' is unlimited."""
    options = ("--memory", "none", "--timeout", "none", "--cpu-time", "none")
    assert pool("run", *options, program("print(1)")).stdout == b"1\n"


RUDE = (
    "import sys\nsys.stdout.buffer.write(b'\\xff\\x00\\x1b[31mred\\x1b]0;title\\x07\\n')\n"
    "sys.stderr.buffer.write(b'\\x1b[2J\\x9b\\xfe\\r\\n')\n"
    "sys.stdout.buffer.write('\\u202e\\u200b'.encode())"
)


def test_a_pipe_gets_the_programs_bytes(program):
    """Invalid UTF-8 and control characters pass a pipe unchanged, without a word of ours."""
    done = pool("run", program(RUDE))
    assert done.stdout == b"\xff\x00\x1b[31mred\x1b]0;title\x07\n\xe2\x80\xae\xe2\x80\x8b"
    assert done.stderr == b"\x1b[2J\x9b\xfe\r\n"


def on_terminal(*args: str) -> tuple[int, bytes]:
    """Run the command on a terminal of its own; return its exit code and what was shown."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *args], stdin=theirs, stdout=theirs, stderr=theirs,
        env=os.environ | {"TERM": "xterm"},
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # EIO: nobody has the other end any more
                break
            if not piece:
                break
            shown += piece
        os.close(ours)
    return process.returncode, shown


def test_a_terminal_gets_no_control_characters(program):
    """On a terminal what a program prints is made visible: nothing in it is obeyed."""
    code, shown = on_terminal("run", program(RUDE))
    assert code == 0
    assert b"\\x1b[31mred\\x1b]0;title\\x07" in shown
    assert b"\\xff\\x00" in shown
    assert b"\\u202e\\u200b" in shown
    assert b"\\x1b[2J" in shown
    for obeyed in (b"\x1b]0", b"\x1b[2J", b"\x07", b"\xff", b"\x9b", "\u202e".encode()):
        assert obeyed not in shown


def test_a_terminal_is_told_how_a_run_was_ended(program):
    """A person sees why the program was ended; markup in its output is text."""
    code, shown = on_terminal(
        "run", "--timeout", "0.3", program("print('[bold]x[/bold]')\nwhile True: pass")
    )
    assert code == 124
    assert b"wall time" in shown
    assert b"[bold]x[/bold]" in shown


def test_doctor_tells_every_layer():
    """A table for people, and one JSON object for programs; 0 where a tier works."""
    done = pool("doctor", COLUMNS="200")
    assert done.returncode == 0
    for layer in ("kernel", "nsjail", "landlock", "seccomp", "cgroup", "tier namespaces"):
        assert layer.encode() in done.stdout
    done = pool("doctor", "--json")
    data = json.loads(done.stdout)
    assert data["tier"] in TIERS
    assert {"name", "held", "found", "advice", "brief", "details"} == set(data["findings"][0])


def test_help_has_examples_and_exit_codes():
    """--help of every level exits 0; that of run shows examples and the exit codes."""
    done = pool("run", "--help", COLUMNS="100")
    assert done.returncode == 0
    for words in (b"pool run", b"--memory", b"124", b"137", b"153", b"159", b"125", b"FILE"):
        assert words in done.stdout, words
    done = pool("--help")
    assert done.returncode == 0
    assert b"doctor" in done.stdout
    assert pool("doctor", "--help").returncode == 0


@pytest.mark.parametrize("tier", TIERS)
def test_ctrl_c_is_130_and_leaves_nothing(program, tier):
    """SIGINT ends the command with 130, and the program and its jail with it."""
    path = program("while True: pass")
    with subprocess.Popen(
        [*COMMAND, "run", "--timeout", "60", "--tier", tier, path], stderr=subprocess.PIPE
    ) as process:
        me = psutil.Process(process.pid)
        wait_until(lambda: any(each.cpu_times().user > 0.3 for each in me.children(True)))
        children = me.children(recursive=True)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=15)
    assert process.returncode == 130
    assert b"Traceback" not in stderr
    _, alive = psutil.wait_procs(children, timeout=2)
    assert not alive


def test_ctrl_c_is_told_where_nothing_else_is_said(program, tmp_path):
    """A command that had not come to its answer says why there is none."""
    cases = tmp_path / "cases.jsonl"
    cases.write_text('{"kind": "stdio", "input": "", "expected": ""}\n')
    judge = ("judge", "--cpu-time", "60", "--cases", str(cases), program("while True: pass"))
    for command in (judge, ("bench",)):
        with subprocess.Popen([*COMMAND, *command], stderr=subprocess.PIPE) as process:
            me = psutil.Process(process.pid)
            wait_until(lambda me=me: len(me.children(recursive=True)) > 1)  # programs may run
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=15)[1] == b"pool: interrupted\n"
        assert process.returncode == 130


def test_a_reader_that_leaves_is_no_failure(program):
    """`pool run file | head -1` ends without a traceback."""
    path = program("for n in range(100000): print(n)")
    with subprocess.Popen(
        [*COMMAND, "run", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.read(2) == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_a_program_larger_than_its_memory_is_told_so(tmp_path):
    """The host writes to a run that is being killed: that is 137, not the death of the command."""
    big = tmp_path / "big.py"
    big.write_text("#" + "x" * (15 << 20))
    result = pool("run", "--memory", "8M", "--json", str(big))
    assert result.returncode == 137, result
    assert json.loads(result.stdout)["reason"] == "memory"


# ---- packages and files


def test_a_missing_package_that_is_installed_is_hinted_at(program):
    """On stderr behind the program's own words, and in the JSON; not for what is not there."""
    path = program("import numpy.linalg")
    done = pool("run", path)
    assert done.returncode == 1
    last = done.stderr.decode().strip().splitlines()[-1]
    assert last.startswith("pool: numpy is installed here") and "--with numpy" in last
    assert "--with numpy" in json.loads(pool("run", "--json", path).stdout)["detail"]
    done = pool("run", program("import surely_not_there"))
    assert b"pool:" not in done.stderr


def test_refused_calls_are_listed_with_what_they_mean(program):
    """By --explain, on stderr, behind the program's own words; and that there were none."""
    path = program("import socket\ntry: socket.socket()\nexcept OSError: print('caught')")
    done = pool("run", "--explain", path)
    assert (done.returncode, done.stdout) == (0, b"caught\n")
    assert done.stderr.decode() == "pool: socket was refused (1): there is no network in the jail\n"
    assert json.loads(pool("run", "--explain", "--json", path).stdout)["refused_calls"] == {
        "socket": 1
    }
    done = pool("run", "--explain", program("print(1)"))
    assert (done.stdout, done.stderr) == (b"1\n", b"pool: no system call was refused\n")


@pytest.mark.parametrize("offered", ["numpy", "numpy>=1", "pandas"])
def test_a_missing_part_of_what_is_offered_is_no_reason_for_a_hint(program, offered):
    """The package is there already, by itself or for another: what is wanted of it is not."""
    path = program("import numpy.nosuch")
    assert json.loads(pool("run", "--json", "--with", offered, path).stdout)["detail"] == ""


@pytest.mark.parametrize(
    "given, names",
    [
        (["a,b", "c"], ("a", "b", "c")),
        (["a>=1,<2,b"], ("a>=1,<2", "b")),
        (["a[x,y],b[z]"], ("a[x,y]", "b[z]")),
        ([" a, b ,,"], ("a", "b")),
        ([], ()),
    ],
)
def test_commas_between_names_part_them_and_others_dont(given, names):
    """Versions and extras have commas of their own."""
    assert options.names(given) == names


def test_packages_are_offered_and_preloaded(program):
    """--with, with commas and repeated, --preload, and the error for one without the other."""
    path = program("import sys; print('numpy' in sys.modules); import numpy, hypothesis")
    done = pool("run", "--with", "numpy,hypothesis", "--preload", "numpy", path)
    assert (done.returncode, done.stdout) == (0, b"True\n"), done.stderr
    done = pool("run", "--preload", "numpy", path)
    assert done.returncode == 125 and b"--with" in done.stderr


def test_another_interpreter_is_taken(program):
    """--python with the path of one, and with something that is none."""
    path = program("print(1)")
    assert pool("run", "--python", sys.executable, path).stdout == b"1\n"
    done = pool("run", "--python", "/nowhere", path)
    assert done.returncode == 125 and b"/nowhere" in done.stderr


def test_files_go_in_and_come_out(program, tmp_path):
    """--file under its own or another name, --collect into folders below --out."""
    (tmp_path / "table.csv").write_text("1,2")
    path = program(
        "import os, shutil; os.mkdir('d'); shutil.copy('t', 'd/t.bin'); print(open('table.csv').read());"
        "os.symlink('/etc/passwd', 'x.bin')"
    )
    table, out = str(tmp_path / "table.csv"), tmp_path / "new" / "out"
    done = pool(
        "run",
        "--file",
        table,
        "--file",
        f"{table}:t",
        "--collect",
        "**/*.bin",
        "--out",
        str(out),
        path,
    )
    assert (done.returncode, done.stdout) == (0, b"1,2\n"), done.stderr
    assert done.stderr == b"pool: not collected: x.bin (a link)\n"
    assert (out / "d" / "t.bin").read_text() == "1,2"
    assert os.listdir(out) == ["d"]


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_what_stands_where_a_file_is_to_be_written_stays(program, tmp_path, options):
    """A link, a file for a folder, a FIFO: the program chose the name, and loses that file alone."""
    out = tmp_path / "out"
    (out / "kept").mkdir(parents=True)
    (tmp_path / "precious").write_text("mine")
    (out / "link").symlink_to(tmp_path / "precious")
    (out / "a").write_text("old")
    os.mkfifo(out / "fifo")
    names = ["link", "a/b", "fifo", "kept", "new"]
    code = (
        "import os\n"
        f"for name in {names}:\n"
        "    os.makedirs(os.path.dirname(name) or '.', exist_ok=True)\n"
        "    open(name, 'w').write('x')\n"
        "print(2); raise SystemExit(3)"
    )
    done = pool("run", *options, "--collect", "**", "--out", str(out), program(code))
    assert done.returncode == 3
    assert (tmp_path / "precious").read_text() == "mine"
    assert (out / "a").read_text() == "old"
    assert (out / "new").read_text() == "x"
    if options:
        told = json.loads(done.stdout)
        assert told["stdout"] == "2\n"
        assert sorted(told["files_skipped"]) == ["a/b", "fifo", "kept", "link"]
        assert "Not a directory" in told["files_skipped"]["a/b"]
    else:
        assert done.stdout == b"2\n"
        assert done.stderr.count(b"not collected: ") == 4


def test_a_folder_that_takes_nothing_is_our_failure_with_the_result(program):
    code = program("open('f', 'w').write('x'); print(2)")
    done = pool("run", "--json", "--collect", "f", "--out", "/proc", code)
    assert done.returncode == 125
    assert json.loads(done.stdout)["stdout"] == "2\n"
    assert done.stderr == b"pool: /proc/f: No such file or directory\n"


@pytest.mark.parametrize(
    "options, words",
    [
        (("--collect", "*.x"), "--out"),
        (("--collect", "../x", "--json"), "collect"),
        (("--file", "/nowhere"), "/nowhere"),
        (("--file", "/etc/hostname:../x"), "files"),
        (("--file", "/etc/hostname", "--file", "/etc/hostname"), "--file"),
        (("--env", "A"), "--env"),
        (("--seed", "x"), "--seed"),
        (("--with", "surely-not-installed"), "surely-not-installed"),
    ],
)
def test_bad_options_are_named(program, options, words):
    """Exit code 125 and the option's name, before anything is run."""
    done = pool("run", *options, program("print('ran')"))
    assert done.returncode == 125
    assert words in done.stderr.decode()
    assert done.stdout == b""


def test_environment_and_seed_are_passed_on(program):
    """--env is all there is; --seed makes random repeat."""
    path = program("import os, random; print(sorted(os.environ.items()), random.random())")
    runs = [pool("run", "--env", "A=b=c", "--env", "B=", "--seed", "4", path) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.startswith(b"[('A', 'b=c'), ('B', '')] 0."), runs[0].stderr


def test_output_is_shown_as_it_comes(program):
    """A pipe gets each line when it is written, not when the program ends."""
    path = program("import time\nprint('first', flush=True)\ntime.sleep(30)")
    process = subprocess.Popen([*COMMAND, "run", "--timeout", "30", path], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"first\n"
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        process.stdout.close()


@pytest.mark.parametrize(
    "args",
    [("--help",), ("doctor",), ("judge", "--help"), ("run", "--json")],
    ids=lambda args: " ".join(args),
)
def test_whoever_stops_reading_ends_a_command_like_sigpipe(program, args):
    if args[0] == "run":
        args = (*args, program("print(1)"))
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [*COMMAND, *args], stdout=write_end, stderr=subprocess.PIPE, timeout=60
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_program_without_end_is_read_up_to_its_limit():
    done = pool("run", "/dev/zero")
    assert done.returncode == 125
    assert b"16777216" in done.stderr


def test_the_version_is_told_also_by_the_module():
    version = importlib.metadata.version("interpreter-pool")
    done = subprocess.run(
        [sys.executable, "-m", "interpreter_pool", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"interpreter-pool {version}\n")


def test_signs_that_the_terminal_has_not_are_escaped(tmp_path):
    """What is said of a name is said in whatever signs there are."""
    done = pool("run", str(tmp_path / "\u2603"), PYTHONIOENCODING="ascii")
    assert done.returncode == 125
    assert rb"\u2603: No such file" in done.stderr


def test_a_folder_for_files_needs_files(program, tmp_path):
    done = pool("run", "--out", str(tmp_path / "new"), program("print(1)"))
    assert done.returncode == 125
    assert b"--collect" in done.stderr
    assert not (tmp_path / "new").exists()


def test_cases_come_from_standard_input_too_with_a_mark_of_their_encoding(program):
    path = program("print(input())")
    case = b'{"kind": "stdio", "input": "1", "expected": "1"}\n'
    done = pool("judge", path, "--cases", "-", stdin=b"\xef\xbb\xbf" + case)
    assert done.returncode == 0, done.stderr
    done = pool("judge", path, "--cases", "-", stdin=b"\xff" + case)
    assert done.returncode == 125
    assert b"-: no UTF-8" in done.stderr


@pytest.mark.parametrize(
    "args, told",
    [
        (("run", "--memory", "1"), b"pool: --memory: memory_bytes=1: must be"),
        (("run", "--processes", "0"), b"pool: --processes: processes=0: must be"),
        (("batch", "--out", "-", "--workers", "0"), b"pool: --workers: size=0: must be"),
    ],
    ids=lambda each: each[1] if isinstance(each, tuple) else "",
)
def test_errors_name_the_option_that_was_typed(program, args, told):
    done = pool(*args, program("{}"))
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr.startswith(told)


def test_output_to_a_pipe_that_does_not_block_is_whole(program):
    """As some parents make theirs: it is waited for."""
    path = program("print('x' * 500_000)")
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with subprocess.Popen([*COMMAND, "run", path], stdout=theirs) as process:
        os.close(theirs)
        with open(ours, "rb") as reader:
            time.sleep(1)
            assert len(reader.read()) == 500_001
    assert process.returncode == 0


@pytest.mark.parametrize(
    "args",
    [
        ("judge", "/dev/zero", "--cases", "{}"),
        ("judge", "{}", "--cases", "/dev/zero"),
        ("fuzz", "/dev/zero", "--reference", "{}", "--function", "f"),
        ("batch", "/dev/zero", "--out", "-"),
    ],
    ids=lambda args: " ".join(args),
)
def test_what_has_no_end_is_not_read_for_ever(program, args):
    path = program("{}")
    done = pool(*(each.format(path) for each in args))
    assert done.returncode == 125
    assert b"more than 256 MiB" in done.stderr


def test_a_run_imports_only_what_it_needs(tmp_path):
    """To import all of the commands would take longer than many a program runs."""
    program = tmp_path / "program.py"
    program.write_text("print('hello')")
    code = (
        "import sys\n"
        "from interpreter_pool.pool.command import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    heavy = {'asyncio', 'email', 'importlib.metadata', 'packaging', 'rich'}\n"
        "    print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", program], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("hello\n[]\n", "")
