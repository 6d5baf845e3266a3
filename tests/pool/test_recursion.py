"""Programs that recurse deeply: as those of contests do, and without end."""

import json
import subprocess
import sys

import pytest

from interpreter_pool import Asserts, Call, Limits, Program, Stdio
from interpreter_pool.pool.program import RECURSION_LIMIT

LIMITS_C = sys.version_info >= (3, 12)
"""Whether this Python has a limit of its own for calls through C (docs/library.md)."""

PATIENT = Limits(cpu_s=20, wall_s=60)

DFS = """
import sys
sys.setrecursionlimit(10**6)
n = 100_000
children = [[i + 1] for i in range(n)] + [[]]
def depth(node):
    deepest = 0
    for each in children[node]:
        deepest = max(deepest, depth(each))
    return deepest + 1
print(depth(0))
"""

THREAD = """
import sys, threading
sys.setrecursionlimit(1 << 25)
threading.stack_size({size})
def walk(n):
    return n and 1 + walk(n - 1)
def main():
    print(walk(100_000))
thread = threading.Thread(target=main)
thread.start()
thread.join()
"""

TREE = """
import sys
sys.setrecursionlimit(10**6)
def build(low, high):
    if high - low == 1:
        return (data[low], None, None)
    middle = (low + high) // 2
    left, right = build(low, middle), build(middle, high)
    return (left[0] + right[0], left, right)
data = list(range(1 << 14))
print(build(0, len(data))[0])
"""

CACHED = """
import functools
@functools.lru_cache(None)
def ways(n):
    return 1 if n < 2 else (ways(n - 1) + ways(n - 2)) % 1_000_007
print(ways({depth}) > 0)
"""

SORTED = """
def walk(n):
    return n and 1 + sorted([0], key=lambda _: walk(n - 1))[0]
walk(50_000)
print("deep")
"""

PROGRAMS = {
    # program, its recursion_limit, output
    "depth-first search": (DFS, None, "100001\n"),
    "segment tree": (TREE, None, f"{sum(range(1 << 14))}\n"),
    "thread of 64 MiB": (THREAD.format(size="2**26"), None, "100000\n"),
    "thread of 128 MiB": (THREAD.format(size="2**27"), None, "100000\n"),
    "plain calls": ("def f(n): return n and 1 + f(n - 1)\nprint(f(49_900))", 50_000, "49900\n"),
}

THROUGH_C = {
    "lru_cache": (CACHED.format(depth=50_000), 150_000, "True\n"),
    "sorted": (SORTED, 200_000, "deep\n"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_of_contests_run(pool, name):
    """Deep plain recursion, with a limit of one's own or a given one, and threads made for it."""
    code, limit, printed = PROGRAMS[name]
    result = pool.run(code, recursion_limit=limit, limits=PATIENT)
    assert (result.stdout, result.reason) == (printed, "ok"), result


@pytest.mark.parametrize("name", THROUGH_C)
def test_calls_through_c_go_50_000_deep(pool, name):
    """The main stack has room for them, where Python lets them go there."""
    code, limit, printed = THROUGH_C[name]
    result = pool.run(code, recursion_limit=limit, limits=PATIENT)
    if LIMITS_C:
        assert result.exception.type == "RecursionError"
    else:
        assert (result.stdout, result.reason) == (printed, "ok"), result


@pytest.mark.parametrize("bits", [28, 29])
def test_large_stacks_of_threads_fit_where_a_cgroup_counts(pool, bits):
    """Only what is touched counts; elsewhere the program is told what does not fit, and why."""
    result = pool.run(THREAD.format(size=f"2**{bits}"), limits=PATIENT)
    if "cgroup" in result.layers["memory"] or bits == 28:
        assert (result.stdout, result.reason) == ("100000\n", "ok"), result
        assert (result.peak_memory_bytes or 0) < 100 << 20
    else:
        assert "a stack of 512 MiB (threading.stack_size(536870912))" in result.exception.message
        assert "memory_bytes=536870912" in result.exception.message


def test_the_limit_is_pythons_unless_another_is_given(pool):
    """A program finds what was asked for, and may set another itself."""
    code = "import sys; print(sys.getrecursionlimit()); sys.setrecursionlimit(5000)"
    assert pool.run(code).stdout == "1000\n"
    assert pool.run(code, recursion_limit=12_345).stdout == "12345\n"
    assert pool.run(Program(code, recursion_limit=777)).stdout == "777\n"
    assert [each.stdout for each in pool.map([code] * 2, recursion_limit=888)] == ["888\n"] * 2


def test_the_main_stack_is_at_most_the_memory(pool):
    """Without a given limit it is 8 MiB, as everywhere."""
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_STACK)[0] >> 20)"
    limits = Limits(memory_bytes=100 << 20)
    assert pool.run(code, limits=limits).stdout == "8\n"
    assert pool.run(code, limits=limits, recursion_limit=50_000).stdout == "100\n"


def test_functions_and_snapshots_take_a_limit(pool):
    """As runs do."""
    code = "def f(n): return n and 1 + f(n - 1)"
    assert pool.function(code, "f", recursion_limit=20_000)(15_000) == 15_000
    with pool.snapshot(code) as snapshot:
        assert snapshot.run("print(f(15_000))", recursion_limit=20_000).stdout == "15000\n"


