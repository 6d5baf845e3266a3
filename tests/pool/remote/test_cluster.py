"""A fleet over a cluster whose nodes come and go: nothing is lost, nothing comes twice."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("cluster_of_three.py")


@pytest.mark.parametrize(
    "runs, judged",
    [
        pytest.param(1_000, 100, marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
        pytest.param(20_000, 2_000, marks=[pytest.mark.soak, pytest.mark.timeout(1800)]),
    ],
)
def test_nodes_are_killed_and_added_while_a_fleet_works(runs, judged):
    """Every outcome is right; sessions of a killed node say that they are lost."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), str(runs), str(judged)],
            capture_output=True,
            text=True,
            timeout=1700,
            env=os.environ | {"RAY_TMPDIR": folder},
        )
    assert done.returncode == 0, done.stderr[-5000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["runs"] == {"ok, right": runs}
    assert told["verdicts"] == {"right": judged}
    assert told["sessions"].keys() <= {"right", "lost"}
    assert told["kills"] > 0 and told["left"] == []
