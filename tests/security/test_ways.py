"""The same attacks by every way into a jail: sessions, branches, snapshots, functions, the judge's
two processes, runs of several processes.

The rows' own tests have their controls; here one shows that what gets through would be seen.
"""

import json
import os
import platform

import pytest

from interpreter_pool.sandbox.jail.folder import base_folder

from . import test_files, test_kernel, test_network, test_processes
from .syscalls import BAD, program
from .test_network import listeners  # noqa: F401  (a fixture)
from .ways import CALLS, WAYS, printing, source


def _calls_on(pids: list[int]) -> str:
    calls: list[tuple[object, ...]] = []
    for pid in ("parent", 1, os.getpid(), *pids):
        calls += [("ptrace", 16, pid, 0, 0), ("process_vm_readv", pid, BAD, 1, BAD, 1, 0)]
        calls += [("pidfd_open", pid, 0), ("kcmp", pid, pid, 0, 0, 0)]
        calls += [("prlimit64", pid, 7, BAD, BAD), ("setpriority", 0, pid, 19)]
        calls += [("sched_setaffinity", pid, 8, BAD), ("sched_setscheduler", pid, 0, BAD)]
        calls += [("ioprio_set", 1, pid, 0), ("migrate_pages", pid, 0, 0, 0)]
    return program(*calls)


@pytest.fixture(params=[*WAYS])
def way(request, pool):
    """A way into a jail of the pool; None where this tier has no such way, and says so."""
    name = request.param
    if name == "several processes" and not test_processes.several_or_refused(pool):
        return None
    return WAYS[name]


def test_files_by_every_way(way, pool, canaries):
    """F1, F3, F4, F5, F6, F7, F8, F9: nothing of the host is read, made, linked or changed."""
    if way is None:
        return
    canary, name = str(canaries.file), f"canary-{canaries.token}"
    tests = [base_folder(), f"{base_folder()}/*", __file__, test_files.__file__]
    devices = [f"/dev/{name}" for name in ("mem", "kmsg", "kvm", "fuse", "ptmx", "tty", "vda")]
    folders = ["/", "/usr", "/etc", "/sys", "/proc/sys", "/dev", str(canaries.folder)]
    for code, args, what in (
        (test_files.OPEN, [canary, "/etc/shadow", "/root/.ssh", *tests, *devices], "report"),
        (test_files.SHARED, ["left"], f"[each for each in report if each == {name!r}]"),
        (test_files.CREATE, folders, "report"),
        (test_files.LINKS, [canary], "report"),
        (test_files.ROOTS, [canary], "report"),
        (test_files.READ_ONLY, [], "[each for each in report if each]"),
    ):
        assert way(pool, source(code, args, what)) == [], code
    assert canaries.untouched()


def test_network_by_every_way(way, pool, listeners):  # noqa: F811
    """N1, N2, N3: nobody is reached, and no socket but a pair is made."""
    if way is None:
        return
    args = [json.dumps(listeners.names), "169.254.169.254"]
    assert way(pool, source(test_network.VISIT, args, "report[0]")) == []
    assert way(pool, source(test_network.MAKE, [])) == []
    assert listeners.visitors() == 0


def test_the_kernel_by_every_way(way, pool):
    """K1, K2, K4, K5, K7, K8: no namespace, no mount, no large interface, nothing of the machine."""
    if way is None:
        return
    clones = test_kernel.CLONES.replace("@FLAGS@", repr(test_kernel.NEW_NAMESPACES)).replace(
        "@NUMBERS@", test_kernel._numbers("clone", "clone3", "unshare", "setns")
    )
    assert way(pool, source(clones, ["--clone"])) == []
    calls: list[tuple[object, ...]] = [
        *test_kernel.MOUNT_CALLS,
        *test_kernel.LARGE_INTERFACES,
        *test_kernel.ADMINISTRATION,
        *test_kernel.QUEUES,
    ]
    calls += [("personality", 0xFFFFFFFF), ("memfd_secret", 0), ("memfd_create", BAD, 0)]
    assert way(pool, source(program(*calls), [], CALLS)) == []


def test_other_processes_by_every_way(way, pool, jail_pids):
    """F2, K3, K9, P5: no other process is read, traced, re-limited, re-pinned or signalled."""
    if way is None:
        return
    args = [str(pid) for pid in (1, os.getpid(), *jail_pids)]
    assert way(pool, source(test_files.PROCESSES, args)) == []
    assert way(pool, source(_calls_on(jail_pids), [], CALLS)) == []
    assert way(pool, source(test_processes.NEIGHBOURS, args)) == []
    assert pool.run("print(1)").stdout == "1\n"


GAINED = """[
    *report["done"], *report["loosened"], *report["bounding"],
    *(["capability"] if report["capabilities"] else []),
    *(["no filter"] if report["seccomp"] != 2 else []),
    *(["new privileges"] if report["no_new_privs"] != 1 else []),
]"""


def test_privileges_by_every_way(way, pool):
    """P2: no id changes, no capability is held, the filter is on, nothing can be loosened."""
    if way is None:
        return
    what = GAINED
    if not test_processes.empties_the_bounding_set(pool):
        what = what.replace(' *report["bounding"],', "")
    assert way(pool, source(test_processes.PRIVILEGES, [], what)) == []


def test_execution_by_every_way_but_one(way, pool):
    """K6, P4: nothing is forked or executed where it is not allowed."""
    if way in (None, WAYS["several processes"]):
        return
    what = "[each for each in report if each != 'no_new_privs']"
    assert way(pool, source(test_kernel.EXECUTE, [], what)) == []
    assert way(pool, source(test_processes.PROCESSES, [])) == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other machines have no second entry")
@pytest.mark.parametrize("code", [test_kernel.INT_80, test_kernel.X32], ids=["int 0x80", "x32"])
def test_foreign_entries_in_a_session(pool, code):
    """K7: the 32-bit and x32 entries end a session's call (SIGSYS); its state is as before."""
    with pool.session() as session:
        session.run("x = 1")
        call = f"import sys\nsys.argv[1:] = [{code!r}]\n{test_kernel.MACHINE_CODE}"
        result = session.run(call)
        assert (result.reason, result.stdout, result.rolled_back) == ("denied", "before\n", True)
        assert session.run("x").value == "1"


def test_what_gets_through_would_be_seen(outside, canaries, victim):
    """Outside, the same sources find the canary, the sockets, the calls and the other process."""
    for code, args, what in (
        (test_files.OPEN, [str(canaries.file)], "report"),
        (test_network.MAKE, [], "report"),
        (program(("sync",), ("pidfd_open", "parent", 0)), [], CALLS),
        (test_files.PROCESSES, [str(victim.pid)], "report"),
        (test_processes.PROCESSES, [], "report"),
    ):
        assert outside.report(printing(source(code, args, what))), code
