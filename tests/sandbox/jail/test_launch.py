"""`launch`: what others can reach, and detours that touch nobody's mounts."""

import os
import subprocess
import tempfile

import pytest

from interpreter_pool.sandbox.jail.launch import Launcher, is_reachable, is_readable
from interpreter_pool.sandbox.jail.layout import Mounts


@pytest.fixture
def open_tmp():
    """A folder that everybody can reach; pytest's own are private."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield folder


def test_a_path_is_reachable_if_every_folder_above_lets_anyone_through(open_tmp):
    """One closed folder anywhere above is enough; the path's own mode does not count."""
    path = f"{open_tmp}/a/b"
    os.makedirs(path)
    os.chmod(path, 0)
    assert is_reachable(path)
    os.chmod(f"{open_tmp}/a", 0o700)
    assert not is_reachable(path)
    os.chmod(f"{open_tmp}/a", 0o711)
    assert is_reachable(path)
    os.chmod(open_tmp, 0o750)
    assert not is_reachable(path)
    assert is_reachable("/")


def test_links_are_seen_through(open_tmp):
    """What counts is where a path really is, not which link names it."""
    os.mkdir(f"{open_tmp}/closed", 0o700)
    os.mkdir(f"{open_tmp}/closed/target")
    os.symlink(f"{open_tmp}/closed/target", f"{open_tmp}/link")
    assert not is_reachable(f"{open_tmp}/link")


@pytest.mark.parametrize("mode, expected", [(0o644, True), (0o640, False), (0o611, False)])
def test_a_file_is_readable_by_its_mode(tmp_path, mode, expected):
    """A file needs the read bit for others."""
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    assert is_readable(str(path)) is expected


@pytest.mark.parametrize("mode, expected", [(0o755, True), (0o744, False), (0o711, False)])
def test_a_folder_is_readable_if_it_can_be_entered_too(tmp_path, mode, expected):
    """A folder needs the read and the search bit for others."""
    path = tmp_path / "folder"
    path.mkdir()
    path.chmod(mode)
    assert is_readable(str(path)) is expected


def test_without_anything_hidden_there_are_no_detours(tmp_path):
    """Reachable sources need no thread, no mount, and stay what they are."""
    launcher = Launcher(["/usr/lib"], str(tmp_path))
    mounts = Mounts([("/usr/lib", "/usr/lib")], [], [])
    assert launcher.mounts(mounts) == mounts
    with launcher.start(["true"]) as process:
        assert process.wait() == 0
    launcher.close()
    launcher.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="detours are for pools of root")
def test_a_hidden_file_is_shown_elsewhere_to_the_launched_only(tmp_path, open_tmp):
    """A launched process of another id reads a hidden source by its detour; the host does not."""
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o755)
    (hidden / "file").write_text("precious")
    (hidden / "file").chmod(0o644)
    tmp_path.chmod(0o700)
    launcher = Launcher([str(hidden)], open_tmp)
    try:
        ((place, _),) = launcher.mounts(Mounts([(str(hidden), "/x")], [], [])).binds
        assert place.startswith(open_tmp)
        process = launcher.start(
            ["cat", f"{place}/file"], stdout=subprocess.PIPE, user=65534, group=65534
        )
        with process:
            assert process.stdout.read() == b"precious"
        assert os.listdir(open_tmp) == []
    finally:
        launcher.close()
