"""An untrusted program that is loaded once, for calls that are each made in a fork of it."""

import threading
from collections.abc import Callable

from ..sandbox.errors import PolicyError
from ..sandbox.result import Result
from .errors import SessionLost
from .function import require_loaded
from .session import CallOptions, Session


class Loaded:
    """A session in which `source` has run. `call` makes a call in a branch of its own; where the
    session was lost (evicted, or its process killed), another one is loaded first. Thread-safe.

    make: returns a new session. Raises what kept it from being loaded: `ProgramError`,
    `LimitExceeded`, or `PolicyError` for what can't be shared.
    """

    def __init__(
        self, make: Callable[[], Session], source: str | bytes, options: CallOptions
    ) -> None:
        self._make = make
        self._source = source
        self._options = options
        self._lock = threading.Lock()  # one thread loads it again; guards _session
        self._closed = False
        self._session = self._load()

    def call(self, call: bytes) -> Result:
        try:
            branch = self._branch()
        except PolicyError as error:  # it could be forked when it was loaded
            self._session.close()  # the next call loads it again
            return Result.refused(str(error), tier="", queue_s=0.0)
        with branch:
            return branch.submit_request(call, **self._options).wait()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._session.close()

    def _load(self) -> Session:
        session = self._make()
        try:
            require_loaded(session.run(self._source))
            session.fork().close()  # here, rather than at the first call, it is refused
        except BaseException:
            session.close()
            raise
        return session

    def _branch(self) -> Session:
        session = self._session
        try:
            return session.fork()
        except SessionLost:
            pass
        with self._lock:
            # Never before it has loaded: others take what stands here.
            if self._session is session and not self._closed:
                self._session = self._load()
            return self._session.fork()
