"""Rewards as TRL asks for them: shares of cases passed, and None where nothing can be said."""

import asyncio
import inspect
import json

import pytest
from conftest import without_threads
from hopeless import hopeless_pool

from interpreter_pool import Limits, PolicyError, Pool, PoolClosed, Runtime, Stdio
from interpreter_pool.transforms import (
    AsyncCodeRewardFunction,
    CodeRewardFunction,
    PythonEnvironment,
)
from interpreter_pool.transforms.rewards import last_block

RIGHT = "Here:\n```python\nprint(int(input()) * 2)\n```"
HALF = "```python\nprint(4)\n```"
WRONG = "```python\nprint('no')\n```"
NONE = "I don't know."
DOUBLES = [
    {"kind": "stdio", "input": "2", "expected": "4"},
    {"kind": "stdio", "input": "3", "expected": "6"},
]


@pytest.fixture
def hopeless(tier, monkeypatch):
    """A pool of which every run is an infra error."""
    yield from hopeless_pool(tier, monkeypatch)


def ask(reward, completions, **columns):
    """As TRL calls a reward function."""
    return reward(
        prompts=["?"] * len(completions),
        completions=completions,
        completion_ids=[[1]] * len(completions),
        **columns,
    )


def test_a_reward_is_the_share_of_cases_passed(pool):
    """Of a batch in one call; an answer without code gets 0, as does code that is wrong."""
    rewards = ask(CodeRewardFunction(pool), [RIGHT, HALF, WRONG, NONE], cases=[DOUBLES] * 4)
    assert rewards == [1.0, 0.5, 0.0, 0.0]
    strict = CodeRewardFunction(pool, all_or_nothing=True)
    assert ask(strict, [RIGHT, HALF, NONE], cases=[DOUBLES] * 3) == [1.0, 0.0, 0.0]


def test_a_program_that_ran_out_of_time_is_not_waited_for_again(pool):
    """In its other cases it fails; unless told otherwise, it is given its time in each."""
    endless = "```python\nif input() == '2':\n    while True: pass\nprint(6)\n```"
    columns = {"cases": [DOUBLES]}
    limits = Limits(cpu_s=0.2, wall_s=20)
    assert ask(CodeRewardFunction(pool, limits=limits), [endless], **columns) == [0.0]
    patient = CodeRewardFunction(pool, limits=limits, stop_at_first_timeout=False)
    assert ask(patient, [endless], **columns) == [0.5]


def test_conversations_are_judged_by_their_last_answer(pool):
    """Completions may be messages, with content as text, as parts, or none beside tool calls."""
    user = {"role": "user", "content": RIGHT}
    answers = [
        [{"role": "assistant", "content": RIGHT}],
        [{"role": "assistant", "content": RIGHT}, user, {"role": "assistant", "content": WRONG}],
        [{"role": "assistant", "content": [{"type": "text", "text": RIGHT}]}],
        [{"role": "assistant", "content": None, "tool_calls": []}],
        [{"role": "assistant", "content": RIGHT}, {"role": "tool", "content": WRONG}],
        [],
    ]
    rewards = ask(CodeRewardFunction(pool), answers, cases=[DOUBLES] * 6)
    assert rewards == [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]


def test_an_infra_error_is_no_reward(hopeless):
    """What our failure keeps from being judged gets None, never 0; a missing answer is the model's."""
    seen = {}
    rewards = ask(
        CodeRewardFunction(hopeless),
        [RIGHT, WRONG, NONE],
        cases=[DOUBLES] * 3,
        log_metric=seen.__setitem__,
    )
    assert rewards == [None, None, 0.0]
    assert seen["code/inconclusive"] == pytest.approx(2 / 3)


def test_a_test_that_fails_by_itself_is_no_reward(pool, caplog):
    """It ends before it has called the program: None, and a warning that names the row."""
    code = "```python\ndef f(x): return x\n```"
    tests = ["raise RuntimeError('out of order')\nf(1)", "assert f(1) == 1"]
    found = ask(CodeRewardFunction(pool), [code, code], test=tests, entry_point=["f", "f"])
    assert found == [None, 1.0]
    assert "row 0: its test is at fault" in caplog.text and "out of order" in caplog.text


