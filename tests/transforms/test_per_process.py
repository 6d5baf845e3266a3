"""What each process makes for itself: one for each, whoever asks first."""

import os
import threading

from interpreter_pool.transforms.executors import PerProcess


class Slow:
    """Makes numbers; each takes until whoever waits for the first is known to wait, or is done."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.ended: list[int] = []
        self.begun = threading.Event()
        self.others_came = threading.Event()

    def make(self) -> int:
        self.made.append(len(self.made))
        self.begun.set()
        self.others_came.wait(0.5)
        return self.made[-1]


def test_of_threads_that_ask_at_once_all_have_the_same():
    """One is made; none is lost sight of, which nobody could close."""
    slow = Slow()
    own = PerProcess(slow.make, slow.ended.append)
    found: list[int] = []
    first = threading.Thread(target=lambda: found.append(own.get()))
    first.start()
    assert slow.begun.wait(5)
    others = [threading.Thread(target=lambda: found.append(own.get())) for _ in range(3)]
    for other in others:
        other.start()
    slow.others_came.set()
    for thread in (first, *others):
        thread.join()
    assert (found, slow.made) == ([0] * 4, [0])
    own.close()
    assert slow.ended == [0]
    assert not own.is_made


def test_a_child_makes_its_own_though_a_thread_was_at_it_when_it_was_forked():
    """That thread is not there to let go of anything."""
    slow = Slow()
    own = PerProcess(slow.make, slow.ended.append)
    maker = threading.Thread(target=own.get)
    maker.start()
    assert slow.begun.wait(5)
    pid = os.fork()
    if not pid:
        slow.others_came.set()
        asker = threading.Thread(target=own.get, daemon=True)
        asker.start()
        asker.join(5)
        os._exit(0 if own.is_made and slow.made == [0, 1] else 1)
    slow.others_came.set()
    maker.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert own.get() == 0
    own.close()
