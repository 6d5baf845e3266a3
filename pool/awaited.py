"""Awaiting what waits: in a thread of its own, since those that asyncio has are few."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from .errors import PoolError

T = TypeVar("T")


async def in_own_thread(name: str, work: Callable[[], T]) -> T:
    """Do `work` in a new thread called `name`, and return what it returns.

    `asyncio.to_thread` does it in the loop's default executor, which has four threads more than
    there are CPUs: calls beyond that would wait, and workers be idle. Cancelling the task leaves
    the thread to come to its end. Raises `PoolError` where no thread can be started.
    """
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()  # the thread alone resolves it

    def resolve() -> None:
        try:
            value = context.run(work)
        except BaseException as error:  # noqa: BLE001  (it is raised where it is awaited)
            done.set_exception(error)
        else:
            done.set_result(value)

    context = contextvars.copy_context()
    try:
        threading.Thread(target=resolve, name=name, daemon=True).start()
    except RuntimeError as error:
        raise PoolError(f"{name}: {error}") from error
    return await asyncio.wrap_future(done)
