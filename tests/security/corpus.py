"""The attack corpus as data: what is tried, and by which layer each tier holds it.

Which tests hold a row, they say themselves, by beginning their docstrings with its id;
`table.py` puts both together. `test_corpus.py` fails where a row has no test in a tier.
"""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One row.

    layers: by tier, what holds it. no_control: why there is none; "" where tests have one.
    but: by tier, what of it is not held, which a test that is expected to fail shows.
    """

    tries: str
    layers: Mapping[str, str]
    no_control: str = ""
    but: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _both(layer: str) -> dict[str, str]:
    return {"namespaces": layer, "landlock": layer}


def _each(namespaces: str, landlock: str) -> dict[str, str]:
    return {"namespaces": namespaces, "landlock": landlock}


_ROOT = _each("a root of its own; Landlock", "Landlock")
_FRESH = _each("a fresh process; a fresh tmpfs", "a fresh process; a scratch that is emptied")
_SECCOMP = _both("seccomp")
_ALONE = _each(
    "a pid namespace; seccomp; not dumpable", "seccomp; Landlock; not dumpable; an id of its own"
)
_CLOCK = _both("the host's clock; SIGKILL by pidfd")
_KERNEL = _both("the wait status, by way of the zygote")
_PYTHON = _both("the zygote runs it as Python would")
_APART = _both("tests and expected values are in other processes; only data crosses")
_HOST = _both("the host decides the reason")
_SESSIONS = _each(
    "namespaces of its own for each branch; what it asks, the host answers",
    "a Landlock rule for each family; what it asks, the host answers",
)

ROWS: dict[str, Row] = {
    "F1": Row("read the host's passwords, keys, files", _ROOT),
    "F2": Row("look into other processes through /proc", _ALONE),
    "F3": Row("find others' files in /tmp, /var/tmp, /dev/shm", _ROOT),
    "F4": Row("read the library's host side, its sockets, tests, answers", _ROOT),
    "F5": Row(
        "create files outside the scratch",
        _each("read-only mounts; Landlock", "Landlock"),
    ),
    "F6": Row(
        "leave by links, or have the host collect through one",
        _each("a root of its own; collected by descriptors", "Landlock; collected by descriptors"),
    ),
    "F7": Row("climb out: /proc/self/root, .., chroot", _each("mounts; seccomp", "Landlock; seccomp")),
    "F8": Row(
        "change read-only files, make devices, open by handle",
        _each("read-only mounts; seccomp", "Landlock; seccomp"),
    ),
    "F9": Row("open devices", _each("none but the harmless are mounted", "Landlock")),
    "F10": Row("drop modules, .pth, byte code for the next run", _FRESH),
    "F11": Row(
        "names that lead elsewhere, in `files`, `collect` and a session's files",
        _both("checked before anything is run"),
        no_control="it is the caller that is refused",
    ),
    "F12": Row(
        "write to the file or set the terminal that its input comes from",
        _both("a pipe of the run's own; the host alone reads the source"),
    ),
    "N1": Row(
        "TCP, UDP, DNS, the metadata service",
        _each("seccomp; a network namespace without devices", "seccomp"),
    ),
    "N2": Row(
        "the host's unix sockets, also from a pair",
        _each("seccomp; a network namespace; a root of its own", "seccomp"),
    ),
    "N3": Row("raw, packet and netlink sockets; any family", _SECCOMP),
    "K1": Row("clone, clone3, unshare, setns with every NEW* flag", _SECCOMP),
    "K2": Row("old and new mount calls, pivot_root, chroot", _both("seccomp; no capability")),
    "K3": Row("ptrace, process_vm_*, pidfd_*, kcmp", _both("seccomp; not dumpable")),
    "K4": Row("bpf, perf events, userfaultfd, io_uring, keys, splice", _SECCOMP),
    "K5": Row("modules, kexec, reboot, swap, clocks, the log", _both("seccomp; no capability")),
    "K6": Row("execute files, descriptors, set-uid binaries", _both("seccomp; no_new_privs")),
    "K7": Row("32-bit and x32 entries; personality; modify_ldt", _both("seccomp: SIGSYS, or EPERM")),
    "K8": Row("System V memory, semaphores, queues; POSIX queues", _SECCOMP),
    "K9": Row("limits, priority, affinity of another process", _both("seccomp, by arguments")),
    "K10": Row(
        "every system call number",
        _both("seccomp: the golden list"),
        no_control="the list says what is let through, and a test that a difference is seen",
    ),
    "K11": Row("ask what the page cache holds of what others have read", _SECCOMP),
    "K12": Row(
        "generated sequences of every call that is let through, with any arguments",
        _both("all of the above; the host survives what its programs do to themselves"),
        no_control="outside they would do harm; tests ask that harm is noticed",
    ),
    "P1": Row(
        "signals to everybody",
        _each("a pid namespace, of which the zygote is process 1", "seccomp; Landlock scopes"),
    ),
    "P2": Row("gain ids, capabilities; loosen what holds it", _both("no_new_privs; capset; seccomp")),
    "P3": Row("use descriptors that it was not given", _both("close_range before the program")),
    "P4": Row(
        "make processes where none, or more than so many, are allowed",
        _each("seccomp; pids cgroup, RLIMIT_NPROC, the zygote's kill(-1)", "seccomp"),
    ),
    "P5": Row("limits, priority, signal owner of its neighbours", _both("seccomp, by arguments")),
    "R1": Row(
        "bombs of processes and threads",
        _each("seccomp; RLIMIT_NPROC, pids cgroup", "seccomp; RLIMIT_NPROC where ids are own, else watched"),
    ),
    "R2": Row(
        "take all memory",
        _both("memory cgroup where writable; RLIMIT_DATA; watched"),
    ),
    "R3": Row(
        "fill scratch, /dev/shm; open files for ever",
        _each("a tmpfs of its size and inodes; RLIMIT_NOFILE", "watched; no fallocate; RLIMIT_FSIZE, RLIMIT_NOFILE"),
        but={"landlock": "not of files that are open and have no name any more (only each one's size)"},
    ),
    "R4": Row("print for ever", _both("the host reads up to the cap, then kills")),
    "R5": Row("compute for ever in C, with the GIL", _CLOCK),
    "R6": Row("the end of the stack; raise limits", _both("RLIMIT_STACK, and memory where that is raised; hard limits equal soft ones, but data's where a cgroup counts memory")),
    "R7": Row("abort, dump core", _both("RLIMIT_CORE 1; not dumpable")),
    "M1": Row(
        "hold pages that no count of what is mapped sees",
        _both("a memory cgroup for each worker and session; where none is: seccomp, no shared memory but in files, no /dev/zero"),
    ),
    "M2": Row(
        "leave what is charged to the next run",
        _both("a cgroup's limit never rises with it; the kernel is asked for it, or the jail is replaced"),
    ),
    "M3": Row(
        "have each of a session's kept states hold as much as one may",
        _both("old states are given up by what all hold together"),
    ),
    "R10": Row(
        "say, in a name that /proc shows, what is read there",
        _both("numbers are taken by their place, behind any name"),
    ),
    "R11": Row(
        "be over before it is looked at, call by call, and keep what it took",
        _each(
            "a look at each call's end; a tmpfs of its size and inodes",
            "a look at each call's end; what it wrote is removed",
        ),
    ),
    "H1": Row("loop, sleep, ignore and block signals", _CLOCK),
    "H2": Row(
        "a daemon that holds stdout",
        _each("seccomp; where allowed, the zygote's kill(-1)", "seccomp"),
    ),
    "H3": Row("close its streams, read empty input, open a FIFO", _CLOCK),
    "H4": Row("loop or print at its end", _CLOCK),
    "H5": Row(
        "outlive a host that is killed",
        _each(
            "end of file on the control socket; parent-death signals",
            "the same; the fork server ends what a family init leaves",
        ),
        no_control="the test kills a host, and asks first that its processes live",
    ),
    "H6": Row(
        "enlarge, fill, lock, reopen its input, or leave it unread",
        _both("the host waits for neither end of it"),
        no_control="outside there is nobody who moves it; tests ask that the next run works",
    ),
    "O1": Row("print markers, results, escapes, invalid UTF-8", _both("output is bytes, and read as nothing else")),
    "O2": Row("odd sources, and ordinary features", _PYTHON),
    "O3": Row("every way to exit", _PYTHON),
    "O4": Row("os._exit(0) half-way", _KERNEL),
    "O5": Row("a segmentation fault", _KERNEL),
    "O6": Row(
        "return cyclic, deep, huge, subclassed, pickling values",
        _both("exact types, or what is held of one, caps, no pickle, no recursion"),
        no_control="outside nothing crosses",
    ),
    "O7": Row("warnings on stderr", _HOST),
    "O8": Row("much output in a short time", _both("drained after the end")),
    "W1": Row("exit with 0 on import, or in the function", _APART),
    "W2": Row("be equal to everything; replace builtins", _APART),
    "W3": Row("look for the expected answer", _APART),
    "W4": Row("say that it has passed", _APART),
    "W5": Row("know the shown inputs by heart", _both("hidden inputs")),
    "W6": Row("remember, count, change its arguments", _both("a process for each case; values are copies")),
    "W7": Row("be right up to a point", _both("output must be whole, and its end good")),
    "W8": Row("stop the clocks, slow others", _both("the host's clock; what it leaves is dead")),
    "W9": Row(
        "wreck its worker, forge its report, to be counted as our failure",
        _both("STARTED is sent before the program has control; one retry"),
        no_control="outside there is no worker; tests ask that the next run works",
    ),
    "W10": Row(
        "not be counted: lead a test, a checker or a comparison to where it fails",
        _both("the host counts answers: what comes after the first is the program's doing"),
        no_control="what it is led to is an error in our own processes; right programs pass",
    ),
    "W11": Row(
        "equal by a number beyond floats, or by keys of which one stands for two",
        _both("what is not finite is near nothing; such cases are refused"),
        no_control="nothing runs; tests ask that what is right is equal",
    ),
    "W12": Row(
        "lose its session by a limit, or by what it holds, to be counted as our failure",
        _both("a session that we end for a limit is lost by its program's doing, and says so"),
        no_control="outside there are no sessions; sessions that are lost by our failure say so",
    ),
    "W13": Row(
        "spoil or answer for the tests behind one in the same process, or put the blame on another",
        _both("the test's process alone says which test has ended; a bad end is run again alone"),
        no_control="there is no other judge of several tests in two processes; right ones pass",
    ),
    "T1": Row(
        "return what poses as data: objects that answer yes, iterators, classes, functions that are classes",
        _both("a stand-in reckons with data only if the test has made it; the test's text says of what"),
    ),
    "T2": Row(
        "forge what crosses: handles, names, records, leaves, exceptions, frames",
        _both("the test's process reads only what can be; what can't is the program's wrong answer"),
        no_control="outside nothing crosses",
    ),
    "T3": Row(
        "change what a test compares with, or swallow what it raises",
        _both("copies; the text says if arguments come back; no `with` of a program's swallows what is asserted"),
    ),
    "T4": Row(
        "have a test skipped or its runner stopped, by exceptions",
        _both("no exception of a runner's crosses, by whichever name; a skip is no pass"),
    ),
    "T5": Row(
        "leave modules, .pth files and pickles where a test finds them",
        _both("the test's process looks for no modules among files, and its pickles name plain classes only"),
    ),
    "T6": Row(
        "not be counted by what crosses: circles, no end, odd files, news that are none",
        _both("the host counts answers: what comes after the first is the program's doing"),
        no_control="what it is led to is an error in our own processes; right programs pass",
    ),
    "J1": Row(
        "make a checker say that it is right: by code, pickles, verdicts in the output",
        _both("a checker that evaluates is refused; its verdict is one number, and nothing else"),
    ),
    "J2": Row(
        "reach the files, the process or the verdict of a checker or an interactor",
        _both("a jail of its own; the host reads its verdict from its run alone"),
    ),
    "J3": Row(
        "not be counted: have a checker or an interactor fail, or wait",
        _both("whether a case counts follows from its text; both have clocks and caps"),
    ),
    "J4": Row(
        "go on talking to an interactor: daemons, streams that are closed or held",
        _both("the wait status ends it; what it left is dead; its own end must be good"),
    ),
    "C1": Row(
        "have the host compute: text in which code is looked for",
        _both("linear, with a budget of lines that are looked at in vain"),
        no_control="steps are counted at twice and four times the length",
    ),
    "C2": Row(
        "have the host compute: keys of one probe chain, values of a million parts",
        _both("parts are bounded by what is expected; filling a table is timed"),
        no_control="a test asks that honest keys are read",
    ),
    "C3": Row(
        "have the host compute: type hints that double",
        _both("parts are counted where they are read; sizes before anything is drawn"),
        no_control="tests ask that ordinary hints are drawn from",
    ),
    "O9": Row(
        "have the host's commands show markup, links, escapes",
        _both("texts only; control characters are escaped"),
        no_control="the terminal of whoever runs the tests would obey",
    ),
    "S1": Row("reach a sibling branch, another session", _SESSIONS),
    "S2": Row(
        "carry maps, descriptors, positions, timers, locks over a fork",
        _both("the family init looks while it is stopped, before it runs; it opens files anew"),
    ),
    "S3": Row("fork by the session's machinery, answer for another", _SESSIONS),
    "S4": Row("count calls over forks of one load", _both("each call in a fork; files are copies")),
    "S5": Row(
        "hostile calls, forks, rollbacks, resets in any order",
        _SESSIONS,
        no_control="outside there are no sessions; a model says what those of others hold",
    ),
    "L1": Row("leave builtins, modules, masks, limits behind", _FRESH),
    "L2": Row("leave files, locks, threads behind", _FRESH),
    "L3": Row("the same randomness twice", _both("reseeded in every process")),
    "L4": Row(
        "find the host's environment, paths, name",
        _each("its own environment and UTS namespace", "its own environment"),
        but={"namespaces": "/proc/self/mountinfo names the sources of its mounts"},
    ),
    "L5": Row(
        "meet another run, session or branch that knows the same secret",
        _each("namespaces; seccomp; read-only mounts", "Landlock; seccomp"),
        but=_each(
            "not by locks and futexes on files that both read",
            "not by locks and futexes on files that both read, nor by metadata: when they were read, how many folders a run has",
        ),
    ),
}  # fmt: skip
