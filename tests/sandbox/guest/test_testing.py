"""The runner of test modules says what pytest says, and asks no object of a program's."""

import json
import os
import subprocess
import sys

import pytest
from tested_modules import FAILED, MODULES, PASSED, UNFIT

from interpreter_pool.sandbox.jail.layout import GUEST

OURS = """
import json, sys
sys.path.append(GUEST)
from guest.run import testing

def ended(name, source):
    testing.prepare(source)
    namespace = {"__name__": "program", "__file__": name}
    try:
        exec(compile(source, name, "exec"), namespace)
        testing.run(namespace)
    except testing.Unfit as error:
        return "unfit", str(error), []
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}", error.__notes__
    return "passed", "", []

found = {name: ended(name, source) for name, source in json.load(sys.stdin).items()}
print("\\n" + json.dumps(found))
""".replace("GUEST", repr(os.path.dirname(GUEST)))

PYTESTS = """
import json, os, sys
import pytest

class Ends:
    def __init__(self):
        self.found = {}

    def pytest_runtest_logreport(self, report):
        bad = report.outcome != "passed" or hasattr(report, "wasxfail")
        if bad or report.when == "call":
            self.add(report.nodeid, "xpassed" if bad and report.passed else report.outcome)

    def pytest_collectreport(self, report):
        if report.failed:
            self.add(report.nodeid, "failed")

    def add(self, nodeid, outcome):
        self.found.setdefault(nodeid.partition("__.py")[0], []).append(outcome)

for name, source in json.load(sys.stdin).items():
    with open(f"{name}__.py", "w") as file:
        file.write(source)
ends = Ends()
options = (
    "-q --continue-on-collection-errors --rootdir=. --import-mode=importlib -o python_files=*.py"
    " -p no:cacheprovider -p no:xdist -p no:timeout -c " + os.devnull
)
pytest.main(options.split(), [ends])
print("\\n" + json.dumps(ends.found))
"""


def run(script, folder, modules):
    ended = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(modules),
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=100,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


SOURCES = {name: source for name, (_, source) in MODULES.items()}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return run(OURS, tmp_path_factory.mktemp("ours"), SOURCES)


@pytest.fixture(scope="module")
def pytests(tmp_path_factory):
    return run(PYTESTS, tmp_path_factory.mktemp("pytests"), SOURCES)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_ends_as_it_does_under_pytest(name, ours, pytests):
    """What passes there passes here, and nothing else; what is unfit never runs."""
    expected, _ = MODULES[name]
    outcome, message, notes = ours[name]
    assert outcome == expected, message
    there = pytests.get(name, [])
    assert (expected == PASSED) == (set(there) == {"passed"}), there
    if expected == FAILED:
        assert {"failed", "skipped"} & set(there), there
        assert notes, "the note says which test it was"
    assert expected != UNFIT or message


def ended(source, folder, before=""):
    """How one module ends; `before` is run in the process before all else."""
    return run(before + OURS, folder, {"it": source})["it"]


STAND_INS = """
class Meta(type):
    def __getattribute__(cls, name): asked(cls, name)
class Handle:
    def __getattribute__(self, name): asked(self, name)
    __call__ = __eq__ = __bool__ = __hash__ = __len__ = __iter__ = lambda self, *a: asked(self, a)
class TestOfProgram(metaclass=Meta):
    def test_no(self): assert 0
def test_of_program(): assert 0
def asked(it, what):
    import os
    os.write(2, f"asked {what}".encode())
    os._exit(3)
"""


def test_no_object_of_a_program_is_asked_anything(tmp_path):
    """Names that lead to stand-ins are passed over, whatever they are called."""
    (tmp_path / "stand_ins.py").write_text(STAND_INS)
    names = "test_a TestB setup_module setUpModule setup_function pytestmark load_tests tmp_path"
    handles = "\n".join(f"{name} = Handle()" for name in names.split())
    source = f"""
from stand_ins import Handle, TestOfProgram, test_of_program, Meta
import pytest, unittest
{handles}
@pytest.mark.parametrize("x", [Handle(), 1])
def test_it(x): pass
class TestIt:
    test_b, TestC, setup_method = Handle(), Handle(), None
    def test_d(self): return Handle()
class Case(unittest.TestCase):
    def test_e(self): pass
class Derived(TestOfProgram): pass
"""
    outcome, message, _ = ended(source, tmp_path)
    assert outcome == PASSED, message


