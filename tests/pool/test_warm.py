"""Modules that programs import are imported ahead, and nobody can tell but by the time it takes."""

import os
import signal
import time

import pytest
from conftest import TIERS, wait_until
from installed import make_environment

from interpreter_pool import Asserts, Call, Limits, Pool, Runtime, Stdio
from interpreter_pool.pool.engine.jails import MOST_SETS
from interpreter_pool.sandbox.host.imports import imports_of

TOLD = "import sys; print({0!r} in sys.modules)\nimport {0}\n"
"""Whether a module is there before it is imported."""


def warm(pool: Pool, code: str, **options) -> str:
    """Run a program until what it imports has been imported ahead, or not; return what it prints
    then.
    """
    for _ in range(2):
        pool.run(code, **options)
        wait_until(pool.engine.is_settled)
    return pool.run(code, **options).stdout


# ---- what is read off a program


@pytest.mark.parametrize(
    "source, names",
    [
        ("import numpy", "numpy"),
        ("import numpy as np, os.path", "numpy os os.path"),
        ("from scipy import stats, optimize as o  # both", "scipy scipy.stats scipy.optimize"),
        ("from scipy.stats import (norm,\n  beta)", "scipy scipy.stats scipy.stats.norm"),
        ("def f():\n    import sympy", "sympy"),
        ("try: import torch\nexcept ImportError: pass", "torch"),
        ("x = 1; import json", "json"),
        ("important = 'import numpy'", ""),
        ("# import numpy", ""),
        ("from . import sibling", ""),
        ("import 1, 2", ""),
        ("import", ""),
        ("from numpy import", "numpy"),
    ],
)
def test_imports_are_read_off_single_lines(source, names):
    """With the modules above them; what is no statement does not count."""
    assert imports_of(source.encode()) == set(names.split())


@pytest.mark.parametrize(
    "source",
    [
        "import a\n" * 1_000_000,
        "import " * 1_000_000,
        "import a, " * 100_000,
        "\n".join(f"import m{n}{'x' * 300}" for n in range(10_000)),
        "from " + "a." * 100_000 + "b import c",
        "import " + "é" * 100_000,
        "\0\r\nimport \x00a",
    ],
)
def test_hostile_text_is_read_in_no_time(source):
    """However it is made; and it has only so many names."""
    began = time.perf_counter()
    found = imports_of(source.encode())
    assert time.perf_counter() - began < 0.1
    assert len(found) <= 300


# ---- warm zygotes


@pytest.mark.parametrize("tier", TIERS)
def test_what_programs_import_is_there_before_them(tier):
    """From the third time on; a program that does not import it does not pay for it."""
    with Pool(1, tier=tier, packages=("numpy",)) as pool:
        code = TOLD.format("numpy") + "print(numpy.arange(4).sum())"
        assert pool.run(code).stdout == "False\n6\n"
        assert warm(pool, code) == "True\n6\n"
        assert pool.run("import sys; print('numpy' in sys.modules)").stdout == "False\n"
        stats = pool.stats()
        assert stats.warmed["numpy"] == stats.imported["numpy"] == 2
        assert not stats.not_warmed
        assert 'pool_warmed{module="numpy"} 2' in stats.prometheus()


@pytest.mark.parametrize("options", [{"preload": ()}, {"preload": ("json",)}])
def test_who_names_what_is_preloaded_gets_no_more(options):
    with Pool(1, packages=("packaging",), **options) as pool:
        assert warm(pool, TOLD.format("packaging")) == "False\n"
        assert pool.stats().imported["packaging"] == 3
        assert pool.stats().warmed == {}


def test_one_program_alone_has_nothing_imported_ahead():
    """It may be the only one."""
    with Pool(1, packages=("packaging",)) as pool:
        pool.run("import packaging")
        wait_until(pool.engine.is_settled)
        ground = pool.engine.ground(None)
        assert not ground.warm._sources


def test_what_of_the_standard_library_is_imported_often_is_told():
    """Offered, and not preloaded; what every zygote has is not."""
    with Pool(1) as pool:
        for _ in range(3):
            pool.run("import decimal, json, nonsense\nfrom os import path")
        assert pool.stats().imported == {"decimal": 3}


