"""TorchRL's environments are rewarded for the code in a model's last answer."""

import json
import pickle
import subprocess
import sys
import warnings

import pytest
from hopeless import hopeless_pool

from interpreter_pool import transforms

RIGHT = "```python\nprint(int(input()) * 2)\n```"
WRONG = "```python\nprint('no')\n```"
CASES = json.dumps([{"kind": "stdio", "input": "2", "expected": "4"}])
TRUTH = json.dumps({"inputs": ["2", "3"], "outputs": ["4", "6"]})

pytestmark = pytest.mark.filterwarnings("ignore")  # those of others about each other


@pytest.fixture(scope="module")
def make_env():
    """A function that makes a ChatEnv of a shape, with a reward."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchrl.envs.llm import ChatEnv

    def make(reward, *shape):
        return ChatEnv(batch_size=shape, input_mode="history").append_transform(reward)

    return make


@pytest.fixture
def hopeless(tier, monkeypatch):
    """A pool of which every run is an infra error."""
    yield from hopeless_pool(tier, monkeypatch)


def step(env, answers, cases):
    """One step, in which the model gives these answers; both are nested as the batch is."""
    from tensordict import NonTensorStack, TensorDict
    from torchrl.data.llm import History

    state = env.reset(TensorDict({"query": "Double it."}, batch_size=env.batch_size))
    answer = History(
        role=NonTensorStack.from_list(_like(answers, "assistant")),
        content=NonTensorStack.from_list(answers),
        batch_size=env.batch_size,
    )
    state["history"].full = state["history"].prompt.append(answer, inplace=False, dim=-1)
    state["cases"] = NonTensorStack.from_list(cases)
    return env.step(state)["next"]


def _like(nested, value):
    return [_like(each, value) for each in nested] if isinstance(nested, list) else value


def test_each_environment_is_rewarded_by_its_cases(pool, make_env):
    """Shares of cases passed, in the batch's shape; cases as JSON, or as verl's ground truth."""
    env = make_env(transforms.CodeReward(pool), 4)
    half = "```python\nprint(4)\n```"
    result = step(env, [RIGHT, WRONG, half, "none"], [CASES, CASES, TRUTH, TRUTH])
    assert result["reward"].tolist() == [[1.0], [0.0], [0.5], [0.0]]
    assert result["infra_error"].tolist() == [[False]] * 4


def test_a_program_that_ran_out_of_time_is_not_waited_for_again(pool, make_env):
    """In its other cases it fails; unless told otherwise, it is given its time in each. A clone
    does as its original.
    """
    endless = "```python\nif input() == '2':\n    while True: pass\nprint(6)\n```"
    for options, share in (({}, 0.0), ({"stop_at_first_timeout": False}, 0.5)):
        reward = transforms.CodeReward(pool, timeout=0.2, **options)
        for each in (reward, reward.clone()):
            assert step(make_env(each, 1), [endless], [TRUTH])["reward"].tolist() == [[share]]


def test_batches_may_be_nested(pool, make_env):
    """Two by two environments, judged at once, each by its own cases."""
    env = make_env(transforms.CodeReward(pool), 2, 2)
    result = step(env, [[RIGHT, WRONG], ["none", RIGHT]], [[CASES, CASES], [CASES, TRUTH]])
    assert result["reward"].tolist() == [[[1.0], [0.0]], [[0.0], [1.0]]]


def test_infra_errors_are_masked(hopeless, make_env):
    """Our failure is nan and marked; or what was asked for, and marked."""
    for inconclusive in (None, -1.0):
        options = {} if inconclusive is None else {"inconclusive": inconclusive}
        env = make_env(transforms.CodeReward(hopeless, **options), 2)
        result = step(env, [RIGHT, "none"], [CASES, CASES])
        lost, none = result["reward"].flatten().tolist()
        assert (lost != lost) if inconclusive is None else (lost == -1.0)
        assert none == 0.0
        assert result["infra_error"].tolist() == [[True], [False]]


def test_without_torchrl_transforms_can_be_imported():
    """Only what needs it raises, an ImportError that names the extra."""
    program = """
import sys
sys.modules["torch"] = sys.modules["torchrl"] = sys.modules["tensordict"] = None
from interpreter_pool import transforms
transforms.extract_code, transforms.PythonTool
try:
    transforms.CodeReward
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert "pip install 'interpreter-pool[torchrl]'" in done.stdout


def test_importing_transforms_imports_no_torch():
    """It is there when it is needed, and costs seconds."""
    program = "import sys, interpreter_pool.transforms; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False\n"


def test_unknown_names_are_attribute_errors():
    """As of any module."""
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        transforms.Nonsense  # noqa: B018


def test_it_stands_beside_the_interpreter(pool, make_env):
    """The answer is judged, not the reply that the interpreter has added."""
    interpreter = transforms.PythonInterpreter(pool_size=1)
    env = make_env(interpreter, 1).append_transform(transforms.CodeReward(pool))
    after = step(env, [RIGHT], [CASES])
    assert after["reward"].tolist() == [[1.0]]
    assert after["python", "runs"].tolist() == [[1]]
    interpreter.close()


def test_its_own_pool_is_made_where_it_is_used(make_env):
    """Clones and pickles keep the settings; a pool given can't be pickled."""
    reward = transforms.CodeReward(all_or_nothing=True, inconclusive=-5.0)
    half = "```python\nprint(4)\n```"
    for each in (reward, reward.clone(), pickle.loads(pickle.dumps(reward))):
        after = step(make_env(each, 2), [half, RIGHT], [TRUTH, None])
        assert after["reward"].tolist() == [[0.0], [-5.0]]
        assert after["infra_error"].tolist() == [[False], [True]]
        each.close()
    with pytest.raises(TypeError, match="pool must be"):
        transforms.CodeReward(3)


def test_a_pool_given_stays_in_its_process(pool):
    """And so can't be pickled; the error says what can."""
    with pytest.raises(TypeError, match="make its own"):
        pickle.dumps(transforms.CodeReward(pool))


def test_a_package_that_is_not_offered_is_warned_of_once(make_env, pool, caplog):
    """One warning a reward, not one a step."""
    answer = "```python\nimport numpy\nprint(4)\n```"
    env = make_env(transforms.CodeReward(pool), 2)
    for _ in range(2):
        step(env, [answer, answer], [CASES] * 2)
    said = [each.getMessage() for each in caplog.records if "offer" in each.getMessage()]
    assert said == [
        "2 of 2 programs import numpy, which this pool does not offer: packages=('numpy',)"
    ]
