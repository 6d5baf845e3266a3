"""Packages in the jail: those named and what they need, read-only; other interpreters."""

import glob
import os
import struct
import subprocess
import sys
import sysconfig
import time
import zlib
from pathlib import Path

import pytest
from conftest import TIERS

from interpreter_pool import Limits, PolicyError, Pool, SetupError

NUMERIC = ("numpy", "pandas", "scipy", "sympy", "matplotlib")


@pytest.fixture(scope="module", params=TIERS)
def numeric(request):
    """A pool that offers the numeric packages, and has preloaded none of them."""
    with Pool(1, tier=request.param, packages=NUMERIC, preload=()) as pool:
        yield pool


PROGRAMS = {
    "numpy": "import numpy as n\na = n.eye(300) * 2\nprint(n.linalg.inv(a)[5, 5], (a @ a).sum())",
    "pandas": "import pandas as p\nprint(p.DataFrame({'a': [1, 2, 2]}).groupby('a').size().to_dict())",
    "scipy": "from scipy.optimize import brentq\nprint(round(brentq(lambda x: x * x - 2, 0, 2), 6))",
    "sympy": "import sympy as s\nx = s.Symbol('x')\nprint(s.integrate(x**2, x))",
}
ANSWERS = {"numpy": "0.5 1200.0", "pandas": "{1: 1, 2: 2}", "scipy": "1.414214", "sympy": "x**3/3"}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_package_works_under_the_default_limits(numeric, name):
    """It imports, and calculates what it should."""
    result = numeric.run(PROGRAMS[name], limits=Limits(wall_s=60))
    assert (result.reason, result.stdout.strip()) == ("ok", ANSWERS[name]), result.stderr


def test_threads_calculate_side_by_side(numeric):
    """Sixteen threads in the linear algebra of two libraries, under the default limits: what they
    reserve is not what they use.
    """
    result = numeric.run(
        "import numpy, scipy.linalg, threading\n"
        "a = numpy.random.rand(200, 200)\n"
        "def work():\n"
        "    for _ in range(3): a @ a; scipy.linalg.inv(a)\n"
        "threads = [threading.Thread(target=work) for _ in range(16)]\n"
        "for each in threads: each.start()\n"
        "for each in threads: each.join()\n"
        "print('done')",
        limits=Limits(wall_s=60),
    )
    assert (result.reason, result.stdout) == ("ok", "done\n"), result.stderr
    if result.peak_memory_bytes is not None:
        assert result.peak_memory_bytes < 300 << 20


PLOT = """
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plot, numpy, pandas, sympy
table = pandas.read_csv("table.csv")
x = sympy.Symbol("x")
square = sympy.lambdify(x, x**2, "numpy")
figure = plot.figure(figsize=(3, 2), dpi=50)
plot.plot(table["x"], square(table["x"].to_numpy()))
figure.savefig("plot.png")
print(numpy.asarray(table["y"]).sum())
"""


def test_a_table_goes_in_and_a_picture_comes_out(numeric):
    """numpy, pandas, sympy and matplotlib in one program under 512 MiB; its PNG opens."""
    result = numeric.run(
        PLOT,
        files={"table.csv": "x,y\n1,10\n2,20\n3,30\n"},
        collect=("*.png",),
        limits=Limits(memory_bytes=512 << 20, wall_s=60),
    )
    assert (result.reason, result.stdout) == ("ok", "60\n"), result.stderr
    assert png_size(result.files["plot.png"]) == (150, 100)


