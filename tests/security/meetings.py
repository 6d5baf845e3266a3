"""Ways by which two programs that know a common secret could meet, as data, and the program that tries
all of them.

Each is two pieces of code: `leave` puts something of mine where the other can see it, `find` says
whether something of the other's is there. Both programs do both, so every way is tried in both
directions at once.
"""

import dataclasses

import pyseccomp


@dataclasses.dataclass(frozen=True, slots=True)
class Meeting:
    """leave, find: code, in which `me` and `other` are names that both know, and `mine(n)`, `theirs(n)`
    files that both can read; `find` sets `found`, and may be called again and again.

    no_control: why it is not tried outside, or does not work there. open: why it works between jails, of
    the tiers in `where`.
    """

    leave: str
    find: str
    no_control: str = ""
    open: str = ""
    where: tuple[str, ...] = ("namespaces", "landlock")


FILES = 10
"""How many numbers `mine` and `theirs` take."""

MEETINGS: dict[str, Meeting] = {
    "abstract socket": Meeting(
        "keep(socket.socket(socket.AF_UNIX)).bind('\\0' + me); kept[-1].listen()",
        "socket.socket(socket.AF_UNIX).connect('\\0' + other); found = True",
    ),
    "datagram to an abstract name": Meeting(
        "inbox = keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)); inbox.bind('\\0d' + me); "
        "inbox.setblocking(False)",
        "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', socket.MSG_DONTWAIT, '\\0d' + other); found = True",
    ),
    "loopback": Meeting(
        "server = keep(socket.socket()); server.bind(('127.0.0.1', port(me))); server.listen()",
        "socket.create_connection(('127.0.0.1', port(other)), 0.1).close(); found = True",
    ),
    "netlink": Meeting(
        "link = keep(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2)); "
        "link.setsockopt(270, 1, 5 if me < other else 6); link.setblocking(False)",
        "out = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2); "
        "out.sendto(b'x', (0, 1 << (5 if me < other else 4))); found = bool(link.recv(9))",
        no_control="multicast of users is refused to ordinary users",
    ),
    "a file in a folder of both's": Meeting(
        "for folder in folders():\n"
        "    try: open(folder + '/' + me, 'w').close(); left.append(folder + '/' + me)\n"
        "    except OSError: pass",
        "found = any(os.path.lexists(folder + '/' + other) for folder in folders())",
    ),
    "a link, a folder or a FIFO": Meeting(
        "for folder in folders():\n"
        "    for at, make in enumerate((os.mkdir, os.mkfifo, lambda path: os.symlink(me, path),\n"
        "                               lambda path: os.link(mine(0), path))):\n"
        "        path = f'{folder}/{at}{me}'\n"
        "        try: make(path); left.append(path)\n"
        "        except OSError: pass",
        "found = any(os.path.lexists(f'{folder}/{at}{other}') for folder in folders() for at in range(4))",
    ),
    "a time of a file": Meeting(
        "os.utime(mine(1), (77, 77))",
        "found = os.stat(theirs(1)).st_mtime == 77",
    ),
    "a mode of a file": Meeting(
        "os.chmod(mine(1), 0o640)",
        "found = os.stat(theirs(1)).st_mode & 0o777 == 0o640",
    ),
    "an extended attribute": Meeting(
        "os.setxattr(mine(1), 'user.met', me.encode())",
        "found = os.getxattr(theirs(1), 'user.met') == other.encode()",
    ),
    "what its folder looks like": Meeting(
        "for folder in (os.getcwd(), os.path.dirname(os.getcwd())):\n"
        "    for n in range(50):\n"
        "        try: os.mkdir(f'{folder}/{n}{me}'); left.append(f'{folder}/{n}{me}')\n"
        "        except OSError: pass",
        "top, mine_ = os.path.split(os.path.dirname(os.getcwd()))\n"
        "for n in range(40):\n"
        "    for path in (f'{top}/scratch-{n}', f'{top}/scratch-{n}/home'):\n"
        "        try: found |= f'scratch-{n}' != mine_ and os.stat(path).st_nlink >= 50\n"
        "        except OSError: pass",
        open="a folder's metadata can be asked for by whoever knows its name, and workers are counted",
        where=("landlock",),
    ),
    "when a file was last read": Meeting(
        "open(mine(2), 'rb').read()",
        "found = os.stat(theirs(2)).st_atime > last_read",
        open="the first read in a day of a file shows in its time of access, where its file system "
        "keeps any",
        where=("landlock",),
    ),
    "what the page cache holds": Meeting(
        "open(mine(3), 'rb').read()",
        "found = resident(theirs(3))",
    ),
    "flock": Meeting(
        "fcntl.flock(keep(open(mine(4))), fcntl.LOCK_EX)",
        "try: fcntl.flock(open(theirs(4)), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "except BlockingIOError: found = True",
        open="files of the interpreter can be locked by whoever can read them",
    ),
    "flock on a device": Meeting(
        "fcntl.flock(keep(open('/dev/null' if me < other else '/dev/urandom')), fcntl.LOCK_EX)",
        "try: fcntl.flock(open('/dev/null' if other < me else '/dev/urandom'), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "except BlockingIOError: found = True",
        open="as flock",
    ),
    "a lock of a record": Meeting(
        "fcntl.fcntl(keep(open(mine(5))), fcntl.F_SETLK, lock(fcntl.F_RDLCK, 77))",
        "told = fcntl.fcntl(open(theirs(5)), fcntl.F_GETLK, lock(fcntl.F_WRLCK, 77)); "
        "found = struct.unpack_from('h', told)[0] != fcntl.F_UNLCK",
        open="as flock; a lock tells 63 bits, its place",
    ),
    "a lock of an open file": Meeting(
        "fcntl.fcntl(keep(open(mine(6))), 37, lock(fcntl.F_RDLCK, 77))",
        "told = fcntl.fcntl(open(theirs(6)), 36, lock(fcntl.F_WRLCK, 77)); "
        "found = struct.unpack_from('h', told)[0] != fcntl.F_UNLCK",
        open="as flock",
    ),
    "a lease": Meeting(
        "signal.signal(signal.SIGIO, signal.SIG_IGN); fcntl.fcntl(keep(open(mine(7))), fcntl.F_SETLEASE, fcntl.F_RDLCK)",
        "try: os.close(os.open(theirs(7), os.O_RDWR | os.O_NONBLOCK))\n"
        "except BlockingIOError: found = True",
    ),
    "a futex in a map of a file": Meeting(
        "at = mapped(mine(8))\n"
        "threading.Thread(target=futex, args=(at, 0, at.value, 3), daemon=True).start()",
        "found = futex(mapped(theirs(8)), 1, 1) > 0",
        open="who waits on a page of a file can be woken by who maps it, too",
    ),
    "what is opened (inotify)": Meeting(
        "watch = libc.inotify_init1(os.O_NONBLOCK); "
        "libc.inotify_add_watch(watch, theirs(9).encode(), 0x20)",
        "open(mine(9)).close(); found = bool(os.read(watch, 4096))",
    ),
    "System V memory": Meeting(
        "at = libc.shmget(port(me), 4096, 0o1666); cleanup.append(lambda: libc.shmctl(at, 0, 0))",
        "found = libc.shmget(port(other), 4096, 0) >= 0",
    ),
    "System V semaphores": Meeting(
        "sem = libc.semget(port(me), 1, 0o1666); cleanup.append(lambda: libc.semctl(sem, 0, 0))",
        "found = libc.semget(port(other), 1, 0) >= 0",
    ),
    "System V queues": Meeting(
        "queue = libc.msgget(port(me), 0o1666); cleanup.append(lambda: libc.msgctl(queue, 0, 0))",
        "found = libc.msgget(port(other), 0) >= 0",
    ),
    "POSIX queues": Meeting(
        "libc.mq_open(b'/' + me.encode(), 0o102, 0o666, 0); "
        "cleanup.append(lambda: libc.mq_unlink(b'/' + me.encode()))",
        "found = libc.mq_open(b'/' + other.encode(), 0) >= 0",
    ),
    "keys": Meeting(
        "key = libc.syscall(@add_key@, b'user', me.encode(), b'x', 1, -4); "
        "cleanup.append(lambda: libc.syscall(@keyctl@, 9, key, -4))",
        "found = libc.syscall(@keyctl@, 10, -4, b'user', other.encode(), 0) > 0",
        no_control="not every kernel has keys",
    ),
    "a name in /proc": Meeting(
        "libc.prctl(15, me[:15].encode())",
        "found = any(other[:15] in said(f'/proc/{pid}/comm') for pid in pids())",
    ),
    "a file in memory, by /proc": Meeting(
        "keep(os.memfd_create(me))",
        "found = any(other in link(path) for pid in pids() for path in entries(f'/proc/{pid}/fd'))",
    ),
    "a map, by /proc": Meeting(
        "own = keep(open(me + '-map', 'wb+')); own.truncate(4096); left.append(me + '-map'); keep(mmap.mmap(own.fileno(), 4096))",
        "found = any(other in said(f'/proc/{pid}/{what}') for pid in pids() for what in ('maps', 'environ', 'cmdline'))",
    ),
    "a signal": Meeting(
        "signal.signal(signal.SIGURG, lambda *_: met.add('a signal'))",
        "for pid in pids(): os.kill(pid, signal.SIGURG)",
    ),
    "a process's limits": Meeting(
        "resource.setrlimit(resource.RLIMIT_NICE, (0, 0))",
        "found = any(resource.prlimit(pid, resource.RLIMIT_NICE) is not None for pid in pids())",
        no_control="it takes nothing but a process id, which others have as well",
    ),
    "another's memory": Meeting(
        "pass",
        "found = any(peek(pid) for pid in pids())",
        no_control="it takes nothing but a process id, which others have as well",
    ),
    "flags of what both were given": Meeting(
        "for fd in range(3):\n"
        "    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | (os.O_APPEND if me < other else os.O_NONBLOCK))",
        "found = any(fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_NONBLOCK if me < other else os.O_APPEND) for fd in range(3))",
    ),
}  # fmt: skip

