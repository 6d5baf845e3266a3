"""Which files a jail must hold for an interpreter: this one, or another on this host.

Everything is read off what the interpreter says of itself (`facts.py`). What a program may see is
exactly this, and the packages it is offered; site-packages as a whole is never part of it.
"""

import contextlib
import dataclasses
import functools
import glob
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import PolicyError
from . import facts

_OLDEST = (3, 11)

_PATIENCE_S = 20.0
"""What another interpreter may take to say what it is."""

_LONGEST_ANSWER = 1 << 20
_LONGEST_QUOTE = 200

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
SHARED_MEMORY = "/dev/zero"
"""The device of which a shared map is memory that is in no file."""

_DATA = ("/usr/share/zoneinfo", "/usr/lib/locale/C.utf8")  # the zones, and LANG's own locale
_HIDDEN = ("site-packages", "dist-packages")
"""Entries of a standard library folder that are no part of it: whatever is installed here."""


@dataclasses.dataclass(frozen=True, slots=True)
class Interpreter:
    """An interpreter as a jail must hold it. All paths are absolute and real.

    executable: the interpreter itself.
    prefix: where it looks for its library; `stdlib`, `extensions` lie below it.
    libraries: folders of shared libraries outside of it.
    own_libraries: shared libraries below its prefix: libpython, where it is one.
    home: the environment that it was started from, a virtual one perhaps. sites: the folders on
        its path where distributions are found. markers: what their requirements may ask about.
    """

    executable: str
    prefix: str
    stdlib: str
    extensions: str
    libraries: tuple[str, ...]
    own_libraries: tuple[str, ...]
    home: str
    sites: tuple[str, ...]
    markers: Mapping[str, str] = dataclasses.field(hash=False)

    @property
    def relocated(self) -> bool:
        """Whether a jail shows it at another place: a home directory is nobody's business."""
        return not (self.prefix == "/usr" or self.prefix.startswith("/usr/"))

    def hidden(self) -> list[str]:
        """Folders within the standard library that must not be seen."""
        candidates = (os.path.join(self.stdlib, name) for name in _HIDDEN)
        return [path for path in candidates if os.path.isdir(path)]

    def stdlib_entries(self) -> list[str]:
        """What the standard library consists of, entry by entry, without what is hidden."""
        with os.scandir(self.stdlib) as entries:
            return [entry.path for entry in entries if entry.name not in _HIDDEN]


@functools.cache
def current() -> Interpreter:
    """Describe the interpreter that is running (of a virtual environment: the one behind it)."""
    return _describe(facts.facts())


def find(python: str) -> Interpreter:
    """Describe another interpreter: the path of one, the folder of a virtual environment, or a
    command's name. It is started once. Raises `PolicyError` for one that does not start, or that
    programs can't be run by.
    """
    path = _resolve(python)
    status, said, complaints = _ask(python, [path, "-I", facts.__file__])
    try:
        # Start-up files of an environment may print something, too.
        line = next(each for each in reversed(said.splitlines()) if each.startswith(b"{"))
        found: dict[str, Any] = json.loads(line)
        usable = found["implementation"] == "cpython" and tuple(found["version"]) >= _OLDEST
        if usable and status == 0:
            return _describe(found)
        if usable:
            raise ValueError("it failed after its answer")
    except (StopIteration, ValueError, TypeError, KeyError):
        # What it printed is not quoted: it could be anything, such as the names in a folder.
        last = complaints.strip().rpartition(b"\n")[2][:_LONGEST_QUOTE].decode("utf-8", "replace")
        raise PolicyError(
            f"python={python!r}: {path} is no Python interpreter that works (status {status})"
            + (f": {last}" if last else "")
        ) from None
    version = ".".join(map(str, found["version"]))
    raise PolicyError(
        f"python={python!r}: {path} is {found['implementation']} {version}; "
        f"CPython {_OLDEST[0]}.{_OLDEST[1]} or newer is needed"
    )


