"""Fixtures of all tests: one long-lived pool for each tier, and a leak check around every test."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, settings
from quick import QUICK

from interpreter_pool import Asserts, Pool
from interpreter_pool.pool.engine.timer import Timer
from interpreter_pool.sandbox.jail.cgroups import PREFIX, find
from interpreter_pool.sandbox.jail.folder import base_folder
from interpreter_pool.sandbox.jail.layout import GUEST

# No time is asserted: what a loaded machine does slowly is not wrong.
settings.register_profile("ours", deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("ours")

TIERS = tuple(os.environ.get("POOL_TESTS_TIERS", "namespaces landlock").split())
"""Those that work here: on an imitated host (tests/hosts), not all do."""

TESTS = Path(__file__).parent

POOLS = ("pool", "numeric", "libraries", "taught", "reference", "executor")
"""Fixtures that outlive a test: pools, of which some descriptors come and go between runs."""

OF_RAY = ("descriptors", "threads", "processes")
"""What comes and goes as Ray wants, in the test modules that run one."""

_OURS = f"{os.getpid()}-"
"""What the names of this process's folders and cgroups have in common."""

_OF_GRPC = (
    "client.poll0", "default-executo", "event_engine", "gcs_client_io_s", "grpc_global_tim",
    "resolver-execut", "timer_manager",
)  # fmt: skip
"""Threads that Ray's library starts when it likes, and keeps when Ray has been shut down."""

_OF_MONARCH = ("monarch-pytokio", "telemetry-worke", "OpenTelemetry.M")
"""Threads that Monarch starts and ends when it likes, once it is used."""

_ALLOCATORS_OWN = "jemalloc_bg_thd"
"""A thread that pyarrow's allocator starts some time after its import, and keeps."""

NO_SKIP = os.environ.get("POOL_TESTS_NO_SKIP") == "1"
"""In CI a skip for something missing is a failure: what is not tried is not held."""


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="only what quick.py lists")
    parser.addoption(
        "--minutes", type=float, default=20, help="how long soak tests may take, in all tiers"
    )


def pytest_ignore_collect(collection_path, config):
    """With --quick, a module that is not listed is not imported: it may need what is not there."""
    unlisted = (
        config.getoption("quick")
        and collection_path.name.startswith("test_")
        and collection_path.relative_to(TESTS).as_posix() not in QUICK
    )
    return unlisted or None  # None: as pytest would


