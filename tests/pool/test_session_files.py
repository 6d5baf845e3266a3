"""Files of sessions: placed before a call and collected after it, written, read and listed between
calls; whatever a program leaves in their place."""

import errno
import os
import re
import signal
import socket
import threading

import pytest

from interpreter_pool import Limits, Pool, PythonExecutorService, SessionLost, get_services
from interpreter_pool.sandbox.guest.session.files import FOLDER
from interpreter_pool.sandbox.session import files

ALL_BYTES = bytes(range(256)) * 1000


@pytest.fixture
def session(pool):
    with pool.session() as session:
        yield session


@pytest.fixture(params=["first", "branch"])
def any_session(request, pool):
    """A session of a kind: their files stand in different places."""
    with pool.session() as first:
        if request.param == "first":
            yield first
            return
        with first.fork() as branch, branch.fork() as second:
            yield second


def value(session, code, **options):
    result = session.run(code, **options)
    assert result.ok, result
    return result.value


# ---- as an honest caller uses them


def test_a_sessions_files_are_written_read_and_listed(any_session):
    """Text and bytes, folders included; the code finds them, and what it writes is read."""
    session = any_session
    session.write("data/in.bin", ALL_BYTES)
    session.write("text.txt", "é\r\n")
    session.write("empty", b"")
    session.write("main.py", "print('mine')")  # of a session, no file is its program's own
    assert session.listdir() == ["data", "empty", "main.py", "text.txt"]
    assert session.listdir("data") == ["in.bin"]
    code = "import hashlib\nhashlib.sha1(open('data/in.bin', 'rb').read()).hexdigest()"
    assert value(session, code) == value(
        session, "hashlib.sha1(bytes(range(256)) * 1000).hexdigest()"
    )
    assert value(session, "open('text.txt', newline='').read()") == "'é\\r\\n'"
    value(session, "import os\nos.mkdir('out')\nopen('out/x', 'wb').write(b'x' * 70000)")
    assert session.read("out/x") == b"x" * 70000
    assert (session.read("data/in.bin"), session.read("empty")) == (ALL_BYTES, b"")
    session.write("text.txt", b"shorter")  # over what is there
    assert session.read("text.txt") == b"shorter"
    value(session, "open('data/in.bin', 'a').write('mine, too')\nos.remove('text.txt')")
    assert session.read("data/in.bin") == ALL_BYTES + b"mine, too"
    assert "text.txt" not in session.listdir()


def test_a_call_of_a_session_is_given_files_and_collects_some(any_session):
    """They are over what was there before the code runs; patterns are those of runs."""
    session = any_session
    assert value(session, "open('a').read()", files={"a": "1", "b/c": b"\0"}) == "'1'"
    result = session.run(
        "import os, shutil\nopen('a').read()\nshutil.copy('a', 'copy')\nos.symlink('a', 'link')\n"
        "os.mkfifo('fifo')\nopen('a').read()",
        files={"a": "2", "main.py": "x"},
        collect=("*", "b/**"),
    )
    assert result.value == "'2'", result
    assert result.files == {"a": b"2", "b/c": b"\0", "copy": b"2", "main.py": b"x"}
    assert result.files_skipped == {"link": "a link", "fifo": "no regular file"}
    assert session.run("1").files == {}


@pytest.mark.parametrize(
    "end, reason, rollback",
    [
        ("1/0", "exception", True),
        ("while True: pass", "wall_timeout", True),
        ("while True: pass", "wall_timeout", False),
        ("import os; os._exit(0)", "ok", False),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal", True),
        ("while True: print('x' * 9999)", "output", False),
    ],
)
def test_files_come_out_whatever_ends_a_sessions_call(pool, end, reason, rollback):
    """Also where the call takes the session with it. Files are not rolled back."""
    with pool.session(rollback=rollback) as session:
        code = f"open('half', 'w').write('x')\n{end}"
        result = session.run(code, timeout=0.5, files={"in": "i"}, collect=("*",))
        assert (result.reason, result.files) == (reason, {"half": b"x", "in": b"i"})
        if rollback:
            assert session.read("half") == b"x"


