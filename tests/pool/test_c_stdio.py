"""C code prints, too: it comes out in order, complete, and by whatever way the program ends."""

import pytest

PRINTS = """
import ctypes, os, time
c = ctypes.CDLL(None)
c.printf(b"one\\n"); print("two"); c.printf(b"three %d\\n", 3); print("four")
"""
ORDERED = "one\ntwo\nthree 3\nfour\n"

WRITES = """
c.fopen.restype = ctypes.c_void_p
c.fputs(b"line\\n", ctypes.c_void_p(c.fopen(b"log.txt", b"w")))
"""


@pytest.mark.parametrize(
    "end", ["", "1 / 0", "os._exit(0)", "os.kill(os.getpid(), 9)", "time.sleep(60)"]
)
def test_what_c_prints_is_in_order_with_pythons_own(pool, end):
    """As with `python -u`: also of a program that dies, or is ended by a limit."""
    result = pool.run(PRINTS + end, timeout=1 if "sleep" in end else None)
    assert result.stdout == ORDERED, result


@pytest.mark.parametrize("end", ["", "raise SystemExit(3)", "1 / 0"])
def test_files_that_c_has_open_are_flushed_at_the_end(pool, end):
    """As by exit(3); collected, they are complete."""
    result = pool.run(PRINTS + WRITES + end, collect=("*.txt",))
    assert result.files == {"log.txt": b"line\n"}, result


def test_files_that_c_has_open_are_flushed_after_a_call_of_a_session(pool):
    """A later call finds all of it; nothing is written twice."""
    with pool.session() as session:
        assert session.run(PRINTS + WRITES).stdout == ORDERED
        assert session.run("open('log.txt').read()").value == "'line\\n'"
        assert session.run("c.puts(b'five')").stdout == "five\n"


def test_a_thread_that_reads_in_c_for_ever_does_not_keep_the_end(pool):
    """It holds a lock of the file's, which flushing would wait for."""
    code = """
c.fdopen.restype = ctypes.c_void_p
r, w = os.pipe()
file = ctypes.c_void_p(c.fdopen(r, b"r"))
import threading
threading.Thread(target=c.fgetc, args=(file,), daemon=True).start()
time.sleep(0.1)
"""
    assert pool.run(PRINTS + code).reason == "ok"


def test_runs_of_a_snapshot_do_not_print_what_its_setup_code_printed(pool):
    """Nor does a run inherit anything that is still to be written."""
    with pool.snapshot(PRINTS) as snapshot:
        assert snapshot.run("c.printf(b'mine\\n')").stdout == "mine\n"
