"""A folder of our own on this host, and the sweeping up after owners that died.

Every process that makes jails has one folder below `<temporary folder>/interpreter-pool-<uid>`,
or, where somebody else has taken that name, below one with a random end to it.
It holds a lock for as long as the process lives, the scratch folders of the landlock tier, the
mount points for staging, and a list of the cgroups made. Whoever makes a new one first removes
those whose lock nobody holds: a process killed by SIGKILL cleans up nothing itself.
"""

import contextlib
import fcntl
import os
import stat
import tempfile
import weakref
from collections.abc import Iterator

from ..errors import SetupError
from ..guest.jail.scratch import wipe
from . import cgroups

_LOCK, _GROUPS = "lock", "cgroups"
_NAME = "interpreter-pool-{}"  # the user's id

_LEAST_AGE_S = 60.0
"""A folder without a lock that is older was left by an owner who died between making it and its
lock, or between removing its lock and itself: both take a moment. Its age is by the host's clock,
as files have no other; where that is set meanwhile, at worst an empty folder is taken from someone,
who makes another."""

_PASSABLE = 0o711
"""Workers with ids of their own pass through here; set after mkdir, which the umask cuts."""

_open: "weakref.WeakSet[HostFolder]" = weakref.WeakSet()


class HostFolder:
    """One folder; `close` removes it. A context manager."""

    def __init__(self) -> None:
        try:
            base = base_folder()
            sweep()
            while not self._make(base):
                pass  # someone swept it between its making and its locking
        except OSError as error:
            raise SetupError("folder", str(error)) from error
        _open.add(self)

    def _make(self, base: str) -> bool:
        # The process id is for people to read; that the owner lives, only the lock tells.
        self.path = os.path.join(base, f"{os.getpid()}-{os.urandom(4).hex()}")
        os.mkdir(self.path)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            os.chmod(self.path, _PASSABLE)
            self._lock = os.open(os.path.join(self.path, _LOCK), flags)
        except FileNotFoundError:
            return False
        except OSError:  # without a lock, it would be swept late
            os.rmdir(self.path)
            raise
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if os.fstat(self._lock).st_nlink:
                return True
        except BaseException:  # such as a file system without locks
            os.close(self._lock)
            _remove(self.path)
            raise
        os.close(self._lock)
        return False

    def __repr__(self) -> str:
        return f"<HostFolder {self.path}>"

    def make_folder(self, name: str, owner: tuple[int, int] | None = None) -> str:
        """Make the folder `name`, private to `owner` (user, group; default: this process's)."""
        path = os.path.join(self.path, name)
        os.mkdir(path, 0o700)
        if owner is not None:
            os.chown(path, *owner)
        return path

    def remove_folder(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            _remove(os.path.join(self.path, name))

    def note_cgroup(self, path: str) -> None:
        """Write down a cgroup that is about to be made, so that it can't be forgotten."""
        with open(os.path.join(self.path, _GROUPS), "a", encoding="utf-8") as file:
            file.write(path + "\n")

    def __enter__(self) -> "HostFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._lock >= 0:
            # A group that does not go keeps the folder, and with it the note for a later sweep; as
            # does a host that has no descriptor left to look into it.
            with contextlib.suppress(OSError):
                if _remove_cgroups(self.path):
                    _remove_owned(self.path)
            os.close(self._lock)
            self._lock = -1

    def release_after_fork(self) -> None:
        """In a forked child: drop the inherited lock, which is the parent's to hold."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def sweep(base: str | None = None) -> list[str]:
    """Remove what dead owners left below `base`, or wherever this user's may be; return the folders
    removed.
    """
    removed = []
    bases = _bases() if base is None else [base]
    for path in (folder for each in bases for folder in _folders(each)):
        with contextlib.suppress(OSError):
            if _is_forsaken(path) and _remove_cgroups(path):
                _remove(path)
                removed.append(path)
                continue
        try:
            lock = os.open(os.path.join(path, _LOCK), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue  # being made, or gone
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _remove_cgroups(path):
                _remove_owned(path)
                removed.append(path)
        except OSError:
            continue  # its owner lives, or someone else sweeps
        finally:
            os.close(lock)
    return removed


def _is_forsaken(path: str) -> bool:
    """Whether the folder `path` has no lock, and is too old to be on its way in or out."""
    base = os.path.dirname(path)
    os.utime(base)  # now, by the clock of the file system
    old = os.lstat(path).st_mtime < os.stat(base).st_mtime - _LEAST_AGE_S
    return old and not os.path.lexists(os.path.join(path, _LOCK))


def base_folder() -> str:
    """Return the folder that this user's processes have theirs in; it is made if need be.

    The temporary folder is everybody's: where a name was taken first by someone else, another is
    found that nobody can foresee, and by those who come later, too. Raises OSError.
    """
    path = os.path.join(tempfile.gettempdir(), _NAME.format(os.geteuid()))
    if _make_base(path):
        return path
    for each in _bases():
        return each
    path = f"{path}-{os.urandom(8).hex()}"
    if not _make_base(path):
        raise SetupError("folder", f"{path} was taken as it was made; set TMPDIR")
    return path


def _make_base(path: str) -> bool:
    """Make a base folder unless it is there; tell whether it is this user's."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return _is_own(path)
    os.chmod(path, _PASSABLE)
    return True


def _bases() -> list[str]:
    """This user's base folders that are there, the one with the plain name first."""
    above, name = tempfile.gettempdir(), _NAME.format(os.geteuid())
    found = sorted(
        each for each in os.listdir(above) if each == name or each.startswith(f"{name}-")
    )
    return [path for each in found if _is_own(path := os.path.join(above, each))]


def _is_own(path: str) -> bool:
    """Whether a folder is this user's, who alone may write there: no link, and nobody else's."""
    with contextlib.suppress(FileNotFoundError):
        status = os.lstat(path)
        mine = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
        return mine and not stat.S_IMODE(status.st_mode) & 0o022
    return False


def _folders(base: str) -> Iterator[str]:
    with os.scandir(base) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield entry.path


def _remove_cgroups(path: str) -> bool:
    """Remove the cgroups noted in the folder `path`; tell whether all are gone."""
    try:
        with open(os.path.join(path, _GROUPS), encoding="utf-8") as file:
            gone = [cgroups.remove(line.rstrip("\n")) for line in file]  # every one, then all
            return all(gone)
    except FileNotFoundError:
        return True


def _remove_owned(path: str) -> None:
    """Remove an owner's folder, its lock last: whoever dies meanwhile leaves it to the next sweep,
    which must not take it for one that is being made.
    """
    for name in os.listdir(path):
        inner = os.path.join(path, name)
        if stat.S_ISDIR(os.lstat(inner).st_mode):
            _remove(inner)
        elif name != _LOCK:
            os.unlink(inner)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(path, _LOCK))
    os.rmdir(path)


def _remove(path: str) -> None:
    wipe(path)
    os.rmdir(path)


def _after_fork_in_child() -> None:
    for folder in list(_open):
        folder.release_after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
