"""The arrows between our packages, read off the source."""

import ast
import os
import sys
from collections.abc import Iterator

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OURS = ("sandbox", "pool", "registry", "transforms", "tests", "bench", "examples")
ALLOWED = {
    "sandbox": set(),
    "pool": {"sandbox"},
    "registry": set(),
    "transforms": {"pool", "registry", "sandbox"},
}
PRODUCT = tuple(ALLOWED)


def sources(folder: str) -> Iterator[str]:
    for here, _, names in os.walk(os.path.join(ROOT, folder)):
        yield from (os.path.join(here, name) for name in names if name.endswith(".py"))


def imports(path: str) -> Iterator[str]:
    """Every module that the file imports, anywhere in it: by its name below interpreter_pool if
    that is written relatively, else as it is written.
    """
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read(), path)
    package = os.path.relpath(os.path.dirname(path), ROOT).split(os.sep)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("folder", ALLOWED)
def test_packages_import_only_what_they_may(folder):
    """sandbox knows no sibling, pool only sandbox, registry nothing, transforms the others."""
    forbidden = set(OURS) - ALLOWED[folder] - {folder}
    paths = list(sources(folder))
    assert paths
    for path in paths:
        found = {name.partition(".")[0] for name in imports(path)}
        assert not found & forbidden, path


@pytest.mark.parametrize("folder", PRODUCT)
def test_packages_import_each_other_relatively(folder):
    """A user's folder may hold a pool.py, a registry.py or a sandbox/ of its own."""
    for path in sources(folder):
        with open(path, encoding="utf-8") as file:
            for node in ast.walk(ast.parse(file.read())):
                names = []
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    names = [node.module or ""]
                elif isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                for name in names:
                    assert name.partition(".")[0] not in (*OURS, "interpreter_pool"), (path, name)


def test_what_runs_in_the_jail_imports_the_standard_library_and_itself_only():
    """Nothing inside the jail can import the host side, or anything that is installed."""
    paths = list(sources("sandbox/guest"))
    assert paths
    for path in paths:
        for name in imports(path):
            own = name.startswith("sandbox.guest.")
            assert own or name.partition(".")[0] in sys.stdlib_module_names, (path, name)


def test_the_guest_imports_itself_relatively():
    """In the jail the package is called guest: an absolute name of ours would not be found."""
    for path in sources("sandbox/guest"):
        with open(path, encoding="utf-8") as file:
            for node in ast.walk(ast.parse(file.read())):
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    assert (node.module or "").partition(".")[0] not in ("sandbox", "guest"), path
                if isinstance(node, ast.Import):
                    names = [alias.name.partition(".")[0] for alias in node.names]
                    assert not {"sandbox", "guest"} & set(names), path
