"""Each way of installing gives the same: one importable name, two commands, and types."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HELLO = ROOT / "examples" / "hello.py"

SOURCES = ("src", "sandbox", "pool", "registry", "transforms")
FILES = ("pyproject.toml", "README.md", "LICENSE")

OUTER = os.pathsep.join(path for path in sys.path if path.endswith("-packages"))
"""The folders of what the tests are run with: dependencies and build tools come from there."""

HEAVY = "ray monarch torch torchrl tensordict trl hypothesis rich typer markdown_it numpy pandas"


@dataclasses.dataclass(frozen=True)
class Built:
    """The files that `python -m build` makes of a checkout."""

    sdist: Path
    wheel: Path


@dataclasses.dataclass(frozen=True)
class Environment:
    """A virtual environment with the package in it.

    added: the top-level names that can be imported since, the dependencies not counted.
    """

    folder: Path
    added: set[str]

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    def run(self, *command: str, cwd: Path, **options) -> "subprocess.CompletedProcess[str]":
        """Run a command of this environment's, in `cwd`."""
        return run([str(self.folder / "bin" / command[0]), *command[1:]], cwd=cwd, **options)


def run(command: list[str], **options) -> "subprocess.CompletedProcess[str]":
    """Run `command`, without this process's PYTHONPATH; fail with what it said."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= options.pop("env", {})
    done = subprocess.run(command, capture_output=True, text=True, env=environment, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of what a package is built of: building writes into the folder."""
    folder = tmp_path_factory.mktemp("checkout")
    unwanted = shutil.ignore_patterns("*.egg-info", "__pycache__")
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=unwanted)
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    return folder


def build(source: Path, target: Path, kind: str) -> Path:
    """Build the package of `source`; return the one file that comes of it."""
    run(
        [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "-o", str(target), "."],
        cwd=source,
    )
    return next(target.glob("*.tar.gz" if kind == "sdist" else "*.whl"))


@pytest.fixture(scope="module")
def built(checkout, tmp_path_factory) -> Built:
    target = tmp_path_factory.mktemp("built")
    return Built(build(checkout, target, "sdist"), build(checkout, target, "wheel"))


@pytest.fixture(scope="module")
def unpacked(built, tmp_path_factory) -> Path:
    """The folder that the sdist holds."""
    target = tmp_path_factory.mktemp("unpacked")
    run(["tar", "-xzf", str(built.sdist)], cwd=target)
    return next(target.iterdir())


@pytest.fixture(scope="module", params=["wheel", "sdist", "editable"])
def installed(request, checkout, built, tmp_path_factory) -> Environment:
    what = {
        "wheel": [str(built.wheel)],
        "sdist": [str(built.sdist)],
        "editable": ["-e", str(checkout)],
    }
    folder = tmp_path_factory.mktemp(request.param) / "venv"
    venv.create(folder, symlinks=True)
    python = str(folder / "bin" / "python")
    before = importable(python, folder)
    options = ["--no-deps", "--no-build-isolation", "--ignore-installed", "--no-index", "-q"]
    run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            *options,
            *what[request.param],
        ],
        cwd=folder,
        env={"PYTHONPATH": OUTER, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    added = importable(python, folder) - before
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "outer.pth").write_text(OUTER.replace(os.pathsep, "\n") + "\n", encoding="utf-8")
    return Environment(folder, added)


def importable(python: str, cwd: Path) -> set[str]:
    """The top-level names that `python` can import."""
    code = "import pkgutil; print(*(each.name for each in pkgutil.iter_modules()))"
    return set(run([python, "-P", "-c", code], cwd=cwd).stdout.split())


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_sdist_holds_real_files(built):
    """No link, which would lead nowhere: of each folder, every module and py.typed."""
    with tarfile.open(built.sdist) as archive:
        process_tree = archive.getmembers()
    assert all(each.isfile() or each.isdir() for each in process_tree)
    package = "src/interpreter_pool/"
    found = {
        path.removeprefix(package)
        for _, _, path in (each.name.partition("/") for each in process_tree)
        if path.startswith(package) and path.endswith((".py", ".typed"))
    }
    wanted = {
        str(path.relative_to(ROOT)) for name in SOURCES[1:] for path in (ROOT / name).rglob("*.py")
    }
    assert found == wanted | {"__init__.py", "__main__.py", "_lazy.py", "py.typed"}


