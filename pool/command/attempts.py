"""What `pool doctor --self-test` tries to do to this host: programs, and what should come of them.

Each is a program of one kind of the attack corpus in `tests/security`. It says "refused", or
"through" and what got through; where that is all the evidence there could be (it is ours, and
honest), it is taken at its word, else how its run ended or the state of the bait decides.
"""

import dataclasses

from ...sandbox.limits import Limits
from ...sandbox.reasons import ExitReason

PRELUDE = """
import ctypes, errno, json, os, sys
bait = json.loads(@BAIT@)
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
through = []

def attempt(what, step):
    try:
        step()
    except OSError:
        return
    through.append(what)

def call(name, *arguments):
    # With pointers to nothing: an error other than a refusal means that the kernel looked at them.
    number = bait["numbers"].get(name)
    if number is None:
        return
    ctypes.set_errno(0)
    done = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)) >= 0
    if done or errno.errorcode[ctypes.get_errno()] not in ("EPERM", "EACCES", "ENOSYS"):
        through.append(name)

"""
END = """
print("through: " + ", ".join(through) if through else "refused")
"""

CALLS = (
    "mount umount2 fsopen open_tree unshare setns ptrace process_vm_readv pidfd_open bpf "
    "io_uring_setup userfaultfd perf_event_open keyctl add_key execve memfd_create chroot "
    "init_module shmget mq_open personality"
)
"""System calls that attempts make by number."""


_USUAL = Limits(wall_s=10.0)


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt on one promise.

    code: the program; the first of several, if `then` is to find what it left behind.
    ends: reasons of which one must end the run, if they tell; None where the program does.
    session: `code` is run in a session, `calls` times, and `then` in one of two branches of it.
    most_states: how many of the session's earlier states may be kept then; None: any number.
    machine: the only one it is for. harmful: not to be tried where nothing confines it.
    """

    promise: str
    name: str
    code: str
    then: str = ""
    limits: Limits = _USUAL
    ends: tuple[ExitReason, ...] | None = None
    session: bool = False
    calls: int = 1
    most_states: int | None = None
    machine: str | None = None
    harmful: bool = False


_FILES = "reads only what it was offered"
_WRITES = "writes only its scratch"
_NETWORK = "no network, no foreign sockets"
_KERNEL = "no new privileges, no namespaces, few system calls"
_PROCESSES = "makes no process, touches no other"
_LIMITS = "keeps to its limits"
_RUNS = "nothing passes from run to run"
_SESSIONS = "no branch or session reaches another"

_THREADS = """
import threading, time
libc.prctl(15, ctypes.create_string_buffer(b"Threads:\\t1"), 0, 0, 0)
started = 0
try:
    for _ in range(200):
        threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
        started += 1
except RuntimeError: pass
time.sleep(0.3 if started > 40 else 0)
if started > 40: through.append(f"{started} threads")
"""

ATTEMPTS = (
    Attempt(
        _FILES,
        "read a file of the host's, by its path and through /proc",
        """
for top in ("", "/proc/self/root", "/proc/1/root", "/proc/self/cwd/" + "../" * 32):
    attempt(top + bait["file"], lambda: open(top + bait["file"]).read())
for path in ("/etc/shadow", "/proc/kcore", "/dev/mem"):
    attempt(path, lambda: open(path, "rb").read(1))
""",
    ),
    Attempt(
        _FILES,
        "learn the host's environment",
        """
if bait["token"] in repr(os.environ):
    through.append("its own environment")
for pid in (os.getppid(), bait["host"], bait["victim"]):
    for name in ("environ", "mem", "maps"):
        attempt(f"/proc/{pid}/{name}", lambda: open(f"/proc/{pid}/{name}", "rb").read(1))
""",
    ),
    Attempt(
        _WRITES,
        "create files outside",
        """
import sysconfig
for folder in (bait["folder"], "/", "/etc", sys.prefix, sysconfig.get_path("stdlib"), "/sys"):
    def create():
        path = os.path.join(folder, "made-by-" + bait["token"])
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        if folder != bait["folder"]:
            os.unlink(path)
    attempt(folder, create)
""",
    ),
    Attempt(
        _WRITES,
        "change, empty or remove a file of the host's",
        """
file = bait["writable"]
attempt("truncate", lambda: os.truncate(file, 0))
attempt("write", lambda: open(file, "w").close())
attempt("link", lambda: os.link(file, "link"))
attempt("rename", lambda: os.rename(file, file + "-renamed"))
attempt("unlink", lambda: os.unlink(file))
""",
    ),
    Attempt(
        _NETWORK,
        "connect to a server on this host",
        """
import socket
attempt("TCP", lambda: socket.create_connection(("127.0.0.1", bait["port"]), 2).close())
def send():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"x", ("127.0.0.1", bait["port"]))
attempt("UDP", send)
""",
    ),
    Attempt(
        _NETWORK,
        "connect to unix sockets of the host's",
        """
import socket
def connect(address, kind):
    with socket.socket(socket.AF_UNIX, kind) as unix:
        unix.connect(address)
