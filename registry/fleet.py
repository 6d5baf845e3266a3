"""Fleets: several services of one class under one name. How many there are to be.

A class may have a method `fleet_state`, which a fleet asks now and then; see `MemberState`.
"""

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

FLEET = "fleet-"
"""How the tokens of fleets begin."""

LOOK_S = 1.0
"""How often a fleet looks after its members."""

_BUSY = 4.0
_IDLE = 0.25
_GROWS_AFTER, _SHRINKS_AFTER = 3, 60
"""Looks in a row at which all are busy, or idle, on the average."""


class MemberState(NamedTuple):
    """What a member says of itself. load: what waits and runs there, for each that can run at once.
    draining: it takes nothing new. drained: it has nothing left to do.
    """

    load: float = 0.0
    draining: bool = False
    drained: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class FleetSize:
    """least, most: how many members. most: None: as many as there are places for one each."""

    least: int = 1
    most: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("min", self.least), ("max", self.most)):
            if value is None and name == "max":
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be a whole number, not {value!r}")
            if not 1 <= value <= 100_000:
                raise ValueError(f"{name}={value!r}: must be 1 to 100000")
        if self.most is not None and self.most < self.least:
            raise ValueError(f"max={self.most!r}: must not be less than min={self.least!r}")


class Growth:
    """Decides, by what members say, how many more than a base there are to be."""

    def __init__(self, size: FleetSize) -> None:
        self._size = size
        self._busy = self._idle = 0
        self.extra = 0

    def wanted(self, base: int, states: Iterable[MemberState]) -> int:
        """Return how many members there are to be. base: as many as there would be idle."""
        base = max(base, self._size.least)
        loads = [state.load for state in states if not state.draining]
        if loads and self._size.most is not None:
            mean = sum(loads) / len(loads)
            self._busy = self._busy + 1 if mean > _BUSY else 0
            self._idle = self._idle + 1 if mean < _IDLE else 0
            if self._busy >= _GROWS_AFTER and base + self.extra < self._size.most:
                self.extra += max(1, (base + self.extra) // 4)
                self._busy = 0
            elif self._idle >= _SHRINKS_AFTER and self.extra:
                self.extra -= 1
                self._idle = 0
        wanted = base + self.extra
        if self._size.most is not None:
            wanted = min(wanted, self._size.most)
            self.extra = max(wanted - base, 0)
        return wanted
