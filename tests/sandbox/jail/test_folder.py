"""`folder`: a folder for each owner, and sweeping up after those that died."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from interpreter_pool.sandbox import SetupError
from interpreter_pool.sandbox.jail.folder import HostFolder, base_folder, sweep

OWNER = """
import sys
from interpreter_pool.sandbox.jail.folder import HostFolder
made = HostFolder()
scratch = made.make_folder("scratch-0")
open(scratch + "/left", "w").close()
made.note_cgroup("/sys/fs/cgroup/precious")
print(made.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return base_folder()


@pytest.fixture
def owner(tmp_path):
    """Another process with a host folder of its own, and that folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    with process:
        yield process, process.stdout.readline().strip()
        process.kill()


def test_the_folder_goes_with_its_owner(base):
    """It makes one folder, and close removes it with all that is in it; twice is fine."""
    with HostFolder() as made:
        folder = made.make_folder("scratch-1")
        with open(f"{folder}/file", "w") as file:
            file.write("x")
        assert os.stat(folder).st_mode & 0o777 == 0o700
        assert os.listdir(base) == [os.path.basename(made.path)]
    assert os.listdir(base) == []
    made.close()


def test_a_removed_folder_may_be_gone_already(base):
    """Removing what is not there is nothing."""
    with HostFolder() as made:
        made.remove_folder("scratch-7")


def test_a_living_owners_folder_is_left_alone(base, owner):
    """A folder whose lock is held belongs to someone: no sweep and no new folder touches it."""
    _, folder = owner
    assert sweep(base) == []
    with HostFolder():
        assert os.path.exists(f"{folder}/scratch-0/left")


def test_a_dead_owners_folder_is_swept(base, owner):
    """After SIGKILL of its owner, whoever comes next removes the folder."""
    process, folder = owner
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert os.path.exists(folder)
    assert sweep(base) == [folder]
    assert not os.path.exists(folder)


def test_a_new_folder_sweeps_first(base, owner):
    """Nobody has to call sweep: whoever makes one does."""
    process, _ = owner
    process.kill()
    process.wait()
    with HostFolder() as made:
        assert os.listdir(base) == [os.path.basename(made.path)]


def test_what_is_being_made_is_left_alone(base):
    """A folder without a lock is on its way in or out."""
    os.mkdir(f"{base}/half")
    assert sweep(base) == []
    assert os.path.isdir(f"{base}/half")


def test_what_was_half_made_is_swept_later(base):
    """A folder without a lock that is older than a minute belongs to nobody any more."""
    half = f"{base}/half"
    os.makedirs(f"{half}/scratch/deep")
    minutes_ago = time.time() - 120
    os.utime(half, (minutes_ago, minutes_ago))
    assert sweep(base) == [half]
    assert os.listdir(base) == []


def test_an_old_folder_with_a_lock_is_its_owners(base, owner):
    """Age says nothing of whom a lock belongs to."""
    _, folder = owner
    os.utime(folder, (0, 0))
    assert sweep(base) == []
    assert os.path.exists(folder)


@pytest.mark.parametrize("by_sweep", [False, True])
def test_the_lock_goes_last(base, monkeypatch, by_sweep):
    """Whoever dies while a folder is removed leaves one that the next sweep knows for dead."""
    made = HostFolder()
    folder = made.make_folder("scratch-0")
    made.note_cgroup("/sys/fs/cgroup/precious")
    if by_sweep:
        made.release_after_fork()

    unlink, listdir = os.unlink, os.listdir

    def die_at_the_note(path, **options):
        if os.path.basename(path) == "cgroups":
            raise OSError("it died here")
        unlink(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", die_at_the_note)
        # The lock before the note, as a file system may have it.
        patch.setattr(os, "listdir", lambda path: sorted(listdir(path), reverse=True))
        sweep(base) if by_sweep else made.close()
    assert os.path.exists(f"{made.path}/lock") and not os.path.exists(folder)
    assert sweep(base) == [made.path]
    assert os.listdir(base) == []


def test_a_lock_that_is_a_link_is_not_followed(base, tmp_path):
    """Someone's link in place of the lock opens nothing."""
    os.mkdir(f"{base}/odd")
    target = tmp_path / "target"
    target.write_text("x")
    os.symlink(target, f"{base}/odd/lock")
    assert sweep(base) == []
    assert target.read_text() == "x"


def take(path: Path, how: str) -> None:
    """Have a name taken as another user would, who can't give it to us."""
    if how == "link":
        path.symlink_to("/etc")
    elif how == "link to nothing":
        path.symlink_to("/nowhere")
    elif how == "file":
        path.write_text("")
    else:
        path.mkdir(0o777 if how == "open to all" else 0o700)
        if how == "open to all":
            path.chmod(0o777)
        elif os.geteuid() == 0:
            os.chown(path, 12345, 12345)
        else:
            path.rmdir()
            path.symlink_to("/etc")  # an ordinary user can't imitate another


TAKEN = ["link", "link to nothing", "file", "open to all", "another's"]


@pytest.mark.parametrize("how", TAKEN)
def test_a_name_that_somebody_else_has_taken_stops_nobody(tmp_path, monkeypatch, how):
    """Another is found, by later processes too, and is swept as the usual one; what took the name
    is left as it is.
    """
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    name = f"interpreter-pool-{os.geteuid()}"
    take(tmp_path / name, how)
    take(tmp_path / f"{name}-0", how)
    before = os.lstat(tmp_path / name)
    left = HostFolder()
    left.make_folder("scratch-0")
    left.release_after_fork()  # as one that has died
    with HostFolder() as made, HostFolder() as other:
        assert os.path.dirname(made.path) == os.path.dirname(other.path) == base_folder()
        assert not os.path.exists(left.path)
    found = os.stat(base_folder())
    assert (found.st_uid, found.st_mode & 0o777) == (os.geteuid(), 0o711)
    assert len(os.listdir(tmp_path)) == 3
    after = os.lstat(tmp_path / name)
    assert (after.st_mode, after.st_ctime_ns) == (before.st_mode, before.st_ctime_ns)


def test_what_was_left_under_another_name_is_swept(tmp_path, monkeypatch):
    """Also where the usual name has become free since."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    taken = tmp_path / f"interpreter-pool-{os.geteuid()}"
    take(taken, "link")
    left = HostFolder()
    left.release_after_fork()
    taken.unlink()
    with HostFolder() as made:
        assert os.path.dirname(made.path) == str(taken)
        assert not os.path.exists(left.path)


def test_a_temporary_folder_that_can_t_be_written_is_an_error(tmp_path, monkeypatch):
    """One that names the step."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(SetupError) as caught:
        HostFolder()
    assert caught.value.step == "folder"


def test_a_forked_child_does_not_hold_its_parents_lock(base):
    """A child that outlives its parent must not keep the parent's folder from being swept."""
    made = HostFolder()
    made.release_after_fork()  # what the at-fork hook does in the child
    assert sweep(base) == [made.path]
