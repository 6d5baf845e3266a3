"""Verdicts: a pass is one well-formed result that says so for every case, and nothing less."""

import json

import pytest

from interpreter_pool.pool.judge import CaseResult, Outcome, Verdict


def result(index: int, outcome: Outcome = Outcome.PASS, **more) -> CaseResult:
    score = 1.0 if outcome is Outcome.PASS else 0.0
    fields = {"kind": "call", "reason": "ok", "score": score}
    return CaseResult(index=index, outcome=outcome, **fields | more)


KINDS = ("call", "call", "call")


def test_all_cases_must_pass():
    """One that does not is enough; the score is the share of those that do."""
    good = Verdict.of(KINDS, [result(0), result(1), result(2)])
    assert (good.passed, good.score, good.conclusive) == (True, 1.0, True)
    bad = Verdict.of(KINDS, [result(0), result(1, Outcome.FAIL), result(2)])
    assert (bad.passed, bad.score, bad.conclusive) == (False, pytest.approx(2 / 3), True)


@pytest.mark.parametrize(
    "indices, reasons",
    [
        ([0, 1], ["ok", "ok", "missing"]),
        ([], ["missing"] * 3),
        ([0, 1, 2, 1], ["ok", "duplicate", "ok"]),
        ([2, 1, 0], ["ok", "ok", "ok"]),
    ],
)
def test_missing_and_duplicate_results_are_failures(indices, reasons):
    """In the order of the cases, whatever the order of the results."""
    verdict = Verdict.of(KINDS, [result(index) for index in indices])
    assert [case.reason for case in verdict.cases] == reasons
    assert [case.index for case in verdict.cases] == [0, 1, 2]
    assert verdict.passed == (reasons == ["ok"] * 3)
    assert verdict.score == pytest.approx(reasons.count("ok") / 3)


def test_a_result_for_no_case_is_refused():
    """It is our own mistake: nothing is made of it."""
    for index in (-1, 3):
        with pytest.raises(ValueError, match=f"case {index}"):
            Verdict.of(KINDS, [result(index)])


def test_without_cases_there_is_no_verdict():
    """Nothing passes for want of anything to fail."""
    with pytest.raises(ValueError, match="none"):
        Verdict.of((), [])


@pytest.mark.parametrize("outcome", [Outcome.SKIPPED, Outcome.HARNESS_ERROR, Outcome.INFRA_ERROR])
def test_what_is_no_pass_is_none(outcome):
    """Skipped is a failure; errors of ours and of the tests are that, and no pass either."""
    verdict = Verdict.of(KINDS, [result(0), result(1, outcome, detail="why"), result(2)])
    assert not verdict.passed
    assert verdict.infra_error == (outcome is Outcome.INFRA_ERROR)
    assert verdict.harness_error == ("case 1: why" if outcome is Outcome.HARNESS_ERROR else None)
    assert verdict.conclusive == (outcome is Outcome.SKIPPED)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf"), -5.0])
def test_scores_that_are_no_share_are_nothing(score):
    """Non-finite scores count 0, and none is outside of 0 to 1."""
    verdict = Verdict.of(KINDS, [result(0), result(1, Outcome.FAIL, score=score), result(2)])
    assert verdict.score == pytest.approx(2 / 3)
    assert verdict.to_dict()["cases"][1]["score"] == 0.0


def test_a_verdict_is_plain_json():
    """And its repr is short."""
    verdict = Verdict.of(KINDS, [result(0), result(1, Outcome.FAIL, reason="wrong_value")])
    data = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
    assert data["passed"] is False
    assert [case["outcome"] for case in data["cases"]] == ["pass", "fail", "fail"]
    assert repr(verdict) == "<Verdict failed 1/3: case 1 wrong_value>"
    assert repr(Verdict.of(("call",), [result(0)])) == "<Verdict passed 1/1>"
