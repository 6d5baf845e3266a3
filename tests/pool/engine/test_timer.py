"""Deadlines: called at their time, in their order, and never when they were taken back."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpreter_pool.pool.engine.timer import Timer


def test_alarms_ring_in_the_order_of_their_times(timer):
    """Not in that of their setting."""
    rung, done = [], threading.Event()
    now = time.monotonic()
    timer.at(now + 0.03, done.set)
    timer.at(now + 0.02, lambda: rung.append("second"))
    timer.at(now + 0.01, lambda: rung.append("first"))
    assert done.wait(10)
    assert rung == ["first", "second"]


def test_a_sooner_alarm_is_not_kept_waiting_by_a_later_one(timer):
    """The thread sleeps until the first of all alarms, however late that one was set."""
    done = threading.Event()
    timer.at(time.monotonic() + 3600, lambda: None)
    timer.at(time.monotonic() + 0.01, done.set)
    assert done.wait(10)


def test_an_alarm_that_was_taken_back_does_not_ring(timer):
    """And keeps nothing alive."""
    rung, done = [], threading.Event()
    alarm = timer.at(time.monotonic() + 0.01, lambda: rung.append(1))
    alarm.cancel()
    alarm.cancel()
    timer.at(time.monotonic() + 0.03, done.set)
    assert done.wait(10)
    assert (rung, alarm.call) == ([], None)


def test_a_deadline_that_fails_costs_the_others_nothing(timer, caplog):
    """It is logged, and the thread goes on."""
    done = threading.Event()
    now = time.monotonic()
    timer.at(now, lambda: 1 // 0)
    timer.at(now + 0.001, done.set)
    assert done.wait(10)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("far_s", [1e10, float("inf")])
def test_an_alarm_farther_away_than_any_wait_may_be_does_not_end_the_thread(timer, far_s):
    """threading.TIMEOUT_MAX is some 300 years; whoever asks for more gets it."""
    done = threading.Event()
    timer.at(time.monotonic() + far_s, lambda: None)
    timer.at(time.monotonic() + 0.01, done.set)
    assert done.wait(10)


def test_nothing_rings_after_close():
    """Also where it was never started."""
    rung = []
    unstarted = Timer()
    unstarted.at(time.monotonic(), lambda: rung.append(1))
    unstarted.close()
    timer = Timer()
    timer.start()
    timer.at(time.monotonic() + 0.05, lambda: rung.append(1))
    timer.close()
    timer.close()
    time.sleep(0.1)
    assert rung == []


@given(st.lists(st.booleans(), max_size=300))
def test_what_was_taken_back_does_not_pile_up(kept):
    """However many waits are won, the timer holds about as many alarms as there are waits."""
    timer = Timer()
    alarms = [(keep, timer.at(1e9, lambda: None)) for keep in kept]
    for keep, alarm in alarms:
        if not keep:
            alarm.cancel()
    assert len(timer) <= 2 * sum(kept) + 66
    assert repr(timer) == f"<Timer {sum(kept)} alarms>"
