"""Input that comes while a program runs: from files, pipes, sockets and terminals."""

import contextlib
import io
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest
from conftest import TIERS, wait_until
from test_faults import kill_if_there, zygote_of

from interpreter_pool import Asserts, Limits, Pool

COMMAND = [
    sys.executable,
    "-W",
    "error",
    "-c",
    "from interpreter_pool.pool.command import main; main()",
    "run",
    "--tier",
    TIERS[0],  # by name: of a weaker one that was picked, stderr has a word
]
ECHO = "import sys\nfor line in sys.stdin: print('got', line, end='')\nprint('end')"
COUNT = (
    "import sys, zlib\nsize = check = 0\n"
    "while piece := sys.stdin.buffer.read1(50_000):\n"
    "    size, check = size + len(piece), zlib.crc32(piece, check)\nprint(size, check)"
)
DATA = bytes(range(256)) * 3000


@contextlib.contextmanager
def writer(kind: str, tmp_path) -> Iterator[tuple[io.RawIOBase, io.RawIOBase]]:
    """Yield both ends of what is read: the reader's, and the writer's."""
    if kind == "socket":
        sockets = socket.socketpair()
        ends = tuple(each.detach() for each in sockets)
    elif kind == "FIFO":
        os.mkfifo(tmp_path / "fifo")
        reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        ends = reader, os.open(tmp_path / "fifo", os.O_WRONLY)
    elif kind == "terminal":
        theirs, ours = pty.openpty()
        ends = ours, theirs
    else:
        ends = os.pipe()
    with open(ends[0], "rb", buffering=0) as source, open(ends[1], "wb", buffering=0) as sink:
        yield source, sink


def copy(data: bytes, sink: io.RawIOBase) -> threading.Thread:
    """Write all of `data` in a thread, and close."""

    def write() -> None:
        left = memoryview(data)
        with sink:
            while left:
                left = left[sink.write(left) :]

    thread = threading.Thread(target=write)
    thread.start()
    return thread


@pytest.mark.parametrize("kind", ["pipe", "FIFO", "socket", "terminal"])
def test_a_program_reads_what_comes_while_it_runs(pool, kind, tmp_path):
    """Each line as soon as it is written; the output in between is seen at once."""
    seen = []
    with writer(kind, tmp_path) as (source, sink):
        future = pool.submit(ECHO, stdin=source, on_output=lambda _, data: seen.append(data))
        for line in (b"a\n", b"b\n"):
            sink.write(line)
            wait_until(lambda line=line: b"".join(seen).endswith(b"got " + line))
            assert not future.done()
        if kind == "terminal":
            sink.write(b"\x04")  # Ctrl-D
        else:
            sink.close()
        assert future.result(10).stdout == "got a\ngot b\nend\n"


@pytest.mark.parametrize("kind", ["pipe", "FIFO", "socket", "file"])
def test_much_input_arrives_whole(pool, kind, tmp_path):
    """More than any pipe holds, byte for byte."""
    expected = pool.run(COUNT, stdin=DATA).stdout
    if kind == "file":
        (tmp_path / "data").write_bytes(DATA)
        with open(tmp_path / "data", "rb") as source:
            assert pool.run(COUNT, stdin=source).stdout == expected
        return
    with writer(kind, tmp_path) as (source, sink):
        thread = copy(DATA, sink)
        assert pool.run(COUNT, stdin=source).stdout == expected
        thread.join()


@pytest.mark.parametrize("kind", ["file", "pipe"])
@pytest.mark.parametrize(
    "code, read",
    [
        ("pass", 0),
        ("import os; os.read(0, 2)", 2),
        ("import os; os.read(0, 5000); os.read(0, 1000)", 6000),
        ("import os; os.close(0)", 0),
    ],
)
def test_what_a_program_does_not_read_stays(pool, kind, code, read, tmp_path):
    """As under `python`: a shell's loop over lines goes on with the next one."""
    data = DATA[:30_000]
    if kind == "file":
        (tmp_path / "data").write_bytes(b"before" + data)
        with open(tmp_path / "data", "rb", buffering=0) as source:
            source.seek(6)
            pool.run(code, stdin=source)
            rest = source.read()
    else:
        with writer(kind, tmp_path) as (source, sink):
            sink.write(data)
            pool.run(code, stdin=source)
            rest = os.read(source.fileno(), 100_000)
    if read == 6000:
        read = len(data) - len(rest)  # as many as the two reads found
        assert 0 < read <= 6000
    assert rest == data[read:]