def png_size(data: bytes) -> tuple[int, int]:
    """Check every chunk of a PNG; return its width and height."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, kinds = 8, []
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        body = data[place + 4 : place + 8 + length]
        assert struct.unpack_from(">I", data, place + 8 + length)[0] == zlib.crc32(body)
        kinds.append(body[:4])
        place += 12 + length
    assert (kinds[0], kinds[-1]) == (b"IHDR", b"IEND")
    return struct.unpack_from(">II", data, 16)


@pytest.mark.parametrize("tier", TIERS)
def test_preloaded_packages_are_there_before_the_program(tier):
    """A run finds them loaded, and takes a fraction of the time; its home is empty all the same."""
    preload = ("numpy", "pandas", "matplotlib.pyplot")
    with Pool(1, tier=tier, packages=NUMERIC, preload=preload) as pool:
        code = "import sys, os; print('pandas' in sys.modules, os.listdir('.'))"
        assert pool.run(code).stdout == "True ['main.py']\n"
        files = {"table.csv": "x,y\n1,10\n"}
        result = pool.run(PLOT, files=files, collect=("*.png",), timeout=60)
        assert png_size(result.files["plot.png"]) == (150, 100), result.stderr


def test_nothing_else_is_visible(numeric):
    """Not what is installed beside, not ours, and no folder to look for it in."""
    code = (
        "import importlib, sys, os\n"
        "found = []\n"
        "for name in ('pool', 'sandbox', 'pytest', 'hypothesis', 'pip', 'click', 'psutil', 'ray'):\n"
        "    try: importlib.import_module(name)\n"
        "    except ImportError: continue\n"
        "    found.append(name)\n"
        "names = {n.lower() for p in sys.path if os.path.isdir(p) for n in os.listdir(p)}\n"
        "print(found, sorted(n for n in names if n.startswith(('pytest', 'click', 'psutil'))))"
    )
    assert numeric.run(code).stdout == "[] []\n"


def test_site_packages_itself_cant_be_listed(numeric):
    """Not even by a program that knows where it is on the host."""
    site = os.path.realpath(sysconfig.get_path("purelib"))
    result = numeric.run(
        f"import os\ntry: print(os.listdir({site!r}))\nexcept OSError: print('no')"
    )
    assert result.stdout == "no\n"


def test_packages_are_read_only(numeric):
    """A program can't change what later ones import."""
    code = (
        "import sympy, os\n"
        "for attempt in (lambda: open(sympy.__file__, 'a'), lambda: os.unlink(sympy.__file__),\n"
        "                lambda: open(os.path.dirname(sympy.__file__) + '/new.py', 'w')):\n"
        "    try: attempt(); print('done')\n"
        "    except OSError: print('refused')\n"
    )
    assert numeric.run(code).stdout == "refused\n" * 3


def test_hashing_is_repeatable(tier):
    """Two pools agree on the hash of a string; the program does not see how."""
    found = set()
    for _ in range(2):
        with Pool(1, tier=tier) as pool:
            code = (
                "import os, ctypes; print(hash('x'), 'PYTHONHASHSEED' in os.environ,"
                " ctypes.CDLL(None).getenv(b'PYTHONHASHSEED'))"
            )
            found.add(pool.run(code).stdout)
    assert len(found) == 1
    assert found.pop().endswith(" False 0\n")


# ---- other interpreters


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """A virtual environment with one distribution of our own making in it."""
    folder = tmp_path_factory.mktemp("environment")
    folder.chmod(0o755)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (site,) = (folder / "venv" / "lib").glob("python3*/site-packages")
    (site / "tiny.py").write_text("import needed; word = needed.word")
    (site / "needed").mkdir()
    (site / "needed" / "__init__.py").write_text("word = 'tiny'")
    for name, files, extra in (
        (
            "tiny",
            "tiny.py,,\n",
            "Provides-Extra: more\nRequires-Dist: needed\nRequires-Dist: absent; extra == 'more'\n",
        ),
        ("needed", "needed/__init__.py,,\n", ""),
        ("hollow", "__editable__.hollow.pth,,\n", ""),
        ("share-a", "ns/a.py,,\n", ""),
        ("share-b", "ns/b.py,,\nns/deep/c.py,,\n", ""),
        ("leans", "leans.py,,\n", "Requires-Dist: hollow\n"),
        ("old", "old.py,,\n", "Requires-Dist: pytz (>dev)\n"),
    ):
        for file in files.split(",,\n"):
            if file and not file.startswith("__") and not (site / file).exists():
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                (site / file).write_text("word = __name__")
        info = site / f"{name.replace('-', '_')}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n{extra}"
        )
        (info / "RECORD").write_text(files + f"{info.name}/METADATA,,\n{info.name}/RECORD,,\n")
    return folder / "venv"


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("where", ["", "bin/python"])
def test_a_virtual_environment_is_taken(tier, environment, where):
    """Its folder or its interpreter: packages come from there, and not from here."""
    python = environment / where if where else environment
    with Pool(1, tier=tier, python=python, packages=("tiny>=1",)) as pool:
        assert pool.run("import tiny; print(tiny.word)").stdout == "tiny\n"
        assert pool.run("import numpy").exception.type == "ModuleNotFoundError"


