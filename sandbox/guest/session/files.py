"""What a family init does with the files of a session while all states of it are stopped: it opens
their working directory for the host, and writes files there.

It is trusted, has the id of the session's processes, and is in their cgroup. So files belong to
them, pages are counted as theirs, and how it went is no program's word. But what stands there, a
program has put there: no link is followed, and nothing that could be waited for is opened.

With a request, the host sends a socket for the answer (SOCK_SEQPACKET, wire values). So an answer
that nobody waits for any more is in nobody's way.

===================================================  =======================================
host -> family init  (FOLDER, pid, name) + answer    open the working directory of the state
                                                     `pid`, whose home is called `name`
                     (WRITE, name, offset) + answer, write to the file `name` below the
                     folder, content                 folder; 0 makes it anew
family init -> host  ("done",)                       + the folder, as an O_PATH descriptor
                     ("failed", errno)
===================================================  =======================================
"""

import errno
import os
import socket
import stat
from collections.abc import Callable

from ..jail import wire

FOLDER, WRITE = "folder", "write"

FOLDER_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""A folder is opened as a place alone: whether its owner may list it is another matter."""

_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def answer(fds: list[int], step: Callable[[], int | None]) -> None:
    """Take a step, and say on the socket `fds[0]` how it went, with what it has opened. Closes all
    of `fds`.
    """
    opened = None
    try:
        try:
            opened = step()
            message: wire.Value = ("done",)
        except OSError as error:
            message = ("failed", error.errno or errno.EIO)
        with socket.socket(fileno=fds.pop(0)) as to:
            to.setblocking(False)
            socket.send_fds(to, [wire.encode(message)], [] if opened is None else [opened])
    except OSError:
        pass  # nobody waits for it any more
    finally:
        for fd in [*fds, *([] if opened is None else [opened])]:
            os.close(fd)


def write(folder: int, name: str, content: int, offset: int) -> None:
    """Write what the descriptor `content` holds to the file `name`, from `offset` on; folders on
    the way are made. Raises `OSError`; of a file that does not fit, nothing is left.
    """
    *above, last = name.split("/")
    here = os.dup(folder)
    try:
        for part in above:
            try:
                os.mkdir(part, 0o700, dir_fd=here)
            except FileExistsError:
                pass
            inner = os.open(part, FOLDER_FLAGS, dir_fd=here)
            os.close(here)
            here = inner
        file = os.open(last, _FILE_FLAGS, 0o600, dir_fd=here)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):  # a FIFO that the program reads from
                raise OSError(errno.ENXIO, "no regular file")
            os.ftruncate(file, offset)
            try:
                _copy(content, file, offset)
            except OSError:
                os.unlink(last, dir_fd=here)
                raise
        finally:
            os.close(file)
    finally:
        os.close(here)


def _copy(content: int, file: int, offset: int) -> None:
    os.lseek(file, offset, os.SEEK_SET)
    place, size = 0, os.fstat(content).st_size
    while place < size:
        place += os.sendfile(file, content, place, size - place)
