"""Input that comes while a program runs: it has a pipe, and nothing of its caller's."""

import json
import os
import pty
import subprocess
import sys

import pytest

SOURCE = """
import fcntl, json, os, struct, sys, termios
done = []
def attempt(name, step):
    try:
        step()
        done.append(name)
    except (OSError, termios.error):
        pass
attempt("write", lambda: os.write(0, b"forged"))
attempt("truncate", lambda: os.ftruncate(0, 0))
for path in ("/proc/self/fd/0", "/dev/stdin", "/dev/tty"):
    for ways in (os.O_WRONLY, os.O_RDWR):
        attempt("open", lambda: os.write(os.open(path, ways | os.O_NONBLOCK), b"forged"))
attempt("seek", lambda: os.lseek(0, 0, os.SEEK_END))
attempt("mode", lambda: (os.fchmod(0, 0o666), os.write(os.open("/proc/self/fd/0", os.O_WRONLY), b"x")))
attempt("type", lambda: fcntl.ioctl(0, termios.TIOCSTI, b"x"))
attempt("set", lambda: termios.tcsetattr(0, termios.TCSANOW, termios.tcgetattr(0)))
attempt("size", lambda: fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", 1, 1, 1, 1)))
attempt("name", lambda: os.ttyname(0))
print(json.dumps(sorted(set(done))))
"""


@pytest.mark.parametrize("kind", ["file", "terminal"])
def test_f12_the_source_of_input_is_out_of_reach(attack, control, kind, tmp_path):
    """F12: a file is not written, a terminal not set, though the caller may do both."""
    theirs = None
    if kind == "file":
        (tmp_path / "data").write_bytes(b"data")
        source = os.open(tmp_path / "data", os.O_RDWR)
    else:
        theirs, source = pty.openpty()
    try:
        with open(source, "rb", buffering=0, closefd=False) as stream:
            found = attack.report(SOURCE, stdin=stream)
        # Of its own pipe, where it stays the owner, it may change the mode, and feed itself.
        assert set(found) <= {"mode"}
        if kind == "file":
            assert (tmp_path / "data").read_bytes() == b"data"
        done = subprocess.run(
            [sys.executable, "-c", SOURCE], stdin=source, capture_output=True, check=True
        )
        assert {"open", "set" if kind == "terminal" else "truncate"} <= set(json.loads(done.stdout))
        control()
    finally:
        os.close(source)
        if theirs is not None:
            os.close(theirs)


HOSTILE = {
    "enlarges it": "fcntl.fcntl(0, 1031, 1 << 20)",
    "shrinks it": "fcntl.fcntl(0, 1031, 4096)",
    "does not wait": "fcntl.fcntl(0, fcntl.F_SETFL, os.O_NONBLOCK | os.O_DIRECT)",
    "locks it": "fcntl.flock(0, fcntl.LOCK_EX)",
    "asks for signals": "fcntl.fcntl(0, fcntl.F_SETFL, os.O_ASYNC)",
    "opens it often": "held = [os.open('/proc/self/fd/0', os.O_RDONLY) for _ in range(50)]",
    "fills it": "os.fchmod(0, 0o666); fd = os.open('/proc/self/fd/0', os.O_RDWR | os.O_NONBLOCK)\n"
    "while True: os.write(fd, bytes(4096))",
    "has others read": "import threading\n"
    "for _ in range(20): threading.Thread(target=lambda: [os.read(0, 1) for _ in range(99)]).start()",
    "closes it": "os.close(0)",
}


@pytest.mark.parametrize(
    "name, waits", [*((name, False) for name in HOSTILE), ("fills it", True), ("locks it", True)]
)
def test_h6_what_becomes_of_input_holds_nobody_up(attack, name, waits):
    """H6: the end, or the limit, is as soon as without any; the descriptor of the caller is as it
    was, and what was not read is there.
    """
    code = f"import fcntl, os, time\ntry:\n    exec({HOSTILE[name]!r})\nexcept OSError: pass\n"
    if waits:
        code += "while True: time.sleep(9)"
    read_end, write_end = os.pipe()
    with open(read_end, "rb", buffering=0) as source, open(write_end, "wb", buffering=0) as sink:
        sink.write(b"x" * 60_000)
        result = attack(code, stdin=source, timeout=0.3 if waits else 5)
        assert result.reason == ("wall_timeout" if waits else "ok"), result
        assert os.get_blocking(read_end) and os.get_blocking(write_end)
        sink.close()
        rest = source.read()
        assert rest == b"x" * len(rest)
        # At the most, it read what it was given: twenty times 99, or by filling it all of a pipe.
        assert len(rest) >= 60_000 - (1 << 16 if "fills" in name else 2000)
    with open("/dev/zero", "rb", buffering=0) as zeros:
        result = attack(code, stdin=zeros, timeout=0.3 if waits else 5)
        assert result.reason == ("wall_timeout" if waits else "ok"), result
