"""The folder of a namespace: one file a name, locked by the process that stands for it."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import stat
import tempfile
import time
import weakref
from collections.abc import Iterator
from typing import Any

from ..errors import ServiceError

_PATIENCE_S = 10.0
"""Nobody holds the folder's lock for longer than a few reads and writes take."""

_OTHERS_PATIENCE_S = 1.0
_PAUSE_S = 0.002
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_LOCK, _RECORD, _SOCKET = "lock", ".json", ".sock"

_claims: "weakref.WeakSet[Claim]" = weakref.WeakSet()


class Claim:
    """A name that is taken, for as long as this or an inheriting process holds the descriptor."""

    def __init__(self, fd: int, name: str, token: str, socket: str) -> None:
        self.fd = fd
        self.name = name
        self.token = token
        self.socket = socket
        _claims.add(self)

    def close(self) -> None:
        """Let go of it. If nobody else holds it, the name is free. Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Records:
    """The records of one namespace. Everything is done under the folder's lock, in no time."""

    def __init__(self, namespace: str, folder: str | None = None) -> None:
        base = default_folder() if folder is None else folder
        require_private(base)  # whoever names one learns at once what is wrong with it
        self.path = os.path.join(base, _short(namespace))

    def claim(self, name: str, token: str) -> Claim | None:
        """Take `name`; None if it is taken. The record says nothing yet: see `write`."""
        with self._locked():
            if self._read(name) is not None:
                return None
            fd = os.open(self._path(name), _FLAGS | os.O_CREAT, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                socket = os.path.join(self.path, _short(f"{name}::{token}") + _SOCKET)
                claim = Claim(fd, name, token, socket)
                self._put(claim, {})
            except BaseException:
                os.close(fd)
                os.unlink(self._path(name))
                raise
            return claim

    def write(self, claim: Claim, record: dict[str, Any]) -> bool:
        """Say what the claimed name leads to; false if it was taken away meanwhile."""
        with self._locked():
            if os.fstat(claim.fd).st_nlink == 0:
                return False
            self._put(claim, record | {"ready": True})
            return True

    def find(self, name: str) -> dict[str, Any] | None:
        """Return the record of `name`, if it is ready and lives."""
        with self._locked():
            record = self._read(name)
        return record if record is not None and record.get("ready") else None

    def all(self) -> list[dict[str, Any]]:
        """Return every record that lives, those that are not ready included."""
        with self._locked():
            files = sorted(each for each in os.listdir(self.path) if each.endswith(_RECORD))
            records = [self._read_file(os.path.join(self.path, each)) for each in files]
        return [record for record in records if record]

    def remove(self, name: str, token: str) -> dict[str, Any] | None:
        """Free the name, if it still is what `token` was given for; return what was there."""
        with self._locked():
            record = self._read(name)
            if record is None or record.get("token") != token:
                return None
            self._unlink(self._path(name), record)
            return record

    @classmethod
    def at(cls, path: str) -> "Records":
        """The records in a folder that is known already, and was looked at."""
        records = cls.__new__(cls)
        records.path = path
        return records

    @classmethod
    def with_claim(cls, fd: int) -> "Records":
        """The records that the one with the descriptor `fd` is among, or was."""
        return cls.at(os.path.dirname(os.readlink(f"/proc/self/fd/{fd}")))

    def give_up(self, fd: int, patience_s: float) -> None:
        """Free the name that is claimed by the descriptor `fd`; do nothing where that has been
        done. Raises `ServiceError` where the folder stays locked for `patience_s`.
        """
        if os.fstat(fd).st_nlink:  # else not even the folder need be there
            with self._locked(patience_s):
                if os.fstat(fd).st_nlink:
                    line = os.pread(fd, os.fstat(fd).st_size, 0).partition(b"\n")
                    self._unlink(os.readlink(f"/proc/self/fd/{fd}"), _parsed(line[0] + line[1]))

    # ---- under the lock

    def _path(self, name: str) -> str:
        return os.path.join(self.path, _short(name) + _RECORD)

    def _read(self, name: str) -> dict[str, Any] | None:
        return self._read_file(self._path(name))

    def _read_file(self, path: str) -> dict[str, Any] | None:
        """The record, or None; what a dead process has left is removed."""
        try:
            fd = os.open(path, _FLAGS)
        except FileNotFoundError:
            return None
        with open(fd, "rb") as file:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return _parsed(file.readline())
            self._unlink(path, _parsed(file.readline()))
            return None

    def _unlink(self, path: str, record: dict[str, Any]) -> None:
        os.unlink(path)
        if record:  # else its writer died before the first word
            with contextlib.suppress(FileNotFoundError):
                os.unlink(record["socket"])

    def _put(self, claim: Claim, record: dict[str, Any]) -> None:
        # One line, which is whole at any moment: the writer may be killed between the two calls.
        named = {"name": claim.name, "token": claim.token, "socket": claim.socket}
        line = json.dumps(record | named).encode() + b"\n"
        if os.pwrite(claim.fd, line, 0) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)
        os.ftruncate(claim.fd, len(line))

    @contextlib.contextmanager
    def _locked(self, patience_s: float = _PATIENCE_S) -> Iterator[None]:
        """Hold the folder's lock. The folder is there from then on, and goes with what it held."""
        lock = os.path.join(self.path, _LOCK)
        deadline = time.monotonic() + patience_s
        while (fd := self._try_lock(lock)) < 0:
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"{self.path} is locked for {patience_s:g} s: a process that "
                    f"registers or looks up a service seems to be stopped"
                )
            time.sleep(_PAUSE_S)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # somebody has just come, with a lock of his own
                if os.listdir(self.path) == [_LOCK]:
                    os.unlink(lock)
                    os.rmdir(self.path)
            os.close(fd)

    def _try_lock(self, lock: str) -> int:
        """The descriptor of the lock, held; -1 while another holds it, or has just removed it."""
        try:
            require_private(os.path.dirname(self.path))
            require_private(self.path)
            fd = os.open(lock, _FLAGS | os.O_CREAT, 0o600)
        except FileNotFoundError:
            return -1
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:
                return fd
        except BlockingIOError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return -1


