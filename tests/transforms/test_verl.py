"""Scores as verl asks for them: its ground truths, its managers' ways of calling."""

import asyncio
import importlib
import inspect
import json
import os

import pytest
from conftest import without_threads
from hopeless import hopeless_pool

from interpreter_pool import Call, Pool, Runtime, Stdio
from interpreter_pool.transforms import verl
from interpreter_pool.transforms.cases import cases_from_ground_truth

PASSED = {"score": 1.0, "acc": 1.0, "infra_error": 0.0}
FAILED = {"score": 0.0, "acc": 0.0, "infra_error": 0.0}


def fenced(code: str) -> str:
    return f"So:\n```python\n{code}\n```\n"


@pytest.fixture
def hopeless(tier, monkeypatch):
    """A pool of which every run is an infra error."""
    yield from hopeless_pool(tier, monkeypatch)


def score(pool, code, truth, **options):
    return verl.Scorer(pool, **options)("codecontests", fenced(code), truth, {"index": 1})


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_standard_output_is_compared_but_for_its_end(pool, end):
    """Trailing newlines count for nothing; ground truths may be JSON; lists are lines."""
    truth = {"inputs": ["1 2\n", ["3", "4"]], "outputs": [f"3{end}", ["7"]]}
    code = "print(sum(map(int, open(0).read().split())))"
    assert score(pool, code, truth) == PASSED
    assert score(pool, code, json.dumps(truth)) == PASSED
    half = score(pool, "print(3)", truth)
    assert half == {"score": 0.5, "acc": 0.0, "infra_error": 0.0}
    assert score(pool, "print(3)", truth, all_or_nothing=True) == FAILED


@pytest.mark.parametrize(
    ("code", "inputs", "output", "expected"),
    [
        ("def f(a, b): return a + b", "1\n2", "3", PASSED),
        ("def f(a, b): return a + b", "1\n2", "4", FAILED),
        ("def f(a, b): return a + b", '"x"\n"y"', '"xy"', PASSED),
        ("def f(a, b): return a + b", '"x"\n"y"', "xy", PASSED),
        ("def f(a, b): return a + b", '"x"\n"y"', "xy\n", PASSED),
        ("def f(): return (1, 2.0)", "", "[1, 2]", PASSED),
        ("def f(d): return {1: d['a']}", '{"a": [null]}', '{"1": [null]}', PASSED),
        ("def f(): return True", "", "1", FAILED),
        ("def f(x: List[int]) -> Optional[int]:\n return deque(x).pop()", "[1, 2]\n", "2", PASSED),
        ("class Solution:\n def f(self, x): return -x", "3", "-3", PASSED),
        ("class Solution: pass\ndef f(x): return -x", "3", "-3", PASSED),
        ("from __future__ import annotations\ndef f(x): return x", "1", "1", PASSED),
        ("def g(x): return x", "1", "1", FAILED),
        ("def f(x): return pow(x, 2, 5)", "3", "4", PASSED),
    ],
)
def test_functions_are_called_with_a_json_argument_a_line(pool, code, inputs, output, expected):
    """Values are compared as JSON has them, strings also as they are; usual imports are there."""
    truth = {"inputs": [inputs], "outputs": [output], "fn_name": "f"}
    assert score(pool, code, truth) == expected


def test_asserts_are_run_against_the_program(pool):
    """`assert_case` holds tests, apart from the program; each is a case."""
    truth = {"assert_case": ["assert f(1) == 2", "assert f(2) == 3 and sorted([f(0)]) == [1]"]}
    assert score(pool, "def f(x): return x + 1", truth) == PASSED
    assert score(pool, "def f(x): return 2", truth)["score"] == 0.5
    assert score(pool, "raise SystemExit(0)", {**truth, "inputs": ["", ""]}) == FAILED


def test_an_answer_without_code_scores_nothing(pool):
    """That is the model's doing."""
    truth = {"inputs": [""], "outputs": [""]}
    assert verl.Scorer(pool)("d", "I don't know.", truth) == FAILED


def test_infra_errors_raise_or_are_marked(hopeless):
    """verl can't leave a sample out: our failure raises, or is masked by who asked for a score."""
    truth = {"inputs": ["", ""], "outputs": ["", ""]}
    with pytest.raises(verl.Inconclusive, match="could not be judged: <Verdict infra error 0/2"):
        score(hopeless, "pass", truth)
    marked = score(hopeless, "pass", truth, on_inconclusive=0.0)
    assert marked == {"score": 0.0, "acc": 0.0, "infra_error": 1.0}