def test_a_rollout_that_lost_a_call_is_no_reward(pool):
    """An environment of ours that had an infra error spoils its sample, and no other."""
    good, bad = PythonEnvironment(pool), PythonEnvironment(pool)
    bad.infra_error = True
    rewards = ask(
        CodeRewardFunction(pool), [RIGHT, RIGHT], cases=[DOUBLES] * 2, environments=[good, bad]
    )
    assert rewards == [1.0, None]


def test_rows_without_cases_are_no_reward(pool):
    """In a mixture of tasks, a column may hold None: such a sample is another function's."""
    assert ask(CodeRewardFunction(pool), [RIGHT, RIGHT], cases=[None, DOUBLES]) == [None, 1.0]


@pytest.mark.parametrize(
    "columns",
    [
        {"cases": DOUBLES},
        {"cases": json.dumps(DOUBLES)},
        {"cases": [{**each, "function": None, "args": None} for each in DOUBLES]},
        {"cases": [Stdio("2", "4")]},
        {"ground_truth": {"inputs": ["2\n"], "outputs": ["4\n"], "fn_name": None}},
        {"ground_truth": json.dumps({"inputs": ["2\n"], "outputs": ["4\n"]})},
    ],
)
def test_columns_become_cases(pool, columns):
    """Cases as dicts, as JSON, with a table's gaps, as objects; verl's ground truths."""
    lists = {name: [value, value] for name, value in columns.items()}
    assert ask(CodeRewardFunction(pool), [RIGHT, WRONG], **lists, other=[1, 2]) == [1.0, 0.0]


def test_what_happened_is_logged(pool):
    """Shares of the batch as metrics, and a word on each sample as a column."""
    metrics, extra = {}, {}
    ask(
        CodeRewardFunction(pool),
        [RIGHT, WRONG, NONE, RIGHT],
        cases=[*[DOUBLES] * 3, None],
        trainer_state=object(),
        log_metric=metrics.__setitem__,
        log_extra=extra.__setitem__,
    )
    shares = {"code/passed": 0.25, "code/no_code": 0.25, "code/inconclusive": 0.0}
    assert metrics == {**shares, "code/unreadable": 0.0}
    passed, failed, none, other = extra["code_verdict"]
    assert "passed 2/2" in passed and "failed 0/2" in failed
    assert (none, other) == ("no code", "not judged")


def test_the_last_block_is_the_answer():
    """Labelled ones before unlabelled ones; what was cut off counts."""
    assert last_block("```python\n1\n```\n```python\n2\n```\n```\n3\n```") == "2\n"
    assert last_block("```\n1\n```\n```bash\n2\n```") == "1\n"
    assert last_block("```python\nprint(1") == "print(1"
    assert last_block("none") is None


def test_limits_are_passed_on(pool):
    """A program that needs more than it may fails; that is its own doing."""
    slow = "```python\nwhile True: pass\n```"
    quick = CodeRewardFunction(pool, timeout=0.2)
    assert ask(quick, [slow], cases=[DOUBLES[:1]]) == [0.0]
    tight = CodeRewardFunction(pool, limits=Limits(wall_s=5, output_bytes=100))
    assert ask(tight, ["```python\nprint('x' * 999)\n```"], cases=[DOUBLES[:1]]) == [0.0]


RUNTIMES = {"packaged": Runtime(packages=("packaging",), preload=())}
IMPORTS = "```python\nimport packaging\nprint('ok')\n```"


def test_a_runtime_is_the_batchs_or_a_rows(caplog):
    """One that a row asks for and nobody has costs that row alone."""
    columns = {"cases": [[{"kind": "stdio", "input": "", "expected": "ok"}]] * 3}
    columns["needs"] = ["packaged", None, "absent"]
    with Pool(1, runtimes=RUNTIMES) as pool:
        for_all = CodeRewardFunction(pool, runtime="packaged")
        assert ask(for_all, [IMPORTS] * 3, **columns) == [1.0, 1.0, 1.0]
        by_row = CodeRewardFunction(pool, runtime=lambda row: row["needs"])
        assert ask(by_row, [IMPORTS] * 3, **columns) == [1.0, 0.0, None]
        assert "'absent': this pool has 'packaged'" in caplog.text
        with pytest.raises(PolicyError, match="'absent'"):
            CodeRewardFunction(pool, runtime="absent")