@pytest.mark.parametrize("tier", TIERS)
def test_of_a_shared_folder_only_the_own_part_is_shown(tier, environment):
    """A namespace package's other portions belong to distributions that were not asked for."""
    code = (
        "import importlib\n"
        "for name in ('ns.a', 'ns.b', 'ns.deep.c'):\n"
        "    try: print(importlib.import_module(name).word)\n"
        "    except ImportError: print('absent')\n"
    )
    with Pool(1, tier=tier, python=environment, packages=("share-a",)) as pool:
        assert pool.run(code).stdout == "ns.a\nabsent\nabsent\n"
    with Pool(1, tier=tier, python=environment, packages=("share-a", "share_b")) as pool:
        assert pool.run(code).stdout == "ns.a\nns.b\nns.deep.c\n"


@pytest.mark.parametrize(
    "name, words",
    [
        ("numpy", "not installed"),
        ("tiny>2", "tiny 1.5"),
        ("tiny[more]", "'absent' (needed by tiny)"),
        ("hollow", "no modules"),
        ("no such thing", "no name"),
        ("tiny[nonsense]", "no extra"),
        ("tiny @ https://example.org/x.whl", "URL"),
        ("tiny; python_version < '3'", "condition"),
        ("old", "'pytz (>dev)' (which old needs)"),
    ],
)
def test_packages_that_cant_be_offered_are_refused(environment, name, words):
    """The error says what is wanted, what is there, and where."""
    with pytest.raises(PolicyError) as caught:
        Pool(1, python=environment, packages=(name,))
    assert words in str(caught.value)


def test_what_is_needed_and_asked_for_counts_as_asked_for(environment):
    """An installation in place is refused by name wherever it stands among the names."""
    for names in (("hollow", "leans"), ("leans", "hollow")):
        with pytest.raises(PolicyError, match="'hollow' has no modules"):
            Pool(1, python=environment, packages=names)


DEEP = """
import threading
def f(n):
    return n and 1 + f(n - 1)
threading.stack_size(1 << 27)
thread = threading.Thread(target=lambda: print(f(49_900)))
thread.start()
thread.join()
"""


def other_pythons() -> dict[str, str]:
    """Other interpreters on this machine that are new enough: versions by path."""
    beside = os.path.dirname(os.path.realpath(sys.base_prefix))
    candidates = glob.glob(f"{beside}/*/bin/python3")
    candidates += glob.glob(os.path.expanduser("~/.pyenv/versions/3.*/bin/python3"))
    candidates += glob.glob("/usr/bin/python3.[0-9]*[0-9]") + glob.glob(
        "/usr/local/bin/python3.*[0-9]"
    )
    asked = "import sys; print(sys.base_prefix, *sys.version_info[:2])"
    found = {}
    for path in candidates:
        done = subprocess.run([path, "-c", asked], capture_output=True, text=True)
        prefix, *version = done.stdout.split() if done.returncode == 0 else ("", "0", "0")
        if tuple(map(int, version)) >= (3, 11) and prefix != sys.base_prefix:
            found[prefix] = (path, " ".join(version))
    return dict(found.values())