def test_a_wheel_built_from_the_sdist_is_the_same(built, unpacked, tmp_path):
    """Byte for byte, so that it does not matter which of the two is installed."""
    assert contents(build(unpacked, tmp_path, "wheel")) == contents(built.wheel)


def test_the_wheel_offers_every_extra(built):
    """Spelt as in pyproject.toml, and with a name that pip finds."""
    wheel = contents(built.wheel)
    text = wheel[next(name for name in wheel if name.endswith("/METADATA"))].decode()
    offered = set(re.findall(r"^Provides-Extra: (.+)$", text, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert offered == set(project["optional-dependencies"])


def test_one_name_is_installed(installed):
    """And no sandbox, pool, registry, transforms, tests or bench, which are everybody's names."""
    assert installed.added == {"interpreter_pool"}


@pytest.mark.parametrize("command", ["pool", "interpreter-pool"])
def test_both_commands_work(installed, command, tmp_path):
    """They say their version, and run a program with the installed copy."""
    assert installed.run(command, "--version", cwd=tmp_path).stdout == "interpreter-pool 0.1.0\n"
    (tmp_path / "hello.py").write_text("print('hello')\n", encoding="utf-8")
    assert installed.run(command, "run", "hello.py", cwd=tmp_path).stdout == "hello\n"


def test_the_module_is_a_command_too(installed, tmp_path):
    """`python -m interpreter_pool` is `pool`."""
    done = installed.run(
        "python", "-m", "interpreter_pool", "run", "-", cwd=tmp_path, input="print(6 * 7)"
    )
    assert done.stdout == "42\n"


def test_it_says_that_it_has_types(installed, tmp_path):
    """py.typed stands beside the package, where type checkers look for it."""
    code = "import interpreter_pool, os; print(os.path.dirname(interpreter_pool.__file__))"
    folder = Path(installed.run("python", "-c", code, cwd=tmp_path).stdout.strip())
    assert folder.is_dir() and not folder.is_relative_to(ROOT)
    assert (folder / "py.typed").is_file()


USER = """
from interpreter_pool import Limits, Pool, Result, get_services

def double(pool: Pool) -> Result:
    return pool.run("print(2)", limits=Limits(wall_s=1.0))

reveal_type(double(Pool()).stdout)
reveal_type(get_services)
Pool(size="two")
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("mypy"))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("installed", ["wheel", "editable"], indirect=True)
def test_a_type_checker_sees_the_types(installed, cache, tmp_path):
    """The installed package passes mypy --strict, and a user's mistakes are found."""
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", cache]
    mypy += ["--python-executable", installed.python]
    ours = ["--config-file", str(ROOT / "pyproject.toml"), "-p", "interpreter_pool"]
    run([*mypy, *ours], cwd=tmp_path)
    (tmp_path / "user.py").write_text(USER, encoding="utf-8")
    done = subprocess.run(
        [*mypy, "--config-file", os.devnull, "user.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert re.search(r'Revealed type is "(builtins\.)?str"', done.stdout)
    assert 'Revealed type is "Any"' not in done.stdout
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 1 and '"size"' in errors[0], done.stdout


def test_importing_costs_little(tmp_path):
    """What an extra brings, what the command needs, and numpy are not imported with a pool."""
    code = (
        "import sys\n"
        "from interpreter_pool import Limits, Pool, get_services\n"
        "Pool(1, tier='none').close()\n"
        f"print(*(sys.modules.keys() & {HEAVY!r}.split()))"
    )
    done = run([sys.executable, "-c", code], cwd=tmp_path)
    assert done.stdout == "\n"
