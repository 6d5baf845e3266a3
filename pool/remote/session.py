"""A session at an executor elsewhere."""

import functools
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Unpack, overload

from ...sandbox.errors import PolicyError
from ...sandbox.limits import Limits
from ...sandbox.result import Result
from ..engine.task import RunFuture
from ..errors import PoolError, SessionLost
from ..function import check_name, pack_call, value_of
from ..session import CallOptions
from . import messages
from .order import SessionOrder

if TYPE_CHECKING:
    from .link import Link
    from .router import Router


class Runner(Protocol):
    """What a session needs of its client."""

    router: "Router"

    def require_ours(self) -> None: ...

    def is_ours(self) -> bool: ...


class RemoteSession:
    """A `Session` that lives at an executor elsewhere. Its methods mean the same, and raise the
    same; where the executor is lost, `SessionLost`. Ended by `close`, with its client, or when
    nobody holds it any more.
    """

    def __init__(
        self, client: object, runner: Runner, link: "Link", session_id: str, limits: Limits
    ) -> None:
        self._client = client  # which is not collected, and so not closed, before this is
        self._runner = runner
        self._link = link
        self._id = session_id
        self.limits = limits
        runner.router.hold(link, 1)
        self._finalizer = weakref.finalize(self, _end_later, runner, link, session_id)

    def __repr__(self) -> str:
        return f"<RemoteSession {self._id} at {self._link.key}>"

    def run(self, code: str | bytes, **options: Unpack[CallOptions]) -> Result:
        """Run `code` where the last call left off; as `Session.run`."""
        return self.submit(code, **options).wait()

    def submit(self, code: str | bytes, **options: Unpack[CallOptions]) -> RunFuture:
        """Queue a call and return a future of its result; as `Session.submit`. What is wrong with
        its arguments is raised by the future.
        """
        return self._submit(code, None, options)

    async def arun(self, code: str | bytes, **options: Unpack[CallOptions]) -> Result:
        """`run` for asyncio; cancelling the task kills the call, or takes it back."""
        import asyncio

        return await asyncio.wrap_future(self.submit(code, **options))

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function `name` of the session's namespace; as `Session.call`."""
        return value_of(self.submit_request(pack_call(check_name(name), args, kwargs)).wait())

    def submit_request(self, request: bytes, **options: Unpack[CallOptions]) -> RunFuture:
        """Queue the call of a function, as `pack_call` has it."""
        return self._submit(b"", request, options)

    def write(self, name: str, data: str | bytes) -> None:
        """Write a file; as `Session.write`."""
        self._ask("write", name, data)

    def read(self, name: str) -> bytes:
        """Return what is in a file; as `Session.read`."""
        data: bytes = self._ask("read", name)
        return data

    def listdir(self, path: str = ".") -> list[str]:
        """Return the sorted names in a folder; as `Session.listdir`."""
        names: list[str] = self._ask("listdir", path)
        return names

    def rollback(self, steps: int = 1) -> None:
        """Go back to the state before the last `steps` calls; as `Session.rollback`."""
        self._ask("rollback", steps)

    @overload
    def fork(self, n: None = None) -> "RemoteSession": ...
    @overload
    def fork(self, n: int) -> "list[RemoteSession]": ...
    def fork(self, n: int | None = None) -> "RemoteSession | list[RemoteSession]":
        """Return sessions that go on from this state, at the same executor; as `Session.fork`."""
        found = self._ask("fork", n)
        if n is None:
            return self._branch(found)
        return [self._branch(each) for each in found]

    def reset(self) -> None:
        """Begin anew; as `Session.reset`. Where its executor was lost, it stays lost."""
        self._ask("reset")

    @property
    def history(self) -> int:
        """How many earlier states are kept now; as `Session.history`."""
        kept: int = self._ask("history")
        return kept

    def is_lost(self) -> bool:
        """Whether its state is gone, though it was not closed."""
        if self._link.is_lost:
            return True
        lost: bool = self._ask("is_lost")
        return lost

    @property
    def is_gone(self) -> bool:
        """Whether it was closed, or its executor is lost."""
        return self._link.is_lost or not self._finalizer.alive

    def close(self) -> None:
        """End it; a call under way is cancelled. Its branches live on. Idempotent."""
        if self._finalizer.detach() is not None:
            _end(self._runner, self._link, self._id)

    def __enter__(self) -> "RemoteSession":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _branch(self, session_id: str) -> "RemoteSession":
        return RemoteSession(self._client, self._runner, self._link, session_id, self.limits)

    def _submit(self, code: str | bytes, request: bytes | None, options: CallOptions) -> RunFuture:
        if options.get("on_output") is not None:
            raise PolicyError("on_output: output does not come piece by piece from an executor")
        future: RunFuture = self._put(
            messages.CALL, (self._id, code, request, dict(options))
        ).future
        return future

    def _ask(self, method: str, *args: Any) -> Any:
        return self._put(messages.SESSION, (self._id, method, args, {})).future.wait()

    def _put(self, kind: int, body: Any) -> SessionOrder:
        self._runner.require_ours()
        if not self._finalizer.alive:
            raise SessionLost("this session is gone: it was closed")
        order = SessionOrder(kind, body, self._link)
        try:
            self._runner.router.put(order)
        except BaseException:  # Ctrl-C, when it is on its way already
            order.future.cancel()
            raise
        return order


def _end_later(runner: Runner, link: "Link", session_id: str) -> None:
    runner.router.later(functools.partial(_end, runner, link, session_id))


def _end(runner: Runner, link: "Link", session_id: str) -> None:
    if not runner.is_ours():
        return
    runner.router.hold(link, -1)
    order = SessionOrder(messages.SESSION, (session_id, "close", (), {}), link)
    try:
        runner.router.put(order)
    except PoolError:
        pass  # the client is closed, or the executor lost: it is gone with either
