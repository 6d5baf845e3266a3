"""`disk`: a session's files are looked at when they may be too many, and brought back."""

import os
import time

import pytest

from interpreter_pool import Limits
from interpreter_pool.sandbox.session import disk
from interpreter_pool.sandbox.session.disk import Disk, Moment

LIMITS = Limits(disk_bytes=1 << 20, files=50)


@pytest.fixture
def top(tmp_path):
    for name in ("home", "tmp", "shm"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def looks(monkeypatch):
    """How often it has been looked."""
    found = []
    look_through = disk.look_through
    monkeypatch.setattr(disk, "look_through", lambda *a: found.append(a) or look_through(*a))
    return found


def test_there_is_no_look_while_nothing_can_have_gone_wrong(top, looks):
    """After a first one, a call is looked at when there was time to have written what was left."""
    own = Disk()
    assert own.trouble(str(top), LIMITS, 0.0) is None and len(looks) == 1
    for _ in range(10):
        assert own.trouble(str(top), LIMITS, 2e-6) is None
    assert len(looks) == 1
    assert own.trouble(str(top), LIMITS, 1e-3) is None and len(looks) == 2
    own.touched()
    assert own.trouble(str(top), LIMITS, 0.0) is None and len(looks) == 3


def test_unlimited_files_are_not_looked_at(top, looks):
    """There is nothing to be found."""
    assert Disk().trouble(str(top), Limits(disk_bytes=None, files=None), 100.0) is None
    assert not looks


@pytest.mark.parametrize("kind", ["bytes", "files", "folders", "links", "grown"])
def test_what_is_too_much_goes_and_the_rest_stays(top, kind):
    """That is what was made or changed since; and where that is not enough, what was made with it."""
    home = top / "home"
    (home / "kept").write_bytes(b"k" * 5000)
    (home / "in").mkdir()
    (home / "in" / "kept").write_text("k")
    (home / "grown").write_text("k")
    since = Moment.now()
    time.sleep(0.02)  # a tick of the clock of files
    for n in range(100 if kind != "bytes" else 3):
        match kind:
            case "bytes":
                (home / "in" / f"{n}").write_bytes(b"x" * (1 << 20))
            case "files":
                (home / "in" / f"{n}").write_text("")
            case "folders":
                (home / "in" / f"{n}").mkdir()
            case "links":
                (home / "in" / f"{n}").symlink_to("/etc")
            case "grown":
                with (home / "grown").open("ab") as file:
                    file.write(b"x" * (1 << 15))
    own = Disk()
    assert own.trouble(str(top), LIMITS, 0.0) is not None
    assert own.take_back(str(top), LIMITS, since) is None
    assert own.trouble(str(top), LIMITS, 0.0) is None
    assert (home / "kept").read_bytes() == b"k" * 5000
    assert (home / "in" / "kept").read_text() == "k"
    assert sorted(os.listdir(top)) == ["home", "shm", "tmp"]
    assert (home / "grown").exists() == (kind != "grown")


def test_what_can_t_be_brought_back_is_said(top):
    """Older files, by a clock that was set back; and folders too deep to be looked into."""
    since = Moment(*(each + 3600 * 10**9 for each in Moment.now()))
    (top / "home" / "large").write_bytes(b"x" * (2 << 20))
    assert "files" in Disk().take_back(str(top), LIMITS, since)
    (top / "home" / "large").unlink()
    here = os.open(top / "home", os.O_RDONLY)
    for _ in range(150):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert "deeper" in Disk().take_back(str(top), LIMITS.replace(files=None), Moment(0, 0))


def test_a_session_s_top_may_hold_anything(top):
    """A program may put what it likes beside and in place of its folders; no link is followed."""
    (top / "home").rmdir()
    (top / "home").symlink_to("/etc")
    (top / "file").write_bytes(b"x" * (2 << 20))
    (top / "fifo").parent.mkdir(exist_ok=True)
    os.mkfifo(top / "fifo")
    own = Disk()
    assert own.trouble(str(top), LIMITS, 0.0) is not None
    assert own.take_back(str(top), LIMITS, Moment(0, 0)) is None
    assert sorted(os.listdir(top)) == ["shm", "tmp"]