def test_a_test_that_fails_by_itself_is_not_charged(pool):
    """An assert that is about nothing but itself says nothing of any program."""
    for code in ("def f(x): return x", "def f(x): return -x", "raise SystemExit"):
        with pytest.raises(verl.Inconclusive, match="the tests use undefined, which is defined"):
            score(pool, code, {"assert_case": ["assert f(1) == undefined"]})


@pytest.mark.parametrize("truth", [None, "{", 3, {"inputs": ["1"]}, {"pytest": "def test(): 1"}])
def test_a_ground_truth_that_cannot_be_read_is_no_others_loss(pool, caplog, truth):
    """It gets the score that was asked for, or raises by itself; the others are judged."""
    good = {"inputs": ["2"], "outputs": ["4"]}
    scorer = verl.Scorer(pool, on_inconclusive=-1.0)
    codes = [fenced("print(4)")] * 3
    lost = {"score": -1.0, "acc": 0.0, "infra_error": 1.0}
    assert scorer.batch([""] * 3, codes, [good, truth, good]) == [PASSED, lost, PASSED]
    assert truth is None or "row 1 can't be" in caplog.text
    with pytest.raises(verl.Inconclusive, match="could not be judged"):
        verl.Scorer(pool).batch([""] * 2, codes[:2], [good, truth])


def test_a_batch_is_scored_at_once(pool):
    """As verl's batch manager calls: lists by other names."""
    truth = {"inputs": ["2"], "outputs": ["4"]}
    scores = verl.Scorer(pool).batch(
        data_sources=["a", "b", "c"],
        solution_strs=[fenced("print(4)"), "none", fenced("print(5)")],
        ground_truths=[truth] * 3,
        extra_infos=[{}] * 3,
    )
    assert scores == [PASSED, FAILED, FAILED]


ENDLESS = fenced("if input() == '2':\n    while True: pass\nprint(6)")
AND_SIX = {"inputs": ["2", "3"], "outputs": ["4", "6"]}


def test_a_program_that_ran_out_of_time_is_not_waited_for_again(pool):
    """In its other cases it fails; unless told otherwise, it is given its time in each."""
    half = {"score": 0.5, "acc": 0.0, "infra_error": 0.0}
    assert verl.Scorer(pool, timeout=0.2)("d", ENDLESS, AND_SIX) == FAILED
    patient = verl.Scorer(pool, timeout=0.2, stop_at_first_timeout=False)
    assert patient("d", ENDLESS, AND_SIX) == half
    options = {"pool": {"size": 1, "tier": pool.tier}, "timeout": 0.2}
    try:
        for patient, score in ((False, FAILED), (True, half)):
            options["stop_at_first_timeout"] = not patient
            assert verl.compute_score("d", ENDLESS, AND_SIX, **options) == score
            assert verl.compute_scores(["d"], [ENDLESS], [AND_SIX], **options) == [score]
    finally:
        verl.close()


def test_the_module_is_a_reward_function(tier):
    """verl takes a function by module and name; it keeps a pool from call to call, until `close`."""
    module = importlib.import_module("interpreter_pool.transforms.verl")
    truth = {"inputs": ["2"], "outputs": ["4"]}
    given = {"data_source": "d", "solution_str": fenced("print(4)"), "extra_info": {}}
    given["ground_truth"] = truth
    options = {"pool": {"size": 1, "tier": tier}, "timeout": 5, "reward_router_address": "x"}
    try:
        assert module.compute_score(**given, **options) == PASSED
        first = module._scorers.of(key(options))._own
        assert module.compute_score(**given, **options) == PASSED
        assert inspect.iscoroutinefunction(module.acompute_score)

        async def main():
            return await asyncio.gather(
                *(module.acompute_score(**given, **options) for _ in range(4))
            )

        with asyncio.Runner() as runner:
            assert runner.run(without_threads(main())) == [PASSED] * 4
        assert module._scorers.of(key(options))._own is first
        assert module.compute_scores(["d"], [fenced("print(4)")], [truth], **options) == [PASSED]
    finally:
        module.close()
    assert "closed" in repr(first)


def key(options):
    """All the options of a scorer that these make."""
    defaults = {"compare": None, "function_imports": verl.FUNCTION_IMPORTS}
    defaults |= {"all_or_nothing": False, "on_inconclusive": None, "recursion_limit": 50_000}
    defaults |= {"stop_at_first_timeout": True, "runtime": None}
    return {"pool": options["pool"], "timeout": options["timeout"], **defaults}


