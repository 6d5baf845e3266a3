"""`cgroups`, against faked trees: what a machine has is found, and only our own is touched.

The files of a fake do not count anything; what the kernel would write into them, a test writes.
"""

import os

import pytest
from conftest import cgroups as left_behind

from interpreter_pool.sandbox.jail import cgroups
from interpreter_pool.sandbox.jail.cgroups import (
    PREFIX,
    Parents,
    Usage,
    cpu_quota,
    find,
    make,
    remove,
)


class Fake:
    """A /proc/self and a hierarchy below a temporary folder."""

    def __init__(self, folder) -> None:
        self.proc = folder / "proc"
        self.proc.mkdir()
        self.sys = folder / "cgroup"
        self.sys.mkdir()
        self.mounts: list[str] = ["21 1 0:20 / /proc rw,nosuid shared:12 - proc proc rw"]

    def mount(self, kind: str, options: str, point: str, root: str = "/") -> None:
        self.mounts.append(f"30 25 0:26 {root} {self.sys / point} rw - {kind} cgroup {options}")

    def say(self, *groups: str) -> str:
        (self.proc / "cgroup").write_text("".join(f"{line}\n" for line in groups))
        (self.proc / "mountinfo").write_text("".join(f"{line}\n" for line in self.mounts))
        return str(self.proc)

    def folder(self, path: str, **files: str) -> str:
        folder = self.sys / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text)
        return str(folder)


@pytest.fixture
def fake(tmp_path):
    return Fake(tmp_path)


class TestFind:
    def test_v2_groups_that_hand_memory_down_are_found_from_the_inside_out(self, fake):
        """Our own group and those above it, as far as they have the memory controller to give."""
        fake.mount("cgroup2", "rw", ".")
        top = fake.folder(".", cgroup__subtree_control="cpu memory pids\n")
        middle = fake.folder("user", cgroup__subtree_control="memory\n")
        fake.folder("user/session", cgroup__subtree_control="\n")
        proc = fake.say("0::/user/session")
        assert find(proc) == [Parents(2, middle, None), Parents(2, top, top)]

    def test_v2_without_the_memory_controller_is_no_place(self, fake):
        """A hierarchy that hands nothing down gives nowhere to make groups."""
        fake.mount("cgroup2", "rw", ".")
        fake.folder("a", cgroup__subtree_control="cpu pids\n")
        assert find(fake.say("0::/a")) == []

    def test_v2_never_looks_above_its_mount(self, fake):
        """The search upwards ends at the mount point."""
        fake.mount("cgroup2", "rw", "inner")
        fake.folder(".", cgroup__subtree_control="memory\n")
        inner = fake.folder("inner", cgroup__subtree_control="memory\n")
        assert find(fake.say("0::/")) == [Parents(2, inner, None)]

    def test_v1_controllers_are_found_each_at_its_place(self, fake):
        """In v1 each controller has a hierarchy and a path of its own."""
        fake.mount("cgroup", "rw,memory", "memory")
        fake.mount("cgroup", "rw,pids", "pids")
        proc = fake.say("4:memory:/jobs/7", "8:pids:/", "0::/")
        assert find(proc) == [Parents(1, str(fake.sys / "memory/jobs/7"), str(fake.sys / "pids"))]

    def test_v1_controllers_mounted_together_are_found(self, fake):
        """Controllers may share a hierarchy: cpu,cpuacct is the common case."""
        fake.mount("cgroup", "rw,memory,pids", "both")
        proc = fake.say("4:memory,pids:/x")
        assert find(proc) == [Parents(1, str(fake.sys / "both/x"), str(fake.sys / "both/x"))]

    def test_v1_memory_alone_is_enough(self, fake):
        """Without a pids hierarchy memory is still counted."""
        fake.mount("cgroup", "rw,memory", "memory")
        assert find(fake.say("4:memory:/")) == [Parents(1, str(fake.sys / "memory"), None)]

    def test_in_a_container_paths_are_taken_relative_to_the_mounts_root(self, fake):
        """A container sees its own group at the mount point, under its outer name."""
        fake.mount("cgroup", "rw,memory", "memory", root="/docker/abc")
        proc = fake.say("4:memory:/docker/abc/inner")
        assert find(proc) == [Parents(1, str(fake.sys / "memory/inner"), None)]

    def test_both_versions_on_one_machine_are_both_found(self, fake):
        """On a hybrid machine v2 comes first, v1 behind it; trying decides."""
        fake.mount("cgroup2", "rw", "unified")
        fake.mount("cgroup", "rw,memory", "memory")
        fake.folder("unified", cgroup__subtree_control="memory pids\n")
        found = find(fake.say("4:memory:/", "0::/"))
        assert [parents.version for parents in found] == [2, 1]

    def test_a_machine_without_cgroups_has_none(self, fake):
        """Nothing mounted, or no /proc to read: no places, and no error."""
        assert find(fake.say()) == []
        assert find("/nonexistent") == []