def default_folder() -> str:
    """The same for all processes of this user, whatever their environment's $TMPDIR is."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isdir(runtime) and os.stat(runtime).st_uid == os.geteuid():
        base, name = runtime, "interpreter-pool-services"
    else:
        base = "/tmp" if os.path.isdir("/tmp") else tempfile.gettempdir()
        name = f"interpreter-pool-services-{os.geteuid()}"
    others = _private_folders(base, f"{name}-")
    if others:  # first of all: services are in there, also where the name has become free since
        return others[0]
    path = os.path.join(base, name)
    return path if not os.path.lexists(path) or _is_private(path) else _another(path)


def _another(path: str) -> str:
    """Return the folder that all processes of this user go by where somebody else has taken the
    name: one whose name nobody could foresee. It is made if need be.
    """
    base = os.path.dirname(path)
    lock = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Of those that begin at once, one is to make it. Others can hold this lock, too: without
        # it, two folders may come to be, and services that do not see each other.
        deadline = time.monotonic() + _OTHERS_PATIENCE_S
        while not _has_lock(lock) and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
        if not _private_folders(base, f"{os.path.basename(path)}-"):
            require_private(f"{path}-{os.urandom(8).hex()}")
        return _private_folders(base, f"{os.path.basename(path)}-")[0]
    finally:
        os.close(lock)


def _has_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _private_folders(base: str, prefix: str) -> list[str]:
    """This user's private folders in `base` whose names begin so, sorted."""
    found = sorted(each for each in os.listdir(base) if each.startswith(prefix))
    return [path for each in found if _is_private(path := os.path.join(base, each))]


def _is_private(path: str) -> bool:
    """Whether a folder is there, is this user's, and nobody else can enter it."""
    try:
        return _shows_privacy(os.lstat(path))
    except FileNotFoundError:
        return False


def _shows_privacy(found: os.stat_result) -> bool:
    private = stat.S_ISDIR(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
    return private and found.st_uid == os.geteuid()


def require_private(path: str) -> None:
    """Make the folder, or be sure that it is this user's and nobody else can enter it."""
    while True:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        with contextlib.suppress(FileNotFoundError):  # the last one in it has just removed it
            if _shows_privacy(os.lstat(path)):
                return
            raise PermissionError(
                f"{path} must be a folder of user {os.geteuid()} that nobody else can enter; "
                f"remove it, or name another with folder="
            )


def _parsed(line: bytes) -> dict[str, Any]:
    """The record; nothing is in it where it was never written, or not to the end of its line."""
    if not line.endswith(b"\n"):
        return {}
    record: dict[str, Any] = json.loads(line)
    return record


def _short(name: str) -> str:
    """A file's name, whatever signs the name has."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _after_fork_in_child() -> None:
    """A copy of the descriptor would keep the name taken after its owner's death."""
    for claim in list(_claims):
        claim.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
