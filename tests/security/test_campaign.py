"""The campaign in short (K12): generated system calls in every kind of jail; and that it notices what it
should. `make campaign` goes on from there.
"""

import os
import random

import pytest
from campaign import __main__ as campaign
from campaign import calls, fuzz
from campaign.__main__ import Folder
from campaign.calls import allowed, answers, draw, program
from campaign.fuzz import Fuzzer, Wrong

from interpreter_pool import Pool

from . import golden
from .test_golden import MACHINE, expected

PROGRAMS = 6
"""In each kind of jail."""

SEED = random.SystemRandom().getrandbits(32)
"""Another each time: what is found is shown with its program."""


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_k12_generated_calls_do_no_harm(tier, kind):
    """K12: whatever calls with whatever arguments a run or a session makes: it ends by a reason of its own,
    the next program is right, nothing outside has changed, nothing grows, the kernel is silent.
    """
    if (tier, kind) == ("landlock", "processes"):
        return  # there are none
    fuzzer = Fuzzer(tier, kind, SEED, [], set())
    for each in fuzzer.run(60, PROGRAMS):
        assert "wrong" not in each, each
    counts = fuzzer.counts
    assert counts.programs == PROGRAMS and counts.calls > PROGRAMS
    assert any(error == 0 for _, error in counts.pairs), "no call got anywhere"


@pytest.mark.parametrize("variant", golden.VARIANTS)
def test_every_call_of_the_golden_list_is_drawn(variant):
    """What the golden list lets through or asks about is what sequences are drawn from, every call of
    it.
    """
    numbers = {number for number, _ in allowed(variant).values()}
    let_through = {
        number
        for number, answer in expected(variant).items()
        if answer in ("allow", "ask", "no-effect") and number < golden.X32[0]
    }
    assert let_through <= numbers, MACHINE
    chance = random.Random(1)
    drawn = {name for _ in range(300) for name, _ in draw(variant, chance, [])}
    assert drawn == allowed(variant).keys()


def test_a_sequence_grows_from_what_is_kept():
    """What is drawn from kept sequences has their calls, is bounded, and can be told apart by its answers."""
    chance = random.Random(1)
    kept = [draw("ns", chance, []) for _ in range(3)]
    for _ in range(200):
        sequence = draw("ns", chance, kept)
        assert len(sequence) <= calls.MOST_CALLS
        compile(program(sequence, "ns", "/tmp"), "program", "exec")
        assert list(answers(sequence, "ns", b"\nabc 1 2\n\xff x y\n")) == []


def test_the_fuzzer_notices_what_is_wrong(tmp_path, monkeypatch):
    """A file outside that is made, a host that grows, a program that goes wrong: each is noticed."""
    (tmp_path / "folder").mkdir()
    canary = fuzz._Canary(str(tmp_path / "folder"))
    canary.require_untouched()
    (tmp_path / "folder" / "new").touch()
    with pytest.raises(Wrong, match="outside"):
        canary.require_untouched()

    before = fuzz._Holdings.of_now()
    held = [os.dup(0) for _ in range(20)]
    monkeypatch.setattr(fuzz, "PATIENCE_S", 0.1)
    with pytest.raises(Wrong, match="grows"):
        before.require_enough_for(fuzz._Holdings.of_now())
    for fd in held:
        os.close(fd)
    before.require_enough_for(fuzz._Holdings.of_now())

    with Pool(1, tier="none") as pool:
        jail = fuzz._Jail(_Wrong(pool), False, random.Random(1))
        with pytest.raises(Wrong, match="next program"):
            jail.require_right()


class _Wrong:
    """A pool that runs something else."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def run(self, text, **options):
        return self._pool.run("print(7 * 7)")


@pytest.mark.parametrize("line, is_warning", [
    ("[1.0] WARNING: CPU: 0 PID: 1 at kernel/fork.c:1", True),
    ("[1.0] BUG: KASAN: use-after-free", True),
    ("[1.0] INFO: rcu_preempt detected stalls, rcu stall", True),
    ("[1.0] traps: python3[7] general protection fault ip:7 sp:7 error:0 in libc.so.6", False),
    ("[1.0] python3[7]: segfault at 0 ip 0", False),
    ("[1.0] VFS: Mount too revealing", False),
])  # fmt: skip
def test_the_kernels_warnings_are_told_from_programs_deaths(line, is_warning):
    """A fault of the kernel's counts; that a program died of its own does not."""
    assert bool(fuzz._WARNINGS.search(line)) == is_warning


def test_a_campaign_goes_on_from_what_it_kept(tmp_path):
    """Each slice has another seed, and begins with what those before it have kept, also where one was
    killed while it wrote.
    """
    where = Folder(tmp_path)
    for _ in range(2):
        assert campaign.fuzz(where, "", "landlock", "run", len(where.slices()), 0.5) == []
        with (tmp_path / "corpus" / "here-landlock-run.jsonl").open("a") as file:
            file.write('{"kept": [["rea\n')
    first, second = Folder(tmp_path).slices()
    assert (first["seed"], second["seed"]) == (0, 1)
    kept = where.kept("here-landlock-run")
    pairs = [tuple(pair) for each in kept for pair in each["new"]]
    assert len(pairs) == len(set(pairs)) == first["new"] + second["new"] > 0
    told = campaign.summary(where)
    assert (told["slices"], told["wrong"], told["pairs"]) == (2, 0, len(pairs))
    assert os.listdir(tmp_path / "findings") == []


def test_what_is_wrong_is_kept_with_its_program(tmp_path):
    """A slice that ends otherwise than it should leaves a finding, and is counted."""
    where = Folder(tmp_path)
    wrong = campaign.fuzz(where, "", "nowhere", "run", 3, 0.5)
    assert "nowhere" in wrong[0]
    assert os.listdir(tmp_path / "findings") == ["here-nowhere-run-3.txt"]
    assert campaign.summary(where)["wrong"] == 1