class TestQuota:
    def test_v2(self, fake):
        """cpu.max is quota and period; "max" is no limit."""
        fake.mount("cgroup2", "rw", ".")
        fake.folder("a", cpu__max="150000 100000\n")
        assert cpu_quota(fake.say("0::/a")) == 1.5
        fake.folder("a", cpu__max="max 100000\n")
        assert cpu_quota(fake.say("0::/a")) is None

    @pytest.mark.parametrize("quota, expected", [("50000\n", 0.5), ("-1\n", None)])
    def test_v1(self, fake, quota, expected):
        """v1 has two files; -1 is no limit."""
        fake.mount("cgroup", "rw,cpu,cpuacct", "cpu")
        fake.folder("cpu/a", cpu__cfs_quota_us=quota, cpu__cfs_period_us="100000\n")
        assert cpu_quota(fake.say("2:cpu,cpuacct:/a")) == expected

    def test_the_smaller_of_two_counts(self, fake):
        """Where both versions limit, the stricter one is what there is."""
        fake.mount("cgroup2", "rw", "unified")
        fake.mount("cgroup", "rw,cpu", "cpu")
        fake.folder("unified", cpu__max="300000 100000\n")
        fake.folder("cpu", cpu__cfs_quota_us="200000\n", cpu__cfs_period_us="100000\n")
        assert cpu_quota(fake.say("2:cpu:/", "0::/")) == 2.0

    @pytest.mark.parametrize("text", ["", "rubbish\n", "1\n", "1 2 3\n"])
    def test_what_cannot_be_read_is_no_quota(self, fake, text):
        """A file of another shape than expected limits nothing."""
        fake.mount("cgroup2", "rw", ".")
        fake.folder(".", cpu__max=text)
        assert cpu_quota(fake.say("0::/")) is None


NAME = f"{PREFIX}test-0"

V1_FILES = {
    "memory__limit_in_bytes": "0",
    "memory__max_usage_in_bytes": "0",
    "memory__usage_in_bytes": "1000000",
    "memory__oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
    "cgroup__procs": "",
}
V2_FILES = {
    "memory__max": "max",
    "memory__current": "1000000",
    "memory__events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n",
    "memory__peak": "1000000",
    "memory__swap__max": "max",
    "pids__max": "max",
    "cgroup__procs": "",
}


@pytest.fixture
def filled(monkeypatch, fake):
    """Folders that get their files when they are made, as the kernel's do."""
    files: dict[str, dict[str, str]] = {}
    real = os.mkdir

    def mkdir(path, *rest, **options):
        real(path, *rest, **options)
        relative = os.path.relpath(path, fake.sys)
        fake.folder(relative, **files.get(os.path.dirname(relative), {}))

    monkeypatch.setattr(cgroups.os, "mkdir", mkdir)
    return files


def read(*parts: object) -> str:
    with open(os.path.join(*map(str, parts))) as file:
        return file.read()


def test_v1_a_run_is_limited_and_measured_beyond_what_was_there(fake, filled):
    """Limits are set on top of what the zygote holds, and the peak is told without it."""
    filled["memory"] = V1_FILES
    filled["pids"] = {"pids__max": "max", "cgroup__procs": ""}
    group = make(Parents(1, fake.folder("memory"), fake.folder("pids")), NAME)
    memory, tasks = fake.sys / "memory" / NAME, fake.sys / "pids" / NAME
    group.add(77)
    assert read(memory, "cgroup.procs") == read(tasks, "cgroup.procs") == "77"
    group.begin(64 << 20, 9)
    assert int(read(memory, "memory.limit_in_bytes")) == (64 << 20) + 1_000_000
    assert read(tasks, "pids.max").startswith("9")
    assert int(read(memory, "memory.max_usage_in_bytes")) == 0
    fake.folder(f"memory/{NAME}", memory__max_usage_in_bytes="6000000")
    assert group.end() == Usage(5_000_000, False)
    fake.folder(f"memory/{NAME}", memory__oom_control="oom_kill_disable 0\noom_kill 1\n")
    assert group.end() == Usage(5_000_000, False, for_others=True)
    fake.folder(f"memory/{NAME}", memory__max_usage_in_bytes=str((64 << 20) + 1_000_000))
    assert group.end().out_of_memory
    group.begin(None, None)
    assert read(memory, "memory.limit_in_bytes").startswith("-1")
    assert read(tasks, "pids.max").startswith("max")
    assert not group.end().out_of_memory, "an earlier run's kill is not this one's"
    assert group.describe() == "cgroup v1: memory, pids"
    assert (group.memory, group.tasks) == (str(memory), str(tasks))
    group_files_closed(group)


