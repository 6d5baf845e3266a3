"""Reading /proc where a program has shaped what stands there.

A process names itself, its threads and its files, with any signs. So nothing is searched for in
these texts: a field is taken by its place, counted from where no name can reach; lines end with a
line feed alone, which the kernel escapes in names (Python's text files end them with \\r too, which
it does not); and the first of two fields of one name counts. The texts are bytes, as a name may be
no text. Modules that want something of /proc/<pid> have it from here (tests/test_imports.py).
"""

import os

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_FORKED_ONLY = 0x40
_PIECE = 1 << 16


class Stat:
    """What /proc/<pid>/stat says, proc_pid_stat(5).

    state: a letter; parent, session: ids; forked_only: nothing was executed since its fork
    (PF_FORKNOEXEC); own_s, reaped_s: CPU seconds of it and of its children that were waited for;
    threads: how many there are; resident_bytes: 0 where the main thread has ended.
    """

    __slots__ = (
        "forked_only",
        "own_s",
        "parent",
        "reaped_s",
        "resident_bytes",
        "session",
        "state",
        "threads",
    )

    def __init__(self, text: bytes) -> None:
        # A name may hold anything, blanks and brackets too; behind its last bracket are numbers.
        fields = text.rpartition(b")")[2].split()
        self.state = fields[0].decode("ascii")
        self.parent = int(fields[1])
        self.session = int(fields[3])
        self.forked_only = bool(int(fields[6]) & _FORKED_ONLY)
        self.own_s = (int(fields[11]) + int(fields[12])) / _TICKS
        self.reaped_s = (int(fields[13]) + int(fields[14])) / _TICKS
        self.threads = int(fields[17])
        self.resident_bytes = int(fields[21]) * _PAGE

    @property
    def lives(self) -> bool:
        return self.state not in ("Z", "X")


def stat(pid: int) -> Stat | None:
    """Return the numbers of a process; None where it is gone, and has been waited for."""
    try:
        return Stat(read(f"/proc/{pid}/stat"))
    except (OSError, IndexError):
        return None


def threads(pid: int) -> int:
    """How many threads a process has, at a tenth of the price of `stat`: each is a folder. 0 where
    it is gone.
    """
    try:
        return os.stat(f"/proc/{pid}/task").st_nlink - 2
    except OSError:
        return 0


def resident_bytes(pid: int) -> int:
    """Resident memory of a process, also after its main thread has ended before the others: then
    what /proc shows for the process is that thread's, which has none. 0 where it is gone.
    """
    found = stat(pid)
    if found is None or found.resident_bytes:
        return 0 if found is None else found.resident_bytes
    pages = [0]
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            try:
                pages.append(int(read(f"/proc/{pid}/task/{thread}/statm").split()[1]))
            except (OSError, IndexError):  # it has just ended
                continue
    except OSError:
        return 0
    return max(pages) * _PAGE


def anonymous_bytes(pid: int) -> int:
    """Resident memory of a process, less what is mapped from files; 0 where it is gone."""
    try:
        fields = read(f"/proc/{pid}/statm").split()
        return (int(fields[1]) - int(fields[2])) * _PAGE
    except (OSError, IndexError):
        return 0


def proportional_bytes(pid: int) -> int | None:
    """Resident memory of a process that is of no file, of what is shared with others a part each;
    None where we may not look, or it is gone. Takes 0.1 ms for a MiB.
    """
    try:
        fields = read(f"/proc/{pid}/smaps_rollup").partition(b"\nPss_Anon:")[2].split()
        return int(fields[0]) << 10
    except (OSError, IndexError):
        return None


def status(pid: int) -> dict[bytes, bytes]:
    """What /proc/<pid>/status says, but for the process's name; {} where it is gone. That name
    stands in the first line, and has no line feed of its own.
    """
    try:
        lines = read(f"/proc/{pid}/status").split(b"\n")[1:]
    except OSError:
        return {}
    return _fields(lines)


def descriptor(pid: int | str, number: int) -> dict[bytes, bytes]:
    """What the kernel says of a process's descriptor (proc_pid_fdinfo(5)). Raises `OSError` where
    it is not open.
    """
    return _fields(read(f"/proc/{pid}/fdinfo/{number}").split(b"\n"))


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon:
            found.setdefault(name, value.strip())
    return found


def lines(pid: int, name: str) -> list[bytes]:
    """The lines of /proc/<pid>/<name>, such as its maps. Raises `OSError`."""
    return read(f"/proc/{pid}/{name}").split(b"\n")[:-1]


def children(pid: int, thread: int | None = None) -> list[int]:
    """The ids of the children of a process's thread, its main one by default. Raises `OSError`
    where it is gone.
    """
    return list(map(int, read(f"/proc/{pid}/task/{thread or pid}/children").split()))


def descendants(pid: int) -> list[int]:
    """The ids of all that lives below a process. By every process's parent: `children` leaves some
    out where others end meanwhile.
    """
    below: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        found = stat(int(name)) if name.isdecimal() else None
        if found is not None and found.lives:
            below.setdefault(found.parent, []).append(int(name))
    inner = [pid]
    for each in inner:
        inner += below.pop(each, [])
    return inner[1:]


def read(path: str) -> bytes:
    """The whole of a file in /proc. Raises `OSError`, also where its process has ended since."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = [os.read(fd, _PIECE)]
        while pieces[-1]:
            pieces.append(os.read(fd, _PIECE))
        return b"".join(pieces)
    finally:
        os.close(fd)