attempt("abstract", lambda: connect("\\0" + bait["abstract"], socket.SOCK_STREAM))
attempt("by path", lambda: connect(bait["socket"], socket.SOCK_STREAM))
def from_a_pair():
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.connect("\\0" + bait["abstract"])
attempt("from a pair", from_a_pair)
""",
    ),
    Attempt(
        _NETWORK,
        "make raw, packet and netlink sockets",
        """
import socket
for family, kind in ((socket.AF_NETLINK, socket.SOCK_RAW), (socket.AF_PACKET, socket.SOCK_RAW),
                     (socket.AF_INET, socket.SOCK_RAW)):
    attempt(str(family), lambda: socket.socket(family, kind).close())
""",
    ),
    Attempt(
        _KERNEL,
        "make and enter namespaces, mount",
        """
for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000):
    call("unshare", flag | 0x80)  # and a flag that makes it fail
call("setns", -1, 0)
call("mount", 1, 1, 1, 0, 1)
call("umount2", 1, 0)
call("fsopen", 1, 0)
call("open_tree", -1, 1, 0)
call("chroot", 1)
""",
    ),
    Attempt(
        _KERNEL,
        "reach large interfaces of the kernel",
        """
call("bpf", 0, 1, 128)
call("io_uring_setup", 1, 1)
call("userfaultfd", 0x7FFFFFFF)
call("perf_event_open", 1, 0, -1, -1, 0)
call("keyctl", 9999, 0, 0, 0)
call("add_key", 1, 1, 0, 0, 0)
call("init_module", 1, 1, 1)
call("shmget", 0, 4096, 0o1600)
call("mq_open", 1, 0, 0, 0)
call("personality", 0xFFFFFFFF)
""",
    ),
    Attempt(
        _KERNEL,
        "execute something",
        """
import subprocess
attempt("run", lambda: subprocess.run([sys.executable, "-V"], capture_output=True))
attempt("memfd", lambda: os.close(os.memfd_create("x")))
call("execve", 1, 1, 1)
""",
    ),
    Attempt(
        _KERNEL,
        "gain powers, or have kept some",
        """
attempt("setuid", lambda: os.setuid(0) if os.getuid() else os.setuid(65534))
attempt("setgroups", lambda: os.setgroups([0]))
head, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
if libc.capget(head, data) or any(data):
    through.append("capabilities")
if libc.prctl(39, 0, 0, 0, 0) != 1:
    through.append("no_new_privs is not set")
if libc.prctl(21, 0, 0, 0, 0) != 2:
    through.append("no filter of system calls")
""",
    ),
    Attempt(
        _KERNEL,
        "enter the kernel by its 32-bit door",
        """
import mmap
memory = mmap.mmap(-1, 4096, prot=7)
memory.write(bytes.fromhex("b814000000cd80c3"))  # getpid of i386
ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()
through.append("int 0x80")
""",
        ends=(ExitReason.DENIED, ExitReason.SIGNAL),  # or there is no such door
        machine="x86_64",
    ),
    Attempt(
        _PROCESSES,
        "fork, and leave a process behind",
        """
import time
def leave():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for fd in range(3): os.close(fd)
            time.sleep(0.3)
            os.close(os.open(os.path.join(bait["folder"], "survivor"), os.O_CREAT | os.O_WRONLY))
        os._exit(0)
attempt("fork", leave)
""",
    ),
    Attempt(
        _PROCESSES,
        "signal, trace, re-limit and re-pin other processes",
        """
import resource
for who, pid in (("a process of the host's", bait["victim"]), ("the host", bait["host"])):
    attempt(f"signal to {who}", lambda: os.kill(pid, 0))
    attempt(f"limits of {who}", lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE))
    attempt(f"affinity of {who}", lambda: os.sched_setaffinity(pid, os.sched_getaffinity(pid)))
    attempt(f"priority of {who}", lambda: os.setpriority(os.PRIO_PROCESS, pid, 0))
call("ptrace", 16, bait["victim"], 0, 0)
call("process_vm_readv", bait["victim"], 1, 1, 1, 1, 0)
call("pidfd_open", bait["victim"], 0)
""",
    ),
    Attempt(
        _PROCESSES,
        "kill whatever can be reached",
        """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for pid in (-1, 1, os.getppid(), bait["victim"], bait["host"]):
    try: os.kill(pid, signal.SIGTERM)
    except OSError: pass
""",
        harmful=True,
    ),
    Attempt(
        _LIMITS,
        "take more memory than allowed",
        "held = []\nwhile True: held.append(bytearray(1 << 20))",
        limits=Limits(wall_s=20.0, memory_bytes=64 << 20),
        ends=(ExitReason.MEMORY,),
    ),
    Attempt(
        _LIMITS,
        "take memory that no longer shows as its own",
        """
import mmap
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
held, piece = 0, 4 << 20
start = libc.mmap(None, 160 << 20, 3, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, -1, 0)
if start != ctypes.c_void_p(-1).value:
    for offset in range(0, 160 << 20, piece):
        ctypes.memset(start + offset, 1, piece)
        libc.madvise(start + offset, piece, mmap.MADV_DONTNEED)  # it stays, and leaves the count
        held += piece
