"""Times in buckets, as histograms count them."""

from bisect import bisect_left

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of queue and run times; above is one more."""


class Buckets:
    """How many times were no longer than each bound; guarded by whoever owns it."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1

    def to_dict(self) -> dict[str, int]:
        """By upper bound, as text, how many were at most that; "+Inf" is all."""
        found, total = {}, 0
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self._counts, strict=True):
            total += count
            found[bound] = total
        return found
