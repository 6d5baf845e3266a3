"""The examples of chat environments run as they stand."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

PRINTS = {
    "chat_env": "Code block 1 executed successfully:\n[1, 2, 3]",
    "chat_env_shared": "n is 3",
    "training_loop": "step 4: mean reward",
}
"""What each prints, among other things."""


@pytest.mark.parametrize("name", PRINTS)
def test_an_example_runs(name):
    """To its end, and says what it should."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    assert PRINTS[name] in done.stdout
