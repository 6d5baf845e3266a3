"""HumanEval: all problems are there, right answers pass, and pass@k is what its paper says."""

import itertools
import json

import pytest
from conftest import lasting_pool

from interpreter_pool.pool.command.lines import numbered_lines
from interpreter_pool.pool.judge.humaneval import pass_at_k, problems, read_samples


@pytest.fixture(scope="module")
def pool(tier):
    """One of this file's own: so many runs would use up the process numbers of the other."""
    yield from lasting_pool(tier)


def test_the_problems_are_all_there():
    """164, by their ids."""
    assert list(problems()) == [f"HumanEval/{number}" for number in range(164)]


def test_all_canonical_solutions_pass(pool):
    """Through `Asserts`, each test in a process of its own."""
    items = [(each.program(each.canonical_solution), [each.case()]) for each in problems().values()]
    verdicts = pool.judge_many(items)
    assert [verdict for verdict in verdicts if not verdict.passed] == []
    assert len(verdicts) == 164


def test_the_prompts_alone_do_not_pass(pool):
    """A function that does nothing solves none of them; the tests are not at fault."""
    verdicts = pool.judge_many([(each.prompt, [each.case()]) for each in problems().values()])
    assert not any(verdict.passed for verdict in verdicts)
    assert all(verdict.conclusive for verdict in verdicts)


@pytest.mark.parametrize(
    "n, c, k, by_hand",
    [
        (5, 2, 3, 1 - 1 / 10),  # C(3,3) / C(5,3)
        (10, 3, 1, 3 / 10),
        (10, 3, 5, 1 - 21 / 252),  # C(7,5) / C(10,5)
        (4, 1, 2, 1 - 3 / 6),  # C(3,2) / C(4,2)
        (4, 0, 4, 0.0),
        (4, 4, 1, 1.0),
        (3, 2, 2, 1.0),  # fewer wrong ones than are drawn
        (200, 1, 100, 0.5),
        (1, 1, 1, 1.0),
    ],
)
def test_pass_at_k_by_hand(n, c, k, by_hand):
    """Numbers worked out on paper."""
    assert pass_at_k(n, c, k) == pytest.approx(by_hand, rel=1e-12)


def test_pass_at_k_counts_draws():
    """The share of all draws of k samples with a right one among them."""
    for n in range(1, 7):
        for c in range(n + 1):
            for k in range(1, n + 1):
                draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
                share = sum(any(draw) for draw in draws) / len(draws)
                assert pass_at_k(n, c, k) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("n, c, k", [(3, 4, 1), (3, -1, 1), (3, 1, 0), (3, 1, 4)])
def test_impossible_counts_are_refused(n, c, k):
    """With what they were."""
    with pytest.raises(ValueError, match=f"n={n}, c={c}, k={k}"):
        pass_at_k(n, c, k)


@pytest.mark.parametrize(
    "line, words",
    [
        ("{", "line 2: "),
        ("[]", "line 2: no sample"),
        ('{"task_id": "HumanEval/0"}', "line 2: no sample"),
        ('{"task_id": "HumanEval/999", "completion": ""}', "no problem 'HumanEval/999'"),
        ('{"task_id": "HumanEval/0", "completion": 3}', "line 2: no sample"),
    ],
)
def test_a_line_that_is_no_sample_is_named(tmp_path, line, words):
    """By its number, with what it lacks."""
    path = tmp_path / "samples.jsonl"
    good = json.dumps({"task_id": "HumanEval/0", "completion": "    return 1\n"})
    path.write_text(f"{good}\n{line}\n")
    with pytest.raises(ValueError, match=words):
        list(read_samples(numbered_lines(str(path)), problems(), str(path)))


def test_samples_are_completions_or_whole_programs(tmp_path):
    """A completion goes behind its prompt."""
    path = tmp_path / "samples.jsonl"
    known = problems()
    first = known["HumanEval/0"]
    samples = [
        {"task_id": "HumanEval/0", "completion": "    return 1\n"},
        {"task_id": "HumanEval/1", "solution": "def f(): pass"},
    ]
    path.write_text("\n\n".join(map(json.dumps, samples)))
    assert list(read_samples(numbered_lines(str(path)), known, str(path))) == [
        ("HumanEval/0", first.prompt + "    return 1\n"),
        ("HumanEval/1", "def f(): pass"),
    ]
