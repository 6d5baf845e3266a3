"""The thread that attends to families: it serves all of them, and outlives each."""

import contextlib
import os
import select
import socket
import threading

import pytest
from conftest import wait_until

from interpreter_pool.sandbox.jail.messages import JailLost
from interpreter_pool.sandbox.session.channel import Channel
from interpreter_pool.sandbox.session.monitor import Monitor
from interpreter_pool.sandbox.session.supervisor import Supervisor


@pytest.fixture
def monitor():
    with contextlib.closing(Monitor()) as made:
        yield made


class Reader:
    """Something watched, that takes what comes, or (insatiable) leaves it there."""

    def __init__(self, *, insatiable: bool = False) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.insatiable = insatiable
        self.times = 0
        self.taken = b""
        self.lost = ""

    def attend(self, fd: int) -> None:
        assert threading.current_thread().name == "monitor"
        self.times += 1
        if not self.insatiable:
            self.taken += self.ours.recv(10, socket.MSG_DONTWAIT)

    def lose(self, why: str) -> None:
        self.lost = why

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def readers():
    made = [Reader(insatiable=True), Reader()]
    yield made
    for reader in made:
        reader.close()


def test_what_never_has_enough_keeps_nobody_waiting(monitor, readers):
    """One is always ready; the other is served each time it has something."""
    greedy, other = readers
    for reader in readers:
        monitor.add(reader.ours.fileno(), reader)
    greedy.theirs.send(b"x")
    wait_until(lambda: greedy.times > 3)
    for number in range(20):
        other.theirs.send(b"y")
        wait_until(lambda number=number: len(other.taken) > number)
    assert other.times == 20


def test_what_is_removed_is_not_looked_at(monitor, readers):
    """Also where it is ready, and where a forked process of the host keeps a copy of it open."""
    greedy, other = readers
    copy = os.dup(greedy.ours.fileno())
    greedy.theirs.send(b"x")
    monitor.add(greedy.ours.fileno(), greedy)
    wait_until(lambda: greedy.times)
    monitor.remove(greedy.ours.fileno())
    monitor.remove(greedy.ours.fileno())
    greedy.ours.close()
    monitor.add(other.ours.fileno(), other)
    other.theirs.send(b"y")  # a look that was under way is over when this has been taken
    wait_until(lambda: other.taken)
    times = greedy.times
    other.theirs.send(b"y")
    wait_until(lambda: other.taken == b"yy")
    assert greedy.times == times
    os.close(copy)


def test_when_it_ends_what_is_left_is_lost(readers):
    """Its thread is gone then; closed again, it is still closed, and takes nothing more."""
    monitor = Monitor()
    _, other = readers
    monitor.add(other.ours.fileno(), other)
    monitor.close()
    assert other.lost == "the jail of sessions is closed"
    assert not monitor._thread.is_alive()
    monitor.close()
    monitor.remove(other.ours.fileno())
    with pytest.raises(JailLost, match="closed"):
        monitor.add(other.ours.fileno(), other)
    assert repr(monitor).endswith(" closed>")


def test_a_forked_child_lets_go_of_it(monitor, readers):
    """It has no such thread, and takes nothing of what is the parent's to take."""
    _, other = readers
    monitor.add(other.ours.fileno(), other)
    pid = os.fork()
    if pid == 0:
        try:
            monitor.release_after_fork()
            monitor.remove(other.ours.fileno())
            monitor.close()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    other.theirs.send(b"y")
    wait_until(lambda: other.taken == b"y")


@pytest.fixture
def channel(monitor):
    """A family's channel, and the family init's end of it."""
    ours, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with other, contextlib.closing(Channel(monitor, ours, Supervisor(0))) as made:
        yield made, other


def test_an_internal_failure_ends_one_family_only(monitor, channel, readers, monkeypatch, caplog):
    """An unforeseen error is logged; callers of that family get `JailLost`, others are served."""
    made, other = channel
    monkeypatch.setattr(made, "_take_words", lambda: 1 / 0)
    other.send(b"x")
    with pytest.raises(JailLost, match="ZeroDivisionError"):
        made.hear()
    assert "attending to a family of sessions failed" in caplog.text
    _, reader = readers
    monitor.add(reader.ours.fileno(), reader)
    reader.theirs.send(b"y")
    wait_until(lambda: reader.taken == b"y")


def test_who_waits_is_told_when_the_family_is_closed(channel):
    """By another thread: it does not wait for the patience with family inits to end."""
    made, _ = channel
    waiting = threading.Event()
    found = []

    def wait() -> None:
        waiting.set()
        try:
            made.hear()
        except JailLost as lost:
            found.append(str(lost))

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait(10)
    made.close()
    thread.join(10)
    assert found == ["it is closed"]


def test_a_listener_that_nobody_can_ask_any_more_is_let_go(monitor):
    """It would be ready for ever, and keep the thread busy: an end of a pipe stands for it."""
    ours, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reading, writing = os.pipe()
    with other, contextlib.closing(Channel(monitor, ours, Supervisor(0))) as made:
        made.listen(reading)
        assert repr(monitor) == "<Monitor 2 watched>"
        poll = select.poll()
        poll.register(reading, select.POLLIN)
        os.close(writing)
        assert poll.poll(1000) == [(reading, select.POLLHUP)]
        wait_until(lambda: repr(monitor) == "<Monitor 1 watched>")
    made.supervisor.close()
