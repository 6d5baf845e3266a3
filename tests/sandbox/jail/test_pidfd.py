"""A process by a descriptor of it: owned once, closed once, and never another process's."""

import os
import select
import signal
import subprocess

import pytest

from interpreter_pool.sandbox.jail.messages import JailLost
from interpreter_pool.sandbox.jail.pidfd import Pidfd


@pytest.fixture
def sleeper():
    """A process that sleeps until it is ended."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_process_is_known_signalled_and_waited_for(sleeper):
    """Its id is read off the descriptor, which is readable when the process has ended."""
    process = Pidfd(os.pidfd_open(sleeper.pid))
    assert (process.pid, repr(process)) == (sleeper.pid, f"<Pidfd {sleeper.pid}>")
    assert not process.has_ended()
    assert select.select([process], [], [], 0)[0] == []
    process.send(signal.SIGTERM)
    assert process.has_ended(10)
    assert select.select([process], [], [], 0)[0] == [process]
    assert sleeper.wait(10) == -signal.SIGTERM
    process.close()


def test_a_signal_to_a_process_that_is_gone_does_nothing(sleeper):
    """Reaped, it has no id any more; what is asked of it has the answers of an end."""
    process = Pidfd.of(sleeper.pid)
    sleeper.kill()
    sleeper.wait(10)
    process.send(signal.SIGKILL)
    assert process.has_ended()
    late = Pidfd(os.dup(process.fileno()))
    assert late.pid == 0
    for each in (process, late):
        each.close()


def test_closed_twice_it_harms_nobody(sleeper):
    """The number of its descriptor is another's by then: neither closed nor signalled."""
    process = Pidfd.of(sleeper.pid)
    number = process.fileno()
    process.close()
    other = os.pidfd_open(sleeper.pid)
    assert other == number
    process.close()
    process.send(signal.SIGKILL)
    assert process.has_ended() and process.fileno() == -1
    assert repr(process) == f"<Pidfd {sleeper.pid} closed>"
    assert sleeper.poll() is None and not select.select([other], [], [], 0.05)[0]
    os.close(other)


@pytest.mark.parametrize("path", ["/", "/dev/null"])
def test_a_descriptor_of_something_else_is_refused_and_closed(path):
    """A jail may send anything: it is the jail that is lost, and no descriptor is kept."""
    fd = os.open(path, os.O_RDONLY)
    with pytest.raises(JailLost, match="something else"):
        Pidfd(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
