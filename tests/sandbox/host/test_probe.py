"""`host`: wishes that can't be meant are refused, and the strongest that works is picked."""

import os

import pytest

from interpreter_pool.sandbox import Limits, PolicyError, SetupError
from interpreter_pool.sandbox.host import cpus
from interpreter_pool.sandbox.host.cpus import usable_cpus
from interpreter_pool.sandbox.host.probe import Offer, Requirements, probe_host, writable_cgroup
from interpreter_pool.sandbox.jail import cgroups
from interpreter_pool.sandbox.jail.folder import HostFolder
from interpreter_pool.sandbox.jail.nsjail import VARIABLE


@pytest.fixture
def folder():
    with HostFolder() as folder:
        yield folder


@pytest.mark.parametrize("tier", ["", "Namespaces", "nsjail", None, 1])
def test_an_unknown_tier_is_refused(tier):
    """The message shows the value and the tiers there are."""
    with pytest.raises(PolicyError, match="namespaces, landlock, none") as caught:
        Requirements(tier=tier)
    assert repr(tier) in str(caught.value)


@pytest.mark.parametrize("require", ["", "none", "auto", 1])
def test_an_unknown_requirement_is_refused(require):
    """Requiring no confinement means nothing."""
    with pytest.raises(PolicyError, match="require="):
        Requirements(require=require)


@pytest.mark.parametrize(
    "tier, require", [("landlock", "namespaces"), ("none", "landlock"), ("none", "namespaces")]
)
def test_a_tier_below_what_is_required_is_refused(tier, require):
    """Contradictions are refused before anything is tried."""
    with pytest.raises(PolicyError, match="weaker"):
        Requirements(tier=tier, require=require)


@pytest.mark.parametrize(
    "requirements, tiers",
    [
        (Requirements(), ("namespaces", "landlock")),
        (Requirements(require="namespaces"), ("namespaces",)),
        (Requirements(require="landlock"), ("namespaces", "landlock")),
        (Requirements(tier="none"), ("none",)),
        (Requirements(tier="landlock", require="landlock"), ("landlock",)),
    ],
)
def test_what_is_tried(requirements, tiers):
    """From the strongest down to what is required; none is never tried unless named."""
    assert requirements.tiers() == tiers


def test_the_reasons_of_all_tiers_are_told_when_nothing_works(folder, monkeypatch):
    """Where no jail starts, the error tells for every tier what stood in its way."""
    monkeypatch.setenv(VARIABLE, "/nonexistent")
    monkeypatch.setattr("interpreter_pool.sandbox.guest.jail.landlock.probe", lambda: 0)
    with pytest.raises(SetupError) as caught:
        probe_host(Requirements(), Limits(), folder)
    assert "namespaces: " in str(caught.value)
    assert VARIABLE in str(caught.value)
    assert "landlock: " in str(caught.value)
    assert "ABI 0" in str(caught.value)


def test_a_passed_over_tier_is_told(folder, monkeypatch):
    """Falling back is never silent: the ground says why the stronger tier was passed over."""
    monkeypatch.setenv(VARIABLE, "/nonexistent")
    probed = probe_host(Requirements(), Limits(), folder)
    try:
        assert probed.plan.tier == "landlock"
        (why,) = probed.passed_over
        assert why.startswith("namespaces: ")
        assert VARIABLE in why
    finally:
        probed.jail.close()
        probed.plan.launcher.close()


def test_a_preload_that_fails_is_the_callers(folder):
    """A module that can't be imported is named; no weaker tier is tried for it."""
    with pytest.raises(SetupError, match="no_such_module") as caught:
        probe_host(Requirements(offer=Offer(preload=("no_such_module",))), Limits(), folder)
    assert caught.value.step == "preload no_such_module"


def test_a_cgroup_is_found_by_making_one(folder, monkeypatch):
    """A place that refuses is passed over, and probing leaves nothing behind."""
    real = cgroups.find()
    monkeypatch.setattr(cgroups, "find", lambda: [cgroups.Parents(2, "/nonexistent", None), *real])
    found = writable_cgroup(folder)
    assert found in [*real, None]
    if found:
        name = f"{cgroups.PREFIX}{os.path.basename(folder.path)}-probe"
        assert not os.path.exists(os.path.join(found.memory, name))


@pytest.mark.parametrize(
    "affinity, quota, expected",
    [(4, None, 4), (4, 2.5, 2), (4, 0.5, 1), (1, 8.0, 1), (3, 3.0, 3)],
)
def test_usable_cpus_are_affinity_cut_to_the_quota(monkeypatch, affinity, quota, expected):
    """At least one; never more than the quota pays for."""
    monkeypatch.setattr(cpus.os, "sched_getaffinity", lambda pid: set(range(affinity)))
    monkeypatch.setattr(cpus.cgroups, "cpu_quota", lambda: quota)
    assert usable_cpus() == expected


def test_a_landlock_that_does_not_govern_truncation_is_refused(monkeypatch):
    """Before ABI 3 any file of the same owner could be emptied: no tier stands on that."""
    monkeypatch.setattr("interpreter_pool.sandbox.guest.jail.landlock.probe", lambda: 2)
    with HostFolder() as folder, pytest.raises(SetupError, match="truncation"):
        probe_host(Requirements(tier="landlock"), Limits(), folder)
