"""Inputs that are kept in a folder, to be tried first the next time."""

import hashlib
import os
from collections.abc import Iterator, Sequence

from ...sandbox.guest.jail import wire
from ..function import pack_call
from .strategies import Arguments

_MOST = 100
"""Are tried: the simplest of them."""


class Kept:
    """The inputs that differed, in hypothesis's database in `folder`; None: nowhere.

    They are kept as they cross, and not as hypothesis's choices: it keeps none of a search that has
    a seed. belongs_to: what they are tried for, by its repr; with the strategy among it, no input
    comes back that can't be drawn any more.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, belongs_to: Sequence[object]) -> None:
        from hypothesis.database import DirectoryBasedExampleDatabase

        self._key = b""
        self._database = None
        if folder is not None:
            self._key = hashlib.sha256(repr(belongs_to).encode("utf-8", "replace")).digest()
            os.makedirs(folder, exist_ok=True)
            self._database = DirectoryBasedExampleDatabase(os.fspath(folder))

    def __iter__(self) -> Iterator[Arguments]:
        """What was kept, simple ones first."""
        if self._database is None:
            return
        for request in sorted(self._database.fetch(self._key), key=_by_size)[:_MOST]:
            try:
                match wire.decode(request):
                    case (str(), tuple(args), dict(kwargs)):
                        yield Arguments(args, kwargs)
            except wire.WireError:  # cut off, or of an earlier version: it can be found again
                continue

    def keep(self, name: str, arguments: Arguments) -> None:
        if self._database is not None:
            request = pack_call(name, arguments.args, arguments.kwargs)
            self._database.save(self._key, request)


def _by_size(request: bytes) -> tuple[int, bytes]:
    return len(request), request
