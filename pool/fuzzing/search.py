"""The search for an input on which two functions differ, and for the simplest one."""

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..function import pack_call
from ..judge.values import Rule
from .difference import Difference
from .drawing import simplest
from .kept import Kept
from .side import Side
from .strategies import Arguments

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

OnExample = Callable[[int, Difference | None], None]
"""Called after each input with how many were tried, and the last difference that was seen."""

_SIMPLIFYING_S = 60.0
"""After the first difference: what is the simplest by then is returned."""

_ASKED_AGAIN = 3
"""How often the simplest input is tried again, to see whether it always differs."""


class Search:
    """Asks both sides the same, at the same time, and remembers where they differ.

    Nothing is asked twice, so that hypothesis, which comes back to what it has found, sees the same
    each time, whatever the programs do. Only the result is, in the end.
    """

    def __init__(
        self,
        name: str,
        candidate: Side,
        reference: Side,
        *,
        rule: Rule,
        seed: int,
        on_example: OnExample | None = None,
    ) -> None:
        self._name = name
        self._candidate = candidate
        self._reference = reference
        self._rule = rule
        self._seed = seed
        self._on_example = on_example
        self._asked: set[bytes] = set()  # calls as they cross
        self._found: dict[bytes, Difference] = {}
        self._last: Difference | None = None
        self._simplified_by: float | None = None

    def run(self, strategy: "SearchStrategy[Any]", most: int, kept: Kept) -> Difference | None:
        """Look at what was kept, then at `most` inputs, and then for the simplest one; return it,
        or None. What is found is kept.
        """
        self._other = ThreadPoolExecutor(1, "pool-reference")
        waits = True
        try:
            return self._run(strategy, most, kept)
        except KeyboardInterrupt:
            waits = False  # for a call that its limit ends, or whoever closes the pool
            raise
        finally:
            self._other.shutdown(wait=waits)

    def _run(self, strategy: "SearchStrategy[Any]", most: int, kept: Kept) -> Difference | None:
        for arguments in kept:
            if self._differs(arguments):
                return self._confirmed(arguments)
        drawn = simplest(strategy, self._differs, most=most, seed=self._seed)
        if drawn is None:
            return None
        arguments = Arguments.of(drawn)
        kept.keep(self._name, arguments)
        return self._confirmed(arguments)

    def _differs(self, drawn: object) -> bool:
        arguments = Arguments.of(drawn)
        request = self._request(arguments)
        if request in self._asked:
            return request in self._found
        if self._simplified_by is not None and time.monotonic() > self._simplified_by:
            return False
        found = self._ask(arguments)
        self._asked.add(request)
        if found is not None:
            self._found[request] = self._last = found
            if self._simplified_by is None:
                self._simplified_by = time.monotonic() + _SIMPLIFYING_S
        if self._on_example is not None:
            self._on_example(len(self._asked), self._last)
        return found is not None

    def _ask(self, arguments: Arguments) -> Difference | None:
        asked = self._other.submit(self._reference.ask, arguments)
        candidate, reference = self._candidate.ask(arguments), asked.result()
        if candidate.is_as(reference, self._rule):
            return None
        return Difference(
            function=self._name,
            args=arguments.args,
            kwargs=arguments.kwargs,
            candidate=candidate,
            reference=reference,
            examples=len(self._asked) + 1,
            seed=self._seed,
        )

    def _confirmed(self, arguments: Arguments) -> Difference:
        """The difference on this input, after asking again."""
        found = self._found[self._request(arguments)]
        is_steady = all(
            self._candidate.confirms(arguments, found.candidate, self._rule)
            and self._reference.confirms(arguments, found.reference, self._rule)
            for _ in range(_ASKED_AGAIN)
        )
        return dataclasses.replace(found, examples=len(self._asked), flaky=not is_steady)

    def _request(self, arguments: Arguments) -> bytes:
        return pack_call(self._name, arguments.args, arguments.kwargs)
