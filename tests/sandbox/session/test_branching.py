"""The table of forks: which step follows which, for the host and for the new process."""

import itertools

import pytest

from interpreter_pool.sandbox.guest.session import branching
from interpreter_pool.sandbox.guest.session.branching import (
    ANSWERS,
    FAMILY_INIT,
    FORERUNNER,
    HOST,
    NEW,
    NOBODY,
    STEPS,
    WAYS,
    At,
    Walk,
    course,
)

PARTIES = {HOST, FAMILY_INIT, FORERUNNER, NEW}
NO_WORDS = {
    *("HOST", "FAMILY_INIT", "FORERUNNER", "NEW", "NOBODY"),
    *("CHECKPOINT", "IN_NAMESPACES", "SIDE_BY_SIDE", "WITH_FILES"),
}

ways = pytest.mark.parametrize("way", WAYS)


@ways
def test_each_way_leads_from_its_beginning_to_a_parked_state(way):
    """It is a line: no state is met twice, and nothing follows its end."""
    steps = course(way)
    states = [At.WANTED, *(step.then for step in steps)]
    assert states[-1] is At.PARKED
    assert len(set(states)) == len(states)


def test_every_step_and_every_state_is_on_some_way():
    """Nothing in the table is out of reach; what is lost is reached by failing."""
    taken = [step for way in WAYS for step in course(way)]
    assert {*taken} == {*STEPS}
    assert {At.WANTED, At.LOST, *(step.then for step in taken)} == {*At}


def test_there_is_no_way_out_of_an_end():
    """Parked or lost, a fork is over."""
    assert not [step for step in STEPS if step.at in (At.PARKED, At.LOST)]


def test_every_word_is_used_and_no_other():
    """The words that the module has names for are those of the table."""
    named = {
        value
        for name, value in vars(branching).items()
        if name.isupper() and isinstance(value, str | bytes) and name not in NO_WORDS
    }
    assert named == {step.word for step in STEPS}


def test_the_host_has_a_part_in_every_step():
    """So it knows how far a fork has come, and says so to nobody but the one whose turn it is."""
    for step in STEPS:
        assert {step.says, step.to} <= PARTIES and step.says != step.to
        assert HOST in (step.says, step.to)
        assert step.lost in (NEW, FORERUNNER, NOBODY)


@ways
def test_until_it_has_arrived_the_forerunner_is_to_blame_and_never_after(way):
    """Nobody is, before the forerunner was asked."""
    lost = [step.lost for step in course(way)]
    arrives = [step.word for step in course(way)].index(branching.ARRIVE)
    assert set(lost[: arrives + 1]) <= {NOBODY, FORERUNNER} and lost[arrives] == FORERUNNER
    assert set(lost[arrives + 1 :]) == {NEW}
    assert lost == sorted(lost, key=[NOBODY, FORERUNNER, NEW].index)


@ways
def test_a_question_to_the_family_init_is_followed_by_its_answer(way):
    """Each question has one answer, wherever it is asked."""
    steps = course(way)
    for question, answer in itertools.pairwise(steps):
        if question.to == FAMILY_INIT:
            assert (answer.says, ANSWERS[question.word]) == (FAMILY_INIT, answer.word)
    assert all(step.to != FAMILY_INIT for step in steps[-1:])


@ways
@pytest.mark.parametrize("who", [HOST, NEW])
def test_a_walk_takes_the_steps_of_who_walks_and_no_others(way, who):
    """At each of them every other word is out of turn, and the error tells what came before."""
    words = {step.word for step in STEPS}
    own = [step.word for step in course(way) if who in (step.says, step.to)]
    for taken, right in enumerate([*own, None]):
        for wrong in words - {right}:
            walk = Walk(way, who)
            for word in own[:taken]:
                walk.take(word)
            with pytest.raises(AssertionError, match="out of turn") as caught:
                walk.take(wrong)
            assert all(repr(word) in str(caught.value) for word in [*own[:taken], wrong])


@ways
def test_a_fork_can_be_lost_at_every_step_but_not_when_it_is_over(way):
    """Who is given up is what the table says of the step that failed."""
    steps = course(way)
    for taken, failed in enumerate(steps):
        walk = Walk(way)
        for step in steps[:taken]:
            assert walk.take(step.word) is step
        assert walk.lose() == failed.lost
        assert walk.at is At.LOST
        with pytest.raises(AssertionError, match=r"it is over: .*lost"):
            walk.lose()
    walk = Walk(way)
    for step in steps:
        walk.take(step.word)
    assert repr(walk) == f"<Walk {way}: {At.PARKED}>"
    with pytest.raises(AssertionError, match="it is over"):
        walk.lose()
