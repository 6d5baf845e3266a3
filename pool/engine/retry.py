"""The one policy of trying again: what becomes of a task whose jail was lost.

It depends on nothing but how often that happened. A run has no effect outside its jail, so it can
be repeated; but a program that brings down one jail after the other must not be counted as a
failure of the pool, and no task is tried for ever.
"""

import dataclasses

MOST_LOST = 2
"""Jails that may be lost under a running program: with the last one it is `denied`."""

MOST_UNSTARTED = 5
"""Jails on which it may fail to start before that is an infra error: of a snapshot's, an idle one,
its template, and the jail of them all may be found dead one after the other."""


@dataclasses.dataclass(slots=True)
class Attempts:
    """How a task has fared so far. lost: jails that fell while its program ran. unstarted: jails on
    which it could not be started at all, which the program is not to blame for.
    """

    lost: int = 0
    unstarted: int = 0

    @property
    def any(self) -> bool:
        return self.lost + self.unstarted > 0

    def again_after_loss(self) -> bool:
        """Count a jail that fell under the program; tell whether to try once more. If not, the
        program is charged with it.
        """
        self.lost += 1
        return self.lost < MOST_LOST

    def again_unstarted(self) -> bool:
        """Count a jail that did not start the program; tell whether to try once more. If not, that
        is an infra error.
        """
        self.unstarted += 1
        return self.unstarted < MOST_UNSTARTED
