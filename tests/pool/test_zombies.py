"""A host that inherits the orphans of its jails waits for them, and for nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from conftest import wait_until

from interpreter_pool import Pool

HOST = Path(__file__).with_name("reaping_host.py")
PROCESS_1 = ["unshare", *(() if os.geteuid() == 0 else ("--map-root-user",)), "--pid", "--fork"]
PROCESS_1 += ["--mount-proc"]


def host(tier: str, what: str, before: list[str], folder: str) -> str:
    done = subprocess.run(
        [*before, sys.executable, str(HOST), tier, what],
        capture_output=True,
        text=True,
        timeout=100,
        # A user who seems to be root has a folder of root's in the usual place.
        env=os.environ | {"TMPDIR": folder},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("before", [PROCESS_1, []], ids=["process 1", "subreaper"])
def test_a_host_that_loses_jails_keeps_no_zombie(tier, before, tmp_path):
    """Zygotes, runs and nsjails are killed; the trainer's own children are still there for it."""
    assert host(tier, "runs", before, str(tmp_path)) == "0 0 7 8\n"


@pytest.mark.parametrize("before", [PROCESS_1, []], ids=["process 1", "subreaper"])
def test_a_host_that_loses_sessions_keeps_no_zombie(tier, before, tmp_path):
    """A family init, the fork server, and what they had below them."""
    assert host(tier, "sessions", before, str(tmp_path)) == "0 0 7 8\n"


def test_a_snapshot_whose_zygotes_die_leaves_no_zombie(tier):
    """What the fork server inherits from them it waits for, in every host."""
    with Pool(1, tier=tier) as pool, pool.snapshot("x = 1") as snapshot:
        snapshot.run("x")
        server = psutil.Process(pool.engine.families.fork_server().zygote_pid)
        (template,) = server.children()
        for _ in range(3):
            for zygote in template.children():
                zygote.kill()
                zygote.wait(5)
            assert snapshot.run("x").ok
        wait_until(lambda: server.children() == [template], 5)
