"""`interpreter`: what a jail must hold is read off this environment, and nothing more."""

import os
import sys

import pytest

from interpreter_pool import PolicyError
from interpreter_pool.sandbox.host.distributions import find_packages
from interpreter_pool.sandbox.host.interpreter import current


def test_the_current_interpreter_is_described_by_real_paths():
    """All paths are absolute, real and there; a virtual environment is seen through."""
    interpreter = current()
    for path in (
        interpreter.executable,
        interpreter.prefix,
        interpreter.stdlib,
        interpreter.extensions,
        *interpreter.libraries,
        *interpreter.own_libraries,
    ):
        assert os.path.isabs(path)
        assert os.path.exists(path), path
    assert os.access(interpreter.executable, os.X_OK)
    assert os.path.exists(f"{interpreter.stdlib}/os.py")
    assert interpreter.prefix == os.path.realpath(sys.base_prefix)


def test_installed_packages_are_no_part_of_the_standard_library():
    """site-packages is neither listed entry by entry nor left uncovered."""
    interpreter = current()
    names = {os.path.basename(path) for path in interpreter.stdlib_entries()}
    assert "os.py" in names
    assert not names & {"site-packages", "dist-packages"}
    for path in interpreter.hidden():
        assert os.path.isdir(path)


@pytest.mark.parametrize("name", ["surely-not-installed", "no such thing", "", "../etc"])
def test_an_unknown_package_is_refused_by_name(name):
    """The error names the distribution and the environment it is missing from."""
    with pytest.raises(PolicyError) as caught:
        find_packages([name], current())
    assert repr(name) in str(caught.value)
    assert "asked for" in str(caught.value)
    assert sys.prefix in str(caught.value) or "no name of a distribution" in str(caught.value)


def test_a_package_brings_its_files_and_no_neighbours():
    """numpy is its own folders, among them its shared libraries, and nothing else installed."""
    (packages,) = find_packages(["numpy"], current())
    assert "numpy" in packages.entries
    assert all(os.path.exists(f"{packages.site}/{entry}") for entry in packages.entries)
    assert all(entry.startswith("numpy") for entry in packages.entries), packages.entries
    assert "bin" not in packages.entries


def test_a_package_brings_what_it_needs():
    """The closure of requirements comes along; names are compared as PyPI compares them."""
    entries = {entry for each in find_packages(["Hypothesis"], current()) for entry in each.entries}
    assert {"hypothesis", "sortedcontainers"} <= entries
    assert "pytest" not in entries, "a requirement of an extra does not hold"
    assert find_packages(["hypothesis", "HYPOTHESIS"], current()) == find_packages(
        ["hypothesis"], current()
    )


def test_no_packages_is_nothing():
    """Without names there is nothing to show."""
    assert find_packages([], current()) == ()
