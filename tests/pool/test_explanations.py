"""What people are told of a run: its end in a sentence, refused calls, packages that are not offered."""

import os
import sys
import threading

import pytest
from conftest import descriptors, wait_until

from interpreter_pool import Asserts, Call, LimitExceeded, Limits, Pool, ProgramError, Stdio
from interpreter_pool.sandbox.errors import PolicyError
from interpreter_pool.sandbox.host import distributions
from interpreter_pool.sandbox.host.distributions import provider_of
from interpreter_pool.sandbox.host.interpreter import current

REFUSED = """
import os, socket, ctypes
def attempt(step):
    try: step()
    except OSError as error: print(error)
attempt(lambda: socket.socket())
attempt(lambda: socket.socket(socket.AF_UNIX))
attempt(os.fork)
attempt(lambda: os.chown(".", 0, 0))
"""

NUMPY = "numpy is installed here, but this pool does not offer it: Pool(packages=('numpy',))"


@pytest.fixture
def explaining(tier):
    with Pool(1, tier=tier, explain=True) as pool:
        yield pool


# ---- ends


@pytest.mark.parametrize(
    "code, limits, said",
    [
        ("import time; time.sleep(9)", {"wall_s": 0.3}, "stopped after 0.3 s of wall-clock time"),
        ("while True: pass", {"cpu_s": 0.1}, "stopped after 0.1 s of CPU time (Limits.cpu_s)"),
        ("print('x' * 2000)", {"output_bytes": 1000}, "wrote more than 1000 bytes to stdout"),
        ("bytearray(1 << 30)", {"memory_bytes": 64 << 20}, "needed more than 64 MiB of memory"),
        ("import os; os.kill(os.getpid(), 11)", {}, "died of SIGSEGV (signal 11)"),
        ("import os; os.kill(os.getpid(), 31)", {}, "killed by the system-call filter (SIGSYS)"),
        ("1 / 0", {}, ""),
        ("raise SystemExit(3)", {}, ""),
        ("print(1)", {}, ""),
    ],
)
def test_a_result_says_which_limit_ended_it(pool, code, limits, said):
    """With its value, and the argument that allows more; of a program's own end, nothing."""
    detail = pool.run(code, limits=Limits(**limits)).detail
    assert detail.startswith(said) and bool(detail) == bool(said)


def test_a_sessions_call_and_a_function_say_which_limit_ended_them(pool):
    """The same sentences: in the result, and in the error of a function."""
    with pool.session(limits=Limits(wall_s=0.3)) as session:
        assert session.run("while True: pass").detail.startswith("stopped after 0.3 s of wall")
    loop = pool.function("def f():\n    while True: pass", "f", timeout=0.3)
    with pytest.raises(LimitExceeded, match=r"wall_timeout: stopped after 0\.3 s of wall"):
        loop()


def test_a_cancelled_run_says_so(pool):
    """It was nobody's limit."""
    future = pool.submit("print(1, flush=True)\nwhile True: pass", timeout=60)
    wait_until(future.running)
    future.cancel()
    assert future.result().detail.startswith("cancelled: its caller")


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.getaddrinfo('example.org', 80)",
        "import urllib.request; urllib.request.urlopen('http://example.org')",
        "import socket; socket.create_connection(('127.0.0.1', 80))",
    ],
)
def test_a_program_without_a_network_is_told_that_there_is_none(pool, code):
    """And not that resolving a name failed for now, which sounds as if it might work later."""
    assert pool.run(code).detail == "there is no network in the jail"


def test_a_program_that_starts_another_is_told_which_limit_it_takes(pool):
    """fork and exec fail with EPERM, which says nothing."""
    detail = pool.run("import subprocess; subprocess.run(['ls'])").detail
    assert "Limits(processes=)" in detail
    assert "pool run --explain" in pool.run("import os; os.nice(1)").detail


# ---- refused calls


