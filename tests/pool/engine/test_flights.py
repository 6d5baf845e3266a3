"""Many runs of one caller: in order, bounded, and none left flying."""

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest
from conftest import wait_until
from hypothesis import given
from hypothesis import strategies as st

from interpreter_pool import PoolFull
from interpreter_pool.pool.engine.flights import Flights, in_order
from interpreter_pool.pool.engine.task import RunFuture
from interpreter_pool.sandbox.run.stop import Stop


def no_room(call):
    pytest.fail("there is room")


def ended(result: object) -> RunFuture:
    future = RunFuture(Stop())
    future.set_running_or_notify_cancel()
    future.set_result(result)
    return future


@given(st.permutations(range(8)), st.integers(1, 8))
def test_results_come_in_order_whatever_ends_first(ends, most):
    """And no more are under way, or ended and not taken, than may be."""
    futures: list[RunFuture] = []
    waiting = list(ends)

    def submit(number: int) -> RunFuture:
        future = RunFuture(Stop())
        future.set_running_or_notify_cancel()
        futures.append(future)
        # Whatever may end now does, in the order of `ends`; the oldest does in any case.
        if len(futures) - taken == most or len(futures) == len(ends):
            for each in [*waiting]:
                if each < len(futures):
                    waiting.remove(each)
                    futures[each].set_result(each)
        return future

    taken = 0
    for result in in_order(submit, range(len(ends)), most, no_room):
        assert result == taken
        taken += 1
        assert len(futures) - taken <= most
    assert taken == len(ends)


def test_what_ended_out_of_turn_counts_until_it_is_taken():
    """One slow run does not let the results of all others pile up."""
    first = RunFuture(Stop())
    first.set_running_or_notify_cancel()

    def submit(number: int) -> RunFuture:
        if number == 0:
            threading.Timer(0.1, first.set_result, [0]).start()
            return first
        assert number == 1 or first.done()
        return ended(number)

    assert list(in_order(submit, range(4), 2, no_room)) == [0, 1, 2, 3]


def test_what_has_ended_is_not_held_back_while_there_is_more_to_begin():
    """Programs may come slowly, and without end."""
    given_out = []

    def programs():
        for number in range(3):
            given_out.append(number)
            yield number

    results = in_order(lambda number: ended(number), programs(), 10, no_room)
    assert next(results) == 0
    assert given_out == [0]
    results.close()


def test_a_full_queue_is_waited_for_without_looking_again_and_again():
    """The next try comes when there may be room, and not before."""
    tries, told = [], []

    def submit(number: int) -> RunFuture:
        tries.append(number)
        if len(tries) < 3:
            raise PoolFull("full")
        return ended(number)

    def when_room(call):
        told.append(len(tries))
        call()

    assert list(in_order(submit, [7], 2, when_room)) == [7]
    assert (tries, told) == ([7, 7, 7], [1, 2])


def test_a_failure_cancels_what_is_under_way():
    """What the programs come from may raise."""
    future = RunFuture(Stop())

    def programs():
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(in_order(lambda _: future, programs(), 2, no_room))
    assert future.cancelled()


def test_cancelling_wakes_who_waits_and_lets_nothing_begin():
    """From any thread, at any time."""
    flights: Flights[int] = Flights(2, no_room)
    assert flights.launch(lambda: RunFuture(Stop()), 1)
    waits = threading.Event()
    with ThreadPoolExecutor(1) as executor:

        def land() -> object:
            waits.set()
            return flights.land()

        landing = executor.submit(land)
        assert waits.wait(10)
        flights.cancel()
        with pytest.raises(CancelledError):
            landing.result(10)
    with pytest.raises(CancelledError):
        flights.launch(lambda: pytest.fail("begun"), 2)
    with pytest.raises(CancelledError):
        flights.land()
    flights.end()
    wait_until(lambda: all(future.cancelled() for future, _ in flights))