ENDLESS = {
    "plain": "def f(): f()\nf()",
    "two in turn": "def f(): g()\ndef g(): f()\nf()",
    "lru_cache": "import functools\n@functools.lru_cache\ndef f(n): f(n + 1)\nf(0)",
    "sorted": "def f(n): return sorted([1], key=f)\nf(0)",
    "repr": "class A:\n    def __repr__(self): return repr(self)\nrepr(A())",
    "generator": "def g(): yield from g()\nlist(g())",
    "json": "import json\na = []\nfor _ in range(10**5): a = [a]\njson.dumps(a)",
    "pickle": "import pickle\na = []\nfor _ in range(10**5): a = [a]\npickle.dumps(a)",
    "deepcopy": "import copy\na = []\nfor _ in range(10**5): a = [a]\ncopy.deepcopy(a)",
    "compiler": "compile('+'.join(['1'] * 200_000), '', 'eval')",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_recursion_without_end_is_an_exception(pool, name):
    """At the limit of judged programs, whatever it goes through; and the traceback is short."""
    result = pool.run(ENDLESS[name], recursion_limit=RECURSION_LIMIT, limits=PATIENT)
    assert (result.reason, result.exception.type) == ("exception", "RecursionError"), result
    assert len(result.stderr) < 400_000
    if name == "plain":  # the last thousand frames, as Python itself shows them
        assert "Previous line repeated 997 more times" in result.exception.traceback
        assert "Previous line repeated 997 more times" in result.stderr


@pytest.mark.parametrize("name", ["plain"] if LIMITS_C else ["plain", "lru_cache"])
def test_recursion_that_only_memory_ends_says_so(pool, name):
    """A program that lifts its own limit takes all memory, and no SIGSEGV ends it. Where no cgroup
    counts it, a stack ends at the memory limit: then the detail names the cause.
    """
    code = "import sys\nsys.setrecursionlimit(1 << 30)\n" + ENDLESS[name]
    limits = PATIENT.replace(memory_bytes=32 << 20)
    result = pool.run(code, recursion_limit=RECURSION_LIMIT, limits=limits)
    if result.reason == "signal" and result.peak_memory_bytes is None:
        assert "past the end of the stack" in result.detail
    else:
        assert result.reason == "memory", result


def test_a_fault_that_is_no_recursion_is_not_called_one(pool):
    """Who has not used up a stack has not passed its end; unless nobody knows what was used."""
    result = pool.run("import ctypes; ctypes.string_at(0)")
    assert result.detail.startswith("died of SIGSEGV"), result
    if result.peak_memory_bytes is not None:
        assert "its stack was not used up" in result.detail


DEEP = """
def f(n):
    return n and 1 + f(n - 1)
if __name__ == "__main__":
    print(f(int(input())))
"""

CASES = [
    Stdio("40000", "40000"),
    Call("f", [40_000], expected=40_000),
    Asserts("assert f(40_000) == 40_000", "f"),
    Asserts("def g(n): return f(2) if n == 0 else g(n - 1)\nassert g(40_000) == 2", "f"),
]


def test_judged_programs_and_tests_may_recurse(pool):
    """50,000 deep, as other graders have it, unless judging or the program says otherwise."""
    assert pool.judge(DEEP, CASES).passed
    for verdict in (
        pool.judge(DEEP, CASES, recursion_limit=None),
        pool.judge(Program(DEEP, recursion_limit=2000), CASES),
    ):
        found = [(each.outcome, "RecursionError" in each.detail) for each in verdict.cases]
        assert found == [("fail", True)] * 3 + [("harness_error", True)], verdict


def test_judged_programs_may_recurse_through_c(pool):
    """20,000 deep through lru_cache, where Python lets them."""
    verdict = pool.judge(CACHED.format(depth=20_000), [Stdio("", "True")])
    assert verdict.passed is not LIMITS_C, verdict


@pytest.mark.parametrize(
    ("value", "error"),
    [(99, ValueError), (1 << 31, ValueError), (True, TypeError), ("1000", TypeError)],
)
def test_what_is_no_recursion_limit_is_refused(pool, value, error):
    """By its name, before anything is run."""
    with pytest.raises(error, match="recursion_limit"):
        pool.run("pass", recursion_limit=value)
    with pytest.raises(error, match="recursion_limit"):
        pool.judge("pass", [Stdio("", "")], recursion_limit=value)
    with pytest.raises(error, match="recursion_limit"):
        Program.from_dict({"code": "pass", "recursion_limit": value})


COMMAND = [
    sys.executable,
    "-c",
    "from interpreter_pool.pool.command import main; main()",
]


def test_commands_take_a_limit(tmp_path):
    """`pool run` and `pool judge`, where 'none' is Python's own."""
    program, cases = tmp_path / "deep.py", tmp_path / "cases.jsonl"
    program.write_text(DEEP)
    cases.write_text(
        json.dumps({"kind": "call", "function": "f", "args": [9000], "expected": 9000})
    )

    def run(*options: str) -> int:
        done = subprocess.run([*COMMAND, *options], input=b"", capture_output=True, timeout=60)
        return done.returncode

    given = tmp_path / "input"
    given.write_text("9000")
    assert run("run", "--recursion-limit", "10000", "--stdin", str(given), str(program)) == 0
    judged = ("judge", str(program), "--cases", str(cases))
    assert run(*judged, "--recursion-limit", "none") == 1