def test_refused_calls_are_counted_by_name(explaining, pool):
    """The program sees the same as without; the result has its calls, and what they mean."""
    result = explaining.run(REFUSED)
    plain = pool.run(REFUSED)
    assert result.stdout == plain.stdout
    assert result.stdout.count("Operation not permitted") == 4
    assert result.refused_calls == {"socket": 2, "clone": 1, "chown": 1}
    assert "socket (there is no network in the jail)" in result.detail
    assert plain.refused_calls == {}
    nothing = explaining.run("print(1)")
    assert (nothing.refused_calls, nothing.detail) == ({}, "")


def test_calls_that_no_table_knows_are_counted_as_well(explaining):
    """By their name in the kernel, with a general answer."""
    code = "import ctypes, os; ctypes.CDLL(None).syscall(ctypes.c_long(%d), 0, 0, 0)"
    number = {"x86_64": 156, "aarch64": 180}[os.uname().machine]  # _sysctl; mq_open
    result = explaining.run(code % number)
    (name,) = result.refused_calls
    assert name in result.detail


def test_a_program_that_asks_without_end_keeps_to_its_limits(explaining):
    """Every refusal costs the host a look: the clock ends it all the same, and memory is flat."""
    code = (
        "import ctypes, threading\nlibc = ctypes.CDLL(None)\n"
        "def ask():\n    while True: libc.syscall(ctypes.c_long(41), 2, 1, 0)\n"
        "for _ in range(8): threading.Thread(target=ask, daemon=True).start()\nask()"
    )
    if os.uname().machine != "x86_64":
        code = code.replace("(41)", "(198)")
    result = explaining.run(code, limits=Limits(wall_s=0.5))
    assert result.reason == "wall_timeout"
    assert set(result.refused_calls) == {"socket"}
    assert explaining.run("print(1)").stdout == "1\n"


def test_a_program_finds_nothing_of_who_watches_it(explaining):
    """It holds its three descriptors, and no listener that it could answer itself on."""
    code = "import os; print(sorted(os.listdir('/proc/self/fd'))[:4])"
    assert explaining.run(code).stdout in ("['0', '1', '2', '3']\n", "")  # 3: the folder itself


def test_watching_leaves_nothing_behind(explaining):
    """Neither threads nor descriptors, however a run ends."""
    codes = [
        REFUSED,
        "while True: pass",
        "import os; os._exit(3)",
        "import os; os.kill(os.getpid(), 9)",
    ]
    for code in codes:
        explaining.run(code, timeout=0.2)
    wait_until(explaining.engine.is_settled)
    before = len(descriptors())
    for code in codes:
        explaining.run(code, timeout=0.2)
    wait_until(explaining.engine.is_settled)
    assert len(descriptors()) <= before
    assert "refusals" not in [thread.name for thread in threading.enumerate()]


def test_runs_with_several_processes_are_watched_as_a_whole():
    """What their children are refused counts as well."""
    code = (
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'import socket; socket.socket()'],"
        " stderr=subprocess.DEVNULL)"
    )
    with Pool(1, tier="namespaces", explain=True, limits=Limits(processes=4)) as pool:
        assert pool.run(code).refused_calls == {"socket": 1}


def test_judged_programs_are_watched_and_sessions_go_on_as_usual(tier):
    """A pair's runs have listeners of their own; a session's calls, and a snapshot's runs, none."""
    asks = "import socket\ndef f(x):\n    try: socket.socket()\n    except OSError: return x"
    cases = [Call("f", (1,), expected=1), Asserts("assert f(1) == 1", "f")]
    code = "import socket\ntry: socket.socket()\nexcept OSError as error: print(error)"
    with Pool(1, tier=tier, explain=True) as pool:
        assert pool.judge(asks, cases).passed
        with pool.session() as session:
            result = session.run(code)
            assert "not permitted" in result.stdout and result.refused_calls == {}
        with pool.snapshot("x = 1") as snapshot:
            result = snapshot.run(code)
            assert "not permitted" in result.stdout and result.refused_calls == {}


def test_nothing_is_explained_where_nothing_is_refused():
    """tier="none" has no filter; and explain is a switch."""
    with pytest.raises(PolicyError, match="explain: tier="):
        Pool(1, tier="none", explain=True)
    with pytest.raises(TypeError, match="explain must be True or False"):
        Pool(1, explain="yes")


# ---- packages


