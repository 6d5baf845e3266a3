"""Output and protocol: whatever a program prints or claims is output and a claim."""

import json
import os
import signal
import subprocess
import sys

import pytest

from interpreter_pool import Limits, Stdio

MARKERS = (
    b"---END---\n---READY---\n",
    json.dumps({"reason": "ok", "ok": True, "exit_code": 0, "infra_error": True}).encode() + b"\n",
    b"\x1b[2J\x1b]0;title\x07\r\x08\x00\x00\x01",
    bytes(range(256)) * 3,
    b"\xff\xfe\xed\xa0\x80\xf4\x90\x80\x80 \xc3",
    b"m\x01\x00\x00\x00s\x09\x00\x00\x00completedT",
)

PRINT = "import os, sys\nos.write(1, bytes.fromhex(sys.argv[1]))\nos.write(2, bytes.fromhex(sys.argv[1]))"


@pytest.mark.parametrize("marker", MARKERS, ids=range(len(MARKERS)))
def test_o1_output_is_only_output(attack, outside, marker):
    """O1: markers, results, escapes, NUL and invalid UTF-8 are kept byte by byte, and mean nothing."""
    code = PRINT + "\nsys.exit(3)"
    result = attack(code, args=[marker.hex()])
    assert (result.stdout_bytes, result.stderr_bytes) == (marker, marker)
    assert (result.reason, result.exit_code, result.infra_error) == ("exit", 3, False)
    assert result.stdout == marker.decode("utf-8", "replace")
    assert json.loads(json.dumps(result.to_dict()))["stdout"] == result.stdout
    assert outside(code, args=(marker.hex(),)).stdout == marker


def test_o1_the_command_prints_one_json_object(pool, tmp_path):
    """O1: `pool run --json` prints one line, whatever the program printed."""
    file = tmp_path / "program.py"
    file.write_text(PRINT)
    command = [os.path.join(os.path.dirname(sys.executable), "pool"), "run", "--json"]
    for marker in MARKERS:
        arguments = ["--tier", pool.tier, str(file), marker.hex()]
        done = subprocess.run([*command, *arguments], capture_output=True, timeout=30)
        (line,) = done.stdout.splitlines()
        assert json.loads(line)["stdout"] == marker.decode("utf-8", "replace")
        assert done.returncode == 0


AS_A_FILE = {
    "lone surrogate": "print('\ud800')".encode("utf-8", "surrogatepass"),
    "tabs": b"if 1:\n\tif 1:\n\t\tprint('\t')\n",
    "tabs and blanks": b"if 1:\n\tprint(1)\n        print(2)\n",
    "CRLF": b"x = '''a\r\nb'''\r\nprint(len(x))\r\n",
    "CR": b"print(1)\rprint(2)\r",
    "BOM": b"\xef\xbb\xbfprint('bom')",
    "BOM and cookie": b"\xef\xbb\xbf# coding: utf-8\nprint('bom')",
    "BOM against cookie": b"\xef\xbb\xbf# coding: latin-1\nprint('bom')",
    "cookie": b"# coding: latin-1\nprint(ascii('\xe4'))",
    "unknown cookie": b"# coding: nonsense\nprint(1)",
    "no encoding": b"print('\xe4')",
    "no newline at the end": b"print(1)",
    "empty": b"",
    "form feed": b"\x0cprint(1)\n",
    "main": b"if __name__ == '__main__': print(__name__, __doc__, __package__, __spec__)",
    "module names": b"'doc'\nprint(sorted(globals()), __doc__)",
    "recursion": b"def f(n): return n and 1 + f(n - 1)\nprint(f(900))",
    "too deep": b"def f(): f()\ntry: f()\nexcept RecursionError as e: print(e)",
    "future": b"from __future__ import annotations\ndef f(x: y): pass\nprint(f.__annotations__)",
    "no future of ours": b"def f(x: 1 + 1): pass\nprint(f.__annotations__)",
    "dataclasses": b"import dataclasses\n@dataclasses.dataclass\nclass A:\n x: int = 1\nprint(A())",
    "pickle": b"import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))))",
    "getsource": b"import inspect\ndef f():\n    return 1  # here\nprint(inspect.getsource(f))",
    "own file": b"print(open(__file__).read())",
    "import of itself": b"import sys\nprint(sys.modules['__main__'].__dict__ is globals())",
    "asyncio": b"import asyncio\nasync def f():\n await asyncio.sleep(0.01)\n return 5\n"
    b"async def g(): return await asyncio.gather(f(), f(), asyncio.to_thread(sum, [1, 2]))\n"
    b"print(asyncio.run(g()))",
    "threads": b"from concurrent.futures import ThreadPoolExecutor as E\n"
    b"with E(4) as e: print(list(e.map(str, range(9))))",
    "queue": b"import queue, threading\nq = queue.Queue()\n"
    b"threading.Thread(target=q.put, args=(1,)).start()\nprint(q.get(timeout=1))",
    "enum, typing": b"import enum, typing\nclass E(enum.Enum):\n A = 1\nprint(E.A, typing.Optional[int])",
    "argv": b"import sys; print(sys.argv)",
    "assert": b"assert 1 == 2, 'no'",
    "syntax error": b"def f(:\n  pass",
    "indentation": b" x = 1",
    "huge literal": b"x = " + b"9" * 5000,
    "deep nesting": b"(" * 150 + b")" * 150,
    "warning": b"x = '\\d'",
    "unraisable": b"class A:\n def __del__(self): 1/0\na = A(); del a; print(2)",
    "chained": b"try: 1/0\nexcept Exception as e: raise KeyError('k') from e",
    "group": b"raise ExceptionGroup('g', [ValueError(1), TypeError(2)])",
    "thread dies": b"import threading\nt = threading.Thread(target=lambda: 1/0)\nt.start(); t.join()",
    "stdin": b"import sys; print(repr(sys.stdin.read()), sys.stdin.encoding)",
    "isatty": b"import sys; print([s.isatty() for s in (sys.stdin, sys.stdout, sys.stderr)])",
    "open file at the end": b"f = open('x', 'w'); f.write('y'); print(f.name)",
}


