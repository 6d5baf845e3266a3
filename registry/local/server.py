"""The process of a service: one object, whose methods others call. See `LocalService._create`.

It ends when it is told to (SIGTERM) or when its owner is no more. First it gives up its name, so
that nobody finds a service that is ending. Then it ends by the interpreter's own exit, so that what
the service has to clean up is cleaned up, but not later than `_GRACE_S`.
"""

import asyncio
import contextlib
import inspect
import os
import pickle
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import process, spawn

from ..errors import ServiceError
from . import wire
from .records import Records

_GRACE_S = 2.0
_LOCK_S = 1.0
"""Of that, how long the folder of names may be locked; then its next reader removes the record."""

_BACKLOG = 128
_PAUSE_S = 0.1
_ASYNC_AT_ONCE = 1000
"""Calls at once of a class with coroutines, unless max_concurrency says otherwise; Ray's number."""

Answer = Callable[[wire.Kind, bytes], None]


def main(owner_pidfd: int, claim_fd: int, channel_fd: int) -> None:
    """Descriptors: of the owner, watched; of the name, held while this lives; to `register`."""
    for fd in (owner_pidfd, claim_fd, channel_fd):
        os.set_inheritable(fd, False)
    os.register_at_fork(after_in_child=lambda: os.close(claim_fd))
    wake, waker = socket.socketpair()
    for end in (wake, waker):
        end.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the owner
    # The constructor may take long: the owner is watched from the beginning, by a thread.
    watched = (owner_pidfd, wake, claim_fd)
    threading.Thread(target=_watch, args=watched, name="owner", daemon=True).start()
    with socket.socket(fileno=channel_fd) as channel:
        server = _start(channel)
    if server is not None:
        _over.wait()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(server.path)  # where it was made after its name had been given up
    sys.exit()


_over = threading.Event()


def _watch(owner_pidfd: int, wake: socket.socket, claim_fd: int) -> None:
    """Wait for the owner's end or SIGTERM; then have the process exit, and see that it does."""
    poll = select.poll()
    poll.register(owner_pidfd, select.POLLIN)
    poll.register(wake, select.POLLIN)
    poll.poll()
    deadline = time.monotonic() + _GRACE_S
    with contextlib.suppress(OSError, ServiceError):
        Records.with_claim(claim_fd).give_up(claim_fd, _LOCK_S)
    _over.set()
    threading.Event().wait(deadline - time.monotonic())
    os._exit(1)  # a call, a constructor or a thread that does not end


def _start(channel: socket.socket) -> "Server | None":
    """Make the service as `register` says, and say what became of it."""
    try:
        _, _, payload = wire.receive(channel)
        preparation, made, path, key, max_concurrency, door = pickle.loads(payload)
        # As multiprocessing's "spawn": sys.path, and the main module under another name.
        process.current_process()._inheriting = True  # type: ignore[attr-defined]
        try:
            spawn.prepare(preparation)
            cls, args, kwargs = pickle.loads(made)
        finally:
            del process.current_process()._inheriting  # type: ignore[attr-defined]
        server = Server(cls(*args, **kwargs), key, max_concurrency)
        server.path = path
        found = {"methods": server.methods, **door(server)}
        wire.send(channel, 0, wire.Kind.VALUE, pickle.dumps(found))
        return server
    except BaseException as error:  # noqa: BLE001  (whatever a class raises is for `register`)
        with contextlib.suppress(OSError):
            wire.send(channel, 0, wire.Kind.ERROR, _pickled(error, "the constructor"))
        return None


class Server:
    """A service and who may call it. path: of the socket of its record."""

    path: str

    def __init__(self, service: object, key: bytes, max_concurrency: int | None) -> None:
        self._service = service
        self._key = key
        found = inspect.getmembers(type(service), callable)
        self.methods = [name for name, _ in found if not name.startswith("__")]
        is_async = any(inspect.iscoroutinefunction(method) for _, method in found)
        self._loop = asyncio.new_event_loop() if is_async else None
        if self._loop is not None:
            threading.Thread(target=self._loop.run_forever, name="loop", daemon=True).start()
        most = max_concurrency or (_ASYNC_AT_ONCE if is_async else 1)
        self._executor = ThreadPoolExecutor(most, thread_name_prefix="call")

    def listen(self) -> dict[str, str]:
        """Take calls at the socket. Returns what the record is to say of that: nothing more."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with wire.short(self.path) as name:
            listener.bind(name)
        listener.listen(_BACKLOG)
        threading.Thread(target=self._accept, args=(listener,), name="door", daemon=True).start()
        return {}

    def take(self, payload: bytes, answer: "Answer") -> None:
        """Have a call made when it is its turn; calls begin in the order in which they are taken.
        answer: takes a kind and the pickle of the value, or of the error.
        """
        self._executor.submit(self._call, payload, answer)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:  # too few descriptors, for now: callers wait at the door
                time.sleep(_PAUSE_S)
                continue
            try:
                threading.Thread(
                    target=self._serve, args=(link,), name="caller", daemon=True
                ).start()
            except RuntimeError:  # too many threads: this caller learns that it is not heard
                link.close()

    def _serve(self, link: socket.socket) -> None:
        """Take the calls of one connection, in their order, until it is closed."""
        with link, contextlib.suppress(OSError, RuntimeError):  # gone; or this process is ending
            if not wire.admit(link, self._key):
                return
            sending = threading.Lock()
            while True:
                number, _, payload = wire.receive(link)

                def answer(kind: wire.Kind, data: bytes, number: int = number) -> None:
                    with sending, contextlib.suppress(OSError):
                        try:
                            wire.send(link, number, kind, data)
                        except OSError:  # a part of it is on its way: nothing may follow that
                            link.shutdown(socket.SHUT_RDWR)

                self.take(payload, answer)

    def _call(self, payload: bytes, answer: "Answer") -> None:
        name = "a call"
        try:
            name, args, kwargs = pickle.loads(payload)
            if name not in self.methods:
                raise AttributeError(f"no method {name!r}")
            value = getattr(self._service, name)(*args, **kwargs)
            if inspect.iscoroutine(value) and self._loop is not None:
                value = asyncio.run_coroutine_threadsafe(value, self._loop).result()
            data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        except BaseException as error:  # noqa: BLE001  (whatever a method raises is the caller's)
            answer(wire.Kind.ERROR, _pickled(error, name))
        else:
            answer(wire.Kind.VALUE, data)


def _pickled(error: BaseException, where: str) -> bytes:
    """The error as it is, with the story of this process; or, where it can't travel, its text."""
    story = "".join(traceback.format_exception(error)).rstrip()
    try:
        error.add_note(f"in the service's process, {where}:\n{story}")
        data = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
        if isinstance(pickle.loads(data), type(error)):
            return data
    except Exception:  # noqa: BLE001  (pickling runs whatever a class has for it)
        pass
    return pickle.dumps(ServiceError(f"{type(error).__name__}: {error}\n{story}"))
