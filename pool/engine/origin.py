"""Where the runs of a snapshot come from."""

import logging
import threading
import time
from collections.abc import Callable

from ...sandbox.errors import PolicyError, SetupError
from ...sandbox.guest.jail.protocol import Profile
from ...sandbox.jail import descriptors
from ...sandbox.jail.messages import JailLost
from ...sandbox.result import Result
from ...sandbox.run.run_jail import RunJail
from ...sandbox.snapshot.template import (
    SetupFailed,
    SetupRefused,
    SetupTimeout,
    Template,
    TemplateJail,
)
from ..errors import PoolError, ProgramError, SessionLost
from .families import Families
from .jails import Jails, Kind

logger = logging.getLogger(__name__)


class Origin:
    """The source of a snapshot's jails: a template, made anew if it dies. jails: where those that
    are idle wait. runtime: the one that it is of. Raises, when it is made, `ProgramError` where the
    set-up code fails, `PolicyError` for what can't be shared by forks, `PoolError` for what takes
    too long.
    """

    def __init__(
        self,
        families: Families,
        jails: Jails,
        setup: bytes,
        timeout_s: float | None,
        runtime: str | None = None,
    ) -> None:
        self.kind = Kind.SNAPSHOT
        self.runtime = runtime
        self.plan = families.plan
        self._families = families
        self._jails = jails
        self.setup = setup
        self._timeout_s = timeout_s
        self._lock = threading.Lock()  # guards _template: it forks one zygote at a time
        self.template: Template | None = None
        self.closed = False
        with self._lock:
            try:
                self._make()
            except JailLost as lost:
                raise PoolError(f"a snapshot could not be made: {lost}") from None

    def _make(self) -> Template:
        descriptors.require()
        began = time.monotonic()
        try:
            self.template = Template(self._families.fork_server(), self.setup, self._timeout_s)
        except SetupFailed as failed:
            error = failed.exception
            result = Result.internal("the set-up code failed", tier=self.plan.tier, queue_s=0.0)
            raise ProgramError(error.type, error.message, error.traceback, result) from None
        except SetupRefused as refused:
            raise PolicyError(f"what the set-up code made can't be shared: {refused}") from None
        except SetupTimeout as timeout:
            raise PoolError(f"timeout={self._timeout_s!r}: {timeout}") from None
        process = self.template.process
        said = (process.pid if process else 0, time.monotonic() - began)
        logger.debug("a snapshot was made: process %d, in %.3f s", *said)
        return self.template

    @property
    def is_making(self) -> bool:
        """Whether a template is made now, or a zygote forked from it."""
        return self._lock.locked()

    def require_open(self) -> None:
        if self.closed:
            raise SessionLost("this snapshot is gone: it was closed")

    def open(self, profile: Profile, hold: Callable[[RunJail], None]) -> TemplateJail:
        """Have a zygote forked from the template, which is made anew if it has died."""
        self.require_open()
        descriptors.require()
        # First, since the fork server may be gone, and another not to be had.
        fork_server = self._families.fork_server()
        with self._lock:
            self.require_open()
            if self.template is not None and self.template.fork_server is not fork_server:
                self._drop_template()
            template = self.template or self._make()
            jail = TemplateJail(template)
            hold(jail)
            try:
                jail.start(profile)
            except (JailLost, SetupError):
                self._drop_template()  # whatever it was, another one is made
                raise
        return jail

    def close(self) -> None:
        self.closed = True
        self._jails.forget(self)
        with self._lock:
            self._drop_template()

    def _drop_template(self) -> None:
        if self.template is not None:
            self.template.close()
            self.template = None
