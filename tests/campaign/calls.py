"""Sequences of system calls with generated arguments, and the program that makes them.

A sequence is plain data, so that it can be kept as a line of JSON: a list of `[name, [arguments]]`.
An argument is a number, or a list that the program resolves: `["p", place, offset]` is a pointer,
`["s", n]` a pointer to the n-th path, `["r", n]` the answer of the n-th call before it.
"""

import functools
import random
from collections.abc import Iterator
from typing import Any

import pyseccomp
from security import golden

from interpreter_pool.sandbox.guest.jail.syscall_filter import PID_MARK
from interpreter_pool.sandbox.jail import syscalls

Call = list[Any]
Sequence = list[Call]

MOST_CALLS = 60
"""Of a sequence; its program ends by its clock long before if they wait."""

PLACES = ("page", "end", "read", "nowhere", "iov", "zero", "random", "text", "pair", "msg", "caps")
"""What a pointer leads to: a page that can be written, the last bytes of one before a page that can't
be touched, one that can only be read, no page, an array of iovec, zeros, random bytes, text, two
small numbers (a time, two descriptors), a message, and the header of a set of capabilities."""

DESCRIPTORS = range(16, 28)
"""What the program has open: a file to read and write, one to read, a folder, a pipe's two ends, a pair of
sockets, an epoll, an eventfd, a timer, /dev/null, and the interpreter's own file."""

PATHS = 16
"""How many paths the program has names for."""