def test_the_async_function_is_awaited(pool):
    """TRL looks at the call for whether it is to be awaited; the rewards are the same."""
    reward = AsyncCodeRewardFunction(pool)
    assert inspect.iscoroutinefunction(reward.__call__)
    assert not inspect.iscoroutinefunction(CodeRewardFunction(pool).__call__)

    async def main():
        return await ask(reward, [RIGHT, NONE], cases=[DOUBLES] * 2)

    with asyncio.Runner() as runner:
        assert runner.run(without_threads(main())) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"cases": [DOUBLES]}, "'cases' must have a value for each of the 2 completions"),
        ({"cases": ["["] * 2}, "row 0: cases is no JSON"),
        ({"answer": [1, 2]}, "row 0: no column with cases: there must be cases; test"),
        ({"ground_truth": [{"inputs": ["1"]}] * 2}, "row 0: ground_truth: 'outputs' is missing"),
    ],
)
def test_batches_that_make_no_sense_raise(pool, columns, message):
    """A caller's mistake, or a batch of which no row can be read: told before anything is run."""
    before = pool.stats().runs_by_reason
    with pytest.raises((TypeError, ValueError), match=message):
        ask(CodeRewardFunction(pool), [RIGHT, RIGHT], **columns)
    assert pool.stats().runs_by_reason == before


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"cases": [DOUBLES, "["]}, "cases is no JSON"),
        ({"cases": [DOUBLES, {"kind": "stdio"}]}, "cases must be a list of cases"),
        ({"cases": [DOUBLES, [{"kind": "x"}]]}, "kind='x'"),
        ({"cases": [DOUBLES, [{"kind": "stdio", "input": ""}]]}, "expected is missing"),
        ({"cases": [DOUBLES, 3]}, "cases must be a list of cases"),
        ({"test_list": [["assert f(1)"], ["assert g(lambda: 1)"]]}, "the tests pass a lambda"),
        ({"test_list": [["assert f(1)"], ["assert g("]]}, "a test is no Python"),
        ({"ground_truth": [{"inputs": ["2"], "outputs": ["4"]}, 3]}, "must be a dict"),
    ],
)
def test_a_row_that_cannot_be_read_takes_no_other_with_it(pool, caplog, columns, message):
    """It gets None, whatever the program does; it is counted, named in the verdict, and logged once
    a kind, with its number and columns.
    """
    metrics, extra = {}, {}
    reward = CodeRewardFunction(pool)
    for answers in ([RIGHT, RIGHT], [RIGHT, WRONG], [RIGHT, NONE]):
        rewards = ask(
            reward,
            answers,
            log_metric=metrics.__setitem__,
            log_extra=extra.__setitem__,
            **columns,
        )
        assert rewards[0] is not None and rewards[1] is None
        assert metrics["code/unreadable"] == 0.5
    (warning,) = [each.getMessage() for each in caplog.records if "row 1" in each.getMessage()]
    assert message in warning and warning.endswith(f"columns: {next(iter(columns))}")
    assert message in extra["code_verdict"][1]


def test_a_case_that_no_program_can_pass_under_its_limits_takes_no_other_with_it(pool):
    """A test larger than a source may be is the row's fault."""
    small = Limits(source_bytes=100)
    tests = [["assert f(1) == 1"], [f"assert f({'1' * 200}) == 1"]]
    answers = ["```python\ndef f(x): return x\n```"] * 2
    assert ask(CodeRewardFunction(pool, limits=small), answers, test_list=tests) == [1.0, None]


def test_what_cannot_be_judged_yet_is_named_once(pool, caplog):
    """Not an error, even where it is all there is: None, with what is missing."""
    test = "import unittest\nclass TestCases(unittest.TestCase):\n    @patch('x')\n    def test_a(self): f()\n"
    columns = {"test": [test] * 3, "entry_point": ["f"] * 3}
    extra = {}
    reward = CodeRewardFunction(pool)
    for _ in range(2):
        rewards = ask(reward, [RIGHT, WRONG, NONE], log_extra=extra.__setitem__, **columns)
        assert rewards == [None] * 3
    assert extra["code_verdict"][0].startswith("not judged (bigcodebench): the tests replace")
    (warning,) = [each.getMessage() for each in caplog.records]
    assert warning.startswith("row 0 can't be judged (bigcodebench): the tests replace")


