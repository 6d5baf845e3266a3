"""`doctor.examine`: every layer is tried, and what is missing comes with advice."""

import doctest
import json
import os
import platform
import resource
import subprocess
import sys

import pytest

from interpreter_pool.sandbox import SetupError
from interpreter_pool.sandbox.host import doctor
from interpreter_pool.sandbox.host import probe as host
from interpreter_pool.sandbox.jail.nsjail import VARIABLE


def test_every_layer_is_told():
    """All layers are there, once; the tier that auto picks is the first that holds."""
    diagnosis = doctor.examine()
    names = [finding.name for finding in diagnosis.findings]
    assert names == [
        "kernel",
        "user",
        "nsjail",
        "landlock",
        "seccomp",
        "cgroup",
        "tier namespaces",
        "tier landlock",
    ]
    by_name = {finding.name: finding for finding in diagnosis.findings}
    assert platform.release() in by_name["kernel"].found
    assert ("root" in by_name["user"].found) == (os.geteuid() == 0)
    assert all(finding.found for finding in diagnosis.findings)
    assert all(finding.advice for finding in diagnosis.findings if not finding.held)
    held = [name for name in ("namespaces", "landlock") if by_name[f"tier {name}"].held]
    assert diagnosis.tier == (held[0] if held else None)


def test_a_broken_nsjail_costs_the_namespaces_tier_only(monkeypatch, tmp_path):
    """What is broken is named at its layer and at its tier, and the other tier still holds."""
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 7\n")
    broken.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(broken))
    by_name = {finding.name: finding for finding in doctor.examine().findings}
    assert not by_name["tier namespaces"].held
    assert "out of order" in by_name["tier namespaces"].found
    assert by_name["tier landlock"].held
    monkeypatch.setenv(VARIABLE, str(tmp_path / "missing"))
    diagnosis = doctor.examine()
    by_name = {finding.name: finding for finding in diagnosis.findings}
    assert not by_name["nsjail"].held
    assert VARIABLE in by_name["nsjail"].found
    assert diagnosis.tier == "landlock"


def test_without_landlock_the_advice_says_how_to_get_it(monkeypatch):
    """A kernel without Landlock is told as such, and its tier does not hold."""
    monkeypatch.setattr("interpreter_pool.sandbox.guest.jail.landlock.probe", lambda: 0)
    by_name = {finding.name: finding for finding in doctor.examine().findings}
    assert not by_name["landlock"].held
    assert "lsm=" in by_name["landlock"].advice
    assert not by_name["tier landlock"].held


def test_off_linux_there_is_one_answer(monkeypatch):
    """A host that is not Linux is a SetupError that says so."""
    monkeypatch.setattr(host.sys, "platform", "darwin")
    with pytest.raises(SetupError, match=r"darwin.*Linux") as caught:
        doctor.examine()
    assert caught.value.step == "host"


@pytest.mark.parametrize(
    "limit, option", [(resource.RLIMIT_NOFILE, "ulimit -n"), (resource.RLIMIT_FSIZE, "ulimit -f")]
)
def test_what_fails_for_want_of_something_is_told_what_helps(limit, option):
    """Not how to get Landlock or namespaces, which are there."""
    code = (
        "import resource, sys\n"
        "from interpreter_pool.pool.command import main\n"
        f"resource.setrlimit({int(limit)}, (12, 12))\n"
        "sys.argv = ['pool', 'doctor', '--json']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1, done
    tiers = [each for each in json.loads(done.stdout)["findings"] if "tier" in each["name"]]
    assert [each["held"] for each in tiers] == [False, False]
    assert all(option in each["advice"] for each in tiers), tiers


def test_its_examples_hold():
    """Those in the docstrings."""
    assert doctest.testmod(doctor).failed == 0


def missing(*names: str) -> list[doctor.Finding]:
    return [doctor.Finding(name, False, "why", f"help {name.split()[-1]}") for name in names]


@pytest.mark.parametrize(
    "tier, names, wanted",
    [
        ("namespaces", ["landlock", "cgroup", "tier landlock"], ["cgroup", "tier landlock"]),
        ("landlock", ["cgroup", "tier namespaces"], ["tier namespaces", "cgroup"]),
        ("landlock", ["nsjail", "tier namespaces"], ["nsjail"]),
        (None, ["seccomp", "tier namespaces", "tier landlock"], ["seccomp"]),
        (
            None,
            ["landlock", "cgroup", "tier namespaces", "tier landlock"],
            ["tier namespaces", "tier landlock", "cgroup"],
        ),
    ],
)
def test_advice_begins_with_what_gains_most(tier, names, wanted):
    """The stronger tier, then what it lacks; each advice once, and only where it would help."""
    diagnosis = doctor.Diagnosis(tier, tuple(missing(*names)))
    assert [layers[0] for layers, _ in diagnosis.advice] == wanted


def test_a_layer_is_told_in_a_few_words():
    """A line of 80 columns has room for them."""
    for finding in doctor.examine().findings:
        assert len(finding.brief or finding.found) <= 53, finding


def test_advice_on_namespaces_is_for_this_host(monkeypatch):
    """A sysctl that keeps an ordinary user from them is named, and nothing else."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    name = "kernel.unprivileged_userns_clone"
    monkeypatch.setattr(doctor, "_switch", lambda asked: "0" if asked == name else None)
    assert doctor._namespaces_advice().splitlines()[1:] == [f"  sysctl {name}=1"]
    monkeypatch.setattr(doctor, "_switch", lambda asked: None)
    assert "--security-opt seccomp=unconfined" in doctor._namespaces_advice()
