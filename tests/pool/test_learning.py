"""Programs that people learn libraries with do in the pool what they do under `python`."""

import concurrent.futures
import json
import subprocess
import sys

import pytest
from learning import PROGRAMS

from interpreter_pool import Limits, Pool, Stdio

PACKAGES = (
    "numpy", "pandas", "scipy", "sympy", "matplotlib", "networkx", "torch", "scikit-learn", "tqdm",
)  # fmt: skip

PRELOAD = ("numpy", "pandas", "scipy", "sympy", "matplotlib", "networkx", "torch", "sklearn")

PLAIN = """
import io, json, os, sys, tempfile
for name in sys.argv[1].split():
    __import__(name)
printed = {}
for name, source in json.load(sys.stdin).items():
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(write_end, 1)
        os.chdir(tempfile.mkdtemp())
        exec(compile(source, "main.py", "exec"), {"__name__": "__main__"})
        sys.stdout.flush()
        os._exit(0)
    os.close(write_end)
    with open(read_end) as output:
        printed[name] = output.read()
    assert os.waitpid(pid, 0)[1] == 0, name
json.dump(printed, sys.stdout)
"""
"""Runs programs as `python` does, each in a fork of a process that has imported what takes time."""


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> dict[str, str]:
    """What each program prints under `python`."""
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, " ".join(PRELOAD)],
        input=json.dumps(PROGRAMS),
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path_factory.mktemp("plain"),
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=("namespaces", "landlock"))
def taught(request):
    limits = Limits(memory_bytes=2 << 30, wall_s=60)
    with Pool(2, packages=PACKAGES, preload=PRELOAD, tier=request.param, limits=limits) as pool:
        pool.session().close()  # the jail of sessions stays
        yield pool


@pytest.mark.slow
def test_there_are_forty(printed):
    """And each prints something."""
    assert len(PROGRAMS) >= 40
    assert all(printed.values())


@pytest.mark.slow
def test_as_runs_they_print_what_python_prints(taught, printed):
    """All at once, each in a fresh process."""
    results = dict(zip(PROGRAMS, taught.map(PROGRAMS.values()), strict=True))
    assert {name: result.reason for name, result in results.items()} == dict.fromkeys(
        PROGRAMS, "ok"
    )
    assert {name: result.stdout for name, result in results.items()} == printed


@pytest.mark.slow
def test_as_cells_of_a_session_they_print_what_python_prints(taught, printed):
    """Cell by cell, every cell with a checkpoint; the session can be branched at the end."""

    def by_cells(source: str) -> str:
        output = ""
        with taught.session() as session:
            for cell in source.split("# %%\n"):
                result = session.run(cell)
                assert (result.reason, result.checkpointed) == ("ok", True), result
                output += result.stdout
            session.fork().close()
        return output

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        outputs = dict(zip(PROGRAMS, threads.map(by_cells, PROGRAMS.values()), strict=True))
    assert outputs == printed


@pytest.mark.slow
def test_as_judged_programs_they_pass(taught, printed):
    """By what they print under `python`; with another program's output they fail."""
    names = list(PROGRAMS)
    for name, other in zip(names, [*names[1:], names[0]], strict=True):
        source = PROGRAMS[name]
        verdict = taught.judge(source, [Stdio("", printed[name]), Stdio("", printed[other])])
        assert [each.passed for each in verdict.cases] == [True, False], (name, verdict)
