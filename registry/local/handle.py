"""A handle on a service in another process: `handle.method.remote(...)` returns a `LocalRef`.

`Handle` and `Link` are the same for every backend whose services are processes of this machine; a
backend adds the `Channel` over which calls and answers go.
"""

import difflib
import math
import os
import pickle
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from ..errors import ServiceDied, ServiceError
from . import wire

_LOOK_S = 0.2


class LocalRef:
    """What a call has led to, or will: give it to `services.result`, or await it."""

    def __init__(self, future: "Future[Any]", link: "Link") -> None:
        self._future = future
        self._link = link  # which must not be closed before the answer has come

    def __repr__(self) -> str:
        return f"<LocalRef {'done' if self._future.done() else 'pending'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a LocalRef belongs to the process that made the call; send its result")

    def __await__(self) -> Generator[Any, None, Any]:
        import asyncio

        # A generator of our own: for as long as it is awaited, it holds the link.
        return (yield from asyncio.wrap_future(self._future).__await__())

    def result(self, timeout: float | None = None) -> Any:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while not self._future.done() and (left := deadline - time.monotonic()) > 0:
            # Piece by piece: a signal that the kernel has another thread take wakes no wait, and
            # the main thread, which alone has handlers, would not see Ctrl-C.
            try:
                return self._future.result(min(left, _LOOK_S))
            except TimeoutError:
                if self._future.done():  # it is the method's own
                    raise
        return self._future.result(0)


class LocalMethod:
    def __init__(self, name: str, call: Callable[..., LocalRef]) -> None:
        self._name = name
        self._call = call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{self._name} runs in another process: call {self._name}.remote(...)")

    def remote(self, *args: Any, **kwargs: Any) -> LocalRef:
        """Make the call, and return at once."""
        return self._call(self._name, args, kwargs)


class Channel(Protocol):
    """A connection to a service; see `wire.Channel`, which is the one of local services."""

    def send(self, number: int, payload: bytes) -> None: ...
    def receive(self) -> tuple[int, wire.Kind, bytes]: ...
    def shut(self) -> None: ...
    def close(self) -> None: ...


class Handle(ABC):
    """A service. It can be pickled: each process has its own connection.

    Calls of one handle begin in their order; how many run at once, `max_concurrency` says.
    """

    def __init__(self, name: str, methods: Sequence[str]) -> None:
        self._name = name
        self._methods = frozenset(methods)
        self._lock = threading.Lock()
        self._link: Link | None = None  # guarded by _lock

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}>"

    @abstractmethod
    def _open(self) -> Channel:
        """Return a new connection; `ServiceDied`: there is nothing any more to connect to."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """What tells this service from every other, also of the same name."""

    def __getattr__(self, name: str) -> LocalMethod:
        if name.startswith("__") or name not in self._methods:
            raise AttributeError(
                f"service {self._name!r} has no method {name!r}; it has: "
                f"{', '.join(self._nearest(name)) or 'none that is public'}"
            )
        return LocalMethod(name, self._call)

    def __dir__(self) -> list[str]:
        """The public methods: what tracebacks and shells propose in place of a wrong name."""
        return sorted(each for each in self._methods if not each.startswith("_"))

    def _nearest(self, name: str) -> list[str]:
        """The public methods, those first whose names are near to `name`."""
        public = dir(self)
        near = difflib.get_close_matches(name, public, len(public) or 1)
        return [*near, *(each for each in public if each not in near)]

    def _call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> LocalRef:
        payload = pickle.dumps((method, args, kwargs), pickle.HIGHEST_PROTOCOL)
        with self._lock:
            link = self._link
            if link is None or link.pid != os.getpid():
                link = self._link = Link(self._name, self._open())
        return LocalRef(link.call(payload), link)


class LocalHandle(Handle):
    """A service behind a Unix socket. It can be used after a fork, too."""

    def __init__(self, name: str, path: str, key: bytes, methods: Sequence[str]) -> None:
        super().__init__(name, methods)
        self._path = path
        self._key = key

    @property
    def identity(self) -> str:
        return os.path.basename(self._path).partition(".")[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return LocalHandle, (self._name, self._path, self._key, sorted(self._methods))

    def _open(self) -> Channel:
        return wire.Channel(wire.connect(self._path, self._key))


class Link:
    """A connection of this process to a service, and the thread that takes its answers."""

    def __init__(self, name: str, channel: Channel) -> None:
        self.pid = os.getpid()
        self._answers = _Answers(name, channel)
        taker = threading.Thread(target=self._answers.take, name=f"answers of {name}", daemon=True)
        try:
            taker.start()
        except RuntimeError as error:
            channel.shut()
            channel.close()
            raise ServiceError(f"service {name!r} can't be called: {error}") from error
        # When the last handle and the last call that wants an answer are gone.
        weakref.finalize(self, self._answers.close, self.pid)

    def call(self, payload: bytes) -> "Future[Any]":
        return self._answers.call(payload)


class _Answers:
    """What a link and its thread share. Knows no `Link`, so that one can be collected."""

    def __init__(self, name: str, channel: Channel) -> None:
        self._name = name
        self._channel = channel
        self._sending = threading.Lock()  # one frame at a time
        # Reentrant: a link that is collected closes us from whatever its thread is in the midst of.
        self._lock = threading.RLock()
        self._waiting: dict[int, Future[Any]] = {}  # guarded by _lock, as is all below
        self._number = 0
        self._lost = ""

    def call(self, payload: bytes) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # a call can't be taken back
        with self._lock:
            if self._lost:
                raise ServiceDied(f"service {self._name!r}: {self._lost}")
            self._number += 1
            number = self._number
            self._waiting[number] = future
        try:
            with self._sending:
                self._channel.send(number, payload)
        except OSError as error:
            self._lose(str(error))
        return future

    def take(self) -> None:
        """In the thread: pass on answers until there will be no more."""
        try:
            while True:
                number, kind, payload = self._channel.receive()
                with self._lock:
                    future = self._waiting.pop(number, None)
                if future is not None:  # else the link was closed while the answer came
                    _resolve(future, kind, payload)
                del future
        except OSError as error:
            self._lose(str(error))
        except BaseException as error:  # such as no memory for what comes
            self._lose(f"an answer could not be taken: {type(error).__name__}: {error}")
            raise
        finally:
            self._channel.close()

    def close(self, pid: int) -> None:
        if os.getpid() != pid:
            self._channel.close()  # a copy: the parent's connection must live on
            return
        self._lose("the connection was closed")

    def _lose(self, why: str) -> None:
        with self._lock:
            self._lost = self._lost or why
            waiting, self._waiting = self._waiting, {}
        self._channel.shut()  # wakes the thread, which closes it
        for future in waiting.values():
            future.set_exception(ServiceDied(f"service {self._name!r} is gone: {why}"))


def _resolve(future: "Future[Any]", kind: wire.Kind, payload: bytes) -> None:
    try:
        value = pickle.loads(payload)
    except Exception as error:  # noqa: BLE001  (unpickling runs whatever a class has for it)
        future.set_exception(
            ServiceError(f"the answer can't be unpickled here: {type(error).__name__}: {error}")
        )
        return
    if kind is wire.Kind.ERROR:
        future.set_exception(value)
    else:
        future.set_result(value)
