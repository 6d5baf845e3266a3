"""The store of jails: what is leased, kept and taken away, with jails that are not real."""

import pytest

from interpreter_pool import PoolClosed, SetupError
from interpreter_pool.pool.engine.jails import MOST_SETS, Jails, Kind
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

    def __init__(self, kind: Kind = Kind.SNAPSHOT) -> None:
        self.kind = kind
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
    return FakeSource(Kind.OWN)


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


@pytest.mark.parametrize("kind", [Kind.WARM, Kind.RUNTIME, Kind.SNAPSHOT])
def test_kinds_do_not_push_each_other_out(jails, own, kind):
    """Of each as many are kept as work at once, of warm ones as many for each set of modules."""
    most = 2 * MOST_SETS if kind is Kind.WARM else 2
    sources = {each: FakeSource(each) for each in Kind if each is not Kind.OWN}
    leased = [jails.lease(source, None) for source in sources.values() for _ in range(2)]
    for each in leased:
        jails.give_back(each)
    more = [jails.lease(source := FakeSource(kind), None) for _ in range(most)]
    for each in more:
        jails.give_back(each)
    assert not source.opened[-1].closed
    assert [len(jails.idle(each)) for key, each in sources.items() if key is not kind] == [2, 2]
    assert jails.idle(sources[kind]) == []


def test_an_idle_one_is_leased_only_where_there_is_one(jails, own):
    """A dead one is taken away meanwhile."""
    assert jails.lease_idle(own) is None
    first, second = jails.lease(own, None), jails.lease(own, None)
    assert jails.count(own) == 2
    jails.give_back(first)
    jails.give_back(second)
    second.alive = False
    assert jails.lease_idle(own) is first and second.closed
    assert jails.lease_idle(own) is None
    assert jails.count(own) == 1
