"""`guest.scratch.wipe`: whatever a program leaves behind is removed, and nothing else."""

import os
import stat
import subprocess
import sys

import pytest

from interpreter_pool.sandbox.guest.jail import scratch
from interpreter_pool.sandbox.guest.jail.scratch import wipe


@pytest.fixture
def top(tmp_path):
    folder = tmp_path / "top"
    folder.mkdir()
    return folder


def test_a_very_deep_tree_goes(top):
    """Five thousand levels, far past PATH_MAX, cost neither recursion nor descriptors."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(5000):
        os.mkdir("deeper", dir_fd=here)
        below = os.open("deeper", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    wipe(str(top))
    assert os.listdir(top) == []


def test_a_wide_tree_goes(top):
    """Many entries in one folder, and many folders with entries."""
    for number in range(300):
        (top / f"folder-{number}").mkdir()
        (top / f"folder-{number}" / "x").write_text("x")
        (top / f"file-{number}").write_text("x")
    wipe(str(top))
    assert os.listdir(top) == []


def test_closed_folders_and_files_go(top):
    """Folders of mode 0 open for their owner; files of mode 0 need no opening."""
    inner = top / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "file").write_text("x")
    for path in (inner / "file", inner, top / "a"):
        path.chmod(0)
    wipe(str(top))
    assert os.listdir(top) == []


AS_NOBODY = """
import tempfile
os.setuid(65534)
top = tempfile.mkdtemp(dir="/tmp")
os.makedirs(top + "/a/b/c")
for folder in ("/a/b/c", "/a/b", "/a"):
    os.chmod(top + folder, 0)
wipe(top)
os.rmdir(top)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_closed_folders_go_for_an_ordinary_user():
    """The same without root, to whom modes mean nothing."""
    with open(scratch.__file__) as file:
        source = file.read() + AS_NOBODY
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_links_are_removed_and_not_followed(top, tmp_path):
    """A link to a file or a folder outside goes; what it points at stays."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("precious")
    (top / "inner").mkdir()
    os.symlink(outside, top / "folder")
    os.symlink(outside / "file", top / "inner" / "file")
    os.symlink("/nonexistent", top / "dangling")
    os.symlink("loop", top / "loop")
    mode = stat.S_IMODE(outside.stat().st_mode)
    wipe(str(top))
    assert os.listdir(top) == []
    assert (outside / "file").read_text() == "precious"
    assert stat.S_IMODE(outside.stat().st_mode) == mode


def test_the_top_itself_may_be_no_link(top, tmp_path):
    """A link in place of the folder is refused, not followed."""
    os.symlink(top, tmp_path / "link")
    (top / "file").write_text("precious")
    with pytest.raises(OSError):
        wipe(str(tmp_path / "link"))
    assert (top / "file").read_text() == "precious"


def test_named_pipes_and_odd_names_go(top):
    """Nothing is opened that could block; no name is too odd, our own temporary ones included."""
    os.mkfifo(top / "pipe")
    (top / "deep").mkdir()
    os.mkfifo(top / "deep" / "pipe")
    for name in (b"\xff\xfe", b"new\nline", b"-rf", b"\x01wipe-1", b"x" * 255):
        os.mkdir(os.path.join(os.fsencode(top), name))
        os.mkdir(os.path.join(os.fsencode(top), name, b"inner"))
        os.mkdir(os.path.join(os.fsencode(top), name, b"inner", b"inner"))
    wipe(str(top))
    assert os.listdir(top) == []


def test_an_empty_folder_stays(top):
    """The folder itself is its owner's: only what is in it goes."""
    wipe(str(top))
    assert top.is_dir()


def test_a_folder_that_becomes_a_link_meanwhile_is_not_followed(top, tmp_path, monkeypatch):
    """Modes are changed by descriptor: what a link leads to keeps its own, whoever swaps them."""
    outside = tmp_path / "outside"
    outside.mkdir(0o755)
    (outside / "inner").mkdir(0o755)
    for place in (top / "swapped", top / "outer" / "swapped"):
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(outside)

        def it_is_a_folder(name, *, dir_fd=None):
            if name == "swapped":  # as the kernel would say, had it not been swapped since
                raise IsADirectoryError(21, "Is a directory")
            os.remove(name, dir_fd=dir_fd)

        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", it_is_a_folder)
            with pytest.raises(OSError):
                wipe(str(top))
        assert stat.S_IMODE(outside.stat().st_mode) == 0o755
        assert os.listdir(outside) == ["inner"]
        place.unlink()