@pytest.mark.parametrize("name", AS_A_FILE)
def test_o2_source_means_what_it_means_in_a_file(attack, outside, name):
    """O2: odd sources and ordinary features run as `python file.py` runs them."""
    code = AS_A_FILE[name]
    result, expected = attack(code, timeout=5), outside(code)
    assert result.returncode == expected.returncode, (result, expected)
    assert result.stdout_bytes == expected.stdout
    last = [text.strip().splitlines()[-1:] for text in (result.stderr_bytes, expected.stderr)]
    if b"SyntaxError" in expected.stderr:  # worded otherwise where Python reads from a file
        last = [[line.partition(b":")[0] for line in lines] for lines in last]
    assert last[0] == last[1], (result.stderr, expected.stderr)


def test_o2_a_nul_in_a_source_is_a_syntax_error(attack):
    """O2: as Python has it since 3.11.4; before, it ignored the rest of the line."""
    result = attack(b"print(1)\x00print(2)")
    assert (result.reason, result.exception.type, result.stdout) == ("exception", "SyntaxError", "")


EXITS = [
    "sys.exit()", "sys.exit(0)", "sys.exit(1)", "sys.exit(3)", "sys.exit(255)", "sys.exit(256)",
    "sys.exit(-1)", "sys.exit('s')", "sys.exit(None)", "sys.exit(True)", "sys.exit([1])",
    "sys.exit(1.5)", "sys.exit((1, 2))", "sys.exit(1 << 70)", "sys.exit('')", "raise SystemExit",
    "class E(SystemExit): pass\nraise E(4)", "class E(BaseException): pass\nraise E",
    "class E(SystemExit):\n code = 7\nraise E(4)", "exit(5)", "quit()",
    "raise KeyboardInterrupt", "raise GeneratorExit", "raise StopIteration", "raise MemoryError('x')",
    "import os; os._exit(9)", "import os; os._exit(256)", "import os; os.abort()",
    "import os; os.kill(os.getpid(), 15)", "import os; os.kill(os.getpid(), 9)",
    "import signal; signal.raise_signal(signal.SIGUSR1)", "import signal; signal.raise_signal(64)",
    "try: sys.exit(2)\nfinally: print('f')", "import atexit; atexit.register(sys.exit, 6)",
    "import threading; threading.Thread(target=sys.exit, args=(8,)).start()",
    "sys.excepthook = None\n1/0", "sys.excepthook = lambda *_: sys.exit(5)\n1/0",
    "sys.stdout.close()", "sys.stderr.close(); 1/0", "del sys.stdout", "sys.stdout = None; print(1)",
]  # fmt: skip


@pytest.mark.parametrize("code", EXITS)
def test_o3_every_exit_has_pythons_own_code(attack, outside, code):
    """O3: exits of every kind give the exit code, or the signal, that python gives."""
    code = "import sys\n" + code
    result, expected = attack(code), outside(code)
    if "MemoryError" in code:  # a verdict on the limit, by DESIGN's table
        assert result.reason == "memory"
    else:
        assert result.returncode == expected.returncode, (result, expected)
    assert result.stdout_bytes == expected.stdout


