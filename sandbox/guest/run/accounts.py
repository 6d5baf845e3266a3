"""Who a program is, in a jail without files of its own that say so (landlock tier)."""

import grp
import os
import pwd
from collections.abc import Callable
from typing import Any

_NAME, _SHELL = "sandbox", "/usr/sbin/nologin"
"""As in `etc/passwd`, which a jail with a root of its own has."""


def know_oneself(home: Callable[[], str]) -> None:
    """Have `pwd` and `grp` know this process's own ids. home: returns the working directory of the
    present program.

    libc looks them up in files whose paths can't be chosen, and the host's say who its users are:
    nothing is asked of them here either, since libc would remember where the host has it look.
    """
    user, group = os.getuid(), os.getgid()

    def own_user() -> Any:
        return pwd.struct_passwd((_NAME, "x", user, group, _NAME, home(), _SHELL))

    def own_group() -> Any:
        return grp.struct_group((_NAME, "x", group, []))

    for module, name, own, entry in (
        (pwd, "getpwuid", user, own_user),
        (pwd, "getpwnam", _NAME, own_user),
        (grp, "getgrgid", group, own_group),
        (grp, "getgrnam", _NAME, own_group),
    ):
        setattr(module, name, _with_own(getattr(module, name), own, entry))


def _with_own(look_up: Any, own: object, entry: Callable[[], Any]) -> Any:
    """`look_up`, for which `own` leads to `entry`."""

    def get(key: Any) -> Any:
        return entry() if key == own else look_up(key)

    get.__name__ = get.__qualname__ = look_up.__name__
    get.__doc__ = look_up.__doc__
    return get