def test_the_shape_of_a_row_stands_in_its_verdict(pool):
    extra = {}
    answers = ["```python\ndef f(x): return x\n```"]
    tests = [["assert f(1) == 1"]]
    assert ask(CodeRewardFunction(pool), answers, test_list=tests, log_extra=extra.__setitem__) == [
        1.0
    ]
    assert extra["code_verdict"] == ["<Verdict passed 1/1 (mbpp)>"]


def test_a_mistake_of_the_trainers_raises(pool, tier):
    """No pool, a closed one, no list: these are nobody's 0."""
    with pytest.raises(TypeError, match="pool must be a Pool"):
        CodeRewardFunction(None)
    with pytest.raises(TypeError, match="completions must be a list, not 'text'"):
        CodeRewardFunction(pool)(None, "text")
    with Pool(1, tier=tier) as closed:
        reward = CodeRewardFunction(closed)
    with pytest.raises(PoolClosed):
        ask(reward, [RIGHT], cases=[DOUBLES])


def test_functions_find_what_their_tasks_take_for_granted(pool):
    """As with verl's scorer, of the same ground truth; unless told otherwise."""
    answer = "```python\nclass Solution:\n    def f(self, a: List[int]) -> int: return len(a)\n```"
    truth = json.dumps({"fn_name": "f", "inputs": ["[1, 2]"], "outputs": ["2"]})
    assert CodeRewardFunction(pool)(None, [answer], ground_truth=[truth]) == [1.0]
    plain = CodeRewardFunction(pool, function_imports="")
    assert plain(None, [answer], ground_truth=[truth]) == [0.0]


def test_no_input_is_an_empty_one(pool):
    truths = [{"inputs": [None], "outputs": ["1"]}, {"inputs": ["2"], "outputs": ["4"]}]
    answers = ["```python\nimport sys; print(len(sys.stdin.read()) + 1)\n```", RIGHT]
    assert ask(CodeRewardFunction(pool), answers, ground_truth=truths) == [1.0, 1.0]


NUMPY = "```python\nimport numpy\nprint(int(input()) * 2)\n```"


def test_a_batch_of_zeros_for_a_package_is_warned_of_once(pool, caplog):
    """64 of 64 programs that import what is installed and not offered: with the way out."""
    reward = CodeRewardFunction(pool)
    cases = [[{"kind": "stdio", "input": "2", "expected": "4"}]] * 64
    assert ask(reward, [NUMPY] * 64, cases=cases) == [0.0] * 64
    said = "64 of 64 programs import numpy, which this pool does not offer: packages=('numpy',)"
    assert [each.getMessage() for each in caplog.records] == [said]
    ask(reward, [NUMPY, RIGHT], cases=cases[:2])
    assert len(caplog.records) == 1
    ask(CodeRewardFunction(pool), [NUMPY, RIGHT, NONE], cases=cases[:3])
    assert caplog.records[1].getMessage().startswith("1 of 2 programs imports numpy, which")


def test_a_data_sets_checker_decides_and_its_failing_needs_no_warning(pool, caplog):
    """Its author can't be told; on what is wrong it may well fail. A row whose checker can't be used
    is None for every answer.
    """
    checker = (
        "import sys\nfound = sorted(map(int, open(sys.argv[3]).read().split()))\n"
        "print(int(found == [1, 2, 3]))"
    )
    columns = {
        "official_tests": [[{"input": "", "output": "1 2 3"}]] * 4,
        "generated_checker": [checker, checker, checker, "eval(input())"],
    }
    answers = [
        f"```python\n{code}\n```" for code in ("print(3, 1, 2)", "print('x')", "print(1)", "")
    ]
    scores = CodeRewardFunction(pool)(None, answers, **columns)
    assert scores == [1.0, 0.0, 0.0, None]
    assert not any("a checker raised" in each for each in caplog.messages)
    assert any("runs what it is given" in each for each in caplog.messages)