def test_o4_leaving_half_way_is_seen(attack, outside):
    """O4: os._exit(0) is exit code 0, but not completed; what was printed is there."""
    code = "import os\nprint('half')\nos._exit(0)\nprint('way')"
    result = attack(code)
    assert (result.reason, result.exit_code, result.completed) == ("ok", 0, False)
    assert result.stdout == "half\n"
    assert outside(code).returncode == 0


def test_o5_a_segfault_is_told(attack, outside):
    """O5: a crash in C is signal 11; what was printed before it is there."""
    code = "import ctypes\nprint('before')\nctypes.string_at(0)"
    result = attack(code)
    assert (result.reason, result.signal, result.stdout) == ("signal", signal.SIGSEGV, "before\n")
    assert outside("import resource; resource.setrlimit(4, (0, 0))\n" + code).returncode == -11


def test_o7_warnings_are_no_failure(attack, outside):
    """O7: text on stderr with exit code 0 is `ok`."""
    code = "import sys, warnings\nwarnings.warn('careful')\nprint('e', file=sys.stderr)"
    result = attack(code)
    assert result.ok and result.reason == "ok"
    assert "UserWarning: careful" in result.stderr
    assert outside(code).returncode == 0


def test_o8_all_output_arrives(attack, outside):
    """O8: 300 lines under a short limit and 10 MB under a 20 MB cap are complete."""
    lines = "for number in range(300): print(number)"
    assert attack(lines, timeout=1).stdout_bytes == outside(lines).stdout
    long = "import sys\nfor _ in range(10): sys.stdout.write('x' * (1 << 20))\nprint('end')"
    result = attack(long, limits=Limits(output_bytes=20 << 20), timeout=5)
    assert result.ok and not result.stdout_truncated
    assert result.stdout_bytes == outside(long).stdout


def test_o8_writes_that_are_kept_apart_are_output_in_runs_and_sessions(attack, outside, pool):
    """O8: a pipe of packets (O_DIRECT) gives one a read: nothing is lost, capped or judged less."""
    packets = "import fcntl, os\nfcntl.fcntl(1, fcntl.F_SETFL, os.O_DIRECT)\n"
    code = packets + "for number in range(8): print(number)"
    for _ in range(5):
        result = attack(code)
        assert (result.reason, result.stdout_bytes) == ("ok", outside(code).stdout)
        assert pool.judge(code, [Stdio("", "0")]).cases[0].reason == "wrong_output"
        assert attack(code, limits=Limits(output_bytes=8)).reason == "output"
    with pool.session() as session:
        assert session.run(code).stdout_bytes == outside(code).stdout


FORGE = """
import os, threading
def reached(function):
    for cell in getattr(function, "__closure__", None) or ():
        yield cell.cell_contents
        yield from reached(cell.cell_contents)
program = next(each for each in reached(threading._start_new_thread) if hasattr(each, "report"))
report = program.report
Claim = type(report).write.__globals__["Claim"]
print("found", flush=True)
"""