def test_v1_swap_is_counted_with_memory_where_there_is_any(fake, filled):
    """Where the kernel accounts for swap, the sum is limited too: swapping is no way round."""
    filled["memory"] = V1_FILES | {"memory__memsw__limit_in_bytes": "0"}
    group = make(Parents(1, fake.folder("memory"), None), NAME)
    group.begin(64 << 20, None)
    folder = fake.sys / "memory" / NAME
    limit = str((64 << 20) + 1_000_000)
    assert read(folder, "memory.memsw.limit_in_bytes").startswith(limit)
    assert group.describe() == "cgroup v1: memory"
    group_files_closed(group)


def test_v2_a_run_is_limited_and_measured_beyond_what_was_there(fake, filled):
    """Limits are set on top of what the zygote holds; swap is none; the peak is the run's."""
    filled["."] = filled[""] = V2_FILES
    parents = Parents(2, fake.folder("."), fake.folder("."))
    group = make(parents, NAME)
    folder = fake.sys / NAME
    group.add(77)
    assert read(folder, "cgroup.procs") == "77"
    group.begin(64 << 20, 9)
    assert int(read(folder, "memory.max")) == (64 << 20) + 1_000_000
    assert read(folder, "memory.swap.max").startswith("0")
    assert read(folder, "pids.max").startswith("9")
    assert read(folder, "memory.peak").startswith("reset")
    fake.folder(NAME, memory__peak="6000000")
    assert group.end() == Usage(5_000_000, False)
    fake.folder(NAME, memory__events="low 0\noom 3\noom_kill 2\n")
    assert group.end().out_of_memory
    group.begin(64 << 20, 9)
    fake.folder(NAME, memory__peak="6000000")
    assert not group.end().out_of_memory, "an earlier run's kill is not this one's"
    assert group.describe() == "cgroup v2: memory, pids"
    group_files_closed(group)


def test_v2_a_peak_that_cannot_be_reset_is_unknown(fake, filled, monkeypatch):
    """Before 6.12 the peak is the worker's history: None is told rather than someone else's."""
    filled["."] = filled[""] = V2_FILES
    group = make(Parents(2, fake.folder("."), None), NAME)
    monkeypatch.setattr(cgroups._File, "try_write", lambda self, text: False)
    group.begin(64 << 20, None)
    assert group.end() == Usage(None, False)
    assert group.describe() == "cgroup v2: memory"
    group_files_closed(group)


FILES = {1: V1_FILES | {"memory__force_empty": ""}, 2: V2_FILES | {"memory__reclaim": ""}}
HELD = {1: "memory__usage_in_bytes", 2: "memory__current"}
LIMIT = {1: "memory.limit_in_bytes", 2: "memory.max"}
RECLAIM = {1: "memory.force_empty", 2: "memory.reclaim"}
PEAK = {1: "memory__max_usage_in_bytes", 2: "memory__peak"}


@pytest.fixture(params=[1, 2])
def creeping(request, fake, filled):
    """A group after its first run, which held 1 MB before it; how to say what it holds; its files."""
    version = request.param
    filled["memory" if version == 1 else "."] = FILES[version] | {"memory__stat": "active_file 0\n"}
    filled[""] = FILES[version] | {"memory__stat": "active_file 0\n"}
    group = make(Parents(version, fake.folder("memory" if version == 1 else "."), None), NAME)
    folder = os.path.relpath(group.memory if version == 1 else group.folder, fake.sys)
    group.begin(64 << 20, None)

    def hold(size: int, of_files: int = 0) -> None:
        stat = f"active_file {of_files}\n"
        fake.folder(folder, **{HELD[version]: str(size), "memory__stat": stat})

    yield version, group, hold, fake.sys / folder
    group_files_closed(group)


def test_a_limit_does_not_creep_with_what_runs_leave_behind(creeping, monkeypatch):
    """What the kernel keeps for a run that is over is asked back, and never added to the limit."""
    version, group, hold, folder = creeping
    asked = []
    real = cgroups._File.try_write

    def give_back(file, text: str) -> bool:
        if file.path.endswith(RECLAIM[version]):
            asked.append(text)
            hold(1_500_000)
        return real(file, text)

    monkeypatch.setattr(cgroups._File, "try_write", give_back)
    hold(9_000_000)
    group.begin(64 << 20, None)
    assert asked and (version == 1 or int(asked[0]) > 3_000_000)
    assert int(read(folder, LIMIT[version])) <= (64 << 20) + 1_500_000


