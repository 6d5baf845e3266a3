"""Turns of a session: in the order in which they were asked for, one at a time, none lost."""

import signal
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpreter_pool.pool.mailbox import Mailbox


def test_what_is_posted_begins_in_order_one_at_a_time():
    """The next begins when the one before says that it is done, and not earlier."""
    mailbox, begun = Mailbox(), []

    def post(name):
        mailbox.post(lambda: begun.append(name) is None)

    post("a"), post("b"), post("c")
    assert begun == ["a"]
    mailbox.done()
    assert begun == ["a", "b"]
    mailbox.done()
    mailbox.done()
    assert begun == ["a", "b", "c"]
    assert repr(mailbox) == "<Mailbox free, 0 waiting>"


@given(st.lists(st.booleans(), max_size=2000))
def test_what_is_wanted_no_longer_passes_its_turn_on(wanted):
    """Thousands that were taken back cost no depth of calls."""
    mailbox, begun = Mailbox(), []
    mailbox.post(lambda: True)
    for number, want in enumerate(wanted):
        mailbox.post(lambda number=number, want=want: want and begun.append(number) is None)
    for _ in range(1 + sum(wanted)):
        mailbox.done()
    assert begun == [number for number, want in enumerate(wanted) if want]
    assert not mailbox.is_busy


def test_a_thread_that_waits_for_a_turn_gets_it():
    """And whoever comes later waits for it to end."""
    mailbox, order = Mailbox(), []
    mailbox.post(lambda: True)
    inside, leave = threading.Event(), threading.Event()

    def wait():
        with mailbox.turn():
            order.append("turn")
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=wait)
    thread.start()
    while not repr(mailbox).endswith("1 waiting>"):
        pass
    mailbox.post(lambda: order.append("after") is not None)
    assert order == []
    mailbox.done()
    assert inside.wait(10)
    assert (order, mailbox.try_begin()) == (["turn"], False)
    leave.set()
    thread.join(10)
    assert order == ["turn", "after"]
    assert mailbox.try_begin()


def test_a_wait_that_is_interrupted_passes_its_turn_on():
    """Ctrl-C in a thread that waits for its turn leaves the session usable."""
    mailbox = Mailbox()
    mailbox.post(lambda: True)
    before = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt), mailbox.turn():
            pytest.fail("it had no turn")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert mailbox.is_busy  # the turn of the one before is not over
    mailbox.done()
    assert mailbox.try_begin()
