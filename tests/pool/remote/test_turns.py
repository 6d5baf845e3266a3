"""Clients take turns where they have more than can be made at once."""

from collections import deque

from interpreter_pool.pool.remote.turns import Turns


def test_who_has_one_waits_for_one_of_each_other():
    """And not for all that another has asked for before."""
    turns, begun = Turns(2), []

    def ask(client, number):
        turns.add(client, lambda: begun.append((client, number)) or True)

    for number in range(5):
        ask("many", number)
    ask("one", 0)
    ask("two", 0)
    ask("two", 1)
    assert begun == [("many", 0), ("many", 1)]
    assert len(turns) == 6
    for _ in range(8):
        turns.over()
    assert begun[2:] == [
        ("many", 2),
        ("one", 0),
        ("two", 0),
        ("many", 3),
        ("two", 1),
        ("many", 4),
    ]
    assert not len(turns)


def test_what_is_no_longer_wanted_takes_no_turn():
    turns, begun = Turns(1), deque()
    turns.add("a", lambda: True)
    for _ in range(1000):
        turns.add("a", lambda: False)
    turns.add("b", lambda: begun.append("b") or True)
    turns.over()
    assert list(begun) == ["b"]
    turns.over()
    turns.add("c", lambda: begun.append("c") or True)
    assert list(begun) == ["b", "c"]
