"""The order in which a process of ours gives up its powers.

`Confinement` is made once, in the zygote: everything that can be prepared is prepared there, so
that a child does a dozen system calls and nothing else. Every step has a name; when one fails,
`ConfineError` carries it to the host, and from there to whoever asked for the jail.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

from . import capabilities, kernel, landlock, libraries, rlimits
from .protocol import Profile
from .scratch import wipe
from .syscall_filter import Filter

FOLDERS = ("home", "tmp", "shm")
"""What a scratch directory holds: the working directory, TMPDIR, and /dev/shm."""

PROGRAM_FILE = "main.py"
"""A program's own file, in its working directory."""

SPARE_INODES = 5
"""Inodes of a scratch directory that are ours: its root, the folders, the program's file."""

_IMPORTS_BYTES = 64 << 20
"""What libraries may write when they are imported, before there are programs."""

_MOST_INODES = 1 << 53
"""tmpfs counts 1024 bytes for each (mm/shmem.c), and takes no number whose bytes are no unsigned
long. More than any machine has is no limit. Sizes are taken up to 2**63."""


class ConfineError(Exception):
    """A step of a confinement failed: nothing may run here."""

    def __init__(self, step: str, cause: BaseException) -> None:
        super().__init__(f"{step}: {cause}")
        self.step = step
        self.cause = cause


