"""Each imitated host: it is what it says, `pool doctor` tells the truth there, nothing gets out."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .kinds import KINDS

ROOT = Path(__file__).parents[2]

TIER = {
    "docker-user": "landlock",
    "docker-root": "landlock",
    "docker-root-cgroup": "landlock",
    "powerless-root": "landlock",
    "half-root": "landlock",
    "delegated": "landlock",
    "cluster": "landlock",
    "apparmor": "landlock",
    "masked-proc": "landlock",
    "restricted": "landlock",
    "opened": "namespaces",
    "covered": "landlock",
    "no-landlock": None,
    "landlock-not-booted": None,
    "ordinary": "namespaces",
    "namespaces-only": "namespaces",
    "no-seccomp": None,
}
"""What `tier="auto"` must pick there; None: nothing, with an error."""

WITHOUT_LANDLOCK = ("no-landlock", "landlock-not-booted", "namespaces-only")

FULL = [kind for kind, tier in TIER.items() if tier]

SHORT = {
    "docker-user": "test_session.py test_branches.py",
    "docker-root": "test_branches.py",
    "cluster": "test_run_limits.py",
}
"""What of the pool's suite is run each time; `make soak` runs the whole of every suite on all."""

WITHOUT_CONTROL = "test_k1_no_namespace"
"""An attack whose control needs what these hosts refuse."""

NEEDS_SESSIONS = (
    "session or branch or function or snapshot or shared_load or test_persistent or loaded_once "
    "or everything_is_held"
)


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


def there(
    kind: str, *command: str, timeout_s: float = 110, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run this Python with the arguments `command` on a host of `kind`."""
    if KINDS[kind].needs_root and os.geteuid() != 0:
        pytest.skip("only root can imitate this host")
    ours = {
        "PYTHONPATH": f"{ROOT}/tests:{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis",
    }
    return subprocess.run(
        [sys.executable, "-m", "hosts.imitate", kind, sys.executable, *command],
        cwd=ROOT,
        env=os.environ | ours | environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def report(kind: str, code: str) -> dict:
    """What a program that runs there, unconfined, prints as JSON."""
    done = there(kind, "-c", code)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


PROBE = """
import ctypes, errno, json, os, platform
import pyseccomp
libc = ctypes.CDLL(None, use_errno=True)
def error(name, *arguments):
    number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    ctypes.set_errno(0)
    done = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return ctypes.get_errno() if done < 0 else 0
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
pid = os.fork()
if pid == 0:
    os._exit(7)
told = {
    "user": os.geteuid(),
    "fork": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]),
    "bounding": int(status["CapBnd"], 16),
    "effective": int(status["CapEff"], 16),
    "listener": error("seccomp", 1, 8, 1),
    "errors": {name: error(name, -1, 1, -1, 1, 0) for name in @NAMES@},
    "clone": [error("clone", flag | 17, 0, 0, 0, 0) for flag in @FLAGS@],
}
print(json.dumps(told))
"""


def test_the_imitation_is_what_it_says(kind):
    """Who one is, which capabilities there are, and that what is refused is, with its error."""
    wanted = KINDS[kind]
    plain = {
        name: refusal.error
        for refusal in wanted.refusals
        if not refusal.flags
        for name in refusal.names.split()
        if name not in ("uselib", "kexec_file_load", "lookup_dcookie")  # not on every machine
    }
    # Only those that are refused: the others would make a process.
    flags = [
        flag for refusal in wanted.refusals if refusal.names == "clone" for flag in refusal.flags
    ]
    code = PROBE.replace("@NAMES@", repr(list(plain))).replace("@FLAGS@", repr(flags))
    told = report(kind, code)
    assert told["errors"] == plain
    assert told["fork"] == 7
    if os.geteuid() == 0:
        assert (told["user"] == 0) == wanted.root
        assert bool(told["effective"]) == (wanted.root and wanted.capabilities != frozenset())
    if wanted.capabilities is not None and os.geteuid() == 0:
        assert told["bounding"] == sum(1 << number for number in wanted.capabilities)
    assert told["clone"] == [errno.EPERM] * len(flags)
    # A bad pointer, and not a refusal: a second filter may be installed, one that asks as well.
    if kind != "no-seccomp":
        assert told["listener"] in (errno.EFAULT, errno.EACCES)


def test_the_doctor_tells_the_truth(kind):
    """Its tier is the one that auto picks; every layer is as this host was made; exit code 0 or 1."""
    wanted = KINDS[kind]
    done = there(
        kind, "-c", "from interpreter_pool.pool.command import main; main()", "doctor", "--json"
    )
    assert done.stderr == ""
    told = json.loads(done.stdout)
    findings = {finding["name"]: finding for finding in told["findings"]}
    assert told["tier"] == TIER[kind]
    assert done.returncode == (0 if TIER[kind] else 1)
    assert findings["landlock"]["held"] == (kind not in WITHOUT_LANDLOCK)
    assert findings["seccomp"]["held"] == (kind != "no-seccomp")
    if os.geteuid() == 0:
        assert findings["cgroup"]["held"] == (wanted.cgroup != "read-only")
    if findings["tier landlock"]["held"]:
        layers = findings["tier landlock"]["found"]
        has_ids = wanted.root and wanted.capabilities and len(wanted.capabilities) > 10
        assert ("a user id of its own" in layers) == bool(has_ids)
        assert ("peak unknown" in layers) == (not findings["cgroup"]["held"])
        assert ("no sessions" in layers) == wanted.hidden
    assert all(each["advice"] for each in told["findings"] if not each["held"])


AUTO = """
import json, logging
from interpreter_pool import Pool
from interpreter_pool import SetupError
try:
    with Pool(1) as pool:
        told = {"tier": pool.run("print(1)").tier}
