"""Sessions against a model of a few lines: whatever is done to them, in any order, both agree."""

import copy
import dataclasses

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    multiple,
    rule,
    run_state_machine_as_test,
)

from interpreter_pool import Pool, ProgramError, Session, SessionLost

SET_UP = """
import os, signal, sys
log, box = [], {"n": 0}

def add(number):
    log.append(number)
    box["n"] += 1
    return log, box

def fail(number):
    log.append(number)
    raise LookupError(number)

def crash(number):
    log.append(number)
    os.abort()

def leave(number):
    log.append(number)
    sys.exit(number % 3)

def files():
    return {name: open(name).read() for name in sorted(os.listdir("."))}
"""

LOOK = "[log, box, files()]"

CHANGES = {
    "append": "log.append({0})",
    "rebind": "log = log + [{0}]",
    "key": "box['k{0}'] = box.get('k{0}', 0) + 1",
    "large": "bulk = bytes([{0}]) * 3_000_000\nlog.append(bulk[-1])",
}

ENDS = {
    # how a call ends after its change: code, and whether the change stays
    "runs off": ("", True),
    "raises": ("raise KeyError('x')", True),
    "does not compile later": ("exec('def f(:')", True),
    "exits": ("sys.exit(3)", True),
    "returns a value": ("log", True),
    "os._exit": ("os._exit(0)", False),
    "kills itself": ("os.kill(os.getpid(), signal.SIGKILL)", False),
    "aborts": ("os.abort()", False),
    "times out": ("while True: pass", False),
}

NUMBERS = st.integers(0, 5)


@dataclasses.dataclass
class Model:
    """What a session should hold. past: earlier memories, the oldest first; None: it is lost."""

    history: int
    memory: "dict[str, object] | None"
    files: "dict[str, str]"
    past: list

    def keep(self, before) -> None:
        """A call has ended by itself; `before` is the memory before it."""
        self.past = [*self.past, before][-self.history :] if self.history > 0 else []

    def change(self, what: str, number: int) -> None:
        log, box = self.memory["log"], self.memory["box"]
        if what == "key":
            box[f"k{number}"] = box.get(f"k{number}", 0) + 1
        else:
            log.append(number)


@dataclasses.dataclass
class Pair:
    real: Session
    model: Model
    keeps: bool


class Machine(RuleBasedStateMachine):
    """Drives a few sessions of `pool` and their models."""

    pool: Pool
    pairs: Bundle = Bundle("pairs")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[Session] = []

    def teardown(self) -> None:
        for each in self.open:
            each.close()

    # ---- making

    @rule(target=pairs, history=st.sampled_from([0, 1, 3]), keeps=st.booleans())
    def make(self, history, keeps):
        if len(self.open) > 6:
            return multiple()
        real = self.pool.session(history=history, rollback=keeps)
        self.open.append(real)
        pair = Pair(real, Model(history if keeps else 0, None, {}, []), keeps)
        self._set_up(pair)
        return pair

    def _set_up(self, pair) -> None:
        assert pair.real.run(SET_UP).ok
        pair.model.memory = {"log": [], "box": {"n": 0}}
        pair.model.files = {}
        pair.model.past = []
        pair.model.keep({})

    @rule(target=pairs, pair=pairs, n=st.integers(1, 2))
    def fork(self, pair, n):
        if pair.model.memory is None:
            with pytest.raises(SessionLost):
                pair.real.fork(n)
            return multiple()
        if len(self.open) > 6:
            return multiple()
        branches = pair.real.fork(n)
        self.open += branches
        model = pair.model
        return multiple(
            *(
                Pair(
                    each,
                    Model(model.history, copy.deepcopy(model.memory), dict(model.files), []),
                    pair.keeps,
                )
                for each in branches
            )
        )

    # ---- calls

    @rule(
        pair=pairs,
        what=st.sampled_from(sorted(CHANGES)),
        number=NUMBERS,
        end=st.sampled_from(sorted(ENDS)),
        file=st.booleans(),
    )
    def run(self, pair, what, number, end, file):
        ending, stays = ENDS[end]
        write = f"open('f{number}', 'a').write('{number}')\n" if file else ""
        code = f"{write}{CHANGES[what].format(number)}\nprint('seen')\n{ending}"
        timeout = 0.1 if end == "times out" else None
        if pair.model.memory is None:
            with pytest.raises(SessionLost):
                pair.real.run(code)
            return
        before = copy.deepcopy(pair.model.memory)
        result = pair.real.run(code, timeout=timeout)
        assert result.stdout == "seen\n", result
        assert not result.infra_error
        if file:  # files are never rolled back
            pair.model.files[f"f{number}"] = pair.model.files.get(f"f{number}", "") + str(number)
        if stays:
            pair.model.change(what, number)
            pair.model.keep(before)
        elif not pair.keeps:
            pair.model.memory = None
        assert result.rolled_back == (pair.keeps and not stays)
        if end == "returns a value":
            assert result.value == repr(pair.model.memory["log"])

    @rule(
        pair=pairs,
        name=st.sampled_from(["add", "fail", "crash", "leave", "nowhere"]),
        number=NUMBERS,
    )
    def call(self, pair, name, number):
        model = pair.model
        if model.memory is None:
            with pytest.raises(SessionLost):
                pair.real.call(name, number)
            return
        before = copy.deepcopy(model.memory)
        wanted = {"fail": "LookupError", "crash": "SIGABRT", "leave": "SystemExit"}
        if name == "add":
            model.memory["box"]["n"] += 1
            model.change("append", number)
            assert pair.real.call(name, number) == (model.memory["log"], model.memory["box"])
        else:
            with pytest.raises(ProgramError) as caught:
                pair.real.call(name, number)
            assert caught.value.type == wanted.get(name, "NameError")
            if name == "crash":
                model.memory = model.memory if pair.keeps else None
                return
            if name != "nowhere":
                model.change("append", number)
        model.keep(before)

    @rule(pair=pairs)
    def look(self, pair):
        if pair.model.memory is None:
            return
        self._compare(pair)
        pair.model.keep(copy.deepcopy(pair.model.memory))

    # ---- going back, and leaving

    @rule(pair=pairs, steps=st.integers(1, 4))
    def rollback(self, pair, steps):
        model = pair.model
        if model.memory is None:
            with pytest.raises(SessionLost):
                pair.real.rollback(steps)
        elif steps > len(model.past) or (steps == len(model.past) and model.past[0] == {}):
            if steps > len(model.past):
                with pytest.raises(ValueError, match="steps"):
                    pair.real.rollback(steps)
        else:
            pair.real.rollback(steps)
            model.memory = model.past[-steps]
            model.past = model.past[:-steps]

    @rule(pair=pairs)
    def reset(self, pair):
        pair.real.reset()
        self._set_up(pair)

    @rule(pair=consumes(pairs))
    def close(self, pair):
        pair.real.close()
        self.open.remove(pair.real)
        with pytest.raises(SessionLost, match="closed"):
            pair.real.run("1")

    def _compare(self, pair) -> None:
        result = pair.real.run(LOOK)
        assert result.ok, result
        log, box = pair.model.memory["log"], pair.model.memory["box"]
        assert result.value == repr([log, box, dict(sorted(pair.model.files.items()))])


def test_sessions_agree_with_the_model(pool):
    """Run, fail, time out, exit, crash, call, fork, roll back, reset, close: with rollback and
    without, the state is what it should be.
    """
    machine = type("Machine", (Machine,), {"pool": pool})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
        ),
    )
