"""The transform where TorchRL takes it along: rollouts, batched environments, other processes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from chat import environment, replies, reset, run
from tensordict import lazy_stack
from tensordict.nn import TensorDictModuleBase
from torchrl.data.llm import History
from torchrl.envs import SerialEnv

from interpreter_pool.transforms import PythonInterpreter


def make():
    return environment(PythonInterpreter(pool_size=1, persistent=True), 1)[0]


@pytest.mark.filterwarnings("ignore:(Prompt|Full) history should have one more")
def test_serial_environments_have_an_interpreter_each():
    """Its state stays where it is, and nothing of it is left when they are closed."""
    env = SerialEnv(2, make)
    after = run(env, reset(env), "x = 1", "x = 2")
    after = run(env, after, "print(x)", "print(x)")
    for at in range(2):
        assert replies(after, at, 0)[-1] == f"Code block 1 executed successfully:\n{at + 1}\n"
    assert after["python", "ok"].all()
    env.close()


def test_parallel_environments_have_an_interpreter_each(tmp_path):
    """In processes that TorchRL starts; when they have gone, nothing of their pools is left."""
    script = Path(__file__).with_name("parallel.py")
    paths = f"{Path.cwd()}:{script.parent}"
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"PYTHONPATH": paths, "TMPDIR": str(tmp_path)},
    )
    assert "['1', '2']" in done.stdout, done.stderr
    (base,) = tmp_path.glob("interpreter-pool-*")
    assert not list(base.iterdir())


class Counting(TensorDictModuleBase):
    """A policy that always answers with the same code."""

    in_keys: ClassVar = [("history", "prompt")]
    out_keys: ClassVar = [("history", "full")]

    def forward(self, state):
        answer = History(role="assistant", content="```python\nn = globals().get('n', 0) + 1\n```")
        answers = lazy_stack([lazy_stack([answer])] * len(state))
        state["history"].full = state["history"].prompt.extend(answers, dim=-1, inplace=False)
        return state


def test_a_rollout_of_several_turns():
    """Outcomes of every turn, in the shape of the rollout."""
    interpreter = PythonInterpreter(pool_size=1, persistent=True)
    env, state = environment(interpreter, 2)

    rollout = env.rollout(3, Counting(), auto_reset=False, tensordict=state)
    assert rollout["next", "python", "runs"].tolist() == [[[1]] * 3] * 2
    assert interpreter._execute_python_code("print(n)", 1)["stdout"] == "3\n"
    interpreter.close()
