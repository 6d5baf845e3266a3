"""`guest.zygote`: a child never outlives its zygote."""

import subprocess
import sys

ORPHAN = """
import os, select, socket, sys
from interpreter_pool.sandbox.guest.jail.zygote import Zygote

class Confinement:
    def prewarmed(self, profile):
        # Where a real one asks for the death signal, the parent is gone already.
        select.select([gate], [], [])

gate, held = os.pipe()
pid = os.fork()
if pid == 0:  # the zygote: forks a child and is killed at once
    zygote = object.__new__(Zygote)
    zygote.pid = os.getpid()
    zygote.confinement = Confinement()
    host_end, child_end = socket.socketpair()
    if os.fork() == 0:
        os.close(held)
        zygote._be_prewarmed(child_end, None)
    os.kill(os.getpid(), 9)
os.close(held)
os.waitpid(pid, 0)
"""


def test_a_child_leaves_whose_zygote_died_before_it_could_ask_for_its_death_signal():
    """The child sees that its parent is another one, and leaves instead of waiting for a job."""
    # The child holds the pipe of stdout: the end of file says that it has gone.
    done = subprocess.run(
        [sys.executable, "-c", ORPHAN], capture_output=True, text=True, timeout=10
    )
    assert done.returncode == 0, done.stderr
