"""Fleets: several services under one name, on every backend alike."""

import os
import signal
import time

import pytest
from conftest import wait_until
from example_services import Broken, Counter

from interpreter_pool.registry import Infeasible, ServiceDied, ServiceError, fleet, get_services
from interpreter_pool.registry.fleet import FleetSize, Growth, MemberState

pytest_plugins = ["registries"]


class Mortal(Counter):
    """Says how busy it is as it is told, and ends when it is told to."""

    def __init__(self, load=0.0, **options):
        super().__init__(**options)
        self.load = load
        self.draining = False

    def fleet_state(self):
        return self.load, self.draining, True

    def drain(self):
        self.draining = True

    def die(self):
        import os

        os._exit(1)


def pids(services, name):
    members = services.members(name).values()
    return {services.result(each.pid.remote(), 30) for each in members}


def test_members_are_seen_by_all_and_end_with_the_name(services, connect):
    """`register_fleet` returns when they are ready; a peer's `reset` ends them."""
    services.register_fleet("counters", Counter, 5, min=2, max=2)
    peer = connect()
    assert services.list() == peer.list() == ["counters"]
    members = peer.members("counters")
    assert len(members) == 2 and len(pids(peer, "counters")) == 2
    assert [peer.result(each.get.remote(), 30) for each in members.values()] == [5, 5]
    with pytest.raises(TypeError, match="is a fleet"):
        peer.get("counters")
    with pytest.raises(ValueError, match="already exists"):
        peer.register("counters", Counter)
    peer.reset()
    assert services.list() == []
    with pytest.raises(KeyError):
        services.members("counters")
    for each in members.values():
        with pytest.raises((ServiceDied, ServiceError)):
            services.result(each.get.remote(), 30)


def test_a_member_that_dies_is_replaced(services):
    services.register_fleet("mortals", Mortal, min=2, max=2)
    before = pids(services, "mortals")
    victim = next(iter(services.members("mortals").values()))
    with pytest.raises(ServiceError):
        services.result(victim.die.remote(), 30)

    def whole():
        try:
            now = pids(services, "mortals")
        except ServiceError:  # it is on its way out, or in
            return False
        return len(now) == 2 and now != before

    wait_until(whole, 60)
    assert len(pids(services, "mortals") & before) == 1


def test_a_fleet_that_cannot_be_started_leaves_nothing(services):
    with pytest.raises(ServiceError, match="no such model"):
        services.register_fleet("broken", Broken, min=2, max=2)
    assert services.list() == []
    services.register_fleet("broken", Counter, min=1, max=1)


def test_a_drained_member_goes_and_another_comes(services):
    """Of those that say that nothing is left to be done."""
    services.register_fleet("mortals", Mortal, min=1, max=1)
    (member,) = services.members("mortals").values()
    before = pids(services, "mortals")
    services.result(member.drain.remote(), 30)

    def another():
        try:
            now = pids(services, "mortals")
        except ServiceError:
            return False
        return len(now) == 1 and not now & before

    wait_until(another, 60)


def test_a_fleet_whose_members_are_busy_grows(services, backend, monkeypatch):
    """Up to its greatest size."""
    if backend != "ray":
        monkeypatch.setattr(fleet, "_GROWS_AFTER", 1)
    services.register_fleet("busy", Mortal, 9.0, min=1, max=3)
    wait_until(lambda: len(services.members("busy")) == 3, 60)
    time.sleep(1.5)
    assert len(services.members("busy")) == 3


def test_a_fleet_that_no_node_can_hold_says_so(services, backend):
    if backend != "ray":
        with pytest.raises(TypeError, match="has no option num_cpus"):
            services.register_fleet("huge", Counter, min=1, num_cpus=1000)
        return
    with pytest.raises(Infeasible, match="1000 CPU"):
        services.register_fleet("huge", Counter, min=1, num_cpus=1000)
    assert services.list() == []


# ---- how many there are to be


def wanted(growth, base, loads):
    return growth.wanted(base, [MemberState(load) for load in loads])


def test_a_fleet_grows_with_its_load_and_shrinks_when_it_is_idle():
    growth = Growth(FleetSize(2, 4))
    assert wanted(growth, 2, [0, 1]) == 2
    for _ in range(2):
        assert wanted(growth, 2, [9, 9]) == 2
    assert wanted(growth, 2, [9, 9]) == 3
    for _ in range(20):
        most = wanted(growth, 2, [9, 9, 9])
    assert most == 4
    for _ in range(fleet._SHRINKS_AFTER):
        assert wanted(growth, 2, [0, 0, 0, 0]) >= 3
    assert wanted(growth, 2, [0, 0, 0]) == 3
    for _ in range(3 * fleet._SHRINKS_AFTER):
        least = wanted(growth, 2, [0, 0])
    assert least == 2


def test_a_load_that_comes_and_goes_changes_nothing():
    growth = Growth(FleetSize(1, 9))
    for _ in range(50):
        assert wanted(growth, 1, [9]) == wanted(growth, 1, [9]) == wanted(growth, 1, [1]) == 1


def test_without_a_greatest_size_there_is_one_for_each_place():
    growth = Growth(FleetSize(1))
    assert [wanted(growth, base, [9] * base) for base in (0, 1, 5, 3)] == [1, 1, 5, 3]
    assert wanted(Growth(FleetSize(2, 3)), 9, [9] * 3) == 3


def test_a_member_that_ends_takes_no_other_along(tmp_path):
    """Not even one whose name begins as its own does."""
    with get_services("local", namespace="ends", folder=str(tmp_path / "services")) as services:
        for name in ("fleet::1", "fleet::10"):
            services._create(name, Counter, (), {}, {})
        services._end_mine("fleet::1", exactly=True)
        assert [record["name"] for record in services._records.all()] == ["fleet::10"]


def test_a_member_that_stands_still_is_replaced(tmp_path, monkeypatch):
    """It delays no look at the others, and counts for nothing meanwhile."""
    monkeypatch.setattr("interpreter_pool.registry.local.fleet.SILENT_S", 5.0)
    monkeypatch.setattr("interpreter_pool.registry.local.fleet._ANSWER_S", 2.0)
    with get_services("local", folder=str(tmp_path)) as services:
        services.register_fleet("them", Mortal, min=3, max=3, max_concurrency=4)
        before = services.members("them")
        one = next(iter(before))
        stopped = services.result(before[one].pid.remote(), 30)
        os.kill(stopped, signal.SIGSTOP)
        wait_until(lambda: one not in services.members("them"), 40)
        wait_until(lambda: len(services.members("them")) == 3, 40)
        assert len(before.keys() & services.members("them").keys()) == 2


def test_a_fleet_whose_name_is_taken_away_ends_its_members(tmp_path):
    """Also one that was being added just then."""
    with get_services("local", folder=str(tmp_path)) as services:
        services.register_fleet("them", Counter, min=2, max=2)
        peer = get_services("local", folder=str(tmp_path))
        members = services.members("them")
        peer.reset()
        wait_until(lambda: not services._processes, 20)
        for each in members.values():
            with pytest.raises((ServiceDied, ServiceError)):
                services.result(each.get.remote(), 30)
        peer.shutdown()