except SetupError as error:
    told = {"tier": None, "error": str(error)}
print(json.dumps(told))
"""


@pytest.mark.parametrize("kind", [kind for kind, tier in TIER.items() if tier is None])
def test_auto_never_falls_to_none(kind):
    """Where nothing confines, a pool is refused with what stood in each tier's way; `none` works
    when asked for by name.
    """
    told = report(kind, AUTO)
    assert told["tier"] is None
    assert "namespaces: " in told["error"]
    assert "landlock: " in told["error"]
    assert report(kind, AUTO.replace("Pool(1)", "Pool(1, tier='none')")) == {"tier": "none"}
    command = (
        "-c",
        "from interpreter_pool.pool.command import main; main()",
        "run",
        "examples/hello.py",
    )
    done = there(kind, *command)
    assert (done.returncode, done.stdout) == (125, "")


@pytest.mark.parametrize("kind", FULL)
def test_nothing_gets_out(kind):
    """`pool doctor --self-test` finds nothing that is not held, and tries everything it can."""
    done = there(
        kind,
        "-c",
        "from interpreter_pool.pool.command import main; main()",
        "doctor",
        "--self-test",
        "--json",
    )
    trials = json.loads(done.stdout)["self_test"]
    assert next(trial["tier"] for trial in trials) == TIER[kind]
    assert [trial for trial in trials if trial["outcome"] == "NOT held"] == []
    not_tried = [trial["attempt"] for trial in trials if trial["outcome"] == "not tried"]
    assert len(not_tried) == (5 if KINDS[kind].hidden else 0), not_tried
    assert done.returncode == 0


IN_MESSAGES = """
import json, resource, sys, threading, time
from interpreter_pool import Pool
from interpreter_pool import Limits
program = \"\"\"
import array, os, resource, socket, time
kept = socket.socketpair()
kept[0].setblocking(False)
sent = 0
for size in (249, 1):
    try:
        while True:
            kept[0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * size))])
            sent += size
    except OSError:
        pass
print(sent, flush=True)
time.sleep(2)
\"\"\"
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
with Pool(2, tier=sys.argv[1], limits=Limits(open_files=1000)) as pool:
    hostile = pool.submit(program)
    time.sleep(1)
    results = [pool.run("print(1)", timeout=2, queue_timeout=2) for _ in range(6)]
    sent = int(hostile.result().stdout)
    print(json.dumps([sent, [each.stdout for each in results], pool.stats().replaced]))
"""


@pytest.mark.parametrize("tier", ["namespaces", "landlock"])
def test_descriptors_in_messages_keep_nobody_from_sending(tier):
    """R3: the kernel counts them for all processes of an ordinary user; a program that sends all it can
    does not keep its pool from handing programs over.
    """
    done = there("ordinary", "-c", IN_MESSAGES, tier)
    sent, printed, replaced = json.loads(done.stdout)
    assert 500 < sent < 1024, sent
    assert (printed, replaced) == (["1\n"] * 6, 0), done.stderr


LARGE_STACKS = """
import json
from interpreter_pool import Pool
program = '''
import sys, threading
threading.stack_size(1 << int(sys.argv[1]))
thread = threading.Thread(target=print, args=("ran",))
thread.start()
thread.join()
'''
with Pool(1, tier="landlock") as pool:
    results = [pool.run(program, args=[bits]) for bits in ("27", "29")]
    told = [results[0].stdout, results[0].layers["memory"], results[1].exception.message]
print(json.dumps(told))
"""


def test_large_stacks_count_where_no_cgroup_does():
    """Half of the memory may be a stack; what does not fit is refused, with sizes and the way out."""
    printed, layer, message = json.loads(there("docker-user", "-c", LARGE_STACKS).stdout)
    assert (printed, "cgroup" in layer) == ("ran\n", False)
    for words in ("a stack of 512 MiB", "memory_bytes=536870912", "use a smaller stack"):
        assert words in message


@pytest.mark.parametrize("kind", SHORT)
def test_what_is_most_likely_to_break_works_there(kind):
    """Sessions and branches ask, nest filters and look into /proc; limits are watched there."""
    files = [f"tests/pool/{name}" for name in SHORT[kind].split()]
    passes(there(kind, *pytest_on(kind), *files, POOL_TESTS_TIERS=str(TIER[kind])))


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("suite", ["pool", "security"])
@pytest.mark.parametrize("kind", FULL)
def test_the_whole_suite_passes_there(kind, suite):
    """Every test of pools, sessions, judging and attacks that names a tier."""
    command = [*pytest_on(kind), "-n", "3", str(ROOT / "tests" / suite)]
    passes(there(kind, *command, timeout_s=1700, POOL_TESTS_TIERS=str(TIER[kind])))


def pytest_on(kind: str) -> list[str]:
    """pytest, for the tests that name the tier which works on a host of `kind`."""
    chosen = f"{TIER[kind]} and not {WITHOUT_CONTROL}"
    if KINDS[kind].hidden:
        chosen += f" and not ({NEEDS_SESSIONS})"
    return ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen]


def passes(done: "subprocess.CompletedProcess[str]") -> None:
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