MODULES = {
    "good": "word = 'good'",
    "talks": "print('hello from talks')",
    "complains": "import warnings; warnings.warn('old')",
    "breaks": "raise RuntimeError('broken here')",
    "leaves": "import sys; sys.exit(3)",
    "threads": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "hooks": "import sys; sys.excepthook = lambda *args: print('mine')",
    "builds": "import builtins; builtins.word = 1",
    "moves": "import os; os.chdir('/')",
    "deepens": "import sys; sys.setrecursionlimit(5000)",
    "alarms": "import signal; signal.signal(signal.SIGALRM, lambda *args: None)",
    "redirects": "import sys, io; sys.stdout = io.TextIOWrapper(sys.stdout.buffer)",
    "searches": "import sys; sys.path.append('/nowhere')",
    "traces": "import sys; sys.setprofile(lambda *args: None)",
    "large": "data = b'x' * (300 << 20)",
    "huge": "data = bytearray(3 << 30)",
    "slow": "while True: pass",
    "draws": "import random\nown = random.Random()\nfixed = random.Random(5)",
    "crashes": "import ctypes; ctypes.string_at(0)",
    "writes": "import os; open(os.path.expanduser('~/note'), 'w').write('x')",
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return make_environment(tmp_path_factory.mktemp("warm"), MODULES)


@pytest.fixture
def odd(environment):
    """A pool that offers all that misbehaves when it is imported."""
    with Pool(1, python=environment, packages=tuple(MODULES)) as pool:
        yield pool


REFUSED = {
    "talks": "the output",
    "complains": "the output",
    "breaks": "RuntimeError: broken here",
    "leaves": "SystemExit: 3",
    "threads": "threads",
    "hooks": "how exceptions are shown",
    "builds": "the built-in names",
    "moves": "the working directory",
    "deepens": "how deep",
    "alarms": "signals",
    "redirects": "the standard streams",
    "searches": "the search path",
    "traces": "how programs are traced",
    "large": "256",
    "huge": "MemoryError",
}


def test_what_does_more_than_to_be_there_is_not_imported_ahead(odd):
    """Each with the reason; what is imported beside it is, and a program sees what it always saw."""
    limits = Limits(memory_bytes=1 << 30, wall_s=30)
    for name in REFUSED:
        code = TOLD.format("good") + f"import {name}"
        first = odd.run(code, limits=limits)
        warm(odd, code, limits=limits)
        again = odd.run(code, limits=limits)
        assert again.stdout == first.stdout.replace("False", "True"), (name, again)
        assert (again.reason, again.exit_code) == (first.reason, first.exit_code), name
        assert again.stderr == first.stderr, name
    told = odd.stats().not_warmed
    assert told.keys() == REFUSED.keys()
    for name, why in REFUSED.items():
        assert why in told[name], (name, told[name])


def test_what_takes_too_long_is_given_up(environment, monkeypatch):
    """The run that wants it is held by its own limits only."""
    monkeypatch.setattr("interpreter_pool.sandbox.jail.jail.START_PATIENCE_S", 1.0)
    limits = Limits(wall_s=0.2)
    with Pool(1, python=environment, packages=("slow",), limits=limits) as pool:
        for _ in range(3):
            assert pool.run("import slow").reason == "wall_timeout"
        wait_until(pool.engine.is_settled)
        assert not pool.engine.ground(None).warm._sources
        assert pool.run("print(1)").stdout == "1\n"


def test_what_brings_down_its_zygote_is_given_up(odd):
    """After a few times, whatever programs go on to want."""
    for _ in range(8):
        assert odd.run("import crashes").reason == "signal"
        wait_until(odd.engine.is_settled)
    assert "crashes" in odd.stats().not_warmed
    made = odd.engine.jails.idle(odd.engine.jails.own) + odd.engine.jails.leased()
    assert len(made) == 1
    assert warm(odd, TOLD.format("good")) == "True\n"


def test_what_was_to_be_had_besides_may_fail(odd, monkeypatch):
    """Then what is wanted is had alone."""
    monkeypatch.setattr("interpreter_pool.pool.engine.warm.MOST_SETS", 1)
    assert warm(odd, TOLD.format("good")) == "True\n"
    ground = odd.engine.ground(None)
    (source,) = ground.warm._sources
    source.names |= {"hooks"}  # as if it had been there, and does not do as it did
    assert warm(odd, TOLD.format("draws")) == "True\n"
    assert [each.names for each in ground.warm._sources] == [{"draws"}]


def test_its_generators_of_random_numbers_are_a_runs_own(odd):
    """But for those whose seed somebody has chosen."""
    code = TOLD.format("draws") + "print(draws.own.random(), draws.fixed.random())"
    warm(odd, code)
    found = [odd.run(code).stdout.split() for _ in range(3)]
    assert [each[0] for each in found] == ["True"] * 3
    assert len({each[1] for each in found}) == 3
    assert len({each[2] for each in found}) == 1


def test_what_it_writes_into_its_home_is_in_no_runs_home(odd):
    """As with what is preloaded."""
    code = TOLD.format("writes") + "import os; print(os.listdir())"
    assert warm(odd, code) == "True\n['main.py']\n"


def test_a_programs_own_module_comes_first(odd):
    """A file of the same name is what it imports, as it always was."""
    assert warm(odd, TOLD.format("good") + "print(good.word)") == "True\ngood\n"
    code = TOLD.format("good") + "print(good.word)"
    for files in ({"good.py": "word = 'mine'"}, {"good/__init__.py": "word = 'mine'"}):
        assert odd.run(code, files=files).stdout == "False\nmine\n"


def test_an_environment_of_its_own_is_there_when_it_imports(odd):
    """Libraries read it then."""
    warm(odd, TOLD.format("good"))
    assert odd.run(TOLD.format("good"), env={"A": "1"}).stdout == "False\n"


def test_a_warm_zygote_that_dies_costs_no_run(odd):
    code = TOLD.format("good")
    warm(odd, code)
    ground = odd.engine.ground(None)
    for _ in range(3):
        (source,) = ground.warm._sources
        for jail in odd.engine.jails.idle(source):
            os.kill(jail.zygote_pid, signal.SIGKILL)
        assert odd.run(code).reason == odd.run(code).reason == "ok"
        wait_until(odd.engine.is_settled)
    assert odd.run(code).stdout == "True\n"


def test_limits_are_what_a_program_uses_itself(odd):
    """Not what its zygote holds."""
    limits = Limits(memory_bytes=64 << 20)
    code = TOLD.format("good") + "data = bytearray(40 << 20)"
    warm(odd, code, limits=limits)
    result = odd.run(code, limits=limits)
    assert (result.reason, result.stdout) == ("ok", "True\n")
    assert odd.run(code + "; data = bytearray(80 << 20)", limits=limits).reason == "memory"


def test_there_are_only_so_many_sets_and_in_the_end_they_have_everything(tmp_path):
    """The one used longest ago is made anew, with what is wanted now besides."""
    names = [f"m{n}" for n in range(MOST_SETS + 3)]
    python = make_environment(tmp_path, dict.fromkeys(names, ""))
    with Pool(1, python=python, packages=tuple(names)) as pool:
        for name in names:
            assert warm(pool, TOLD.format(name)) == "True\n"
        for name in names:
            assert pool.run(TOLD.format(name)).stdout == "True\n"
        sources = pool.engine.ground(None).warm._sources
        assert len(sources) == MOST_SETS
        wait_until(pool.engine.is_settled)
        assert len(pool.engine.jails.leased()) == 1
        assert sum(map(pool.engine.jails.count, sources)) <= MOST_SETS


def test_names_that_nobody_has_make_no_zygote(odd):
    """A program can name anything."""
    for n in range(30):
        odd.run(f"try: import good.part{n}, absent{n}\nexcept ImportError: pass")
    wait_until(odd.engine.is_settled)
    (source,) = odd.engine.ground(None).warm._sources
    assert source.names == {"good"}


@pytest.mark.parametrize("tier", TIERS)
def test_closing_waits_for_no_zygote(environment, tier):
    """One that is being made is ended."""
    pool = Pool(1, tier=tier, python=environment, packages=("slow",), limits=Limits(wall_s=0.2))
    for _ in range(2):
        pool.run("import slow")
    began = time.monotonic()
    pool.close()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("tier", TIERS)
def test_judged_programs_and_their_tests_get_warm_zygotes(tier):
    """Each by its own imports; verdicts are the same."""
    right = "import numpy\ndef total(a): return int(numpy.sum(a))"
    wrong = right.replace("numpy.sum(a)", "numpy.sum(a) + 1")
    cases = [
        Call("total", ([1, 2],), expected=3),
        Asserts("import numpy as np\nassert total(np.arange(3)) == 3", "total"),
        Asserts("import numpy as np\nassert total([4]) == 4", "total"),
    ]
    with Pool(1, tier=tier, packages=("numpy",)) as pool:
        for _ in range(3):
            assert pool.judge(right, cases).passed
            assert not any(case.passed for case in pool.judge(wrong, cases).cases)
            wait_until(pool.engine.is_settled)
        assert pool.stats().warmed["numpy"] >= 6
        program = "import numpy\nprint(numpy.arange(int(input())).sum())"
        assert pool.judge(program, [Stdio("4", "6"), Stdio("5", "10")]).passed


def test_runs_at_once_get_a_zygote_each():
    """As many as work at once, and not one for each run."""
    code = TOLD.format("packaging") + "import time; time.sleep(0.05)"
    with Pool(3, packages=("packaging",)) as pool:
        for _ in range(4):
            list(pool.map([code] * 12))
            wait_until(pool.engine.is_settled)
        assert {result.stdout for result in pool.map([code] * 12)} == {"True\n"}
        (source,) = pool.engine.ground(None).warm._sources
        assert pool.engine.jails.count(source) == 3


def test_a_large_zygote_is_not_made_for_every_worker(monkeypatch):
    """All of them together are bounded by a part of the host's memory."""
    monkeypatch.setattr("interpreter_pool.pool.engine.warm._PART_OF_MEMORY", 1 << 40)
    code = TOLD.format("packaging") + "import time; time.sleep(0.05)"
    with Pool(2, packages=("packaging",)) as pool:
        for _ in range(3):
            assert all(result.reason == "ok" for result in pool.map([code] * 8))
            wait_until(pool.engine.is_settled)
        (source,) = pool.engine.ground(None).warm._sources
        assert pool.engine.jails.count(source) == 1


def test_a_runtime_has_warm_zygotes_of_its_own(environment):
    """As the pool itself has."""
    science = Runtime(packages=("good",), python=environment)
    with Pool(1, runtimes={"science": science}) as pool:
        assert warm(pool, TOLD.format("good"), runtime="science") == "True\n"
        assert pool.stats().warmed == {"good": 1}