def _ask(python: str, command: list[str]) -> tuple[int, bytes, bytes]:
    """Run `command`; return its status, and the beginning of its stdout and stderr. Whatever it
    is, it ends in time, with all that it has started, and fills no memory.
    """
    # Its environment is ours, less what would change what Python says of itself.
    environment = {name: value for name, value in os.environ.items() if name[:6] != "PYTHON"}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise PolicyError(
            f"python={python!r}: {command[0]} does not start ({error.strerror})"
        ) from None
    assert process.stdout is not None and process.stderr is not None
    out, err = process.stdout.fileno(), process.stderr.fileno()
    said = {out: b"", err: b""}
    deadline = time.monotonic() + _PATIENCE_S
    poll = select.poll()
    for fd in said:
        poll.register(fd, select.POLLIN)
    open_ = set(said)
    try:
        while open_ and max(map(len, said.values())) < _LONGEST_ANSWER:
            ready = poll.poll(max(deadline - time.monotonic(), 0) * 1e3)
            if not ready:
                raise PolicyError(
                    f"python={python!r}: {command[0]} did not answer within {_PATIENCE_S:g} s; "
                    "is it a Python?"
                )
            for fd, _ in ready:
                piece = os.read(fd, 1 << 16)
                said[fd] += piece
                if not piece:
                    poll.unregister(fd)
                    open_.discard(fd)
    finally:
        with process, contextlib.suppress(ProcessLookupError):
            if not open_:  # it is leaving by itself
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1)
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said[out], said[err]


def _resolve(python: str) -> str:
    if os.path.isdir(python):
        path, missing = os.path.join(python, "bin", "python"), "a folder without bin/python"
    elif os.sep in python:
        path, missing = python, "there is no such file"
    else:
        return _command(python)
    try:
        os.stat(path)
    except OSError as error:
        absent = isinstance(error, FileNotFoundError)
        why = missing if absent else f"{path}: {error.strerror}"
        raise PolicyError(f"python={python!r}: {why}") from None
    return os.path.abspath(path)


def _command(python: str) -> str:
    found = shutil.which(python)
    if found is None:
        raise PolicyError(f"python={python!r}: no such command on PATH; give the path of one")
    return found


def _describe(found: Mapping[str, Any]) -> Interpreter:
    prefix = os.path.realpath(found["base_prefix"])
    stdlib = os.path.realpath(found["library"])
    own = {os.path.realpath(each) for each in (stdlib, os.path.join(stdlib, "lib-dynload"))}
    return Interpreter(
        executable=os.path.realpath(found["executable"]),
        prefix=prefix,
        stdlib=stdlib,
        extensions=os.path.join(stdlib, "lib-dynload"),
        libraries=tuple(_library_folders(prefix, found)),
        own_libraries=tuple(
            path
            for path in sorted(glob.glob(f"{glob.escape(prefix)}/lib/libpython3*.so*"))
            if prefix != "/usr"
        ),
        home=found["prefix"],
        sites=tuple(each for each in found["path"] if os.path.realpath(each) not in own),
        markers=dict(found["markers"]),
    )


def _library_folders(prefix: str, found: Mapping[str, Any]) -> Iterator[str]:
    """Folders that the dynamic linker looks in, and the interpreter's own, if it is not below."""
    triplet = found["triplet"] or f"{os.uname().machine}-linux-gnu"
    candidates = [
        f"/usr/lib/{triplet}", f"/lib/{triplet}", "/usr/lib64", "/lib64",
        found["libraries"] or "",
    ]  # fmt: skip
    seen = set()
    for candidate in candidates:
        real = os.path.realpath(candidate) if candidate else ""
        # /usr/lib as a whole would bring other programs' files, and the system's Pythons.
        if real and real not in seen and os.path.isdir(real) and real not in ("/usr/lib", "/lib"):
            seen.add(real)
            if real != os.path.join(prefix, "lib"):
                yield real


def shared_object_interpreters() -> list[str]:
    """The dynamic linkers' fixed paths: they are compiled into every program."""
    return [path for path in glob.glob("/lib*/ld-linux*.so.*") if os.path.exists(path)]


DATA = tuple(path for path in _DATA if os.path.isdir(path))
