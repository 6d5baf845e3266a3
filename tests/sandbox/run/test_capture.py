"""A run's output is taken as it comes, without ever waiting for it."""

import contextlib
import fcntl
import os

import pytest

from interpreter_pool.sandbox.run.capture import Capture


@pytest.fixture
def capture():
    with contextlib.closing(Capture(100_000)) as capture:
        yield capture


def fill(capture: Capture) -> int:
    """Write until there is no room; return how much went in."""
    os.set_blocking(capture.write_end, False)
    written = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            written += os.write(capture.write_end, b"x" * 4096)
    return written


def test_a_full_pipe_is_told_apart_from_one_with_room(capture):
    """Who writes to a full one waits, and is to be looked after at once."""
    os.write(capture.write_end, b"a line\n")
    assert (capture.drain(), capture.was_full) == (True, False)
    written = fill(capture)
    assert (capture.drain(), capture.was_full) == (True, True)
    assert capture.content() == b"a line\n" + b"x" * written
    assert (capture.drain(), capture.was_full) == (True, False)  # nothing has come since


def test_what_is_over_the_limit_is_cut_to_the_byte(capture):
    pieces = []
    capture._on_data = pieces.append
    fill(capture)
    assert capture.drain()
    fill(capture)
    assert not capture.drain()
    assert capture.truncated
    assert len(capture.content()) == 100_000
    assert b"".join(pieces) == capture.content()


def test_the_end_is_told_once_all_is_taken(capture):
    os.write(capture.write_end, b"last")
    capture.close_write_end()
    while capture.drain():
        pass
    assert capture.content() == b"last"
    assert not capture.truncated


def test_writes_that_are_kept_apart_are_all_taken(capture):
    """O_DIRECT makes packets of writes, and a read gives one: less than was asked for, not all."""
    flags = fcntl.fcntl(capture.write_end, fcntl.F_GETFL)
    fcntl.fcntl(capture.write_end, fcntl.F_SETFL, flags | os.O_DIRECT)
    for word in (b"a", b"b", b"c"):
        os.write(capture.write_end, word)
    assert capture.drain()
    assert capture.content() == b"a"
    capture.drain_rest()
    assert capture.content() == b"abc"