def test_branches_of_a_session_have_their_own_files(session):
    """What one writes, by whichever way, no other one has; forks of forks included."""
    session.write("f", "of all")
    branches = session.fork(2)
    try:
        for number, branch in enumerate(branches):
            assert branch.read("f") == b"of all"
            branch.write("f", str(number))
            branch.write(f"only-{number}", "")
        session.write("f", "first")
        inner = branches[1].fork()
        branches.append(inner)
        inner.write("f", "inner")
        assert [each.read("f") for each in (session, *branches)] == [b"first", b"0", b"1", b"inner"]
        assert [each.listdir() for each in (session, *branches)] == [
            ["f"],
            ["f", "only-0"],
            ["f", "only-1"],
            ["f", "only-1"],
        ]
        assert value(inner, "open('f').read()") == "'inner'"
    finally:
        for branch in branches:
            branch.close()


def test_files_of_a_session_stay_when_it_is_rolled_back_and_go_when_it_is_reset(session):
    """Memory is rolled back, files are not; a session that begins anew has none."""
    value(session, "x = 1")
    session.write("f", "1")
    value(session, "x = 2\nopen('f', 'w').write('2')")
    session.rollback()
    assert (value(session, "x"), session.read("f")) == ("1", b"2")
    session.reset()
    assert session.listdir() == []