class Confinement:
    """What the runs of one zygote are held by.

    `scratch` is the mount point of the scratch directories (namespaces tier), or the folder
    that they are made in one after the other (landlock tier).
    """

    def __init__(
        self,
        tier: str,
        scratch: str,
        rules: list[tuple[str, int]],
        filter_: bytes,
        *,
        families: bool = False,
        run_filter: bytes = b"",
        process_filter: bytes = b"",
        shown: bool = False,
        explain: bool = False,
    ) -> None:
        self.tier = tier
        self.family = ""  # of a family init: the folder of its family's scratches, if they have one
        self._families = families
        self._run_filter = run_filter
        self._process_filter = process_filter
        self._shown = shown
        self._explain = explain
        self.stand_in(scratch)
        self._mount_point = scratch.encode()
        self._signature: list[tuple[int, ...]] = []
        self._kept: Profile | None = None  # of the scratch that is laid out, if one is
        self._mounts = tier == "namespaces"
        self._rules = rules
        self._devices = [path for path, _ in rules if path.startswith("/dev/")]
        self._ruleset = -1
        self._calls: _Calls = []
        # Of runs that may have several processes.
        self._several = Filter(process_filter) if process_filter else None
        self._several_calls: _Calls = []
        self._unmount = kernel.Prepared(
            "umount2", self._mount_point, kernel.MNT_DETACH | kernel.UMOUNT_NOFOLLOW
        )
        self._filter = Filter(filter_) if filter_ else None

    # ---- in the zygote, once

    def zygote(self) -> None:
        """Confine the zygote itself: it keeps what it needs to fork and mount, nothing more."""
        keep = 1 << capabilities.CAP_SYS_ADMIN if self._mounts else 0
        if self._mounts and self._families:
            keep |= 1 << capabilities.CAP_SYS_PTRACE  # to look at what a branch still holds
        if not self._mounts:
            wipe(self.scratch)  # of what preloaded modules have written into their home
        if self._mounts:
            self._steps(("mounts", lambda: kernel.harden_mounts(self._devices)))
        self._steps(
            ("rlimits", rlimits.apply_fixed),
            ("undumpable", lambda: kernel.prctl(kernel.PR_SET_DUMPABLE, int(self._shown))),
            ("no_new_privs", kernel.no_new_privs),
            ("bounding set", _empty_bounding_set_if_privileged),
            ("capabilities", lambda: capabilities.apply(keep)),
            ("landlock ruleset", self._create_ruleset),
        )
        # A Landlocked process can't mount; only a zygote that has nothing to mount is one.
        if self.tier == "landlock":
            self._steps(("landlock zygote", lambda: landlock.apply(self._ruleset)))
        self._prepare_calls()

    def _prepare_calls(self) -> None:
        self._calls = calls_of_runs(self._ruleset, self._mounts)
        if self._several is not None:
            ruleset = self._ruleset
            if ruleset >= 0:
                ruleset = landlock.create(self._executable_rules(), scope_signals=True)
            self._several_calls = calls_of_runs(ruleset, self._mounts)

    def _executable_rules(self) -> list[tuple[str, int]]:
        """The rules of runs that may execute what is in their root, which has nothing set-uid."""
        return [(path, rights | landlock.EXECUTE) for path, rights in self._rules]

    def is_read_only(self, path: str) -> bool:
        """Whether programs may read what is at `path`, which holds no link, and not write to it."""
        rights = 0
        for place, granted in self._rules:
            if place != "/proc" and path.startswith(f"{place.rstrip('/')}/"):
                rights |= granted
        is_granted = rights & landlock.READ_FILE and not rights & landlock.WRITE_FILE
        return bool(is_granted) and not path.startswith("/proc/")

    @contextlib.contextmanager
    def home_for_imports(self) -> Iterator[None]:
        """Have a scratch as programs have one: libraries write into their home, or complain that
        they can't, when they are imported.
        """
        self.lay_out(Profile(_IMPORTS_BYTES, None, None))
        try:
            yield
        finally:
            os.chdir("/")
            self._remove_scratch()

    # ---- in the zygote, around every child

    def lay_out(self, profile: Profile) -> None:
        """Make the scratch of the next child, and stand in it.

        In the namespaces tier it is a tmpfs of its own, mounted by the zygote rather than in a
        mount namespace of the child's, which would cost some 0.25 ms: there is only one child at
        a time, and it can't mount anything.
        """
        if self._kept is not None and self._kept != profile:
            self._remove_scratch()
        if self._kept is None:
            if self._mounts:
                self.mount_scratch(profile.disk_bytes, profile.inodes)
            for folder in self._folders:
                os.mkdir(folder, 0o700)
            self._signature = self._sign()
        self._kept = profile
        os.chdir(self.home)

    def mount_scratch(self, disk_bytes: int | None, inodes: int | None) -> None:
        """Mount an empty scratch over what is there; None is unlimited."""
        if inodes is not None and inodes > _MOST_INODES:
            inodes = None
        options = b"mode=0700,size=%d,nr_inodes=%d" % (disk_bytes or 0, inodes or 0)
        flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOATIME
        # The owner of a mount is who mounts it: a process of ours, whose id its children have.
        kernel.mount(b"tmpfs", self._mount_point, b"tmpfs", flags, options)

    def take_away(self) -> None:
        """Remove the scratch, whatever is in it; no process may be left that uses it.

        One that a run left as it found it is kept for the next: to make and remove one costs a
        tenth of a run.
        """
        os.chdir("/")
        if not self._is_as_laid_out():
            self._remove_scratch()

    def _remove_scratch(self) -> None:
        self._kept = None
        if self._mounts:
            self._unmount()
        else:
            wipe(self.scratch)

    def _is_as_laid_out(self) -> bool:
        """Whether the last run left nothing in the scratch but its own program's file; its folder
        is then made anew. A run can change nothing about the rest that would not show here: the
        kernel sets a change time that nobody else can set.
        """
        try:
            self._unlink_program()
            if sorted(os.listdir(self.scratch)) != sorted(FOLDERS):
                return False
            # Clocks of file systems are coarse: what was made at once shows by being there.
            if any(map(os.listdir, self._folders)) or self._signature != self._sign():
                return False
            os.rmdir(self.home)
            os.mkdir(self.home, 0o700)
            self._signature = self._sign()
        except OSError:
            return False
        return True

    def _unlink_program(self) -> None:
        """Remove the program's file, which may have another name than the usual one; OSError where
        that can't be told from a file that the program has made.
        """
        try:
            os.unlink(self._program_file)
        except FileNotFoundError:
            names = os.listdir(self.home)
            if len(names) != 1:
                raise
            os.unlink(os.path.join(self.home, names[0]))

    def _sign(self) -> list[tuple[int, ...]]:
        """What identifies the scratch and its folders, but for the working directory."""
        found = map(os.lstat, (self.scratch, *self._folders[1:]))
        return [(s.st_ino, s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in found]

    # ---- in a family init, for its family

    @property
    def has_namespaces(self) -> bool:
        return self._mounts

    def lay_out_family(self, disk_bytes: int | None, inodes: int | None) -> None:
        """Mount the scratch of a family's first head, and stand in it."""
        self.mount_scratch(disk_bytes, inodes)
        for each in self._folders:
            os.mkdir(each, 0o700)
        os.chdir(self.home)

    def lay_out_side_by_side(self, family: str, name: str) -> int:
        """Make a folder for the scratches of a family, in it one with `name`, and stand in that;
        return a descriptor of the family's folder. Its processes can pass through it and see no
        name in it: what they are not told they can't find.
        """
        self.family = os.path.join(self.scratch, family)
        os.mkdir(self.family, 0o700)
        folder = os.open(self.family, os.O_RDONLY | os.O_DIRECTORY)
        self.stand_in(os.path.join(self.family, name))
        os.mkdir(self.scratch, 0o700)
        for each in self._folders:
            os.mkdir(each, 0o700)
        os.fchmod(folder, 0o100)
        os.chdir(self.home)
        return folder

    def lay_out_alone(self, name: str) -> None:
        """Make a scratch beside others, and stand in it."""
        self.stand_in(os.path.join(self.top, name))
        for each in (self.scratch, *self._folders):
            os.mkdir(each, 0o700)
        os.chdir(self.home)

    def leave_mounted(self) -> None:
        """In a fork with mounts of its own: let go of the scratch that it was forked with."""
        self._unmount()

    @property
    def top(self) -> str:
        """The folder that all scratches lie in."""
        return os.fsdecode(self._mount_point)

    def stand_in(self, scratch: str) -> None:
        self.scratch = scratch
        self.home = os.path.join(scratch, FOLDERS[0])
        self._folders = [os.path.join(scratch, folder) for folder in FOLDERS]
        self._program_file = os.path.join(self.home, PROGRAM_FILE)

    # ---- in a zygote that was forked from a template

    def for_runs(self, folder: str) -> "Confinement":
        """Return what will hold the runs of a forked zygote; where families and zygotes have their
        scratches side by side, `folder` is the name of its own, which is made.
        """
        scratch, rules = self.top, self._rules
        if not self._mounts:
            scratch = os.path.join(self.top, folder)
            os.mkdir(scratch, 0o700)
            rules = [rule for rule in rules if rule[0] not in (self.top, "/proc")]
            rules.append((scratch, landlock.SCRATCH))
        runs = Confinement(
            self.tier, scratch, rules, self._run_filter, process_filter=self._process_filter
        )
        runs._create_ruleset()
        runs._prepare_calls()
        return runs

    # ---- in a head

    def head(self) -> int:
        """Confine the first head of a family; return the descriptor on which the host is asked."""
        step = "seccomp"
        try:
            for step, call in self._calls:  # noqa: B007
                call()
            step = "landlock of the family"
            if not self._mounts and self._ruleset >= 0:
                landlock.apply(landlock.create(self._own_rules(), scope_signals=True))
            step = "seccomp"
            assert self._filter is not None
            return self._filter.apply_listening()
        except Exception as error:
            raise ConfineError(step, error) from error

    def _own_rules(self) -> list[tuple[str, int]]:
        """The rules of a family that shares the worker's folder with others: its own part of it."""
        rules = [(path, rights) for path, rights in self._rules if path not in (self.top, "/proc")]
        return [*rules, (self.family, landlock.SCRATCH)]

    # ---- in every child, before it has seen a byte of a program

    def prewarmed(self, profile: Profile) -> int:
        """Confine this freshly forked child for good. Return the descriptor where its refused calls
        are to be answered, if the filter is one that asks; else -1.

        After this it can read what the jail offers, write to its scratch directory, and finish
        taking its job; with a profile for several processes, fork, and execute what the jail has.
        """
        if profile.processes:
            return _confine(profile.tasks, self._several_calls, self._several, self._explain)
        return _confine(profile.tasks, self._calls, self._filter, self._explain)

    def rehearse(self) -> None:
        """In the zygote: go the way of `prewarmed`, with calls that change nothing."""
        nothing = kernel.Prepared("getppid")
        _confine(None, [("nothing", nothing)] * 4, None)
        if self._filter is not None:
            self._filter.mark(os.getpid())

    def _steps(self, *steps: tuple[str, Callable[[], object]]) -> None:
        for name, step in steps:
            try:
                step()
            except Exception as error:
                raise ConfineError(name, error) from error

    def _create_ruleset(self) -> None:
        if self.tier != "none" and landlock.probe():
            self._ruleset = landlock.create(self._rules, scope_signals=True)


_Calls = list[tuple[str, kernel.Prepared]]


def calls_of_runs(ruleset: int, own_session: bool) -> _Calls:
    """What every run does to itself before it installs its filter, in this order. own_session: it
    is alone in its pid namespace. Elsewhere all that a zygote has started stays in its session, by
    which the host knows what it may inherit (jail/orphans.py), in a process group of its own.
    """
    # A run dies with its zygote; the filter keeps it from changing its mind. First of all: until
    # then it is in the zygote's group, which the host ends, should something have stopped it.
    die_too = kernel.Prepared("prctl", kernel.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    alone = kernel.Prepared("setsid") if own_session else kernel.Prepared("setpgid", 0, 0)
    calls = [("parent death signal", die_too), ("process group", alone)]
    if ruleset >= 0:
        calls.append(("landlock", landlock.prepare(ruleset)))
    return [*calls, ("capabilities", capabilities.prepare())]


def _confine(tasks: int | None, calls: _Calls, filter_: Filter | None, asks: bool = False) -> int:
    step = "limits"
    try:
        rlimits.apply_tasks(tasks)
        for step, call in calls:  # noqa: B007  (names the call that fails, below)
            call()
        step = "seccomp"
        if filter_ is not None:
            filter_.mark(os.getpid())
            if asks:
                return filter_.apply_listening()
            filter_.install()
    except Exception as error:
        raise ConfineError(step, error) from error
    return -1


def becomes_single_threaded() -> bool:
    """Have libraries end the threads that they keep idle; tell whether no others are left."""
    if _is_single_threaded():
        return True
    libraries.quiesce()
    return _is_single_threaded()


def _is_single_threaded() -> bool:
    return len(os.listdir("/proc/self/task")) == 1


def _empty_bounding_set_if_privileged() -> None:
    # Without CAP_SETPCAP the set can't be emptied, and with no_new_privs it has no effect.
    try:
        capabilities.empty_bounding_set()
    except PermissionError:
        if capabilities.probe(capabilities.CAP_SETPCAP):
            raise
