"""Sessions against a model while calls are hostile: they take threads, memory and files, die, lie on
their sockets, close descriptors. A session is lost, or in a state that there was, in whole; all others
are what their models say.
"""

import copy
import dataclasses
import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, consumes, multiple, rule, run_state_machine_as_test
from test_fuzz_sessions import SAY, ends, spoken
from test_session_machine import NUMBERS, Machine, Pair

from interpreter_pool import Limits, PolicyError, PoolError, Result, Session, SessionLost

SECONDS = float(os.environ.get("POOL_CAMPAIGN_S", "0"))
"""In the campaign: about how long it goes on."""

LIMITS = Limits(memory_bytes=48 << 20, disk_bytes=4 << 20, files=200, threads=8, open_files=64)

HOSTILE = {
    "threads that stay": "import threading, time\n"
    "for _ in range(20): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
    "threads that end": "import threading\nfor _ in range(5): threading.Thread(target=str).start()",
    "memory": "held = []\nwhile True: held.append(bytearray(1 << 20))",
    "memory within": "held = bytearray(30 << 20)",
    "memory by maps": "import mmap\nmaps = [mmap.mmap(-1, 8 << 20) for _ in range(20)]\n"
    "for each in maps: each.write(b'x' * (8 << 20))",
    "files": "for n in range(9999): open(f'g{n}', 'w').write('x')",
    "a large file": "open('large', 'wb').write(bytes(9 << 20))",
    "files without names": "import os\nheld = []\n"
    "for n in range(20):\n held.append(open('h', 'wb')); held[-1].write(bytes(1 << 20)); os.unlink('h')",
    "a FIFO and a link": "import os\n"
    "for make in (lambda: os.mkfifo('p'), lambda: os.symlink('/etc/passwd', 'l'), lambda: os.mkdir('q', 0)):\n"
    " try: make()\n except OSError: pass",
    "no rights": "os.chmod('.', 0)",
    "elsewhere": "import tempfile\nos.chdir(tempfile.mkdtemp())",
    "nowhere": "os.mkdir('gone')\nos.chdir('gone')\nos.rmdir('../gone')",
    "descriptors closed": "os.closerange(0, 64)",
    "descriptors taken": "held = []\nwhile True: held.append(os.pipe())",
    "streams exchanged": "r, w = os.pipe()\n[os.dup2(w, fd) for fd in range(3)]",
    "a signal that stops": "os.kill(os.getpid(), signal.SIGSTOP)",
    "signals to all": "for pid in [-1, 0, 1, os.getppid(), *range(2, 40)]:\n"
    " try: os.kill(pid, 9)\n except OSError: pass",
    "signals ignored": "for n in signal.valid_signals():\n"
    " try: signal.signal(n, signal.SIG_IGN)\n except (OSError, ValueError): pass",
    "signals blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
    "an alarm": "signal.setitimer(signal.ITIMER_REAL, 0.01)",
    "forks": "for _ in range(50):\n try: os.fork()\n except OSError: pass",
    "a fork by its number": "import ctypes\nfor n in (56, 57, 58, 435): ctypes.CDLL(None).syscall(n, 17, 0, 0, 0, 0)",
    "limits lowered": "import resource\n"
    "for n in range(16):\n try: resource.setrlimit(n, (4, 4))\n except (OSError, ValueError): pass",
    "a name in /proc": "import ctypes\nctypes.CDLL(None).prctl(15, b'a) R 1 1 1\\nThreads:\\t1')",
    "a name that breaks off": "import ctypes\nctypes.CDLL(None).prctl(15, b'\\xff) S (\\n\\x1b[2J)')",
    "its own memory": "import ctypes\nctypes.memset(id(signal), 0, 16)",
    "no stack left": "import ctypes\nctypes.CDLL(None).munmap(ctypes.c_void_p(id(log) & ~4095), 4096)",
    "builtins": "import builtins\nbuiltins.len = builtins.repr = builtins.compile = builtins.exec = None",
    "no modules": "sys.modules.clear()",
    "a tracer": "sys.settrace(lambda *_: 1 / 0)",
    "an audit hook": "sys.addaudithook(lambda *_: 1 / 0)",
    "output": "while True: print('x' * 9999)",
    "an exit in a thread": "import threading\nthreading.Thread(target=os._exit, args=(0,)).start()",
}
"""Calls after which a session's state is no longer foreseen."""

BELIEVED = {
    "builtins",
    "no modules",
    "a tracer",
    "an audit hook",
    "its own memory",
    "no stack left",
}
"""Of those, the ones after which a session can't be asked what it holds: it is its own word."""


@dataclasses.dataclass
class Spoiled:
    """A session that had hostile calls. logs: every value that `log` has had, None: it may lie."""

    real: Session
    pair: Pair
    logs: "list[str] | None"


