"""A user's folder may hold a pool.py, a registry.py or a sandbox/: nothing of it is ever imported."""

import os
import subprocess
import sys

import pytest
from folders import is_untouched, with_names_like_ours

COMMANDS = {"script": ["script.py"], "module": ["-m", "script"], "PYTHONPATH": ["script.py"]}
"""How a user starts a program in the folder: each way puts the folder on sys.path."""

POOL = """
from interpreter_pool import Limits, Pool, Stdio

with Pool(1, limits=Limits(wall_s=20.0)) as pool:
    print(pool.run("print(1)").stdout, end="")
    with pool.session() as session:
        session.run("x = 2")
        with session.fork() as branch:
            print(branch.run("x").value)
    with pool.snapshot("x = 3") as snapshot:
        print(snapshot.run("print(x)").stdout, end="")
    print(pool.judge("print(int(input()) + 1)", [Stdio("3", "4")]).passed)
    print(pool.function("def f(x): return x + 1", "f")(4))
"""

FROM_PACKAGES = """
from interpreter_pool import Pool
with Pool(1, packages=["packaging"]) as pool:
    print(pool.run("import packaging; print(6)").stdout, end="")
    print(pool.run("import pool").exception.type)
    difference = pool.differential(
        "def f(x: int) -> int: return x",
        "def f(x: int) -> int: return x if x < 5 else 0",
        "f",
        max_examples=20,
    )
    print(difference is not None)
"""

SPAWN = """
import multiprocessing
from interpreter_pool import Pool

def run(code):
    with Pool(1) as pool:
        return pool.run(code).stdout

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as processes:
        print(processes.apply(run, ["print(7)"]), end="")
"""

SERVICES = """
from interpreter_pool import PythonExecutorService, get_services

class Mine:
    def get(self):
        return 8

if __name__ == "__main__":
    with get_services("local", namespace="clashes") as services:
        executor = services.register("executor", PythonExecutorService, pool_size=1)
        ran = services.result(executor.execute.remote("print(9)"), timeout=60)
        print(ran["stdout"], end="")
        mine = services.register("mine", Mine)
        print(services.result(mine.get.remote(), timeout=60))
"""

TOOLS = """
from interpreter_pool.transforms import PythonTool, extract_code, render_result
from interpreter_pool import Pool
with Pool(1) as pool:
    print(pool.run(extract_code("```python\\nprint(5)\\n```")[0].code).stdout, end="")
"""

PROGRAMS = {
    "pool": (POOL, "1\n2\n3\nTrue\n5\n"),
    "packages": (FROM_PACKAGES, "6\nModuleNotFoundError\nTrue\n"),
    "spawn": (SPAWN, "7\n"),
    "services": (SERVICES, "9\n8\n"),
    "transforms": (TOOLS, "5\n"),
}


@pytest.fixture
def folder(tmp_path):
    return with_names_like_ours(tmp_path)


def start(command: list[str], folder, *, on_path: bool = False, **options):
    environment = os.environ | {"PYTHONPATH": str(folder)} if on_path else None
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        **options,
    )


@pytest.mark.parametrize("way", COMMANDS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_user_s_folder_is_not_in_the_way(folder, program, way):
    """Pools, sessions, judging, children by spawn and local services work from such a folder."""
    code, wanted = PROGRAMS[program]
    (folder / "script.py").write_text(code, encoding="utf-8")
    done = start(COMMANDS[way], folder, on_path=way == "PYTHONPATH")
    assert done.stdout == wanted, done.stderr
    assert is_untouched(folder)


@pytest.mark.parametrize("on_path", [False, True], ids=["folder", "PYTHONPATH"])
@pytest.mark.parametrize(
    "arguments",
    [["run", "-"], ["run", "--python", sys.executable, "-"], ["run", "--tier", "landlock", "-"]],
    ids=["run", "python", "landlock"],
)
def test_the_command_works_there(folder, arguments, on_path):
    """`python -m interpreter_pool` puts the folder on sys.path; the program does not see it."""
    code = "try: import pool\nexcept ImportError: print('not there')"
    done = start(["-m", "interpreter_pool", *arguments], folder, on_path=on_path, input=code)
    assert (done.stdout, done.returncode) == ("not there\n", 0), done.stderr
    assert is_untouched(folder)


BAIT = """
from interpreter_pool.pool.command.bait import Bait
with Bait() as bait:
    print(bait.harm())
"""


def test_the_self_test_s_victim_imports_nothing_of_it(folder):
    """It is a process of this Python that needs ctypes, and gets the standard library's."""
    bait = folder / "bait" / "script.py"
    bait.parent.mkdir()
    bait.write_text(BAIT, encoding="utf-8")
    (folder / "ctypes.py").write_text("raise SystemExit(1)", encoding="utf-8")
    assert start([str(bait)], folder).stdout == "None\n"