_BITS = (0, 1, 2, 7, 8, 255, 4095, 4096, 65536, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40)
_EDGES = (*_BITS, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_AT_FDCWD = -100

# f: a descriptor, p: a pointer, s: a path, n: a size or count, b: bits, i: a small number, o: a
# file's flags, t: a short time, k: a process id. Calls that are not here get anything.
_SHAPES = {
    "read": "fpn", "write": "fpn", "pread64": "fpnn", "pwrite64": "fpnn", "readv": "fpi",
    "writev": "fpi", "preadv": "fpinn", "pwritev": "fpinn", "preadv2": "fpinnb",
    "pwritev2": "fpinnb", "lseek": "fni", "sendfile": "ffpn", "copy_file_range": "fpfpnb",
    "close": "f", "dup": "f", "dup2": "ff", "dup3": "ffo", "pipe": "p", "pipe2": "po",
    "fsync": "f", "fdatasync": "f", "ftruncate": "fn", "truncate": "sn", "flock": "fi",
    "fadvise64": "fnni", "open": "sob", "openat": "fsob", "creat": "sb", "stat": "sp",
    "fstat": "fp", "lstat": "sp", "newfstatat": "fspb", "statx": "fsbbp", "access": "si",
    "faccessat": "fsi", "getdents": "fpn", "getdents64": "fpn", "getcwd": "pn", "chdir": "s",
    "fchdir": "f", "readlink": "spn", "readlinkat": "fspn", "statfs": "sp", "fstatfs": "fp",
    "mkdir": "sb", "mkdirat": "fsb", "rmdir": "s", "rename": "ss", "renameat": "fsfs",
    "renameat2": "fsfsb", "link": "ss", "linkat": "fsfsb", "unlink": "s", "unlinkat": "fsb",
    "symlink": "ss", "symlinkat": "sfs", "mknod": "sbn", "mknodat": "fsbn", "umask": "b",
    "munmap": "pn", "mprotect": "pnb", "brk": "p", "msync": "pnb", "mremap": "pnnbp",
    "mmap": "pnbbfn", "madvise": "pni", "rt_sigaction": "ippn", "rt_sigprocmask": "ippn",
    "rt_sigpending": "pn", "rt_sigtimedwait": "pppn", "rt_sigsuspend": "pn", "sigaltstack": "pp",
    "setitimer": "ipp", "getitimer": "ip", "nanosleep": "pp", "clock_gettime": "ip",
    "clock_getres": "ip", "clock_nanosleep": "ibpp", "prlimit64": "kipp", "setrlimit": "ip",
    "getrlimit": "ip", "clone": "bpppp", "set_robust_list": "pn", "rseq": "pnbi",
    "wait4": "kpbp", "waitid": "ikpbp", "futex": "pbippi", "poll": "pit", "ppoll": "pippn",
    "select": "ipppp", "pselect6": "ippppp", "epoll_create": "i", "epoll_create1": "b",
    "epoll_ctl": "fifp", "epoll_wait": "fpit", "epoll_pwait": "fpitpn", "eventfd": "i",
    "eventfd2": "io", "timerfd_create": "io", "timerfd_settime": "fbpp", "timerfd_gettime": "fp",
    "socketpair": "iiip", "sendto": "fpnbpi", "recvfrom": "fpnbpp", "sendmsg": "fpb",
    "recvmsg": "fpb", "shutdown": "fi", "getsockname": "fpp", "getpeername": "fpp",
    "getsockopt": "fiipp", "ioctl": "fbp", "fcntl": "fib", "prctl": "ibppp", "arch_prctl": "bp",
    "getrandom": "pnb", "chmod": "sb", "fchmod": "fb", "fchmodat": "fsb", "utime": "sp",
    "utimes": "sp", "utimensat": "fspb", "futimesat": "fsp", "fallocate": "fbnn", "kill": "ki",
    "tgkill": "kki", "capset": "pp", "capget": "pp", "execve": "spp", "execveat": "fsppb",
    "setpgid": "kk", "getpgid": "k", "getsid": "k", "exit": "i", "exit_group": "i",
    "sched_getaffinity": "knp", "sched_setaffinity": "knp", "sched_getparam": "kp",
    "sched_getscheduler": "k", "close_range": "ffb", "faccessat2": "fsib",
    "sched_rr_get_interval": "kp", "getpriority": "ik",
}  # fmt: skip

_P, _ZERO = ["p", "page", 0], ["p", "zero", 0]

_WHOLE: tuple[tuple[str, list[Any]], ...] = (
    ("execve", [["s", 13], 0, 0]), ("execveat", [_AT_FDCWD, ["s", 13], 0, 0, 0]),
    ("epoll_ctl", [23, 1, 20, _ZERO]), ("epoll_ctl", [23, 2, 20, _ZERO]), ("epoll_ctl", [23, 1, 23, _ZERO]),
    ("capset", [["p", "caps", 0], _ZERO]), ("copy_file_range", [16, 0, 16, 0, 24, 0]),
    ("sendfile", [20, 16, 0, 64]), ("sendmsg", [21, ["p", "msg", 0], 0]), ("recvmsg", [22, ["p", "msg", 0], 64]),
    ("sendto", [21, _P, 8, 0, 0, 0]), ("recvfrom", [22, _P, 8, 64, 0, 0]), ("linkat", [_AT_FDCWD, ["s", 0], 18, ["s", 1], 0]),
    ("renameat", [18, ["s", 0], 18, ["s", 3]]), ("renameat2", [18, ["s", 0], 18, ["s", 1], 2]),
    ("renameat2", [18, ["s", 0], 18, ["s", 1], 4]), ("rt_sigprocmask", [2, _ZERO, 0, 8]),
    ("mmap", [0, 4096, 3, 1, 16, 0]), ("mmap", [0, 65536, 5, 2, 27, 0]), ("clone", [17, 0, 0, 0, 0]),
    ("fcntl", [16, 6, _P]), ("fcntl", [27, 37, _P]), ("flock", [27, 6]), ("futex", [_ZERO, 1, 9]),
    ("timerfd_settime", [25, 0, ["p", "pair", 0], 0]),
)  # fmt: skip
"""Calls of which a right one is seldom drawn."""

ENDS = ("exit", "exit_group", "rt_sigreturn", "pause", "rt_sigsuspend")
"""Calls after which little follows: they are drawn less often."""


@functools.cache
def allowed(variant: str) -> dict[str, tuple[int, tuple[Any, ...]]]:
    """By name: number and cases (what arguments must be) of each call that a variant lets through or
    asks the host about; the golden list says the same.
    """
    tier, options = golden.VARIANTS[variant]
    found: dict[str, tuple[int, tuple[Any, ...]]] = {
        name: (number, ((),)) for name, number in syscalls.NEWER.items()
    }
    for rule in syscalls.rules(tier, **options):
        if rule.action not in (syscalls.ALLOW, syscalls.ASK, syscalls.NO_EFFECT):
            continue
        for name in rule.names.split():
            number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
            if number >= 0:
                found[name] = (number, found.get(name, (0, ()))[1] + rule.cases)
    return found


def draw(variant: str, chance: random.Random, kept: list[Sequence]) -> Sequence:
    """A new sequence: made of nothing, or of those that are kept."""
    if not kept or chance.random() < 0.3:
        return _fresh(variant, chance, chance.randint(1, MOST_CALLS))
    sequence = [list(each) for each in chance.choice(kept)]
    for _ in range(chance.choice((1, 1, 2, 4))):
        sequence = _changed(variant, chance, sequence, kept)
    return sequence[:MOST_CALLS]


def _changed(
    variant: str, chance: random.Random, sequence: Sequence, kept: list[Sequence]
) -> Sequence:
    at = chance.randrange(len(sequence) + 1)
    match chance.randrange(6):
        case 0:
            return sequence[:at] + _fresh(variant, chance, chance.randint(1, 8)) + sequence[at:]
        case 1:
            return sequence[:at] + chance.choice(kept)
        case 2 if len(sequence) > 1:
            del sequence[min(at, len(sequence) - 1)]
            return sequence
        case 3:
            part = sequence[at : at + 4]
            return sequence[:at] + part * chance.choice((2, 8)) + sequence[at:]
        case 4:
            chance.shuffle(sequence)
            return sequence
    index = min(at, len(sequence) - 1)
    name, arguments = sequence[index]
    changed = list(arguments)
    changed[chance.randrange(6)] = _argument(chance, "")
    return [*sequence[:index], [name, changed], *sequence[index + 1 :]]


def _fresh(variant: str, chance: random.Random, count: int) -> Sequence:
    calls = allowed(variant)
    names = sorted(calls)
    found: Sequence = []
    while len(found) < count:
        if chance.random() < 0.1:
            name, whole = chance.choice(_WHOLE)
            if name in calls:
                found.append([name, [*whole, *[0] * (6 - len(whole))]])
            continue
        name = chance.choice(names)
        if name in ENDS and chance.random() < 0.9:
            continue
        found.append(_call(chance, name, calls[name][1]))
    return found


def _call(chance: random.Random, name: str, cases: tuple[Any, ...]) -> Call:
    shape = _SHAPES.get(name, "").ljust(6)
    # Half of them as a right program would, so that they get far.
    draw_one = _likely if chance.random() < 0.5 else _argument
    arguments = [draw_one(chance, kind.strip()) for kind in shape]
    if chance.random() < 0.9:  # or the filter is asked, with arguments that it refuses
        for condition in chance.choice(cases):
            argument = arguments[condition.argument]
            if condition.value == PID_MARK:
                argument = ["k", 0]
            elif condition.mask is None:
                argument = 1 if condition.unequal else int(condition.value)
            else:
                number = argument if isinstance(argument, int) else chance.getrandbits(12)
                argument = int(number & ~condition.mask | condition.value)
            arguments[condition.argument] = argument
    return [name, arguments]


def _likely(chance: random.Random, kind: str) -> Any:
    match kind:
        case "f":
            return chance.choice((*DESCRIPTORS, _AT_FDCWD))
        case "p":
            return chance.choice((0, *(["p", place, 0] for place in PLACES if place != "nowhere")))
        case "s":
            return ["s", chance.randrange(6)]
        case "n":
            return chance.choice((0, 1, 8, 24, 64, 4096))
        case "b":
            return chance.choice((0, 0, 1, 2, 3, 0o644, 1 << chance.randrange(12)))
        case "i":
            return chance.choice((0, 0, 1, 1, 2, chance.randrange(40)))
    return _argument(chance, kind)


def _argument(chance: random.Random, kind: str) -> Any:
    if chance.random() < 0.12:
        kind = chance.choice("fpsnbiotk")
    match kind or chance.choice("fpsnbiotk"):
        case "f":
            return chance.choice(
                (*DESCRIPTORS, chance.randrange(16), chance.randrange(16), ["r", chance.randint(1, 6)],
                 ["r", 1], -1, _AT_FDCWD, _AT_FDCWD, 255, 1 << 31)
            )  # fmt: skip
        case "p":
            place = chance.choice(PLACES)
            offset = chance.choice((0, 0, 0, 8, 1, 4088, 4096))
            return chance.choice((["p", place, offset],) * 8 + (0, *_EDGES[-3:]))
        case "s":
            return ["s", chance.randrange(PATHS)] if chance.random() < 0.9 else ["p", "text", 0]
        case "n":
            return chance.choice(
                (*_EDGES, chance.randrange(300), chance.randrange(300), 4096, 64, 24)
            )
        case "b":
            bits = 0
            for _ in range(chance.choice((0, 1, 1, 2, 3, 8))):
                bits |= 1 << chance.randrange(chance.choice((8, 16, 32)))
            return bits
        case "o":
            return chance.choice((0, 0o2, 0o102, 0o2102, 0o2000000)) | chance.choice(
                (0, 0, 0o4000, 0o1000, 0o200000, 0o10000000, 0o20200000, 1 << chance.randrange(32))
            )
        case "i":
            return chance.choice((*range(8), 15, 16, 17, 64, -1, chance.randrange(300)))
        case "t":
            return chance.choice((0, 0, 1, 5, -1))
        case _:
            return chance.choice((0, 0, 1, 2, -1, ["k", 0], ["k", 0], ["k", 1]))


_PROGRAM = """
import ctypes, mmap, os, random, signal, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = libc.mmap.restype = ctypes.c_long
libc.mmap.argtypes = [ctypes.c_long] * 6
P = 4096
base = libc.mmap(0, 16 * P, 3, 0x22, -1, 0)
def put(page, data): ctypes.memmove(base + page * P, data, len(data))
put(4, struct.pack("8Q", base, 64, base + P, P, 0, 8, base, 1 << 40))
put(6, random.Random(@SEED@).randbytes(P))
put(7, b"some text\\0".ljust(P, b"t"))
put(8, struct.pack("8Q", 0, 1000000, 0, 1000000, 3, 4, 0, 0))
put(9, struct.pack("QI4xQQQQi", 0, 0, base + 4 * P, 1, 0, 0, 0))
put(10, struct.pack("IiIIIIII", 0x20080522, 0, 0, 0, 0, 0, 0, 0))
libc.mprotect(ctypes.c_long(base + 2 * P), ctypes.c_long(P), 0)
libc.mprotect(ctypes.c_long(base + 3 * P), ctypes.c_long(P), 1)
places = dict(page=base, end=base + 2 * P - 8, read=base + 3 * P, nowhere=1 << 44, iov=base + 4 * P,
              zero=base + 5 * P, random=base + 6 * P, text=base + 7 * P, pair=base + 8 * P, msg=base + 9 * P, caps=base + 10 * P)
paths = [ctypes.c_char_p(os.fsencode(each)) for each in (
    "a", "b", "d", "d/a", ".", "..", "/", "/etc/passwd", @CANARY@, @CANARY@ + "/new", "/proc/self/mem",
    "/proc/self/fd/0", "/dev/null", sys.executable, "x" * 300, "/tmp")]
try:
    open("a", "w").write("a" * 5000)
    os.makedirs("d", exist_ok=True)
except OSError: pass
def had(opened):
    try: return [each if type(each) is int else each.detach() for each in opened()]
    except (OSError, AttributeError): return []
at = 16
for opened in (lambda: [os.open("a", os.O_RDWR), os.open("a", os.O_RDONLY), os.open(".", os.O_RDONLY)],
               os.pipe, socket.socketpair, lambda: [libc.epoll_create1(0), libc.eventfd(1, 0)],
               lambda: [libc.timerfd_create(1, 0), os.open("/dev/null", os.O_RDWR), os.open(os.__file__, os.O_RDONLY)]):
    for fd in had(opened):
        try: os.dup2(fd, at)
        except OSError: pass
        if fd != at: os.close(fd)
        at += 1
answers, me, parent = [], os.getpid(), os.getppid()
def resolve(argument):
    if isinstance(argument, int): return argument - (1 << 64) if argument >= 1 << 63 else argument
    kind, what, *offset = argument
    if kind == "p": return places[what] + offset[0]
    if kind == "s": return ctypes.cast(paths[what], ctypes.c_void_p).value
    if kind == "k": return parent if what else me
    return answers[-what] if len(answers) >= what else -1
def tick(*_): pass
signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
told = os.dup(1)
for at, (number, arguments) in enumerate(@CALLS@):
    ctypes.set_errno(0)
    got = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(resolve(each)) for each in arguments])
    if os.getpid() != me: os._exit(0)
    answers.append(got if -1 <= got < 1 << 31 else -1)
    try: os.write(told, b"\\n@MARK@ %d %d\\n" % (at, ctypes.get_errno() if got == -1 else 0))
    except OSError: pass
"""


def program(sequence: Sequence, variant: str, canary: str) -> str:
    """The program that makes a sequence's calls, one after the other; it says after each what it got.

    canary: a folder outside, whose path it knows.
    """
    calls = allowed(variant)
    numbered = [(calls[name][0], arguments) for name, arguments in sequence if name in calls]
    seed = random.Random(repr(sequence)).getrandbits(32)
    text = _PROGRAM.replace("@SEED@", str(seed)).replace("@MARK@", f"{seed:x}")
    return text.replace("@CANARY@", repr(canary)).replace("@CALLS@", repr(numbered))


def answers(sequence: Sequence, variant: str, output: bytes) -> Iterator[tuple[str, int]]:
    """What the program's calls got: name and errno, 0 where a call succeeded."""
    names = [name for name, _ in sequence if name in allowed(variant)]
    mark = f"{random.Random(repr(sequence)).getrandbits(32):x}".encode()
    for line in output.split(b"\n"):
        words = line.split(b" ")
        if words[0] == mark and len(words) == 3 and words[1].isdigit() and words[2].isdigit():
            at, error = int(words[1][:9]), int(words[2][:9])
            if at < len(names) and error < 200:
                yield names[at], error
