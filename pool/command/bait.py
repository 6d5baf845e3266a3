"""What attempts are made on: files, servers and a process of this host; whether they are whole."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from types import TracebackType

import pyseccomp

from .attempts import CALLS

_NAMES = ("canary", "socket", "writable")

_VICTIM = """
import ctypes
libc = ctypes.CDLL(None)
libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
print(flush=True)
input()
"""
"""Without capabilities, as runs are: of a process with more, the kernel itself keeps them away."""


class Bait:
    """A folder that anyone may write to, a server on TCP, UDP and unix sockets, and a process. A
    context manager. All permissions are open, so that what holds is the confinement.
    """

    def __init__(self) -> None:
        self.token = secrets.token_hex(8)
        with contextlib.ExitStack() as owned:
            self.folder = tempfile.mkdtemp(prefix="pool-self-test-")
            owned.callback(shutil.rmtree, self.folder, ignore_errors=True)
            os.chmod(self.folder, 0o777)
            self._paths = {name: os.path.join(self.folder, name) for name in _NAMES}
            self._lay_out()
            self._servers = [
                owned.enter_context(socket.socket(family, kind))
                for family, kind in (
                    (socket.AF_INET, socket.SOCK_STREAM),
                    (socket.AF_INET, socket.SOCK_DGRAM),
                    (socket.AF_UNIX, socket.SOCK_STREAM),
                    (socket.AF_UNIX, socket.SOCK_STREAM),
                )
            ]
            tcp, udp, by_path, abstract = self._servers
            tcp.bind(("127.0.0.1", 0))
            udp.bind(tcp.getsockname())
            by_path.bind(self._paths["socket"])
            os.chmod(self._paths["socket"], 0o777)
            abstract.bind(f"\0{self.token}")
            for server in self._servers:
                server.setblocking(False)
                if server is not udp:
                    server.listen(16)
            self._victim = owned.enter_context(
                subprocess.Popen(
                    [sys.executable, "-I", "-c", _VICTIM],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=os.environ | {"SELF_TEST": self.token},
                )
            )
            owned.callback(self._victim.kill)
            assert self._victim.stdout is not None
            if not self._victim.stdout.readline():
                raise RuntimeError("the process that the self-test would attack does not start")
            self._owned = owned.pop_all()

    def __enter__(self) -> "Bait":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._owned.close()

    def described(self) -> str:
        """What attempts are told, as JSON."""
        arch = pyseccomp.Arch.NATIVE
        numbers = {name: pyseccomp.resolve_syscall(arch, name) for name in CALLS.split()}
        return json.dumps(
            {
                "token": self.token,
                "folder": self.folder,
                "file": self._paths["canary"],
                "writable": self._paths["writable"],
                "socket": self._paths["socket"],
                "abstract": self.token,
                "port": self._servers[0].getsockname()[1],
                "victim": self._victim.pid,
                "host": os.getpid(),
                "numbers": {name: number for name, number in numbers.items() if number >= 0},
            }
        )

    def harm(self) -> str | None:
        """Say what has been done to the bait since this was last asked, and put it right."""
        found = [self._harm_to_files(), *map(_visitor, self._servers)]
        if self._victim.poll() is not None:
            found.append("a process of the host's was ended")
        return "; ".join(filter(None, found)) or None

    def _harm_to_files(self) -> str | None:
        names = sorted(os.listdir(self.folder))
        whole = names == sorted(_NAMES) and all(
            self._read(name) == self.token for name in ("canary", "writable")
        )
        if whole:
            return None
        for name in set(names) - {"socket"}:
            os.unlink(os.path.join(self.folder, name))
        self._lay_out()
        strange = sorted(set(names) - set(_NAMES))
        return f"files were made: {', '.join(strange)}" if strange else "a file was changed"

    def _read(self, name: str) -> str:
        with open(self._paths[name], encoding="utf-8", errors="replace") as file:
            return file.read()

    def _lay_out(self) -> None:
        for name, mode in (("canary", 0o644), ("writable", 0o666)):
            with open(self._paths[name], "w", encoding="ascii") as file:
                file.write(self.token)
            os.chmod(self._paths[name], mode)


def _visitor(server: socket.socket) -> str | None:
    """Whether something has come to `server`; it is let go."""
    came = False
    with contextlib.suppress(BlockingIOError):
        while True:
            if server.type == socket.SOCK_DGRAM:
                server.recv(64)
            else:
                server.accept()[0].close()
            came = True
    return "a server of the host's was reached" if came else None