if held > 128 << 20: through.append(f"{held} bytes")
""",
        limits=Limits(wall_s=10.0, memory_bytes=64 << 20),
        ends=(ExitReason.OK, ExitReason.MEMORY),
    ),
    Attempt(
        _LIMITS,
        "keep more memory in the earlier states of a session",
        "held = None; held = bytearray(40 << 20)",
        limits=Limits(wall_s=10.0, memory_bytes=64 << 20),
        session=True,
        calls=6,
        most_states=4,  # with the present one they may hold 128 MiB, which is three of 40
    ),
    Attempt(
        _LIMITS,
        "run longer than allowed, ignoring every signal",
        """
import signal
for each in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    try: signal.signal(each, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
""",
        limits=Limits(wall_s=0.5),
        ends=(ExitReason.WALL_TIMEOUT,),
    ),
    Attempt(
        _LIMITS,
        "take more CPU time than allowed",
        "while True: pass",
        limits=Limits(wall_s=20.0, cpu_s=0.3),
        ends=(ExitReason.CPU_TIMEOUT,),
    ),
    Attempt(
        _LIMITS,
        "print without end",
        "while True: sys.stdout.write('x' * 65536)",
        limits=Limits(wall_s=20.0, output_bytes=1 << 20),
        ends=(ExitReason.OUTPUT,),
    ),
    Attempt(
        _LIMITS,
        "fill the disk",
        """
import time
written = 0
try:
    for number in range(64):
        with open(f"file-{number}", "wb", buffering=0) as file:
            written += file.write(bytes(1 << 20))
        time.sleep(0.01)  # where it can only be watched, 20 ms pass between two looks
except OSError: pass
if written > 32 << 20: through.append(f"{written} bytes")
""",
        limits=Limits(wall_s=20.0, disk_bytes=8 << 20),
    ),
    Attempt(
        _LIMITS,
        "fill the disk by files without a name",
        """
held, taken = [], 0
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
for number in range(16):
    held.append(os.open("file", os.O_RDWR | os.O_CREAT))
    os.unlink("file")
    if libc.fallocate(held[-1], 0, 0, 4 << 20) == 0: taken += 4 << 20
if taken > 32 << 20: through.append(f"{taken} bytes")
""",
        limits=Limits(wall_s=20.0, disk_bytes=8 << 20),
    ),
    Attempt(
        _LIMITS,
        "fill the disk in a call that is over at once",
        """
for number in range(8):
    with open(f"file-{number}", "wb", buffering=0) as file: file.write(bytes(1 << 20))
""",
        limits=Limits(wall_s=10.0, disk_bytes=1 << 20),
        session=True,
        ends=(ExitReason.DENIED, ExitReason.EXCEPTION),
    ),
    Attempt(
        _LIMITS,
        "start more threads than allowed, by a name that reads as a count of one",
        _THREADS,
        limits=Limits(wall_s=20.0, threads=16),
    ),
    Attempt(
        _LIMITS,
        "start more threads than allowed in a session, by such a name",
        _THREADS,
        limits=Limits(wall_s=10.0, threads=16),
        session=True,
    ),
    Attempt(
        _RUNS,
        "leave files, and find those of an earlier run",
        """
import tempfile
for folder in (".", tempfile.gettempdir(), "/tmp", "/dev/shm", "/var/tmp"):
    try: open(os.path.join(folder, "left-" + bait["token"]), "x").close()
    except OSError: pass
print("refused"); sys.stdout.flush(); os._exit(0)
""",
        then="""
import tempfile
for folder in (".", tempfile.gettempdir(), "/tmp", "/dev/shm", "/var/tmp"):
    path = os.path.join(folder, "left-" + bait["token"])
    if os.path.exists(path):
        through.append(folder)
        os.unlink(path)
""",
    ),
    Attempt(
        _RUNS,
        "change the interpreter for the next run",
        """
import builtins
sys.modules["json"] = builtins.print = None
sys.setrecursionlimit(60)
os.umask(0o777)
os.write(1, b"refused\\n"); os._exit(0)
""",
        then="""
if os.umask(0o022) == 0o777 or sys.getrecursionlimit() < 100:
    through.append("umask or recursion limit")
""",
    ),
    Attempt(
        _SESSIONS,
        "fork or signal by a session's own will",
        """
attempt("fork", lambda: os.fork() or os._exit(0))
attempt("signal", lambda: os.kill(os.getppid(), 0))
""",
        session=True,
    ),
    Attempt(
        _SESSIONS,
        "reach the sibling of a branch",
        """
home = os.getcwd()
with open("secret", "w") as file: file.write("secret")
""",
        then="""
through.clear()
if os.path.exists(home + "/secret-of-sibling"): through.append("its files")
for pid in range(1, 300):
    if pid != os.getpid():
        attempt(f"signal to {pid}", lambda: os.kill(pid, 0))
        attempt(f"files of {pid}", lambda: os.listdir(f"/proc/{pid}/cwd/"))
""",
        session=True,
    ),
)