ENDLESS = {
    "reads nothing": ("pass", "ok"),
    "reads a part": ("import os; assert os.read(0, 1000)", "ok"),
    "closes it": ("import os, time; os.close(0); time.sleep(0.1)", "ok"),
    "waits": ("import time; time.sleep(60)", "wall_timeout"),
    "reads for ever": ("import os\nwhile os.read(0, 1 << 20): pass", "wall_timeout"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_input_without_end_holds_nobody_up(pool, name):
    """A program that ends before its input does, or never: its own end or its limit counts."""
    code, reason = ENDLESS[name]
    with open("/dev/zero", "rb") as zeros:
        assert pool.run(code, stdin=zeros, timeout=0.4).reason == reason
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as process:
        assert pool.run(code, stdin=process.stdout, timeout=0.4).reason == reason
        process.kill()


def test_a_run_that_waits_for_input_is_ended(tier):
    """By its limit, by `cancel`, and with its pool."""
    read_end, write_end = os.pipe()
    begun = threading.Semaphore(0)

    def submit(pool: Pool, code: str):
        return pool.submit(code, stdin=source, on_output=lambda *_: begun.release())

    with open(read_end, "rb") as source, open(write_end, "wb"):
        with Pool(1, tier=tier) as pool:
            assert pool.run("input()", stdin=source, timeout=0.3).reason == "wall_timeout"
            future, waiting = (
                submit(pool, "import os; os.write(1, b'x'); input()") for _ in range(2)
            )
            assert begun.acquire(timeout=20)
            assert waiting.cancel() and future.cancel()
            assert future.result(10).reason == "cancelled"
            future, waiting = (
                submit(pool, "import os; os.write(1, b'x'); input()") for _ in range(2)
            )
            assert begun.acquire(timeout=20)
        assert future.result(0).reason == "cancelled"
        assert waiting.exception(0) is not None


def test_a_stream_that_its_caller_closes_is_still_read(pool):
    """The run has a descriptor of its own: that number may mean another file by then."""
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as source:
        futures = [pool.submit(ECHO, stdin=source)]
    os.write(write_end, b"a\n")
    os.close(write_end)
    assert futures[0].result(10).stdout == "got a\nend\n"


def test_input_that_fails_is_told(pool):
    """The program finds its end; the result says that it was not the end."""
    with open("/proc/self/mem", "rb", buffering=0) as memory:  # nothing is mapped at 0: EIO
        result = pool.run("import sys; print(repr(sys.stdin.read()))", stdin=memory)
    assert result.stdout == "''\n"
    assert "input could not be read to its end" in result.detail


@pytest.mark.parametrize("kind", ["memory", "folder", "output", "closed"])
def test_what_cannot_be_read_is_refused(pool, kind, tmp_path):
    """Before anything is run, by the name of the argument; and nothing is kept of it."""
    with contextlib.ExitStack() as opened:
        if kind == "memory":
            source, error = io.BytesIO(b"x"), TypeError
        elif kind == "folder":
            fd = os.open(tmp_path, os.O_RDONLY)
            opened.callback(os.close, fd)
            source, error = type("Folder", (), {"fileno": lambda self: fd})(), ValueError
        elif kind == "output":
            source, error = opened.enter_context(open(tmp_path / "x", "wb")), ValueError
        else:
            source, error = open("/dev/null", "rb"), ValueError  # noqa: SIM115
            source.close()
        with pytest.raises(error, match=r"^stdin: "):
            pool.submit("pass", stdin=source)


def test_a_full_queue_keeps_nothing_of_a_stream(tier):
    """`PoolFull` and `PoolClosed` leave no descriptor behind."""
    with open("/dev/null", "rb") as source:
        with Pool(1, tier=tier, max_queue=1) as pool:
            running = pool.submit("import time; time.sleep(60)")
            wait_until(lambda: pool.stats().workers_busy == 1)
            waiting = pool.submit("pass")
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(20):
                with pytest.raises(Exception, match="max_queue"):
                    pool.submit("pass", stdin=source)
            assert len(os.listdir("/proc/self/fd")) < before + 10
            assert waiting.cancel() and running.cancel()
        with pytest.raises(Exception, match="closed"):
            pool.submit("pass", stdin=source)


def test_one_stream_is_for_one_run(pool):
    """Where a program runs several times, or not at once, its input must be contents."""
    source = sys.__stdin__
    for use in (
        lambda: list(pool.map(["pass"], stdin=source)),
        lambda: pool.function("def f(): pass", "f", stdin=source)(),
        lambda: pool.check("pass", stdin=source),
    ):
        with pytest.raises(TypeError, match=r"^stdin: .* give its contents"):
            use()


def test_one_stream_is_not_for_a_session_or_snapshot(pool):
    """Nor for judged programs."""
    with pool.session() as session, pytest.raises(TypeError, match=r"^stdin: .*contents"):
        session.run("pass", stdin=sys.__stdin__)
    with pool.snapshot("pass") as snapshot, pytest.raises(TypeError, match=r"^stdin: .*contents"):
        snapshot.run("pass", stdin=sys.__stdin__)
    from interpreter_pool import Program

    program = Program("def f(): pass", stdin=sys.__stdin__)
    with pytest.raises(TypeError, match=r"^stdin: .*contents"):
        pool.judge(program, [Asserts("f()", "f")])


# ---- jails that are lost


@pytest.mark.parametrize(
    "kind, reads", [("pipe", True), ("pipe", False), ("file", True), ("terminal", False)]
)
def test_a_lost_run_is_tried_again_where_its_input_is_there(tier, kind, reads, tmp_path):
    """From the beginning of it, or not at all: then it is charged, since a program can bring its
    worker down.
    """
    code = (
        f"import os, time\nfirst = os.read(0, 2) if {reads} else b''\n"
        "print('begun', flush=True); time.sleep(0.4); print(first + os.read(0, 9))"
    )
    seen = []
    with contextlib.ExitStack() as opened:
        pool = opened.enter_context(Pool(1, tier=tier, limits=Limits(wall_s=60)))
        if kind == "file":
            (tmp_path / "data").write_bytes(b"a\nb\n")
            source = opened.enter_context(open(tmp_path / "data", "rb"))
        else:
            source, sink = opened.enter_context(writer(kind, tmp_path))
            sink.write(b"a\nb\n")
        future = pool.submit(code, stdin=source, on_output=lambda _, data: seen.append(data))
        wait_until(lambda: b"".join(seen) == b"begun\n")
        kill_if_there(zygote_of(pool))
        result = future.result(30)
    if reads and kind != "file":
        assert result.reason == "denied"
        assert "can't be given again" in result.detail
    elif kind == "terminal":  # which gives a line at a time
        assert result.stdout == "begun\nb'a\\n'\n"
    else:
        assert result.stdout == "begun\nb'a\\nb\\n'\n"


# ---- the command


def start(*args: str, **options) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*COMMAND, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def read_until(fd: int, end: bytes) -> bytes:
    shown = b""
    deadline = time.monotonic() + 20
    while not shown.endswith(end):
        assert time.monotonic() < deadline, shown
        shown += os.read(fd, 1 << 16)
    return shown


@pytest.fixture
def program(tmp_path):
    def write(code: str) -> str:
        (tmp_path / "program.py").write_text(code)
        return str(tmp_path / "program.py")

    return write


ASK = "name = input('name? ')\nprint('hello', name)\nimport sys; print(repr(sys.stdin.read()))"


def test_the_commands_input_is_the_programs_as_it_comes(program):
    """A prompt without a newline is seen before the answer is there, and the first line read before
    the second one is written.
    """
    with start(program(ASK), stdin=subprocess.PIPE) as process:
        assert read_until(process.stdout.fileno(), b"? ") == b"name? "
        process.stdin.write(b"a\n")
        process.stdin.flush()
        assert read_until(process.stdout.fileno(), b"\n") == b"hello a\n"
        assert process.communicate(b"b\n") == (b"'b\\n'\n", b"")
    assert process.returncode == 0


def test_a_shells_loop_goes_on(program):
    """`... | while read line; do pool run file; done` is not robbed of its lines."""
    path = program("print('ran')")
    loop = 'printf \'1\\n2\\n\' | while read line; do echo "$line"; "$@"; done'
    done = subprocess.run(["bash", "-c", loop, "bash", *COMMAND, path], capture_output=True)
    assert done.stdout == b"1\nran\n2\nran\n", done


@pytest.mark.parametrize("args", [("--stdin", "none", "{}"), ("-",)])
def test_no_input_is_asked_for_by_name_or_where_it_is_the_program(program, args):
    """`--stdin none`; and `pool run -`, which has read it."""
    code = "import sys; print(repr(sys.stdin.read()))"
    path = program(code)
    with start(*(each.format(path) for each in args), stdin=subprocess.PIPE) as process:
        assert process.communicate(code.encode()) == (b"''\n", b"")


def test_input_without_end_is_no_trouble_for_the_command(program):
    """It is not read ahead: --stdin /dev/zero, and a pipe that never ends."""
    path = program("import sys; print(len(sys.stdin.buffer.read(1000)))")
    with start("--stdin", "/dev/zero", path) as process:
        assert process.communicate() == (b"1000\n", b"")
    with (
        subprocess.Popen(["yes"], stdout=subprocess.PIPE) as yes,
        start(path, stdin=yes.stdout) as process,
    ):
        assert process.communicate() == (b"1000\n", b"")
        yes.kill()


def test_the_command_says_that_input_failed(program):
    """On stderr: the program has taken it for the end."""
    with start("--stdin", "/proc/self/mem", program("print(open(0).read())")) as process:
        stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (0, b"\n")
    assert stderr.startswith(b"pool: its input could not be read to its end: ")


@pytest.mark.parametrize("redirection", ["<&-", "0>/dev/null"])
def test_a_command_without_input_runs_all_the_same(program, redirection):
    """Standard input that is closed, or as nohup leaves it, is an empty one."""
    command = [word for word in COMMAND if word not in ("-W", "error")]  # what stands in for it
    done = subprocess.run(
        ["bash", "-c", f'"$@" {redirection}', "bash", *command,
         program("import sys; print(repr(sys.stdin.read()))")],
        capture_output=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (b"''\n", b"")


@pytest.mark.parametrize("end", ["Ctrl-D", "Ctrl-C"])
def test_a_terminal_is_read_line_by_line(program, end):
    """A dialogue, and both ways in which a person ends one."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "--timeout", "60", program(ASK)],
        stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "dumb"},
        start_new_session=True, preexec_fn=take_terminal,
    ) as process:  # fmt: skip
        os.close(theirs)
        read_until(ours, b"name? ")
        os.write(ours, b"a\n")
        read_until(ours, b"hello a\r\n")
        os.write(ours, b"more\n")
        read_until(ours, b"more\r\n")
        os.write(ours, b"\x04" if end == "Ctrl-D" else b"\x03")
        shown = b""
        with contextlib.suppress(OSError):  # EIO: nobody has the other end any more
            while piece := os.read(ours, 1 << 16):
                shown += piece
        os.close(ours)
    assert process.returncode == (0 if end == "Ctrl-D" else 130)
    assert (b"'more\\n'" in shown) is (end == "Ctrl-D")


def take_terminal() -> None:
    """Have standard input as the controlling terminal."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background command ignores it


BACKGROUND = """
set -m
"$@" &
wait -n; echo "status $?"
"""


def test_a_command_in_the_background_leaves_the_terminal_alone(program):
    """`pool run file &` is not stopped when something is typed, nor does it take it away."""
    path = program("import time; time.sleep(1); print('ran')")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["bash", "-c", BACKGROUND, "bash", *COMMAND, path],
        stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "dumb"},
        start_new_session=True, preexec_fn=take_terminal,
    ) as process:  # fmt: skip
        me = psutil.Process(process.pid)
        wait_until(lambda: len(me.children(recursive=True)) > 2)
        os.write(ours, b"typed\n")
        shown = read_until(ours, b"status 0\r\n")
        assert b"ran" in shown
        os.set_blocking(theirs, False)
        assert os.read(theirs, 100) == b"typed\n"
        os.close(theirs)
        os.close(ours)


def test_ctrl_c_ends_a_command_that_waits_for_input(program):
    """130, and nothing is left."""
    with start(program("print('?', end='')\ninput()"), stdin=subprocess.PIPE) as process:
        read_until(process.stdout.fileno(), b"?")
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 130
    assert not psutil.wait_procs(children, timeout=5)[1]
