"""What the runs of one runtime are made from."""

import threading

from ...sandbox.jail.plan import Plan
from ...sandbox.limits import Limits
from .families import Families
from .jails import Jails, Kind, Zygotes
from .warm import Warm


class Ground:
    """A runtime as the engine has it: `zygotes`, its bare ones, `warm`, those that have imported
    what programs import, and `families`, the jail of its sessions. plan: what all of these have in
    common. Nothing is made before it is wanted. zygotes: None for a source of its own.
    """

    def __init__(
        self,
        plan: Plan,
        limits: Limits,
        jails: Jails,
        size: int,
        closing: threading.Event,
        zygotes: Zygotes | None = None,
    ) -> None:
        self.plan = plan
        self.zygotes = Zygotes(plan, Kind.RUNTIME) if zygotes is None else zygotes
        self.warm = Warm(plan, limits, jails, size)
        self.families = Families(plan, closing)