def test_files_of_a_session_wait_for_their_turn(session):
    """As a call does: what was submitted before has been done."""
    under_way = session.submit("import time\ntime.sleep(0.5)\nopen('f', 'w').write('there')")
    assert session.read("f") == b"there"
    assert under_way.done()
    writers = [threading.Thread(target=session.write, args=(f"f{n}", str(n) * 9)) for n in range(8)]
    calls = [session.submit("len(__import__('os').listdir())") for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert all(call.wait().ok for call in calls)
    assert [session.read(f"f{n}") for n in range(8)] == [str(n).encode() * 9 for n in range(8)]


def test_files_are_reached_where_a_session_can_not_be_forked(pool):
    """Threads that live on, and a program that takes modules apart, are in nobody's way."""
    with pool.session(rollback=False) as session:
        value(
            session,
            "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()",
        )
        value(session, "import os, builtins\nos.open = os.mkdir = builtins.open = None")
        session.write("a/b", "c")
        assert (session.listdir("a"), session.read("a/b")) == (["b"], b"c")
        assert session.run("1", files={"d": "e"}, collect=("**",)).files == {"a/b": b"c", "d": b"e"}


# ---- errors


def test_errors_of_a_sessions_files_are_those_of_open(session):
    """The class that Python has for it, with the name that the caller gave."""
    session.write("folder/file", "x")
    for error, name, step in (
        (FileNotFoundError, "none", session.read),
        (FileNotFoundError, "no/such", session.read),
        (FileNotFoundError, "none", session.listdir),
        (IsADirectoryError, "folder", session.read),
        (IsADirectoryError, "folder", lambda name: session.write(name, "")),
        (IsADirectoryError, "folder", lambda name: session.run("1", files={name: ""})),
        (NotADirectoryError, "folder/file", session.listdir),
        (NotADirectoryError, "folder/file/x", session.read),
        (NotADirectoryError, "folder/file/x", lambda name: session.write(name, "")),
    ):
        with pytest.raises(error) as caught:
            step(name)
        assert caught.value.filename == name
    assert session.run("1 + 1").value == "2"


def test_code_does_not_run_where_a_session_can_not_be_given_its_files(session):
    """The future raises the error, and the next call is as if there had been none."""
    session.write("folder/file", "x")
    future = session.submit("ran = True", files={"folder": "x"})
    with pytest.raises(IsADirectoryError):
        future.result()
    assert session.run("ran").exception.type == "NameError"


def test_a_session_without_its_directory_goes_on(session):
    """A result says that nothing could be collected; nothing can be written, and the error says so."""
    value(session, "import os\nos.rename(os.getcwd(), '../away')\nos.symlink('/', '../home')")
    result = session.run("1 + 1", collect=("*",))
    assert (result.value, result.files) == ("2", {})
    assert result.files_skipped == {
        ".": "can't be read (Not a directory: the session's working directory was removed or replaced)"
    }
    with pytest.raises(NotADirectoryError, match="working directory was removed or replaced"):
        session.write("f", "")
    value(session, "os.remove('../home')\nos.rename('../away', '../home')")
    session.write("f", "")
    assert session.listdir() == ["f"]


def test_names_that_leave_a_session_are_refused(session):
    """F11: by every entry point, before anything is done; the error names the argument."""
    for name in ("../x", "/etc/x", "a/../../x", "a\0b", "", "./a", "a/", "x" * 256):
        with pytest.raises(ValueError, match=r"^name: "):
            session.write(name, "")
        with pytest.raises(ValueError, match=r"^name: "):
            session.read(name)
        with pytest.raises(ValueError, match=r"^path: "):
            session.listdir(name)
        with pytest.raises(ValueError, match=r"^files: "):
            session.run("1", files={name: ""})
        with pytest.raises(ValueError, match=r"^collect: "):
            session.run("1", collect=(name,))


def test_files_that_are_none_are_refused_by_a_session(session):
    """An error names the argument."""
    for message, step in (
        ("^name must be a string, not 1", lambda: session.read(1)),
        ("^path must be a string, not None", lambda: session.listdir(None)),
        ("^data must be str or bytes, not int", lambda: session.write("f", 1)),
        ("^files must map names", lambda: session.run("1", files=["f"])),
        (r"^files\['f'\] must be str or bytes", lambda: session.run("1", files={"f": None})),
        ("^collect must be a sequence", lambda: session.run("1", collect="*")),
    ):
        with pytest.raises(TypeError, match=message):
            step()


def test_a_sessions_disk_limit_holds_for_what_is_written_there(tier):
    """More than there can ever be is the caller's mistake; more than there is room for now, an
    error with the limits, which leaves the session as it was. What is overwritten makes room.
    """
    limits = Limits(disk_bytes=1 << 20, files=20)
    with Pool(1, tier=tier) as pool, pool.session(limits=limits) as session:
        with pytest.raises(ValueError, match=r"^data: .* limits\.disk_bytes=1048576"):
            session.write("f", bytes((1 << 20) + 1))
        session.write("f", bytes(700_000))
        for step in (
            lambda: session.write("g", bytes(700_000)),
            lambda: session.run("1", files={"g": bytes(700_000)}),
        ):
            with pytest.raises(OSError, match=r"disk_bytes=1048576, files=20\): 'g'") as caught:
                step()
            assert caught.value.errno == errno.ENOSPC
        assert session.listdir() == ["f"]
        session.write("f", bytes(900_000))
        for folder in ("a", "b", "c", "d"):
            session.write(f"{folder}/x", "")
        with pytest.raises(OSError, match="No space left"):
            session.run("1", files={f"many/{n}": "" for n in range(19)})
        assert session.run("while True: pass", timeout=0.3).reason == "wall_timeout"
        assert len(session.read("f")) == 900_000


def test_a_large_file_goes_to_a_session_and_back_in_pieces(session, monkeypatch):
    """It is whole again, and its length no multiple of theirs."""
    monkeypatch.setattr(files, "_AT_ONCE_BYTES", 1 << 20)
    content = os.urandom((3 << 20) + 77)
    session.write("f", content)
    session.write("g", content[: 2 << 20])
    assert (session.read("f"), session.read("g")) == (content, content[: 2 << 20])


def test_a_session_that_is_lost_has_no_files(pool):
    """Closed, ended with its last call, or killed while it was parked: SessionLost says so."""
    closed, ended, killed = (pool.session(rollback=False) for _ in range(3))
    closed.close()
    assert ended.run("while True: pass", timeout=0.2).reason == "wall_timeout"
    os.kill(killed.states()[-1].pid, signal.SIGKILL)
    for session in (closed, ended, killed):
        for step in (
            session.listdir,
            lambda s=session: s.read("f"),
            lambda s=session: s.write("f", ""),
        ):
            with pytest.raises(SessionLost, match="this session is gone"):
                step()
        session.close()


def test_a_session_whose_family_init_is_gone_has_no_files(tier, monkeypatch):
    """Killed in between, it is found gone at once; stopped, after a while."""
    monkeypatch.setattr(files, "_PATIENCE_S", 0.3)
    with Pool(1, tier=tier) as pool:
        for number, step in (
            (signal.SIGKILL, lambda s: s.read("f")),
            (signal.SIGKILL, lambda s: s.write("f", "")),
            (signal.SIGKILL, lambda s: s.run("1", files={"f": ""})),
            (signal.SIGKILL, lambda s: s.run("1", collect=("*",))),
            (signal.SIGSTOP, lambda s: s.read("f")),
        ):
            with pool.session() as session:
                os.kill(session.held.family.pid, number)
                with pytest.raises(SessionLost, match="this session is gone"):
                    step(session)


def test_an_answer_that_no_session_waits_for_is_in_nobodys_way(session):
    """Whoever is interrupted while it waits leaves one behind: the next step gets its own."""
    (head,), channel = session.states(), session.held.family.channel
    for _ in range(3):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            channel.send((FOLDER, head.inner, head.home.name), theirs.fileno())
        ours.close()
    session.write("f", "x")
    assert (session.read("f"), value(session, "open('f').read()")) == (b"x", "'x'")
    with session.fork() as branch:
        assert branch.read("f") == b"x"


# ---- what a hostile program leaves there

TRAPS = {
    "links": "os.symlink(secret, 'x'); os.symlink(os.path.dirname(secret), 'd')",
    "links within": "open('other', 'w'); os.symlink('other', 'x'); os.symlink('.', 'd')",
    "fifos": "os.mkfifo('x'); os.mkdir('d'); os.mkfifo('d/canary')",
    "a fifo that is read": "os.mkfifo('x'); kept = os.open('x', os.O_RDWR)",
    "no permissions": (
        "os.mkdir('d'); os.close(os.open('x', os.O_CREAT, 0)); os.chmod('x', 0); os.chmod('d', 0)"
    ),
    "no permissions of its directory": "open('x', 'w'); os.chmod('.', 0)",
    "a link in place of its directory": (
        "os.rename('../home', '../away'); os.symlink(os.path.dirname(secret), '../home')"
    ),
    "a fifo in place of its directory": "os.rmdir('../home'); os.mkfifo('../home')",
    "no directory": "os.rmdir('../home')",
    "another directory": "os.rename('../home', '../away'); os.mkdir('../home')",
    "a full disk": "fill()",
    "deep folders": "[(os.mkdir('d'), os.chdir('d')) for _ in range(90)]",
    "odd names, sparse files": (
        "[open(os.fsdecode(n), 'w').truncate(1 << 24) for n in (b'x', b'\\xff', b'a\\nb', b'd' * 255)]"
    ),
    "files in use": (
        "import fcntl, mmap; kept = open('x', 'w+'); kept.truncate(9999); "
        "fcntl.flock(kept, fcntl.LOCK_EX); mapped = mmap.mmap(kept.fileno(), 0); "
        "fcntl.fcntl(kept, fcntl.F_SETLEASE, fcntl.F_WRLCK)"
    ),
    "itself elsewhere": "os.mkdir('d'); os.chdir('d'); os.symlink('/', 'canary')",
}

SETTING = """
import os
secret = @SECRET@
def fill():
    for number in range(20):
        with open(f"f{number}", "wb") as file:
            file.write(bytes(1 << 20))
try:
    @TRAP@
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("trap", TRAPS)
def test_what_stands_in_a_sessions_directory_harms_nobody(pool, tmp_path, trap):
    """F6: no step reads or writes outside, hangs, fails but with an OSError that has a name, or
    costs the session anything.
    """
    secret = tmp_path / "canary"
    secret.write_text("secret")
    (tmp_path / "only there").touch()
    limits = pool.limits.replace(disk_bytes=16 << 20)
    with pool.session(limits=limits) as first, first.fork() as session:
        code = SETTING.replace("@SECRET@", repr(str(secret))).replace("@TRAP@", TRAPS[trap])
        session.run(code)
        read, listed = [], []
        for step in (
            lambda: read.append(session.read("x")),
            lambda: read.append(session.read("d/canary")),
            lambda: listed.extend(session.listdir()),
            lambda: listed.extend(session.listdir("d")),
            lambda: session.write("x", "written"),
            lambda: session.write("d/canary", "written"),
            lambda: session.run("1", files={"x": "1", "d/canary": "1"}),
        ):
            try:
                step()
            except OSError as error:
                assert error.filename in ("x", "d", "d/canary", "."), error
        result = session.run("1 + 1", collect=("**", "d/canary"))
        assert (result.reason, result.value) == ("ok", "2"), result
        assert b"secret" not in (*read, *result.files.values())
        assert "only there" not in (*listed, *result.files)
        assert sorted(os.listdir(tmp_path)) == ["canary", "only there"]
        assert secret.read_text() == "secret"
        assert first.listdir() == []


def test_names_without_end_in_a_session_are_an_error(session, monkeypatch):
    """A folder is listed up to a bound: the host's memory is not the program's to fill."""
    value(session, "for n in range(300): open(f'{n:04}', 'w').close()")
    assert session.listdir() == [f"{n:04}" for n in range(300)]
    assert len(session.run("1", collect=("*7",)).files) == 30
    monkeypatch.setattr(files, "_MOST_NAMES", 299)
    with pytest.raises(OSError, match=r"more than 299 files and folders: '\.'"):
        session.listdir()


# ---- by service and id


def test_a_service_reaches_files_of_sessions_by_their_ids(tier):
    """The three methods, and files= and collect= of execute_in; branches have their own."""
    with PythonExecutorService(1, tier=tier) as service:
        session = service.open_session()
        service.write_in(session, "a/b", "text")
        assert service.listdir_in(session) == ["a"]
        assert service.listdir_in(session, "a") == ["b"]
        assert service.read_in(session, "a/b") == b"text"
        branch = service.fork_session(session)
        service.write_in(branch, "a/b", "of the branch")
        result = service.execute_in(
            session, "open('a/b').read()", files={"c": b"c"}, collect=("c", "a/*")
        )
        assert result["value"] == "'text'"
        assert result["files"] == {"a/b": "dGV4dA==", "c": "Yw=="}
        with pytest.raises(SessionLost, match="there is no session"):
            service.read_in("none", "a/b")
        with pytest.raises(FileNotFoundError, match=re.escape("'none'")):
            service.read_in(session, "none")


def test_files_of_sessions_cross_to_other_processes():
    """By a handle of the registry's: bytes as they are, and errors with their class and name."""
    with get_services("local", namespace="files-of-sessions") as services:
        handle = services.register("executor", PythonExecutorService, 1, max_concurrency=2)

        def call(method, *args, **options):
            return services.result(getattr(handle, method).remote(*args, **options), timeout=60)

        session = call("open_session")
        call("write_in", session, "f", ALL_BYTES)
        assert call("read_in", session, "f") == ALL_BYTES
        result = call("execute_in", session, "1", files={"g": "g"}, collect=["g"])
        assert result["files"] == {"g": "Zw=="}
        assert call("listdir_in", session) == ["f", "g"]
        with pytest.raises(FileNotFoundError) as caught:
            call("read_in", session, "none")
        assert caught.value.filename == "none"
