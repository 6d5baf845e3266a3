"""An untrusted program that is loaded once, for calls that are each made in a fork of it."""

import threading

from sandbox.result import Result

from .errors import SessionLost
from .function import require_loaded
from .session import CallOptions, Session


class Loaded:
    """A session in which `source` has run. `call` makes a call in a branch of its own; where the
    session was lost (evicted, or its process killed), it is loaded again first. Thread-safe.

    Raises what kept it from being loaded: `ProgramError`, `LimitExceeded`, or `PolicyError` for
    what can't be shared.
    """

    def __init__(self, session: Session, source: str | bytes, options: CallOptions) -> None:
        self._session = session
        self._source = source
        self._options = options
        self._lock = threading.Lock()  # one thread loads it again, and the others find it loaded
        try:
            self._load()
            session.fork().close()  # here, rather than at the first call, it is refused
        except BaseException:
            session.close()
            raise

    def call(self, call: bytes) -> Result:
        with self._branch() as branch:
            return branch._make(b"", call, self._options)

    def close(self) -> None:
        self._session.close()

    def _load(self) -> None:
        require_loaded(self._session.run(self._source))

    def _branch(self) -> Session:
        try:
            return self._session.fork()
        except SessionLost:
            pass
        with self._lock:
            try:
                return self._session.fork()
            except SessionLost:
                self._session.reset()
                self._load()
                return self._session.fork()
