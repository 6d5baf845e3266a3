"""`CodeReward`: every environment's last program, judged by the cases that it carries."""

import json
import math
import pickle

import pytest
from chat import environment, step
from tensordict import NonTensorData, NonTensorStack

from pool import Pool
from transforms import CodeReward, PythonInterpreter

DOUBLE = [
    {"kind": "stdio", "input": "2", "expected": "4"},
    {"kind": "stdio", "input": "0", "expected": "0"},
    {"kind": "call", "function": "double", "args": [1.5], "expected": 3.0},
    {"kind": "call", "function": "double", "args": ["a"], "expected": "aa"},
]
RIGHT = "def double(x): return 2 * x\nif __name__ == '__main__': print(double(int(input())))"
HALF = "def double(x): return None\nprint(2 * int(input())) if __name__ == '__main__' else None"


@pytest.fixture
def reward():
    with Pool(2) as pool:
        yield CodeReward(pool)


def judged(transform, answers, cases, *shape):
    env, state = environment(transform, *(shape or (len(answers),)))
    entries = NonTensorStack(*[NonTensorData(json.dumps(each) if each else None) for each in cases])
    state["cases"] = entries if len(shape) < 2 else entries.reshape(*shape)
    return step(env, state, answers)


def fenced(code):
    return f"```python\n{code}\n```"


def test_the_share_of_cases_is_the_reward(reward):
    """Right, half right, wrong, and no code at all."""
    answers = [fenced(RIGHT), fenced(HALF), fenced("1/0"), "I don't know."]
    after = judged(reward, answers, [DOUBLE] * 4)
    assert after["reward"].tolist() == [[1.0], [0.5], [0.0], [0.0]]
    assert after["verdict", "passed"].tolist() == [[True], [False], [False], [False]]
    assert not after["verdict", "infra_error"].any()


def test_the_last_block_counts(reward):
    """A first draft and a better one: the better one is judged."""
    (value,) = judged(reward, [fenced("1/0") + "\nno:\n" + fenced(RIGHT)], [DOUBLE])["reward"]
    assert value.item() == 1.0


def test_what_says_nothing_of_the_program_is_no_zero(reward):
    """Without cases, or where the test itself fails, the reward is NaN and the mask is set."""
    broken = [
        {"kind": "asserts", "test_source": "def check(candidate): nowhere", "entry_point": "double"}
    ]
    after = judged(reward, [fenced(RIGHT)] * 3, [None, broken, DOUBLE])
    assert [math.isnan(value) for value in after["reward"]] == [True, True, False]
    assert after["verdict", "infra_error"].tolist() == [[True], [True], [False]]


def test_it_stands_beside_the_interpreter_in_any_order(reward):
    """The answer is judged, not the reply that the interpreter has added."""
    interpreter = PythonInterpreter(pool_size=1)
    env, state = environment(interpreter, 1)
    env = env.append_transform(reward)
    state["cases"] = NonTensorStack(NonTensorData(json.dumps(DOUBLE)))
    after = step(env, state, [fenced(RIGHT)])
    assert after["reward"].tolist() == [[1.0]]
    assert after["python", "runs"].tolist() == [[1]]
    interpreter.close()


def test_any_batch_shape(reward):
    """Nested dimensions."""
    answers = [fenced(RIGHT), fenced("1/0"), "nothing", fenced(HALF)]
    after = judged(reward, answers, [DOUBLE] * 4, 2, 2)
    assert after["reward"].tolist() == [[[1.0], [0.0]], [[0.0], [0.5]]]


def test_all_or_nothing_and_its_own_pool():
    """Clones and pickles keep the settings; a pool given can't be pickled."""
    reward = CodeReward(all_or_nothing=True, inconclusive=-5.0)
    for each in (reward, reward.clone(), pickle.loads(pickle.dumps(reward))):
        after = judged(each, [fenced(HALF), fenced(RIGHT)], [DOUBLE, None])
        assert after["reward"].tolist() == [[0.0], [-5.0]]
        each.close()
    with Pool(1) as pool, pytest.raises(TypeError, match="pool given"):
        pickle.dumps(CodeReward(pool))


def test_cases_that_make_no_sense_are_the_callers(reward):
    """The error names the environment."""
    with pytest.raises(ValueError, match="environment 1"):
        judged(reward, [fenced("1")] * 2, [DOUBLE, [{"kind": "unknown"}]])
    with pytest.raises(TypeError, match="pool"):
        CodeReward(3)
