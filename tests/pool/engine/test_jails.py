"""The store of jails: what is leased, kept and taken away, with jails that are not real."""

import pytest

from interpreter_pool import PoolClosed, SetupError
from interpreter_pool.pool.engine.jails import Jails
from interpreter_pool.pool.engine.stats import Counters


class FakeJail:
    """Notes what becomes of it."""

    def __init__(self) -> None:
        self.number = 1
        self.alive, self.killed, self.closed = True, False, False

    def is_alive(self) -> bool:
        return self.alive

    def kill(self) -> None:
        self.killed = True

    def close(self) -> None:
        self.closed = True


class FakeSource:
    """Opens such jails, unless it is told not to."""

    def __init__(self) -> None:
        self.closed = False
        self.opened: list[FakeJail] = []
        self.fails = False

    def open(self, profile, hold):
        jail = FakeJail()
        hold(jail)
        self.opened.append(jail)
        if self.fails:
            raise SetupError("launch", "out of order")
        return jail


@pytest.fixture
def own():
    return FakeSource()


@pytest.fixture
def counters():
    return Counters()


@pytest.fixture
def jails(own, counters):
    return Jails(own, 2, counters)


def test_what_was_given_back_is_leased_again(jails, own):
    """The one that was used last: its pages are warm."""
    first, second = jails.lease(own, None), jails.lease(own, None)
    assert first is not second
    jails.give_back(first)
    jails.give_back(second)
    assert jails.lease(own, None) is second
    assert jails.lease(own, None) is first
    assert len(own.opened) == 2
    assert repr(jails) == "<Jails 2 leased, 0 idle>"


def test_sources_do_not_share(jails, own):
    """A jail of a snapshot is for runs of that snapshot only."""
    other = FakeSource()
    jails.give_back(jails.lease(own, None))
    theirs = jails.lease(other, None)
    assert theirs in other.opened
    jails.give_back(theirs)
    assert (jails.idle(own), jails.idle(other)) == ([own.opened[0]], [theirs])
    jails.forget(other)
    assert theirs.closed and jails.idle(other) == [] and not own.opened[0].closed


def test_of_too_many_idle_ones_those_used_longest_ago_go(jails, own):
    """As many of the pool's own are kept as it has workers, and as many of all others together."""
    others = [FakeSource() for _ in range(3)]
    leased = [jails.lease(source, None) for source in (own, own, own, *others)]
    for jail in leased:
        jails.give_back(jail)
    assert [jail.closed for jail in leased] == [True, False, False, True, False, False]


def test_one_that_died_while_it_was_idle_is_not_leased(jails, own, counters):
    """It is closed, and counted as replaced."""
    dead = jails.lease(own, None)
    jails.give_back(dead)
    dead.alive = False
    assert jails.lease(own, None) is not dead
    assert dead.closed and counters.replaced == 1


def test_a_source_that_fails_leaves_nothing(jails, own):
    """Its jail is closed, and not counted as leased."""
    own.fails = True
    with pytest.raises(SetupError):
        jails.lease(own, None)
    assert own.opened[0].closed and jails.leased() == []


def test_closing_kills_what_is_leased_and_closes_what_is_idle(jails, own):
    """Who has leased one gives it back all the same, and it goes then."""
    idle, leased = jails.lease(own, None), jails.lease(own, None)
    jails.give_back(idle)
    jails.close()
    assert idle.closed and leased.killed and not leased.closed
    jails.give_back(leased)
    assert leased.closed
    with pytest.raises(PoolClosed):
        jails.lease(own, None)


def test_a_jail_that_is_being_started_is_killed_as_well(jails, own):
    """Nobody waits for it when the pool is closed."""

    class Closing(FakeSource):
        def open(self, profile, hold):
            jails.kill()
            return super().open(profile, hold)

    assert jails.lease(Closing(), None).killed


def test_what_a_closed_source_gets_back_goes(jails):
    """A snapshot that was closed while a run of it was made keeps no jail."""
    source = FakeSource()
    jail = jails.lease(source, None)
    source.closed = True
    jails.give_back(jail)
    assert jail.closed
