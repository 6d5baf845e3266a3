"""The examples do what they say."""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def test_the_search_finds_with_branches_what_it_finds_without():
    """Both reach the best score; what was saved is printed."""
    done = subprocess.run(
        [sys.executable, os.path.join(ROOT, "examples", "search.py")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    assert [line.split("score ")[1].split()[0] for line in lines[:2]] == ["6", "6"], done
    assert lines[2].startswith("saved: ")
