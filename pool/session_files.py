"""Files of a session's calls: what is placed before one, and what is taken out after it."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence

from ..sandbox.jail import descriptors
from ..sandbox.limits import Limits
from ..sandbox.result import Result
from ..sandbox.run.files import Pattern, check_content, check_files, collect, in_pages
from ..sandbox.session.files import folder_of, listable, write
from .engine.task import ForCaller
from .processes import SessionProcesses
from .program import patterns_of

_NO_PROGRAM = ""
"""A session's code is in no file: its name is a session's to use."""


@dataclasses.dataclass(frozen=True, slots=True)
class CallFiles:
    """What a call is given, by name, and what is to be collected after it."""

    given: dict[str, bytes]
    wanted: tuple[Pattern, ...]

    @classmethod
    def of(
        cls, files: Mapping[str, str | bytes] | None, wanted: Sequence[str], limits: Limits
    ) -> "CallFiles":
        """Raises TypeError or ValueError, as for a run."""
        given = {} if files is None else check_files(files, limits, program_file=_NO_PROGRAM)
        return cls(given, patterns_of(wanted))

    def around(self, held: SessionProcesses, make: Callable[[], Result]) -> Result:
        """Place the files, make the call, and return its result with what is collected. Whoever
        calls has the turn, and there is a head. Raises `ForCaller` with the OSError where a file
        can't be placed: then the call is not made. Raises `JailLost`, and what `make` does.
        """
        head = held.head
        if head is None or not (self.given or self.wanted) or not head.is_at_rest():
            return make()  # which knows what has become of one that has ended
        descriptors.require()  # a folder that can't be taken would cost the session
        family = held.family
        with contextlib.ExitStack() as owned:
            # A call that is ended may take the session with it: its files stay until then.
            family.use(head.home)
            owned.callback(family.unuse, head.home)
            try:
                folder = owned.enter_context(folder_of(family, head))
                if self.given:
                    write(family, head, folder, self.given)
            except OSError as error:
                if self.given:
                    raise ForCaller from error
                return dataclasses.replace(make(), files_skipped=_unreadable(error))
            result = make()
            return self._collected(result, held, folder) if self.wanted else result

    def _collected(self, result: Result, held: SessionProcesses, folder: int) -> Result:
        if held.head is not None:
            held.head.is_at_rest()  # it is about to be, or has ended
        try:
            with listable(folder) as top:
                limits = held.family.limits
                found, skipped = collect(top, self.wanted, limits, program_file=_NO_PROGRAM)
        except OSError as error:
            return dataclasses.replace(result, files_skipped=_unreadable(error))
        return dataclasses.replace(result, files=found, files_skipped=skipped)


def checked_content(data: object, limits: Limits) -> bytes:
    """Return what is to be written; raise TypeError, or ValueError for what can never fit."""
    content = check_content("data", data)
    size = in_pages(len(content))
    if limits.disk_bytes is not None and size > limits.disk_bytes:
        raise ValueError(
            f"data: {size} bytes in whole pages, more than limits.disk_bytes={limits.disk_bytes}"
        )
    return content


def _unreadable(error: OSError) -> dict[str, str]:
    return {".": f"can't be read ({error.strerror})"}
