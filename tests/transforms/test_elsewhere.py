"""Whatever takes a pool takes an executor elsewhere: rewards, tools, environments, scorers."""

import asyncio
import json
import os
import pickle

import pytest
from chat import environment, replies, run, step
from conftest import settle

from interpreter_pool import (
    PersistentPythonProcess,
    Pool,
    PythonExecutorService,
    Stdio,
    connect,
    get_services,
)
from interpreter_pool.pool import calibrate
from interpreter_pool.transforms import (
    AsyncCodeRewardFunction,
    CodeReward,
    CodeRewardFunction,
    PythonEnvironment,
    PythonInterpreter,
    PythonTool,
)
from interpreter_pool.transforms.verl import Scorer

CASES = [{"kind": "stdio", "input": "2", "expected": "4"}]
RIGHT, WRONG = "```python\nprint(int(input()) * 2)\n```", "```python\nprint(5)\n```"
HANGS = "```python\nwhile True: pass\n```"


@pytest.fixture(scope="module")
def url():
    namespace = f"elsewhere-{os.getpid()}"
    with get_services("local", namespace=namespace) as services:
        services.register_fleet("executors", PythonExecutorService, pool_size=2, timeout=5.0, min=2)
        yield f"local://executors?namespace={namespace}"


@pytest.fixture(scope="module")
def executor(url):
    with connect(url) as executor:
        settle(executor)
        yield executor


def test_rewards_are_those_of_a_pool(executor):
    cases = [CASES] * 4
    answers = [RIGHT, WRONG, "no code", RIGHT]
    assert CodeRewardFunction(executor)(None, answers, cases=cases) == [1.0, 0.0, 0.0, 1.0]
    awaited = AsyncCodeRewardFunction(executor)(None, answers, cases=cases)
    assert asyncio.run(awaited) == [1.0, 0.0, 0.0, 1.0]
    with pytest.raises(TypeError, match=r"pool must be a Pool, or what connect\(url\) returns"):
        CodeRewardFunction("ray://executors")


def test_a_tool_runs_elsewhere(executor):
    assert PythonTool(executor)("print(6 * 7)").startswith(
        "Code block 1 executed successfully:\n42"
    )
    assert "ZeroDivisionError" in PythonTool(executor)("1 / 0")


def test_an_environment_has_a_session_elsewhere(executor):
    rollouts = [PythonEnvironment(executor, timeout=1.0) for _ in range(4)]
    for number, each in enumerate(rollouts):
        each.python(f"x = {number}")
    for number, each in enumerate(rollouts):
        assert f"{number}\n" in each.python("print(x)")
        assert not each.infra_error
    assert "as it was before" in rollouts[0].python("while True: pass")
    for each in rollouts:
        each.reset()


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("by", ["object", "url", "pool"])
def test_chat_environments_run_elsewhere(executor, url, by, persistent):
    """As on a service: by an executor, or by its URL, which each process connects to by itself."""
    pool = Pool(2) if by == "pool" else None
    given = {"object": executor, "url": url, "pool": pool}[by]
    interpreter = PythonInterpreter(executor=given, persistent=persistent)
    env, state = environment(interpreter, 3)
    after = run(env, state, "x = 1; print(x)", "print('x' in globals())", "1/0")
    assert replies(after, 0) == ["Code block 1 executed successfully:\n1\n"]
    assert replies(after, 1) == ["Code block 1 executed successfully:\nFalse\n"]
    assert after["python", "ok"].tolist() == [[True], [True], [False]]
    after = step(env, state, ["```python\nprint('x' in globals())\n```"] * 3)
    assert str(persistent) in replies(after, 0)[-1]
    if by != "pool":
        again = pickle.loads(pickle.dumps(interpreter))
        assert again._execute_python_code("print(2)", 0)["stdout"] == "2\n"
        again.close()
        if by == "object":
            again._settings["executor"].close()
    interpreter.close()
    if pool is not None:
        pool.close()


def test_an_interpreter_is_told_one_place_only(executor):
    with pytest.raises(ValueError, match="services or executor"):
        PythonInterpreter(executor=executor, services="local")
    with pytest.raises(TypeError, match="executor must be a Pool, or what connect"):
        PythonInterpreter(executor=5)
    with pytest.raises(KeyError, match="nowhere"):
        PythonInterpreter(executor="local://nowhere")


def test_a_torchrl_reward_is_pickled_with_its_executor(executor):
    reward = CodeReward(executor)
    assert reward._judge([RIGHT, WRONG], [CASES] * 2) == [1.0, 0.0]
    again = pickle.loads(pickle.dumps(reward))
    assert again._judge([RIGHT, WRONG], [CASES] * 2) == [1.0, 0.0]
    again._given.close()


def test_verls_scorer_connects_by_url(url, executor):
    """Its options are plain data."""
    truth = json.dumps({"inputs": ["2\n"], "outputs": ["4\n"]})
    for pool in (url, executor):
        with Scorer(pool, on_inconclusive=0.0) as scorer:
            scores = scorer.batch(None, [RIGHT, WRONG, HANGS], [truth] * 3)
            assert [each["score"] for each in scores] == [1.0, 0.0, 0.0]
            assert not any(each["infra_error"] for each in scores)
    with pytest.raises(TypeError, match="its URL"):
        Scorer(5)


def test_a_persistent_process_lives_elsewhere(executor):
    with PersistentPythonProcess(timeout=2.0, pool=executor) as process:
        process.execute("x = 20")
        assert process.execute("print(x + 1)")["stdout"] == "21\n"


def test_rows_are_calibrated_elsewhere(executor):
    rows = [
        {
            "question": "double",
            "input_output": json.dumps({"inputs": ["2"], "outputs": ["4"]}),
            "solutions": json.dumps(["print(int(input()) * 2)"]),
        }
    ]
    calibration = calibrate(executor, rows)
    assert len(calibration.rows) == 1


def test_snapshots_and_checkers_are_the_callers(executor):
    """What no text can hold stays here."""
    seen = []

    def checker(output, expected):
        seen.append(output)
        return True

    assert executor.judge("print(1)", [Stdio("", None, checker=checker)]).passed
    assert seen