def test_a_forked_process_makes_its_own_pool(tier):
    """As verl's workers may be forked: the child neither uses nor ends its parent's pool."""
    truth = {"inputs": ["2"], "outputs": ["4"]}
    with verl.Scorer({"size": 1, "tier": tier}) as scorer:
        assert scorer("d", fenced("print(4)"), truth) == PASSED
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with scorer:
                    code = 0 if scorer("d", fenced("print(4)"), truth) == PASSED else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert scorer("d", fenced("print(4)"), truth) == PASSED


def test_an_answer_is_scored_in_a_runtime():
    """Of a pool that is given, or made by its arguments."""
    answer = "```python\nimport packaging\nprint('ok')\n```"
    truth = {"inputs": [""], "outputs": ["ok"]}
    runtimes = {"packaged": Runtime(packages=("packaging",), preload=())}
    with Pool(1, runtimes=runtimes) as pool:
        assert verl.Scorer(pool, runtime="packaged")(None, answer, truth)["score"] == 1.0
        assert verl.Scorer(pool)(None, answer, truth)["score"] == 0.0
    with verl.Scorer({"size": 1, "runtimes": runtimes}, runtime="packaged") as scorer:
        assert scorer(None, answer, truth)["score"] == 1.0


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (None, "ground_truth must be a dict, or JSON of one, not None"),
        ("[]", "ground_truth must be a dict, or JSON of one, not"),
        ("{", "ground_truth is no JSON"),
        ({"inputs": ["1"]}, "'outputs' is missing; it has .'inputs'."),
        ({"inputs": [], "outputs": []}, "no inputs"),
        ({"inputs": ["1"], "outputs": []}, "1 inputs, but 0 outputs"),
        ({"inputs": ["1 2"], "outputs": ["1"], "fn_name": "f"}, "a line of inputs is no JSON"),
        ({"inputs": [3], "outputs": ["1"]}, "must be text, or lists of lines, not 3"),
        ({"assert_case": ["assert 1"]}, "the tests call no function"),
        ({"assert_case": ["assert f("]}, "a test is no Python"),
        ({"assert_case": ["assert f(1)"], "inputs": ["1"]}, "can't be judged together"),
    ],
)
def test_ground_truths_that_make_no_sense_raise(truth, message):
    """A mistake in the data is an error that says what is wrong."""
    with pytest.raises((TypeError, ValueError), match=message):
        cases_from_ground_truth(truth, "")


def test_cases_of_ground_truths():
    """What becomes of each kind, without running anything."""
    truth = {"inputs": ["1"], "outputs": ["2"], "assert_case": None, "fn_name": None}
    assert cases_from_ground_truth(truth, "") == [Stdio("1", "2")]
    (call,) = cases_from_ground_truth({**truth, "fn_name": "a.b"}, "class Solution: pass")
    assert isinstance(call, Call) and call.function == "a.b" and call.args == [1]


def test_limits_and_imports_can_be_configured():
    """As a configuration has them: limits as a mapping."""
    limits = {"memory_bytes": 64 << 20}
    truth = {"inputs": ["1"], "outputs": ["1"], "fn_name": "f"}
    options = {"pool": {"limits": limits, "size": 1}, "timeout": 5}
    try:
        large = "```python\ndef f(x): return len(bytes(100 << 20)) and x\n```"
        assert verl.compute_score("", large, truth, **options)["score"] == 0.0
        typed = "```python\ndef f(x: List): return x\n```"
        assert verl.compute_score("", typed, truth, **options)["score"] == 1.0
        assert verl.compute_score("", typed, truth, function_imports="", **options)["score"] == 0.0
    finally:
        verl.close()


def test_a_package_that_is_not_offered_is_warned_of_once(pool, caplog):
    """However often the scorer is called: a training run of zeros must not go unseen."""
    scorer = verl.Scorer(pool)
    truth = {"inputs": ["1"], "outputs": ["1"]}
    codes = [fenced("import numpy\nprint(1)")] * 3
    assert [each["score"] for each in scorer.batch([""] * 3, codes, [truth] * 3)] == [0.0] * 3
    assert scorer("", codes[0], truth) == FAILED
    said = "3 of 3 programs import numpy, which this pool does not offer: packages=('numpy',)"
    assert [each.getMessage() for each in caplog.records] == [said]