@pytest.mark.parametrize("tier", TIERS)
def test_another_python_is_taken(tier):
    """Every interpreter found here that is new enough runs programs, by its own version; deep ones,
    too.
    """
    pythons = other_pythons()
    if not pythons:
        pytest.skip("no other Python, 3.11 or newer, on this machine")
    for python, version in pythons.items():
        with Pool(1, tier=tier, python=python) as pool:
            result = pool.run("import sys; print(*sys.version_info[:2], sys.base_prefix)\n1/0")
            assert result.stdout.startswith(version), result
            assert result.exception.type == "ZeroDivisionError"
            assert pool.run(DEEP, recursion_limit=50_000).stdout == "49900\n"


@pytest.fixture
def script(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / f"python-{len(list(tmp_path.iterdir()))}"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return write


def test_interpreters_that_dont_work_are_refused(script, tmp_path, monkeypatch):
    """Each with what it did, and nothing is left behind."""
    monkeypatch.setattr("interpreter_pool.sandbox.host.interpreter._PATIENCE_S", 0.3)
    old = '{"implementation": "cpython", "version": [3, 9]}'
    partial = '{"implementation": "cpython", "version": [3, 11]}'
    other = '{"implementation": "pypy", "version": [3, 11]}'
    (tmp_path / "plain").write_text("no program")
    for python, words in (
        ("/nowhere/python", "no such file"),
        (str(tmp_path), "without bin/python"),
        (str(tmp_path / "plain" / "python"), "Not a directory"),
        ("surely-no-such-python", "on PATH"),
        (str(tmp_path / "plain"), "does not start"),
        (script("echo broken >&2; exit 1"), "broken"),
        (script("echo '[]'"), "no Python interpreter that works"),
        (script("sleep 60; true"), "did not answer"),
        (script("exec yes"), "no Python interpreter that works"),
        (script(f"echo '{partial}'"), "no Python interpreter that works"),
        (script(f'{sys.executable} "$@"; exit 1'), "status 1"),
        (script(f"echo '{old}'"), "cpython 3.9"),
        (script(f"echo '{other}'"), "pypy 3.11"),
    ):
        with pytest.raises(PolicyError) as caught:
            Pool(1, python=python)
        assert words in str(caught.value), python
        assert repr(python) in str(caught.value)


def test_what_is_no_interpreter_is_not_quoted_at_length(script, tmp_path, monkeypatch):
    """`python=/bin/ls` shows the names in no folder, and complaints are cut."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "private").write_text("")
    loud = script("echo first >&2; head -c 9999 /dev/zero | tr '\\0' x >&2")
    for python in ("/bin/ls", loud):
        with pytest.raises(PolicyError, match="is no Python interpreter") as caught:
            Pool(1, python=python)
        assert "private" not in str(caught.value)
        assert len(str(caught.value)) < 600
    with pytest.raises(TypeError, match="python"):
        Pool(1, python=3)  # type: ignore[arg-type]


def test_an_interpreter_that_is_late_takes_its_children_along(script, tmp_path, monkeypatch):
    """A wrapper waits for something it has started: neither is alive after the error."""
    monkeypatch.setattr("interpreter_pool.sandbox.host.interpreter._PATIENCE_S", 0.5)
    noted = tmp_path / "child"
    with pytest.raises(PolicyError, match="did not answer"):
        Pool(1, python=script(f"sleep 60 & echo $! >{noted}; wait"))
    child = Path(f"/proc/{int(noted.read_text())}/stat")
    deadline = time.monotonic() + 5
    while _lives(child):
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.01)


def _lives(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_an_environment_that_prints_at_its_start_is_taken(tmp_path, script):
    """What start-up files print is not taken for the answer."""
    python = script(f'echo "hello from a start-up file"; exec {sys.executable} "$@"')
    with Pool(1, tier="none", python=python) as pool:
        assert pool.run("print(1)").stdout == "1\n"


def test_preloading_what_is_not_offered_says_what_to_do(tier):
    """The error names the module and `packages`."""
    with pytest.raises(SetupError, match=r"numpy.*packages="):
        Pool(1, tier=tier, preload=("numpy",))