_PROGRAM = """
import ctypes, fcntl, json, mmap, os, resource, signal, socket, struct, sys, threading, time
began = time.monotonic()
me, other = @ME@, @OTHER@
libc = ctypes.CDLL(None, use_errno=True)
kept, left, cleanup, met, failed = [], [], [], set(), {}
SHARED = [os.path.join(os.path.dirname(os.__file__), each) for each in @SHARED@]
PIDS = @PIDS@
def keep(each): kept.append(each); return each
def mine(n): return SHARED[2 * n + (me > other)]
def theirs(n): return SHARED[2 * n + (me < other)]
def port(name): return 20000 + sum(name.encode()) % 9973 + (name[0] == "b")
def folders():
    if PIDS: return ["/tmp", "/var/tmp"]
    here = os.getcwd()
    return ["/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run/lock", os.path.dirname(here),
            os.path.dirname(os.path.dirname(here)), os.path.dirname(SHARED[0]), sys.prefix, "/", "/proc/self"]
def pids():
    if PIDS: return [int(pid) for pid in said(PIDS).split() if int(pid) != os.getpid()]
    near = range(max(1, os.getpid() - 40), os.getpid() + 40)
    try: near = [*near, *(int(each) for each in os.listdir("/proc") if each.isdigit())]
    except OSError: pass
    return [pid for pid in near if pid != os.getpid()]
def said(path):
    try: return open(path, errors="replace").read()
    except OSError: return ""
def entries(path):
    try: return [path + "/" + each for each in os.listdir(path)]
    except OSError: return []
def link(path):
    try: return os.readlink(path)
    except OSError: return ""
def lock(kind, at): return struct.pack("hhlli4x", kind, 0, at, 1, 0)
def mapped(path):
    with open(path) as file: pages = mmap.mmap(file.fileno(), 4096, mmap.MAP_SHARED, mmap.PROT_READ)
    address = ctypes.c_void_p()
    class View(ctypes.Structure): _fields_ = [("buffer", ctypes.c_void_p), ("rest", ctypes.c_byte * 96)]
    view = View()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(keep(pages)), ctypes.byref(view), 0)
    return ctypes.c_int.from_address(view.buffer)
def futex(at, operation, value, seconds=0):
    spec = (ctypes.c_long * 2)(seconds, 0)
    return libc.syscall(ctypes.c_long(@futex@), ctypes.byref(at), operation, value, ctypes.byref(spec), 0, 0)
def resident(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        pages = libc.mmap(0, 4096, 1, 1, fd, 0)
        told = ctypes.create_string_buffer(1)
        return libc.mincore(ctypes.c_void_p(pages), ctypes.c_size_t(4096), told) == 0 and told.raw[0] & 1
    finally: os.close(fd)
libc.mmap.restype = ctypes.c_long
libc.mmap.argtypes = [ctypes.c_long] * 6
def peek(pid):
    into = ctypes.create_string_buffer(8)
    class Iovec(ctypes.Structure): _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
    here, there = Iovec(ctypes.addressof(into), 8), Iovec(ctypes.addressof(into), 8)
    return libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) > 0
ways = @WAYS@
def look(name):
    scope["found"] = False
    try: exec(ways[name][1], scope)
    except Exception as error: failed[name] = repr(error)[:100]
    return bool(scope["found"])
scope = globals()
try: last_read = os.stat(theirs(2)).st_atime
except OSError: pass
time.sleep(@SECONDS@ / 4)  # so that it is there before the other reads it
for name, (leave, find) in ways.items():
    try: exec(leave, scope)
    except Exception as error: failed[name] = repr(error)[:100]
until = began + @SECONDS@
while time.monotonic() < until:
    # A signal is for the other, who may not have had it yet.
    met |= {name for name in ways if (name not in met or name == "a signal") and look(name)}
    time.sleep(0.02)
for each in cleanup: each()
for each in left:
    try: os.rmdir(each) if os.path.isdir(each) and not os.path.islink(each) else os.unlink(each)
    except OSError: pass
print(json.dumps([began, time.monotonic(), sorted(met), failed]), flush=True)
"""


def program(
    me: str, other: str, shared: list[str], seconds: float, ways: list[str], *, pids: str = ""
) -> str:
    """A program that tries to meet `other`; it prints when it was there, and by which ways they met.

    shared: files that both can read, two for each number that `mine` and `theirs` take; names are of the
    interpreter's folder. pids: a file with the process ids of both, for outside, where nobody else shall
    be disturbed.
    """
    text = _PROGRAM.replace("@WAYS@", repr({way: _code(MEETINGS[way]) for way in ways}))
    for name in ("add_key", "keyctl", "futex"):
        number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
        text = text.replace(f"@{name}@", str(number))
    for mark, value in (
        ("ME", me), ("OTHER", other), ("SHARED", shared), ("SECONDS", seconds), ("PIDS", pids),
    ):  # fmt: skip
        text = text.replace(f"@{mark}@", repr(value))
    return text


def _code(meeting: Meeting) -> tuple[str, str]:
    return meeting.leave, meeting.find
