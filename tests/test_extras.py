"""pyproject.toml's extras fit together, and what `make quick` runs needs the smallest only."""

import ast
import itertools
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from quick import QUICK

TESTS = Path(__file__).parent
PROJECT = tomllib.loads((TESTS.parent / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
NAME = PROJECT["name"]

FOR_USERS = ("fuzz", "monarch", "ray", "torchrl", "trl")
FOR_DEVELOPERS = ("quick", "test", "dev", "bench")


def requirements(extra: str) -> dict[str, list[Requirement]]:
    """What `extra` asks for, by name, with all that it takes from other extras."""
    found: dict[str, list[Requirement]] = {}
    for requirement in map(Requirement, EXTRAS[extra]):
        if requirement.name != NAME:
            found.setdefault(requirement.name, []).append(requirement)
            continue
        assert requirement.extras and not requirement.specifier, str(requirement)
        for other in requirement.extras:
            for name, more in requirements(other).items():
                found.setdefault(name, []).extend(more)
    return found


def test_the_extras_are_those_that_people_expect():
    """One for each optional part, `all` for them together, and those of developers."""
    assert set(EXTRAS) == {*FOR_USERS, "all", *FOR_DEVELOPERS}


def test_all_is_what_a_user_can_want():
    """All parts of the product, and nothing that only the tests or benchmarks need."""
    wanted = {name: each for extra in FOR_USERS for name, each in requirements(extra).items()}
    assert requirements("all") == wanted


@pytest.mark.parametrize("extra", ["test", "bench"])
def test_what_is_tested_is_what_users_get(extra):
    """A version that a test or benchmark names lies within the bounds of the user's extra."""
    ours = requirements(extra)
    theirs = {
        requirement.name: requirement
        for each in ("all", "fuzz")
        for requirement in itertools.chain(*requirements(each).values())
    }
    for name in ours.keys() & theirs.keys():
        for pin in (
            spec for each in ours[name] for spec in each.specifier if spec.operator == "=="
        ):
            assert theirs[name].specifier.contains(pin.version), (extra, name)
    if extra == "test":
        assert theirs.keys() <= ours.keys()


@pytest.mark.parametrize("extra", EXTRAS)
def test_no_name_is_asked_for_twice_in_an_extra(extra):
    names = [Requirement(each).name.lower() for each in EXTRAS[extra]]
    assert len(names) == len(set(names))


def test_the_quick_tests_are_there():
    """Every module and function that is listed exists."""
    for path, names in QUICK.items():
        tree = ast.parse((TESTS / path).read_text("utf-8"))
        defined = {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}
        assert set(names) <= defined, path


def test_the_quick_extra_is_small():
    """It brings no Ray, no PyTorch and nothing that needs them."""
    small = ["hypothesis", "numpy", "pytest", "pytest-timeout", "pytest-xdist"]
    assert set(requirements("quick")) <= set(small)