def test_a_package_that_is_not_offered_is_named(pool):
    """With the argument that offers it; one that is not installed, or is offered, is not."""
    result = pool.run("import numpy.linalg")
    assert (result.detail, result.not_offered) == (NUMPY, "numpy")
    renamed = pool.run("import markdown_it")
    assert (
        renamed.not_offered == "markdown-it-py" and "packages=('markdown-it-py',)" in renamed.detail
    )
    for code in ("import surely_not_there", "import numpy_", "1 / 0", "import tkinter.x"):
        result = pool.run(code)
        assert (result.detail, result.not_offered) == ("", None), code


@pytest.mark.parametrize(
    "name",
    ["../../etc", "numpy\\x00", "numpy/linalg", "a" * 10_000, "", ".", "__editable__", "nu(m"],
)
def test_a_name_that_a_program_made_up_leads_nowhere(pool, name):
    """It is the program's word: no path, no pattern, and no cost."""
    code = f"raise ModuleNotFoundError(\"No module named '{name}'\")"
    assert pool.run(code).not_offered is None


def test_what_is_offered_is_no_reason_for_a_hint(tier):
    """A part of it that is not there is the program's mistake."""
    with Pool(1, tier=tier, packages=("packaging",)) as pool:
        result = pool.run("import packaging.nosuch")
        assert (result.reason, result.detail) == ("exception", "")


def test_looking_for_a_package_imports_nothing_of_it(monkeypatch):
    """Its metadata tells, which is read once: names that programs make up cost nothing."""
    before = set(sys.modules)
    assert provider_of("pandas", current().sites) == "pandas"
    assert provider_of("markdown_it", current().sites) == "markdown-it-py"
    assert not any(name.split(".")[0] == "pandas" for name in set(sys.modules) - before)
    monkeypatch.setattr(distributions.metadata, "distributions", None)
    assert provider_of("numpy", current().sites) == "numpy"
    assert provider_of("made_up", current().sites) is None


def test_metadata_that_cant_be_read_costs_no_result(pool, monkeypatch, caplog):
    """A hint is worth less than the result."""

    def fail(module, sites):
        raise OSError("no metadata")

    monkeypatch.setattr("interpreter_pool.sandbox.host.distributions.provider_of", fail)
    result = pool.run("import numpy")
    assert (result.reason, result.detail) == ("exception", "")
    assert "no hint" in caplog.text


def test_a_session_and_a_function_name_the_package_as_well(pool):
    """Wherever a program's exception goes."""
    with pool.session() as session:
        assert session.run("import numpy").detail == NUMPY
        with pytest.raises(ProgramError) as caught:
            session.run("def f():\n    import numpy")
            session.call("f")
    assert caught.value.result.not_offered == "numpy"
    with pytest.raises(ProgramError) as caught:
        pool.function("import numpy\ndef f(): pass", "f")()
    assert caught.value.result.detail == NUMPY


@pytest.mark.parametrize(
    "code, case",
    [
        ("import numpy", Stdio("", "")),
        ("import numpy\ndef f(x): return x", Call("f", (1,), expected=1)),
        ("def f(x):\n    import numpy\n    return x", Call("f", (1,), expected=1)),
        ("import numpy\ndef f(x): return x", Asserts("assert f(1) == 1", "f")),
        ("def f(x):\n    import numpy\n    return x", Asserts("assert f(1) == 1", "f")),
        ("def f(x): return x", Asserts("import numpy\nassert f(1) == 1", "f")),
    ],
)
def test_a_verdict_names_the_package(pool, code, case):
    """Whether the program lacks it, or its test."""
    verdict = pool.judge(code, [case])
    assert not verdict.passed
    assert verdict.not_offered == {"numpy"}
    assert "Pool(packages=('numpy',))" in verdict.cases[0].detail
    assert verdict.to_dict()["cases"][0]["not_offered"] == "numpy"


def test_a_pool_counts_what_its_programs_lack(tier):
    """By package, so that a whole batch that fails for one option can be seen."""
    with Pool(2, tier=tier) as pool:
        list(pool.map(["import numpy"] * 3 + ["import markdown_it", "1 / 0"]))
        assert pool.stats().not_offered == {"numpy": 3, "markdown-it-py": 1}
