"""Turns: one has it at a time, threads and coroutines alike, and nobody who waits is forgotten."""

import asyncio

import pytest

from interpreter_pool.pool import turn as module
from interpreter_pool.pool.turn import Turn


@pytest.fixture(autouse=True)
def only_woken(monkeypatch):
    """Nobody goes on because it looks by itself from time to time: only because it was woken."""
    monkeypatch.setattr(module, "_HEARTBEAT_S", 3600.0)


def test_coroutines_have_their_turns_in_the_order_in_which_they_asked():
    """Each is woken when the one before it gives its turn back."""
    turn, seen = Turn(), []

    async def take(number: int) -> None:
        await turn.take()
        seen.append(number)
        await asyncio.sleep(0)
        turn.give_back()

    async def main() -> None:
        await asyncio.gather(*map(take, range(5)))

    asyncio.run(asyncio.wait_for(main(), 10))
    assert seen == [0, 1, 2, 3, 4]
    assert not turn.locked()


def test_a_thread_wakes_a_coroutine():
    """Which is woken when the thread has released the lock."""
    turn = Turn()

    async def main() -> None:
        with turn.then_wake, turn.lock:
            waiting = asyncio.create_task(turn.take())
            await asyncio.sleep(0)
            assert not waiting.done()
        await waiting
        turn.give_back()

    asyncio.run(asyncio.wait_for(main(), 10))
    assert not turn.locked()


@pytest.mark.parametrize("woken", [False, True], ids=["asleep", "woken"])
def test_one_that_is_cancelled_passes_its_turn_on(woken):
    """Before it is woken, and after: the next one has the turn, and it has none."""
    turn = Turn()

    async def main() -> None:
        await turn.take()
        first, second = (asyncio.create_task(turn.take()) for _ in range(2))
        await asyncio.sleep(0)
        if woken:
            turn.give_back()
            first.cancel()
        else:
            first.cancel()
            turn.give_back()
        with pytest.raises(asyncio.CancelledError):
            await first
        await second
        turn.give_back()

    asyncio.run(asyncio.wait_for(main(), 10))
    assert not turn.locked()


def test_who_takes_it_only_if_it_is_free_leaves_it_to_who_waits():
    """Between two calls of a session that are awaited, it is not evicted."""
    turn = Turn()

    async def main() -> None:
        await turn.take()
        waiting = asyncio.create_task(turn.take())
        await asyncio.sleep(0)
        turn.give_back()
        assert turn.locked()
        assert not turn.try_take()
        await waiting
        turn.give_back()
        assert turn.try_take()
        turn.give_back()

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_loop_that_was_closed_is_passed_over():
    """Who waited in it will never go on."""
    turn = Turn()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(turn.take())
    lost = loop.create_task(turn.take())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    async def main() -> None:
        waiting = asyncio.create_task(turn.take())
        await asyncio.sleep(0)
        turn.give_back()
        await waiting
        turn.give_back()

    asyncio.run(asyncio.wait_for(main(), 10))
    assert not turn.locked()
    lost._log_destroy_pending = False
