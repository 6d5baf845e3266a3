"""CPython's own regression tests: what honest programs do has the same outcome in a jail.

A tightened filter that breaks something shows here. Left out, by their own doing: tests that start a
process or ask for a network's socket. Whatever else differs stands in `cpython.toml`, with its reason.
"""

import fnmatch
import functools
import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from interpreter_pool import Limits, Pool, Program

HERE = Path(__file__).parent
SOURCE = (HERE / "cpython_program.py").read_text()
KNOWN = tomllib.loads((HERE / "cpython.toml").read_text())
LIMITS = Limits(
    wall_s=300,
    memory_bytes=1 << 30,
    output_bytes=64 << 20,
    disk_bytes=256 << 20,
    files=20_000,
    threads=256,
)
LEAST_MODULES = 60

HAS_TESTS = importlib.util.find_spec("test.test_bool") is not None
needs_tests = pytest.mark.skipif(
    not HAS_TESTS, reason="this Python comes without its tests (Debian: libpython3-testsuite)"
)


def said(output: str, what: object) -> dict[str, Any]:
    """The program's last line."""
    lines = output.splitlines()
    assert lines and lines[-1].startswith("{"), what
    found: dict[str, Any] = json.loads(lines[-1])
    return found


@functools.cache
def outside(module: str) -> dict[str, Any]:
    """What comes of a module's tests without a jail, in a folder of its own."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "main.py")
        file.write_text(SOURCE)
        python = getattr(sys, "_base_executable", sys.executable)
        done = subprocess.run(
            [python, "-u", "main.py", module],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=600,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    return said(done.stdout, done.stderr[-2000:])


def is_known(test: str, tier: str) -> bool:
    """Whether a difference stands in the data file."""
    return any(
        fnmatch.fnmatchcase(test, pattern)
        for each in KNOWN["exceptions"]
        if each.get("tier", tier) == tier
        for pattern in each["tests"]
    )


def differences(inside: dict[str, Any], free: dict[str, Any], tier: str) -> dict[str, str]:
    """Tests that passed outside and did not in the jail, and why; or that are missing there."""
    found = {}
    for test, outcome in free["outcomes"].items():
        now = inside["outcomes"].get(test, "missing")
        # What an ordinary user's process may try, root skips: that is no loss.
        worse = {"ok": ("skip", "fail", "missing"), "skip": ("fail",), "fail": ()}[outcome]
        test = test.removeprefix("test.")
        if now in worse and f"test.{test}" not in inside["asked"] and not is_known(test, tier):
            found[test] = f"{outcome} outside, {now} inside: {inside['why'].get(f'test.{test}')}"
    return found


def compare(tier: str, modules: list[str]) -> None:
    with Pool(2, tier=tier, limits=LIMITS) as pool, ThreadPoolExecutor(2) as threads:
        free = threads.map(outside, modules)
        results = pool.map(Program(SOURCE, args=(module,)) for module in modules)
        wrong: dict[str, str] = {}
        count = 0
        for module, result, as_it_is in zip(modules, results, free, strict=True):
            inside = said(result.stdout, (module, result.reason, result.stderr[-2000:]))
            wrong |= differences(inside, as_it_is, tier)
            count += sum(outcome == "ok" for outcome in inside["outcomes"].values())
    assert wrong == {}, "\n".join(f"{test}: {why}" for test, why in wrong.items())
    assert count > 10 * len(modules)


@needs_tests
@pytest.mark.timeout(600)
def test_cpythons_quick_tests_have_the_same_outcome(tier):
    """At least sixty modules that need no network and no process: as outside, or for a reason."""
    modules = KNOWN["modules"]["quick"]
    assert len(modules) >= LEAST_MODULES
    compare(tier, modules)


@needs_tests
@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_cpythons_slower_tests_have_the_same_outcome(tier):
    """The modules that take longer, or have much to do with the system."""
    compare(tier, KNOWN["modules"]["slow"])


def test_a_difference_is_seen():
    """A test that fails, is skipped or is missing in the jail only is a difference."""
    free = {"outcomes": {"test.a": "ok", "test.b": "ok", "test.c": "ok", "test.d": "skip"}}
    inside = {
        "outcomes": {"test.a": "fail", "test.b": "skip", "test.d": "fail"},
        "why": {"test.a": "it broke"},
        "asked": [],
    }
    assert set(differences(inside, free, "landlock")) == {"a", "b", "c", "d"}
    assert set(differences({**inside, "asked": ["test.a"]}, free, "landlock")) == {"b", "c", "d"}


def test_every_exception_has_a_reason():
    """The data file says why, in words."""
    for each in KNOWN["exceptions"]:
        assert len(each["why"].split()) > 3 and each["tests"]
        assert each.get("tier") in (None, "namespaces", "landlock")