def test_tests_of_other_modules_are_not_run(tmp_path):
    """Not even a function or a class that the test imports, unless one of its own inherits it."""
    (tmp_path / "others.py").write_text(
        "import unittest\ndef test_a(): assert 0\nclass TestB:\n    def test_b(self): assert 0\n"
        "class C(unittest.TestCase):\n    def test_c(self): assert 0\n"
    )
    modules = {
        "imports": "from others import *\ndef test_one(): pass\n",
        "inherits": "import others\nclass TestD(others.TestB): pass",
    }
    found = run(OURS, tmp_path, modules)
    assert found["imports"][0] == PASSED
    assert found["inherits"][::2] == [FAILED, ["in TestD::test_b"]]


def in_a_class(body, base=""):
    head = f"import pytest, unittest, asyncio\nclass TestA({base}):\n    def test_a(self): "
    return head + body


CASE = "unittest.TestCase"
RAISED = {
    "raise SystemExit(0)": "SystemExit(0)",
    "raise KeyboardInterrupt": "KeyboardInterrupt()",
    "raise GeneratorExit": "GeneratorExit()",
    "raise asyncio.CancelledError": "CancelledError()",
    "raise type('Own', (BaseException,), {})('x')": "Own('x')",
    "pytest.exit('done', returncode=0)": "done",
    # A program could lead a test to where it skips itself.
    "pytest.skip('r')": "Skipped: r",
    "pytest.xfail('r')": "Skipped: expected to fail: r",
    "pytest.importorskip('nothing_of_this_name')": "Skipped: could not import",
    "raise unittest.SkipTest('r')": "Skipped: r",
}
"""What a test may raise, and what is said of it."""

FAILING = {
    "a value": ("import pytest\n@pytest.mark.parametrize('x', [1, 'b'])\ndef test_a(x): assert x == 1", "test_a[b]"),
    "an inner class": ("class TestA:\n    class TestB:\n        def test_c(self): assert 0", "TestA::TestB::test_c"),
    "unittest": ("import unittest\nclass A(unittest.TestCase):\n    def test_b(self): assert 0", "A::test_b"),
    "a subtest": ("import unittest\nclass A(unittest.TestCase):\n    def test_b(self):\n        with self.subTest('s', n=1): assert 0", "A::test_b [s] (n=1)"),
    "a class": ("import unittest\nclass A(unittest.TestCase):\n    @classmethod\n    def setUpClass(cls): 1 / 0\n    def test_b(self): pass", "A"),
    "a teardown": ("def teardown_module(): assert 0\ndef test_a(): pass", "test_a"),
    "unittest.main": ("import unittest\ndef test_a(): assert 0\nunittest.main()", "test_a"),
    "main": ("from unittest import main\ndef test_a(): assert 0\nmain(exit=True)", "test_a"),
    "pytest.main": ("import pytest\ndef test_a(): assert 0\npytest.main([__file__])", "test_a"),
    "async": ("import asyncio\ndef test_a(): pass\nasync def test_b(): await asyncio.sleep(0); assert 0", "test_b"),
}  # fmt: skip
"""Modules that fail, and the name of the test that does."""

ASYNC = """
import asyncio, pytest
log = []
@pytest.mark.asyncio
async def test_a(): await asyncio.sleep(0); log.append(1)
class TestB:
    async def test_b(self): assert log == [1]; log.append(2)
def test_c(): assert log == [1, 2]
"""

NOTHING = {
    "main": "import unittest\nunittest.main()",
    "yields": "def test_a():\n    yield",
    "yields async": "async def test_a():\n    yield",
    "skips the second": "import os, pytest\ndef test_a(): os._exit(3)\n@pytest.mark.skip\ndef test_b(): pass",
    "async fixture": "import os, pytest\n@pytest.fixture\nasync def f(): pass\ndef test_a(f): os._exit(3)",
    "scope": "import os, pytest\n@pytest.fixture(scope=len)\ndef f(): pass\ndef test_a(f): os._exit(3)",
}
"""Modules of which nothing is to be run."""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """How each of the above ends, all in one process."""
    modules = {f"raised {body}": in_a_class(body) for body in RAISED}
    modules |= {f"raised by unittest {body}": in_a_class(body, CASE) for body in RAISED}
    modules |= {f"failing {name}": source for name, (source, _) in FAILING.items()}
    modules |= {f"nothing {name}": source for name, source in NOTHING.items()}
    modules["async"] = ASYNC
    return run(OURS, tmp_path_factory.mktemp("found"), modules)