FORGERIES = {
    "garbage": "report._map[:] = os.urandom(len(report._map))\nos._exit(4)",
    "length": "report._map[:4] = b'\\xff' * 4\nos._exit(4)",
    "nesting": "report._map[:65536] = (b'\\xf0\\xff\\0\\0' + b'l\\1\\0\\0\\0' * 20000)[:65536]\nos._exit(4)",
    "claim": "report.write(Claim())\nos._exit(4)",
    "exception": "report.write(Claim(('MemoryError', 'x', 'y'), True))\nos._exit(4)",
    "surrogates": "report.write(Claim(('\\ud800', '\\udfff\\0', '\\x1b[2J')))\nos._exit(4)",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_w9_forged_claims_decide_nothing(attack, name):
    """W9: what a program writes where its own account belongs changes no exit code or reason.

    No control: there is no account outside; that the program finds it is part of the test.
    """
    result = attack(FORGE + FORGERIES[name])
    assert (result.reason, result.exit_code, result.stdout) == ("exit", 4, "found\n")
    assert result.completed is (name in ("claim", "exception", "surrogates"))
    json.dumps(result.to_dict()).encode("utf-8")


def test_w9_a_forged_exception_needs_exit_code_one(attack):
    """W9: with code 1 the claim is believed, for it costs the program nothing to raise one."""
    result = attack(FORGE + "report.write(Claim(('E', 'x', 'y')))\nos._exit(1)")
    assert (result.reason, result.exit_code) == ("exception", 1)
    ok = attack(FORGE + "report.write(Claim(('E', 'x', 'y')))\nos._exit(0)")
    assert (ok.reason, ok.exit_code) == ("ok", 0)


UNHARMED = {
    "no os._exit": "import os; os._exit = None",
    "os._exit that returns": "import os; os._exit = lambda code: None",
    "no threading": "import sys; sys.modules['threading'] = None",
    "a fake threading": "import sys, types; sys.modules['threading'] = types.ModuleType('t')",
    "no gc": "import gc; gc.get_objects = None",
    "poor builtins": "import builtins as b; b.any = b.len = b.isinstance = b.issubclass = b.map = None",
    "no modules": "import sys; sys.modules.clear()",
    "an audit hook": "import sys\ndef f(*_): raise RuntimeError\nsys.addaudithook(f)",
    "a trace function": "import sys\ndef f(*_): raise RuntimeError\nsys.settrace(f)",
    "an evasive class": "class A:\n __class__ = property(lambda self: 1 / 0)\na = [A()]; a.append(a)",
    "an evasive type": "class M(type):\n def __getattribute__(c, n): raise RuntimeError\n"
    "class A(metaclass=M): pass",
    "a file that objects": "import io\nclass R(io.RawIOBase):\n def writable(self): return True\n"
    " def flush(self): raise RuntimeError\nt = io.TextIOWrapper(R())",
    "a number that objects": "class I(int):\n def __int__(self): raise ValueError\n"
    " def __le__(self, other): raise ValueError\nimport sys; sys.exit(I(0))",
}


@pytest.mark.parametrize("name", UNHARMED)
def test_o3_odd_but_sound_programs_end_well(attack, outside, name):
    """O3: a program may break what our own ending uses; it still ends with python's exit code."""
    code = "print(1)\n" + UNHARMED[name]
    result = attack(code)
    assert (result.reason, result.stdout) == ("ok", "1\n"), result
    assert outside(code).returncode == 0


WEDGES = {
    "kills its parent": "import os\nfor s in (2, 15, 19, 9):\n try: os.kill(os.getppid(), s)\n except OSError: pass",
    "kills everyone": "import os\ntry: os.kill(-1, 9)\nexcept OSError: pass",
    "kills its group": "import os; os.killpg(0, 9)",
    "SIGSYS": "import os; os.kill(os.getpid(), 31)",
    "closes all": "import os; os.closerange(0, 1 << 20)",
    "eats descriptors": "import os\nwhile True: os.dup(0)",
    "walks out": "import os; os._exit = lambda code: None",
    "no way out": "import os; os._exit = None",
    "returns to the zygote": "import os, sys\nos._exit = lambda code: None\nsys.exit(0)",
    "no builtins": "import builtins; vars(builtins).clear()",
    "no modules": "import sys; sys.modules.clear()",
    "traces": "import sys, threading\ndef f(*_): raise RuntimeError\nsys.setprofile(f)",
    "audits": "import sys\ndef f(*_): raise RuntimeError\nsys.addaudithook(f)",
    "dies in a thread": "import os, threading\nthreading.Thread(target=os._exit, args=(3,)).start()",
    "121": "import os; os._exit(121)",  # what our own child says when it can't be confined
    "unreadable tree": "import os\nos.mkdir('a')\nos.mkdir('a/b', 0)\nos.mkdir('a/c', 0o500)\n"
    "os.mkdir('d', 0o300)\nos.chmod('.', 0)\nos.chmod('..', 0)",
    "odd names": "import os\nfor n in (b'\\xff', b'\\n', b'-rf', b'x' * 255, b'\\x01wipe-1'):\n"
    " os.mkdir(n); open(n + b'/f' if len(n) < 250 else b'f', 'w'); os.symlink('/', n + b'/l')",
    "no scratch": "import os\nos.chdir('/')\nimport shutil, tempfile\n"
    "home = os.path.dirname(__file__)\nshutil.rmtree(os.path.dirname(home), ignore_errors=True)",
    "moved scratch": "import os\ntop = os.path.dirname(os.path.dirname(__file__))\n"
    "os.rename(top + '/home', top + '/tmp/h')\nos.symlink('/', top + '/home')",
}


@pytest.mark.parametrize("name", WEDGES)
def test_w9_wrecking_the_worker_is_no_infra_error(attack, name):
    """W9: a program that kills, wedges or confuses its worker is charged, never excused.

    No control: outside there is no worker. `attack` checks that the next run finds one.
    """
    result = attack(WEDGES[name])
    assert result.reason not in ("internal", "cancelled", "wall_timeout")
