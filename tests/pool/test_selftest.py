"""`pool doctor --self-test`: everything is held here, and what is not would be seen."""

import json
import os
import subprocess
import sys

import pytest

from interpreter_pool.pool.command.attempts import ATTEMPTS
from interpreter_pool.pool.command.selftest import Outcome, self_test
from interpreter_pool.pool.processes import SessionProcesses
from interpreter_pool.sandbox import SetupError
from interpreter_pool.sandbox.guest.jail import landlock, proc
from interpreter_pool.sandbox.jail import layout, seccomp, syscalls
from interpreter_pool.sandbox.run.resource_monitor import ResourceMonitor
from interpreter_pool.sandbox.session.disk import Disk

COMMAND = [
    sys.executable,
    "-W",
    "error",
    "-c",
    "from interpreter_pool.pool.command import main; main()",
    "doctor",
]


def doctor(*options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=100)


def by_attempt(tier: str) -> dict[str, tuple[Outcome, str]]:
    return {trial.attempt: (trial.outcome, trial.detail) for trial in self_test(tier)}


def test_everything_is_held(tier):
    """Each attempt has an outcome of its own, in each tier, and none gets through."""
    trials = list(self_test(tier))
    assert [trial.attempt for trial in trials] == [attempt.name for attempt in ATTEMPTS]
    assert len(trials) >= 15
    wrong = [trial for trial in trials if trial.outcome is not Outcome.HELD]
    assert [trial for trial in wrong if "only on" not in trial.detail] == []


def test_without_confinement_the_attempts_get_through():
    """The control: but for limits, which the host holds, every attempt can succeed."""
    outcomes = by_attempt("none")
    held = {name for name, (outcome, _) in outcomes.items() if outcome is Outcome.HELD}
    assert held <= {
        "take more memory than allowed",
        "run longer than allowed, ignoring every signal",
        "take more CPU time than allowed",
        "print without end",
        "take memory that no longer shows as its own",  # where there are cgroups
        "fill the disk",
        "start more threads than allowed, by a name that reads as a count of one",
        "change the interpreter for the next run",
    }
    not_tried = [name for name, (outcome, _) in outcomes.items() if outcome is Outcome.NOT_TRIED]
    assert len(not_tried) <= 7, "five of sessions, one that would do harm, one of a machine"
    assert all(detail for outcome, detail in outcomes.values() if outcome is not Outcome.HELD)


def test_a_missing_layer_of_files_is_seen(monkeypatch):
    """Landlock with a rule too many: reading is not held, and the rest is."""
    real = layout.in_place

    def leaky(*arguments):
        where = real(*arguments)
        where.rules.append(("/", landlock.READ))
        return where

    monkeypatch.setattr(layout, "in_place", leaky)
    outcomes = by_attempt("landlock")
    got = [name for name, (outcome, _) in outcomes.items() if outcome is Outcome.NOT_HELD]
    assert "read a file of the host's, by its path and through /proc" in got
    assert "connect to a server on this host" not in got


def test_a_missing_layer_of_system_calls_is_seen(monkeypatch):
    """A filter that lets sockets and a few more calls pass: the network is not held."""
    real = syscalls.rules

    def leaky(tier, **variant):
        allowed = syscalls.Rule("socket connect bind sendto keyctl memfd_create", "by mistake")
        rules = real(tier, **variant)
        return (*(rule for rule in rules if rule.names != "sendto"), allowed)

    seccomp.build.cache_clear()
    monkeypatch.setattr(syscalls, "rules", leaky)
    try:
        outcomes = by_attempt("landlock")
    finally:
        seccomp.build.cache_clear()
    got = {name for name, (outcome, _) in outcomes.items() if outcome is Outcome.NOT_HELD}
    assert got == {
        "connect to a server on this host",
        "connect to unix sockets of the host's",
        "make raw, packet and netlink sockets",
        "reach large interfaces of the kernel",
        "execute something",
    }


def test_a_missing_limit_is_seen(monkeypatch):
    """Of what a program can hold without being seen to: each has an attempt that gets through."""
    real = syscalls.rules

    def leaky(tier, **variant):
        rules = (rule for rule in real(tier, **variant) if rule.names not in ("mmap", "fallocate"))
        return (*rules, syscalls.Rule("mmap fallocate", "by mistake"))

    def by_text(pid):
        try:
            found = proc.Stat(proc.read(f"/proc/{pid}/stat"))
            status = proc.read(f"/proc/{pid}/status").decode(errors="replace")
        except (OSError, IndexError):  # it has ended meanwhile
            return None
        found.threads = int(status.partition("Threads:")[2].split()[0])
        return found

    seccomp.build.cache_clear()
    monkeypatch.setattr(syscalls, "rules", leaky)
    monkeypatch.setattr("interpreter_pool.sandbox.host.probe.writable_cgroup", lambda runtime: None)
    monkeypatch.setattr(SessionProcesses, "settle", lambda *args, **options: 0)
    monkeypatch.setattr(Disk, "trouble", lambda *args: None)
    monkeypatch.setattr(ResourceMonitor, "_check_scratch", lambda self: None)  # in time, perhaps
    monkeypatch.setattr(proc, "stat", by_text)
    monkeypatch.setattr(proc, "threads", lambda pid: getattr(by_text(pid), "threads", 0))
    try:
        outcomes = by_attempt("landlock")
    finally:
        seccomp.build.cache_clear()
    got = {name for name, (outcome, _) in outcomes.items() if outcome is Outcome.NOT_HELD}
    assert got == {
        "take memory that no longer shows as its own",
        "keep more memory in the earlier states of a session",
        "fill the disk",
        "fill the disk by files without a name",
        "fill the disk in a call that is over at once",
        "start more threads than allowed, by a name that reads as a count of one",
        "start more threads than allowed in a session, by such a name",
    }


@pytest.mark.slow
def test_the_command_prints_a_line_for_each_attempt_and_tells_by_its_exit_code():
    """A table and 0 where all is held; JSON and 1 where something is not."""
    done = doctor("--self-test")
    assert done.returncode == 0, done.stdout
    assert "NOT held" not in done.stdout
    assert f"{len(ATTEMPTS)} held" in done.stdout or f"{2 * len(ATTEMPTS)} held" in done.stdout
    done = doctor("--self-test", "--tier", "none", "--json")
    assert done.returncode == 1
    trials = json.loads(done.stdout)["self_test"]
    assert {trial["outcome"] for trial in trials} == {"held", "NOT held", "not tried"}
    assert "self_test" not in json.loads(doctor("--json").stdout)


def test_bad_usage_of_the_self_test_is_told():
    """A tier without a self-test, and one that there is not."""
    for options in (("--tier", "none"), ("--self-test", "--tier", "nonesuch")):
        done = doctor(*options)
        assert done.returncode == 125
        assert "tier" in done.stderr


def test_a_tier_that_does_not_work_is_an_error(monkeypatch):
    """Asked for by name, it is no row of a table."""
    monkeypatch.setattr("interpreter_pool.sandbox.guest.jail.landlock.probe", lambda: 0)
    with pytest.raises(SetupError, match="landlock"):
        list(self_test("landlock"))


def test_nothing_of_the_bait_stays(tmp_path, monkeypatch):
    """Folders, servers and processes are gone afterwards."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    list(self_test("none"))
    assert [name for name in os.listdir(tmp_path) if name.startswith("pool-self-test")] == []
