"""Cgroups of sessions, against faked folders: what is written, counted, kept and reused.

The files of a fake do not count anything; what the kernel would write into them, a test writes.
"""

import os

import pytest

from interpreter_pool.sandbox.jail import cgroups
from interpreter_pool.sandbox.jail.cgroups import PREFIX, Parents
from interpreter_pool.sandbox.session import group as module
from interpreter_pool.sandbox.session.group import Groups

FILES = {
    1: {
        "memory.usage_in_bytes": "0",
        "memory.limit_in_bytes": "-1",
        "memory.memsw.limit_in_bytes": "-1",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
        "memory.stat": "cache 0\nshmem 0\nactive_file 0\ninactive_file 0\n",
        "cgroup.procs": "",
    },
    2: {
        "memory.current": "0",
        "memory.max": "max",
        "memory.swap.max": "max",
        "memory.events": "low 0\nmax 0\noom 0\noom_kill 0\n",
        "memory.stat": "anon 0\nshmem 0\ninactive_file 0\nactive_file 0\n",
        "cgroup.procs": "",
    },
}
USAGE = {1: "memory.usage_in_bytes", 2: "memory.current"}
LIMIT = {1: "memory.limit_in_bytes", 2: "memory.max"}
SWAP = {1: "memory.memsw.limit_in_bytes", 2: "memory.swap.max"}
KILLS = {1: "memory.oom_control", 2: "memory.events"}


class Noted:
    """As much of a host folder as groups need."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def note_cgroup(self, path: str) -> None:
        self.paths.append(path)


@pytest.fixture(params=[1, 2])
def version(request):
    return request.param


@pytest.fixture
def noted():
    return Noted()


@pytest.fixture
def groups(version, tmp_path, monkeypatch, noted):
    """Folders get their files when they are made, and lose them when they are removed."""
    mkdir, rmdir = os.mkdir, os.rmdir

    def make(path, *rest):
        mkdir(path, *rest)
        for name, text in FILES[version].items():
            write(path, name, text)

    def remove(path):
        if read(path, "cgroup.procs"):
            raise OSError("busy")
        for name in os.listdir(path):
            os.unlink(os.path.join(path, name))
        rmdir(path)

    for each in (module, cgroups):
        monkeypatch.setattr(each.os, "mkdir", make)
        monkeypatch.setattr(each.os, "rmdir", remove)
    return Groups(Parents(version, str(tmp_path), None), f"{PREFIX}test", noted)


def write(folder, name, text) -> None:
    with open(os.path.join(folder, name), "w") as file:
        file.write(text)


def read(folder, name) -> str:
    with open(os.path.join(folder, name)) as file:
        return file.read()


def test_a_session_is_capped_with_swap(groups, version):
    """Of a rising limit and of one that falls by much, the kernel is told; of little changes not."""
    group = groups.make()
    for limit, written in ((80, 80), (90, 90), (85, 90), (60, 60), (61, 61)):
        group.cap(limit << 20)
        assert int(read(group.folder, LIMIT[version])) == written << 20
        swap = read(group.folder, SWAP[version])
        assert swap.startswith("0") if version == 2 else int(swap) == written << 20
    group.add(77)
    assert read(group.folder, "cgroup.procs") == "77"


def test_what_a_session_holds_is_without_pages_of_files(groups, version):
    """They go when they are wanted; what is shared is told apart."""
    group = groups.make()
    write(group.folder, USAGE[version], "50000000\n")
    write(group.folder, "memory.stat", "shmem 9\nactive_file 20000000\ninactive_file 5000000\n")
    assert (group.charged_bytes(), group.held_bytes()) == (50_000_000, 25_000_000)
    assert group.shared_bytes() == 9


def test_a_kill_is_told_once(groups, version):
    """It is of the call that was made last."""
    group = groups.make()
    assert not group.has_killed()
    write(group.folder, KILLS[version], "oom 3\noom_kill 1\n")
    assert [group.has_killed() for _ in range(2)] == [True, False]


def test_a_group_is_kept_for_what_branches_hold_of_it(groups, version, noted):
    """It counts until that is gone; then its name serves another session, and is noted once."""
    first, second = groups.make(), groups.make()
    write(first.folder, USAGE[version], str(40 << 20))
    write(second.folder, "cgroup.procs", "77")
    groups.retire(first)
    groups.retire(second)
    assert os.path.exists(first.folder) and os.path.exists(second.folder)
    assert groups.charged_bytes() == 40 << 20
    assert not groups.are_settled(), "a process of the second is on its way out"
    write(second.folder, "cgroup.procs", "")
    assert groups.are_settled() and first in groups and second not in groups
    write(first.folder, USAGE[version], "1000")
    assert groups.are_settled() and not os.path.exists(first.folder)
    made = {groups.make().folder for _ in range(3)}
    assert {first.folder, second.folder} < made
    assert sorted(noted.paths) == sorted(made)
    groups.close()
    assert not any(map(os.path.exists, made))


def test_without_a_hierarchy_there_is_none(noted):
    """Where nothing can be made, nothing is, and nothing is counted."""
    groups = Groups(None, "x", noted)
    assert groups.make() is None and groups.charged_bytes() == 0
    groups.close()
    assert noted.paths == []
