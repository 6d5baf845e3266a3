"""The runner of test modules says what pytest says, and asks no object of a program's."""

import json
import subprocess
import sys

import pytest
from tested_modules import FAILED, MODULES, PASSED, UNFIT

OURS = """
import json, sys
from interpreter_pool.sandbox.guest.run import testing

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
"""

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
