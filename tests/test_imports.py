"""The arrows between our packages, read off the source."""

import ast
import os
import re
import sys
from collections.abc import Iterator

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OURS = ("sandbox", "pool", "registry", "transforms", "tests", "bench", "examples")
ALLOWED = {
    "sandbox": set(),
    "pool": {"registry", "sandbox"},
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
    """sandbox and registry know no sibling, pool these two, transforms all."""
    forbidden = set(OURS) - ALLOWED[folder] - {folder}
    paths = list(sources(folder))
    assert paths
    for path in paths:
        found = {name.partition(".")[0] for name in imports(path)}
        assert not found & forbidden, path


def test_of_the_pool_only_its_door_to_elsewhere_knows_the_registry():
    found = {path for path in sources("pool") for name in imports(path) if name.startswith("regis")}
    assert [os.path.relpath(path, ROOT) for path in found] == ["pool/remote/connect.py"]


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


LEVELS = (
    {"errors", "checks", "wording"},
    {"engine"},
    {"runner", "program", "function", "mailbox", "awaited", "runtime"},
    {"judge"},
    {"rows"},
    {"fuzzing"},
    {
        "processes",
        "executor",
        "session",
        "session_calls",
        "session_files",
        "sessions",
        "snapshot",
        "loaded",
        "pool",
        "persistent",
    },
    {"metrics", "session_ids", "remote"},
    {"service"},
    {"command"},
)
"""Of the folder pool, from the floor upwards: each level stands on those before it."""


def test_within_pool_each_level_stands_on_those_below():
    """The engine knows no API; judging and fuzzing know runs, and no `Pool`."""
    known = [name for level in LEVELS for name in level]
    found = {name.removesuffix(".py") for name in os.listdir(os.path.join(ROOT, "pool"))}
    assert sorted(known) == sorted(found - {"__init__", "__pycache__"})
    height = {name: number for number, level in enumerate(LEVELS) for name in level}
    for path in sources("pool"):
        own = os.path.relpath(path, os.path.join(ROOT, "pool")).split(os.sep)[0]
        own = own.removesuffix(".py")
        if own == "__init__":
            continue
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "pool" and parts[1] in height:
                assert height[parts[1]] <= height[own], (path, name)


def test_nothing_imports_in_a_circle():
    """Neither when it is loaded nor later: each module can be understood without those above it."""
    graph = {}
    for path in (path for folder in PRODUCT for path in sources(folder)):
        module = os.path.relpath(path, ROOT).removesuffix(".py").replace(os.sep, ".")
        graph[module] = set(imports(path))
    for module, names in graph.items():  # a package stands for its __init__, which imports lazily
        names = {name if name in graph else name.rpartition(".")[0] for name in names}
        graph[module] = {name for name in names if name in graph and name != module}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way, module))
        if module not in done:
            for name in sorted(graph[module]):
                visit(name, (*way, module))
            done.add(module)

    for module in graph:
        visit(module, ())


_SHAPED = re.compile(
    r"open\(\s*f?\"/proc/[^\"]*/(stat|status|maps|mountinfo|children|fdinfo|comm)\\b"
)
_OF_OURSELVES = ("/proc/self/maps", "/proc/self/status")


def test_what_a_program_can_shape_in_proc_is_read_in_one_place():
    """Names of processes and files stand in there: `guest/jail/proc.py` knows how to read past them.
    psutil does not.
    """
    for folder in PRODUCT:
        for path in sources(folder):
            if path.endswith(("guest/jail/proc.py", "command/bench.py")):
                continue
            with open(path, encoding="utf-8") as file:
                text = file.read()
            found = [each.group() for each in _SHAPED.finditer(text)]
            assert not [each for each in found if not each.endswith(_OF_OURSELVES)], path
            assert "psutil" not in set(imports(path)), path