def pytest_collection_modifyitems(config, items):
    if not config.getoption("quick"):
        return
    chosen = [item for item in items if _is_quick(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
    items[:] = chosen


def _is_quick(item) -> bool:
    named = QUICK[item.path.relative_to(TESTS).as_posix()]
    return item.get_closest_marker("slow") is None and (not named or item.originalname in named)


def pytest_configure():
    """A runner started with nohup or in the background passes on that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_services(tmp_path_factory) -> Iterator[None]:
    """Names of local services are all of a user's processes', and the Ray that was started last is
    found by all of them: of tests side by side, each runner has its own, and so have the processes
    that its tests start.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    os.environ["XDG_RUNTIME_DIR"] = str(tmp_path_factory.mktemp("runtime"))
    # Not in pytest's folder: a socket's path has 107 bytes, and Ray takes 70 of them for its own.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        os.environ["RAY_TMPDIR"] = folder
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which counts as a failure here: {report.longrepr}"


@pytest.fixture(scope="session", params=TIERS)
def tier(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def pool(tier) -> Iterator[Pool]:
    """A pool that lives as long as the session: what one test leaves behind, the next one sees."""
    yield from lasting_pool(tier)


def lasting_pool(tier: str) -> Iterator[Pool]:
    """Yield a pool that already has all the processes that it will ever have."""
    with Pool(2, tier=tier) as pool:
        wait_until(lambda: pool.stats().workers_alive == 2)
        if tier != "none" and not pool.engine.plan.shown:
            pool.session().close()  # the jail of sessions stays, too
        complete(pool)
        yield pool


def complete(pool: Pool) -> None:
    """Have a lasting pool make the second jails, for tests, that it has not, or no longer."""
    jails = pool.engine.jails
    if len(jails.idle(jails.own)) < pool.stats().workers:
        both_at_once = [("def f(): pass", [Asserts("f()\nimport time; time.sleep(0.4)", "f")])] * 2
        assert all(verdict.passed for verdict in pool.judge_many(both_at_once))


def settle(executor) -> None:
    """Have all jails made that will ever be there: those of all workers, of their tests, and that of
    sessions.
    """
    for session in [executor.session() for _ in range(2)]:  # one at each of a fleet
        session.close()
    wait_until(lambda: executor.stats().workers_alive >= 2)
    workers = executor.stats().workers
    at_once = [("def f(): pass", [Asserts("f()\nimport time; time.sleep(0.4)", "f")])] * workers
    assert all(verdict.passed for verdict in executor.judge_many(at_once))


@pytest.fixture
def timer() -> Iterator[Timer]:
    timer = Timer()
    timer.start()
    yield timer
    timer.close()


@pytest.fixture(autouse=True)
def _nothing_left(request) -> Iterator[None]:
    """Fail a test that leaves descriptors, threads, processes, mounts, cgroups or folders."""
    names = [name for name in POOLS if name in request.fixturenames]
    pools = [request.getfixturevalue(name) for name in names]
    pools = [pool for pool in pools if isinstance(pool, Pool)]
    for pool in pools:
        complete(pool)  # an earlier test may have harmed one
    wait_until(lambda: all(map(is_idle, pools)))
    before = possessions()
    yield
    wait_until(lambda: all(map(is_idle, pools)))
    deadline = time.monotonic() + 5
    while True:
        more = grown(before)
        if not more:
            return
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {more}")
        time.sleep(0.05)


@pytest.fixture(scope="session", autouse=True)
def _no_orphans() -> Iterator[None]:
    """Fail a session that leaves processes of jails without a parent: they are nobody's children
    any more, and no test sees them.
    """
    before = orphans()
    yield
    wait_until(lambda: orphans() <= before)


def orphans() -> set[int]:
    """Processes of this checkout's jails whose parent is gone."""
    found = set()
    for process in psutil.process_iter(["pid", "ppid", "cmdline"]):
        info = process.info
        if info["ppid"] == 1 and os.path.dirname(GUEST) in (info["cmdline"] or ()):
            found.add(info["pid"])
    return found


def is_idle(pool: Pool) -> bool:
    """Whether all that it does is over: in between, descriptors and processes come and go."""
    return pool.engine.is_settled()


def grown(before: dict[str, object]) -> dict[str, tuple[object, object]]:
    """What this process has more of than `before`: by kind, then and now."""
    passed_over = OF_RAY if is_ray_running() else ()
    return {
        name: (before[name], now)
        for name, now in possessions().items()
        if name not in passed_over and _count(now) > _count(before[name])
    }


def is_ray_running() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


def _processes(me: psutil.Process) -> Iterator[psutil.Process]:
    """The processes below this one, less what local services have below them: jails that come and
    go as their pools see fit.
    """
    for child in me.children():
        yield child
        with contextlib.suppress(psutil.Error):
            if not any("registry.local.server" in part for part in child.cmdline()):
                yield from child.children(recursive=True)


def possessions() -> dict[str, object]:
    """What this process holds now, by kind; a number, or a list to show what it is."""
    me = psutil.Process()
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        mounts = sum(1 for _ in file)
    return {
        "descriptors": descriptors(),
        "threads": threads(),
        "processes": sorted(str(each.pid) for each in _processes(me)),
        "mounts": mounts,
        "cgroups": cgroups(),
        "folders": sorted(each for each in os.listdir(base_folder()) if each.startswith(_OURS)),
    }


def descriptors() -> list[str]:
    """What this process's descriptors lead to; some are closed while they are counted. No sockets
    where Monarch has been used: it opens and closes its own when it likes.
    """
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    uses_monarch = "monarch._rust_bindings" in sys.modules
    return sorted(each for each in found if not (uses_monarch and each.startswith("socket:")))


def threads() -> list[str]:
    """The names of this process's threads; some end while they are counted."""
    # Where one ends while the folder is read, others may be left out.
    before, listed = None, os.listdir("/proc/self/task")
    while listed != before:
        before, listed = listed, os.listdir("/proc/self/task")
    found = []
    for thread in listed:
        with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/comm") as file:
            found.append(file.read().strip())
    theirs = (*_OF_GRPC, *_OF_MONARCH, _ALLOCATORS_OWN)
    return sorted(name for name in found if name not in theirs)


def cgroups(proc: str = "/proc/self") -> list[str]:
    """This process's cgroups, wherever it may make some; other pools on this machine have theirs."""
    places = {
        folder
        for parents in find(proc)
        for folder in (parents.memory, parents.tasks, parents.cpu)
        if folder is not None
    }
    return sorted(
        os.path.join(place, name)
        for place in places
        for name in os.listdir(place)
        if name.startswith(PREFIX + _OURS)
    )


class NoThreads(ThreadPoolExecutor):
    """asyncio's default executor on a busy day: whoever needs a thread of it fails."""

    def submit(self, *args, **kwargs):
        raise AssertionError("something waits for a thread of the loop's")


async def without_threads(awaitable):
    """Await it in a loop that has no thread for it."""
    asyncio.get_running_loop().set_default_executor(NoThreads(1))
    return await awaitable


NAP = "import time; t = time.monotonic(); time.sleep(1); print('from', t, 'to', time.monotonic())"
"""A program that says when it slept, by the one clock that jails and host have in common."""


def overlapped(*told: str) -> bool:
    """Whether all that told of their `NAP` slept at one moment, however long each was waited for."""
    naps = [re.search(r"from (\S+) to (\S+)", text) for text in told]
    return max(float(nap[1]) for nap in naps) < min(float(nap[2]) for nap in naps)


SOON_S = 15.0
"""What ends soon, not after a limit of a minute or never, does so on a loaded machine, too."""


def wait_until(condition, timeout_s: float = 10.0) -> None:
    """Wait until `condition()` holds; fail if it doesn't within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"did not come to pass within {timeout_s} s")
        time.sleep(0.01)


def _count(value: object) -> int:
    return value if isinstance(value, int) else len(value)


def run_script(script: str, folder) -> "subprocess.CompletedProcess[str]":
    """Run `script` in a Python of its own, with its temporary files below `folder`."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"TMPDIR": str(folder)},
    )