@pytest.mark.parametrize("body", RAISED)
@pytest.mark.parametrize("kind", ["raised", "raised by unittest"])
def test_whatever_a_test_raises_it_fails(body, kind, found):
    """Also what would end a process, or the runner: nothing but an Exception leaves `run`."""
    outcome, message, notes = found[f"{kind} {body}"]
    assert (outcome, notes) == (FAILED, ["in TestA::test_a"])
    assert RAISED[body] in message


@pytest.mark.parametrize("name", FAILING)
def test_the_note_of_a_failure_names_the_test(name, found):
    """As pytest names it; `unittest.main()` and `pytest.main()` at the top level do nothing."""
    assert found[f"failing {name}"][::2] == [FAILED, [f"in {FAILING[name][1]}"]]


@pytest.mark.parametrize("name", NOTHING)
def test_a_module_that_can_judge_nothing_is_not_run(name, found):
    """It has no test, or asks for what is not known here: the test is to blame."""
    assert found[f"nothing {name}"][0] == UNFIT


def test_async_tests_are_run_to_their_end(found):
    """With a mark or without; a coroutine that is never awaited would pass."""
    assert found["async"][0] == PASSED


SHOWS = OURS.replace(
    "return \"failed\", ", "import traceback; return \"failed\", traceback.format_exc(), []\n        "
)  # fmt: skip


def test_a_failure_shows_the_lines_of_the_test_alone(tmp_path):
    """Neither this runner nor unittest is in the traceback, but for the frame that raises it."""
    modules = {
        "pytest": "def test_a():\n    assert 0",
        "unittest": "import unittest\nclass A(unittest.TestCase):\n    def test_a(self):\n        raise ValueError",
        "exit": "def test_a():\n    raise SystemExit",
        "fixture": "import pytest\n@pytest.fixture\ndef f(): 1 / 0\ndef test_a(f): pass",
    }
    for name, (outcome, text, _) in run(SHOWS, tmp_path, modules).items():
        files = [line.split('"')[1] for line in text.splitlines() if line.startswith("  File ")]
        after_ours = files[
            1 + max(n for n, file in enumerate(files) if file.endswith("runner.py")) :
        ]
        assert outcome == FAILED
        assert after_ours == [name], text
        assert text.rstrip().splitlines()[-1].startswith("in "), text


def test_pytest_is_this_one_whether_or_not_there_is_another(tmp_path):
    """A test that imports it needs no package, and a file of this name is not looked at."""
    (tmp_path / "pytest.py").write_text("raise SystemExit")
    source = "import pytest\ndef test_a(): assert not hasattr(pytest, 'Session')"
    outcome, message, _ = ended(source, tmp_path, before="import sys; sys.path.insert(0, '.')\n")
    assert outcome == PASSED, message


def test_modules_run_one_after_the_other_in_one_process(tmp_path):
    """Nothing of one run is found by the next; folders get the same names, and are gone then."""
    source = """
import pytest, unittest
class A(unittest.TestCase):
    def test_a(self): pass
@pytest.fixture(scope="session")
def f(): return []
def test_b(f): f.append(1); assert len(f) == 1
def test_c(tmp_path): assert str(tmp_path) == "pytest-0/test_c0"
def test_d(tmpdir): assert tmpdir.strpath == "pytest-0/test_d0"
"""
    before = "import tempfile; tempfile.tempdir = '.'\n"
    found = run(before + OURS, tmp_path, {str(number): source for number in range(3)})
    assert [outcome for outcome, *_ in found.values()] == [PASSED] * 3, found
    assert not list(tmp_path.iterdir())


def test_the_runner_works_when_its_modules_are_no_longer_listed(tmp_path):
    """A zygote takes the guest's modules off `sys.modules`: nothing is imported from it later."""
    forget = "for name in [n for n in sys.modules if n.partition('.')[0] == 'guest']: del sys.modules[name]\n"
    forget += "sys.path.pop()\n"
    script = OURS.replace("\ndef ended", forget + "\ndef ended")
    names = [name for name, (outcome, _) in MODULES.items() if outcome == PASSED]
    found = run(script, tmp_path, {name: SOURCES[name] for name in names})
    assert {name: end for name, end in found.items() if end[0] != PASSED} == {}