class HostileMachine(Machine):
    """As `Machine`, and some of the sessions are spoiled by what they call."""

    spoiled: Bundle = Bundle("spoiled")

    # ---- spoiling

    @rule(
        target=spoiled,
        pair=consumes(Machine.pairs),
        what=st.sampled_from(sorted(HOSTILE)),
        number=NUMBERS,
    )
    def spoil(self, pair, what, number):
        model = pair.model
        if model.memory is None:
            pair.real.close()
            self.open.remove(pair.real)
            return multiple()
        memories = [model.memory, *model.past]
        logs = [repr(each["log"]) for each in memories if "log" in each]
        each = Spoiled(pair.real, pair, logs)
        self._hostile(each, what, number)
        return each

    @rule(each=spoiled, what=st.sampled_from(sorted(HOSTILE)), number=NUMBERS)
    def spoil_more(self, each, what, number):
        self._hostile(each, what, number)

    @rule(each=spoiled, said=spoken, then=ends)
    def lie(self, each, said, then):
        each.logs = None
        self._tried(
            lambda: each.real.run(
                SAY.replace("@FRAMES@", repr(said)).replace("@THEN@", then), timeout=0.3
            )
        )

    def _hostile(self, each, what, number) -> None:
        if what in BELIEVED:
            each.logs = None
        elif each.logs is not None:
            # What it appends comes first: a state that has it is one that there was.
            each.logs += [f"{log[:-1]}{', ' * (log != '[]')}{number}]" for log in each.logs]
        self._tried(lambda: each.real.run(f"log.append({number})\n{HOSTILE[what]}", timeout=0.3))

    # ---- what is done to those that were spoiled

    @rule(each=spoiled)
    def look_at(self, each):
        result = self._tried(lambda: each.real.run("log", timeout=2))
        if each.logs is not None and result is not None and result.ok and result.value:
            assert result.value in each.logs

    @rule(target=spoiled, each=spoiled)
    def branch(self, each):
        if len(self.open) > 6:
            return multiple()
        found = self._tried(each.real.fork)
        if found is None:
            return multiple()
        self.open.append(found)
        model = dataclasses.replace(each.pair.model, past=[])
        pair = Pair(found, model, each.pair.keeps)
        return Spoiled(found, pair, copy.copy(each.logs))

    @rule(each=spoiled, steps=st.integers(1, 3))
    def go_back(self, each, steps):
        if each.logs is not None:
            each.logs.append("None")  # before it was set up, there was no log
        try:
            self._tried(lambda: each.real.rollback(steps))
        except ValueError:
            pass

    @rule(each=spoiled, name=st.sampled_from(["f0", "l", "p", "large", "q/r", "new"]))
    def files_of(self, each, name):
        for step in (
            lambda: each.real.listdir(),
            lambda: each.real.read(name),
            lambda: each.real.write(name, b"x"),
        ):
            try:
                self._tried(step)
            except (OSError, ValueError):
                pass

    @rule(target=Machine.pairs, each=consumes(spoiled))
    def recover(self, each):
        each.real.reset()
        self._set_up(each.pair)
        return each.pair

    @rule(each=consumes(spoiled))
    def leave(self, each):
        each.real.close()
        self.open.remove(each.real)

    # ---- what nobody's calls change

    @rule()
    def others_go_on(self):
        assert self.pool.run("print(1)", timeout=30).stdout == "1\n"

    def _tried(self, step):
        """What it gives; None where the session does not allow it, which it says."""
        try:
            found = step()
        except (SessionLost, PolicyError, PoolError) as error:
            assert "internal" not in str(error)
            return None
        if isinstance(found, Result):
            assert not found.infra_error, found
        return found


def test_hostile_sessions_agree_with_the_model(pool):
    """S5: whatever a session's calls do, it is lost or in a state that there was; a reset makes it as new, and
    all others are as the model has it.
    """
    machine = type("Machine", (HostileMachine,), {"pool": pool})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=max(3, int(SECONDS)),
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
        ),
    )


@pytest.mark.soak  # `make campaign` runs it, too; in short, the machine draws some of them
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_call_leaves_its_session_usable_or_lost(pool, what):
    """S5: each hostile call by itself: what comes after it is answered, and a reset makes it as new."""
    with pool.session(limits=LIMITS) as session:
        session.run("import os, signal, sys\nlog = []")
        for step in (
            lambda: session.run(HOSTILE[what], timeout=0.3),
            lambda: session.run("log"),
            lambda: session.fork().close(),
        ):
            try:
                found = step()
                assert not (isinstance(found, Result) and found.infra_error), found
            except (SessionLost, PolicyError, PoolError):
                pass
        session.reset()
        assert session.run("1 + 1").value == "2"