def test_a_group_that_keeps_what_runs_leave_behind_is_given_up(creeping):
    """Who can't be held to its limit any more gets another group: the error says so."""
    _, group, hold, _ = creeping
    for size in (9_000_000, 90_000_000):
        hold(size)
        with pytest.raises(cgroups.HeldTooMuch, match="are not given back"):
            group.begin(64 << 20, None)


def test_pages_of_files_are_neither_waited_for_nor_added_to_a_limit(creeping, fake):
    """The kernel takes them back when the group is at its limit: then all it held was the run's."""
    version, group, hold, folder = creeping
    hold(31_000_000, of_files=30_000_000)
    group.begin(64 << 20, None)
    limit = int(read(folder, LIMIT[version]))
    assert limit <= (64 << 20) + 1_000_000 + (4 << 20)
    relative = os.path.relpath(folder, fake.sys)
    for peak, expected in ((60_000_000, 29_000_000), (limit, 64 << 20)):
        fake.folder(relative, **{PEAK[version]: str(peak)})
        assert group.end().peak_bytes == expected


@pytest.mark.parametrize("missing", ["memory__peak", "memory__swap__max"])
def test_v2_of_an_older_kernel_does(fake, filled, missing):
    """memory.peak came with 5.19, swap is optional: without them memory is still limited."""
    filled["."] = filled[""] = {k: v for k, v in V2_FILES.items() if k != missing}
    group = make(Parents(2, fake.folder("."), None), NAME)
    group.begin(64 << 20, None)
    fake.folder(NAME, **({} if missing == "memory__peak" else {"memory__peak": "6000000"}))
    assert (group.end().peak_bytes is None) == (missing == "memory__peak")
    group_files_closed(group)


def test_a_group_that_lacks_what_it_needs_is_not_left_behind(fake, filled):
    """When a group can't be used, its folder is removed and the error is raised."""
    filled["memory"] = {}
    with pytest.raises(FileNotFoundError):
        make(Parents(1, fake.folder("memory"), None), NAME)
    assert os.listdir(fake.sys / "memory") == []


def test_nothing_but_our_own_is_removed(fake):
    """A folder without our prefix is never touched, whatever a list on disk says."""
    folder = fake.folder("precious")
    remove(folder)
    assert os.path.isdir(folder)
    ours = fake.folder(NAME)
    remove(ours)
    assert not os.path.exists(ours)
    remove(ours)  # gone already: nothing to do


def test_a_group_that_does_not_go_is_given_up(fake):
    """Removal ends after its patience, also when the group stays."""
    ours = fake.folder(NAME, cgroup__procs="not a number\n")
    remove(ours, patience_s=0.05)
    assert os.path.isdir(ours)


def group_files_closed(group) -> None:
    """Give back the descriptors of a faked group, whose folder a rmdir can't remove."""
    for file in vars(group).values():
        if isinstance(file, cgroups._File):
            file.close()


class TestLeaks:
    """The leak check around every test sees what it is there for."""

    def test_v2(self, fake):
        """In our own group and in those above it, which is where groups are made."""
        fake.mount("cgroup2", "rw", ".")
        top = fake.folder(".", cgroup__subtree_control="memory pids\n")
        own = fake.folder("user/session", cgroup__subtree_control="memory\n")
        proc = fake.say("0::/user/session")
        assert left_behind(proc) == []
        ours = f"{PREFIX}{os.getpid()}-0123-4"
        for parents in find(proc):
            os.mkdir(os.path.join(parents.memory, ours))
        fake.folder(f"{PREFIX}{os.getpid() + 1}-0123-4")  # another pool's
        assert left_behind(proc) == [os.path.join(each, ours) for each in (top, own)]

    def test_v1(self, fake):
        """Of each controller's hierarchy."""
        for name in ("memory", "pids", "cpuacct"):
            fake.mount("cgroup", f"rw,{name}", name)
        proc = fake.say("4:memory:/jobs", "8:pids:/", "9:cpuacct:/")
        ours = f"{PREFIX}{os.getpid()}-0123-4"
        made = [fake.folder(f"{place}/{ours}") for place in ("cpuacct", "memory/jobs", "pids")]
        assert left_behind(proc) == made

    def test_a_group_of_this_host(self):
        """A real one is seen, wherever groups can be made here."""
        name = f"{PREFIX}{os.getpid()}-seen"
        for parents in find():
            try:
                group = make(parents, name)
            except OSError:
                continue
            try:
                assert any(path.endswith(f"/{name}") for path in left_behind())
            finally:
                group.remove()
            assert not any(path.endswith(f"/{name}") for path in left_behind())
            return
        pytest.skip("no cgroup is writable here")
