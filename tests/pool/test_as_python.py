"""A program behaves as under `python file.py`: both are tried, and compared."""

import os
import re
import subprocess
import sys
import zlib

import pytest
from programs import SOURCES

_ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "PYTHONIOENCODING": "utf-8:strict",  # as with any named locale; C.UTF-8 is laxer
}

OTHER_WORDS = {
    # The parser has other words for a file than for the same text in memory.
    "unknown cookie",
    "undecodable",
    "utf-16",
    "BOM against its cookie",
    "NUL",
    "NUL first",
    "surrogate",
    # Frames of ours count: a few levels of recursion.
    "uncaught recursion",
    # Where a text can't be had, Python still ends the line.
    "exit of an unprintable",
}
"""Programs whose stderr differs in the details: its last line begins in the same way."""


def real(source: bytes, folder, *args: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """What Python itself makes of `source`: return code, stdout, stderr."""
    (folder / "main.py").write_bytes(source)
    done = subprocess.run(
        [sys.executable, "-u", "main.py", *args],
        cwd=folder,
        env=_ENVIRONMENT | {"TMPDIR": str(folder)},
        input=stdin,
        capture_output=True,
        timeout=30,
    )
    return done.returncode, done.stdout, normal(done.stderr)


def normal(stderr: bytes) -> str:
    """Text without what may differ: where files stand, addresses, and how long it took."""
    text = stderr.decode("utf-8", "replace")
    text = re.sub(r'File "[^"]*/lib/python3\.\d+/', 'File "<lib>/', text)
    text = re.sub(r"\(/[^\s()]*/lib/python3\.\d+/", "(<lib>/", text)
    text = re.sub(r"(?:/[^/\s\"]+)+/(main|helper)\.py", r"<home>/\1.py", text)
    text = re.sub(r"(Ran \d+ tests?) in \d+\.\d+s", r"\1", text)
    return re.sub(r"0x[0-9a-f]+", "0x", text)


def last_word(stderr: str) -> str:
    """The first word of the last line: the type of an exception."""
    return (stderr.strip().splitlines() or [""])[-1].partition(":")[0]


@pytest.mark.parametrize("name", SOURCES)
def test_a_program_ends_as_under_python(pool, name, tmp_path):
    """Exit code or signal, stdout byte by byte, and stderr are those of `python main.py`."""
    source = SOURCES[name]
    source = source.encode("utf-8", "surrogatepass") if isinstance(source, str) else source
    code, stdout, stderr = real(source, tmp_path)
    result = pool.run(source)
    if name.startswith("NUL") and code == 0:
        # Before 3.11.4 Python stops reading a file at a NUL; here it is the error it became.
        assert last_word(normal(result.stderr_bytes)).startswith("SyntaxError")
        return
    if name in OTHER_WORDS:
        assert last_word(normal(result.stderr_bytes)) == last_word(stderr)
    else:
        assert normal(result.stderr_bytes) == stderr
    assert result.stdout_bytes == stdout
    assert result.returncode == code, result


def test_a_coroutine_that_was_not_awaited_is_told(pool):
    """At the end, as Python does; where it stands, it is a line of ours."""
    result = pool.run("async def f(): pass\nc = f()")
    assert "RuntimeWarning: coroutine 'f' was never awaited" in result.stderr and result.ok


def test_what_a_library_keeps_is_finalised_too(pool):
    """Python takes libraries apart; here they live on, and names of `__main__` are dropped instead."""
    result = pool.run(
        "import json\nclass A:\n    def __del__(self): print('gone')\na = A()\n"
        "def f(*_): pass\njson.JSONEncoder.default = f"
    )
    assert result.stdout == "gone\n"


@pytest.mark.parametrize("args", [("a", "b c", ""), ("--json", "-", "--", "é", "\udcff")])
def test_arguments_arrive(pool, tmp_path, args):
    """sys.argv is the file's name and the arguments, whatever they look like."""
    source = b"import sys; print(ascii(sys.argv))"
    _, stdout, _ = real(source, tmp_path, *args)
    assert pool.run(source, args=args).stdout_bytes == stdout


READERS = {
    "input": "while True:\n    try: print(input('> '))\n    except EOFError: break",
    "iteration": "import sys\nfor line in sys.stdin: print(repr(line))",
    "buffer": "import sys\nprint(sys.stdin.buffer.read())",
    "readline": "import sys\nprint(repr(sys.stdin.readline()), repr(sys.stdin.read(3)))",
    "os.read": "import os\nprint(os.read(0, 5), os.read(0, 100000)[-3:])",
    "open(0)": "print(open(0).read())",
    "fileinput": "import fileinput\nfor line in fileinput.input(): print(line, end='')",
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("data", [b"", b"one\ntwo\n", b"no newline", "é\r\nü\n".encode()])
def test_input_arrives(pool, tmp_path, name, data):
    """stdin is read in every way, with and without a last newline."""
    source = READERS[name].encode()
    code, stdout, stderr = real(source, tmp_path, stdin=data)
    result = pool.run(source, stdin=data)
    assert (result.stdout_bytes, normal(result.stderr_bytes)) == (stdout, stderr)
    assert result.returncode == code


def test_large_input_arrives(pool):
    """Megabytes of input, more than any pipe holds, are there from the beginning."""
    data = os.urandom(8 << 20)
    code = "import sys, zlib; print(zlib.crc32(sys.stdin.buffer.read()))"
    assert pool.run(code, stdin=data).stdout == f"{zlib.crc32(data)}\n"


def test_input_is_not_the_programs_to_change(pool):
    """Standard input is read-only; an empty one is too."""
    for stdin in (b"x", b""):
        result = pool.run("import os\nos.write(0, b'y')", stdin=stdin)
        assert result.exception.type == "OSError"


def test_a_large_program_runs(pool):
    """A program of ten megabytes is handed over whole."""
    source = "x = '" + "a" * (10 << 20) + "'\nprint(len(x))"
    assert pool.run(source).stdout == f"{10 << 20}\n"


def test_ten_megabytes_of_output_are_complete_and_in_order(pool):
    """All output arrives, on both streams, while the program runs and after it ended."""
    code = (
        "import sys\nfor n in range(640000):\n    print(f'{n:015d}')\n"
        "    if n % 64 == 0: sys.stderr.write(f'{n:015d}\\n')"
    )
    result = pool.run(code, limits=pool.limits.replace(output_bytes=None, wall_s=60))
    assert result.ok
    assert not result.stdout_truncated
    assert result.stdout == "".join(f"{n:015d}\n" for n in range(640000))
    assert result.stderr == "".join(f"{n:015d}\n" for n in range(0, 640000, 64))


@pytest.mark.parametrize("end", ["'\\n'", "''"])
def test_what_was_printed_before_a_timeout_is_there(pool, end):
    """Partial output survives the kill, also a line that was never ended."""
    result = pool.run(f"print('partial', end={end})\nwhile True: pass", timeout=0.3)
    assert result.reason == "wall_timeout"
    assert result.stdout.rstrip("\n") == "partial"


def test_a_daemon_thread_that_keeps_the_pipe_does_not_hold_the_result(pool):
    """The end of the process is the end of the run, whoever still has its descriptors."""
    code = (
        "import threading, time\n"
        "def f():\n    while True: print('x', end=''); time.sleep(0.001)\n"
        "threading.Thread(target=f, daemon=True).start()\ntime.sleep(0.05)"
    )
    assert pool.run(code).reason == "ok"


def test_runs_do_not_share_randomness(pool):
    """Every run draws its own numbers, as separate Pythons do."""
    code = "import random, uuid, os; print(random.random(), uuid.uuid4(), os.urandom(8).hex())"
    drawn = [pool.run(code).stdout.split() for _ in range(10)]
    for column in zip(*drawn, strict=True):
        assert len(set(column)) == 10


def test_runs_share_nothing_else(pool):
    """Modules, builtins, files and the environment of one run are not seen by the next."""
    pool.run(
        "import builtins, math, os, sys\nbuiltins.left = 1\nmath.pi = 3\nos.environ['LEFT'] = '1'\n"
        "sys.modules['left'] = sys\nopen('left', 'w').close()\nopen('/tmp/left', 'w').close()\n"
        "sys.setrecursionlimit(5000)"
        if pool.tier == "namespaces"
        else "open('left', 'w').close()"
    )
    result = pool.run(
        "import builtins, math, os, sys\n"
        "print(hasattr(builtins, 'left'), math.pi == 3)\n"
        "print('LEFT' in os.environ, 'left' in sys.modules)\n"
        "print(os.listdir(), os.path.exists('/tmp/left'), sys.getrecursionlimit())"
    )
    assert result.stdout == "False False\nFalse False\n['main.py'] False 1000\n"


def test_the_hosts_environment_stays_outside(pool):
    """No variable of the host is there; the documented few are."""
    result = pool.run("import os\nprint(*sorted(os.environ))")
    assert set(result.stdout.split()) <= {
        "HOME", "LANG", "LOGNAME", "PATH", "TMPDIR", "USER", "LD_LIBRARY_PATH", "LC_CTYPE",
        "MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "JOBLIB_MULTIPROCESSING",
    }  # fmt: skip


def test_our_own_modules_are_not_in_the_programs_way(pool):
    """A program finds nothing of ours under sys.modules, and nothing to import."""
    result = pool.run(
        "import sys\nprint([n for n in sys.modules if 'guest' in n or 'zygote' in n])\n"
        "for name in ('guest', 'sandbox', 'pool'):\n"
        "    try: __import__(name); print('found', name)\n    except ImportError: pass"
    )
    assert result.stdout == "[]\n", result.stderr
