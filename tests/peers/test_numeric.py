"""The numeric libraries' own tests, a short choice of them, run by pytest in a jail."""

import json

import pytest

from interpreter_pool import Limits, Pool

LIMITS = Limits(wall_s=300, memory_bytes=2 << 30, disk_bytes=256 << 20, threads=None)

PROGRAM = """
import json, sys, warnings
warnings.simplefilter("ignore")
import pytest

class Count:
    def __init__(self):
        self.counts = {"passed": 0, "failed": 0}
        self.failed = []
    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.outcome in self.counts:
            self.counts[report.outcome] += 1
        if report.outcome == "failed":
            self.failed.append([report.nodeid, str(report.longrepr)[-500:]])

count = Count()
options = ["-q", "-p", "no:cacheprovider", "--no-header", "-x", "-W", "ignore", "--pyargs"]
status = pytest.main([*options, *sys.argv[1:]], plugins=[count])
print("\\n" + json.dumps([int(status), count.counts["passed"], count.failed]))
"""

CHOICE = {
    "numpy": ("numpy.fft.tests.test_pocketfft",),
    "scipy": ("scipy.linalg.tests.test_decomp_lu", "scipy.interpolate.tests.test_gil"),
    "pandas": ("pandas.tests.io.json.test_json_table_schema",),
    "sympy": ("sympy.core.tests.test_basic",),
}

MORE = {
    # 8577 starts an interpreter.
    "numpy": ("numpy.linalg.tests.test_linalg", "-k", "not bug_8577"),
    "pandas": ("pandas.tests.reshape.concat.test_concat",),
    "sympy": ("sympy.core.tests.test_arit",),
}


@pytest.fixture(scope="module")
def numeric(tier):
    packages = (*CHOICE, "pytest", "hypothesis")
    with Pool(1, tier=tier, limits=LIMITS, packages=packages, preload=()) as pool:
        yield pool


def check(pool: Pool, args: tuple[str, ...]) -> None:
    result = pool.run(PROGRAM, args=args)
    assert result.stdout.splitlines(), result
    status, passed, failed = json.loads(result.stdout.splitlines()[-1])
    assert (status, failed) == (0, []), result.stdout[-3000:]
    assert passed > 5


@pytest.mark.parametrize("library", CHOICE)
def test_a_librarys_own_tests_pass(numeric, library):
    """Its tests of arithmetic, threads, files and errors pass in a jail."""
    check(numeric, CHOICE[library])


@pytest.mark.soak
@pytest.mark.timeout(400)
@pytest.mark.parametrize("library", MORE)
def test_more_of_a_librarys_own_tests_pass(numeric, library):
    """And longer ones."""
    check(numeric, MORE[library])
