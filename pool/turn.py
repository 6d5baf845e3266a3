"""Whose turn it is: a lock that coroutines can wait for as well as threads."""

import contextlib
import threading
from collections import deque

_HEARTBEAT_S = 0.5
"""How often a coroutine looks by itself: a signal's exception may keep a thread from waking it."""


class Turn:
    """One turn at a time. Threads and coroutines take it in different ways:

        with turn.then_wake, turn.lock: ...            a thread
        await turn.take(); ...; turn.give_back()       a coroutine, without a thread that waits

    The lock's own `with` is C code, which no signal's exception can leave locked. Coroutines take
    their turns in the order in which they asked. `give_back` may be called from any thread.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.then_wake = _Waking(self)
        self._waiting: deque[_Waiter] = deque()  # its methods are atomic

    def locked(self) -> bool:
        """Whether somebody has it, or a coroutine is about to."""
        return bool(self._waiting) or self.lock.locked()

    def try_take(self) -> bool:
        """Take it unless it is `locked`; tell whether that was done."""
        return not self._waiting and self.lock.acquire(blocking=False)

    async def take(self) -> None:
        """Take it, in a coroutine. If that is cancelled, it is not taken."""
        if self.try_take():
            return
        waiter = _Waiter()
        self._waiting.append(waiter)
        taken = False
        try:
            while not taken:
                # Whoever releases the lock from here on wakes this coroutine, or one before it.
                taken = self._waiting[0] is waiter and self.lock.acquire(blocking=False)
                if not taken:
                    await waiter.wait()
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(waiter)
            if not taken:
                self.wake()  # it may have been woken in vain

    def give_back(self) -> None:
        self.lock.release()
        self.wake()

    def wake(self) -> None:
        """Wake the coroutine that has waited longest, to try for the lock."""
        while self._waiting:
            with contextlib.suppress(IndexError):  # it has just gone by itself
                waiter = self._waiting[0]
                if waiter.wake():
                    return
                with contextlib.suppress(ValueError):
                    self._waiting.remove(waiter)


class _Waking:
    """A context at whose end a coroutine is woken."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._turn.wake()


class _Waiter:
    """A coroutine that waits for its turn, and the loop that it runs in."""

    def __init__(self) -> None:
        import asyncio  # which those who await have imported by now

        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()

    async def wait(self) -> None:
        import asyncio

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HEARTBEAT_S):
                await self._woken.wait()
        self._woken.clear()

    def wake(self) -> bool:
        """From any thread; False where its loop is closed: it will never go on."""
        try:
            self._loop.call_soon_threadsafe(self._woken.set)
        except RuntimeError:
            return False
        return True
