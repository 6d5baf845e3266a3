"""`PythonInterpreter`: TorchRL's contract, and the whole batch at once."""

import inspect
import pickle
import time

import pytest
import torch
from chat import environment, replies, reset, run, step
from conftest import NAP, SOON_S, is_idle, overlapped, wait_until
from tensordict import TensorDict
from torchrl.data.llm import History
from torchrl.envs.llm import ChatEnv
from torchrl.envs.llm.transforms import PythonInterpreter as Theirs

from interpreter_pool import Limits
from interpreter_pool.transforms import PythonInterpreter


@pytest.fixture
def fresh():
    interpreter = PythonInterpreter(pool_size=2, tool_name="tool")
    yield interpreter
    interpreter.close()


@pytest.fixture
def persistent():
    interpreter = PythonInterpreter(pool_size=2, persistent=True)
    yield interpreter
    interpreter.close()


def test_the_signature_is_theirs():
    """Only the import changes: their arguments, in their order, with their defaults."""
    ours, theirs = (inspect.signature(each).parameters for each in (PythonInterpreter, Theirs))
    for (name, own), other in zip(ours.items(), theirs.values(), strict=False):
        assert (name, own.default, own.kind) == (other.name, other.default, other.kind)
    assert issubclass(PythonInterpreter, Theirs.__mro__[1])


def test_replies_are_theirs(fresh):
    """To the letter, of a block that runs well."""
    code = "print('a')\nprint('b', end='')"
    env, state = environment(fresh)
    other, start = environment(Theirs())
    assert replies(run(env, state, code), 0) == replies(run(other, start, code), 0)
    (reply,) = replies(run(env, state, "1/0"), 0)
    assert reply.startswith("Code block 1 failed:\nTraceback (most recent call last):\n")
    assert reply.endswith("ZeroDivisionError: division by zero\n")


def test_a_fresh_run_sees_nothing_of_others(fresh):
    """Neither of the same environment's last block, nor of another environment's."""
    env, state = environment(fresh, 2)
    state = run(env, state, "x = 1; open('f', 'w').write('x')", "x = 2")
    code = "import os; print('x' in globals(), os.path.exists('f'))"
    after = run(env, state, code, code)
    for at in range(2):
        assert replies(after, at)[-1] == "Code block 1 executed successfully:\nFalse False\n"


def test_state_persists_for_each_environment(persistent):
    """From block to block and step to step, and no environment sees another's."""
    env, state = environment(persistent, 3)
    state = run(env, state, "x = [0]", "x = [1]", "pass")
    state = step(
        env,
        state,
        ["```python\nx.append(5)\n```\nand\n```python\nprint(x)\n```", "nothing", "no code"],
    )
    assert replies(state, 0)[-1] == "Code block 2 executed successfully:\n[0, 5]\n"
    state = run(env, state, "print(x)", "print(x)", "print(x)")
    assert replies(state, 0)[-1].endswith("\n[0, 5]\n")
    assert replies(state, 1)[-1].endswith("\n[1]\n")
    assert "NameError" in replies(state, 2)[-1]


def test_a_partial_reset_resets_exactly_those(persistent):
    """The others' state stays; a whole reset takes everybody's."""
    env, state = environment(persistent, 3)
    after = run(env, state, *["x = 1"] * 3)
    mask = TensorDict({"_reset": torch.tensor([[True], [False], [True]])}, batch_size=(3,))
    persistent._reset(mask, after)
    code = "print('x' in globals())"
    after = run(env, state, code, code, code)
    answers = [replies(after, at)[-1].split("\n")[1] for at in range(3)]
    assert answers == ["False", "True", "False"]
    after = run(env, reset(env), code, code, code)
    assert [replies(after, at)[-1].split("\n")[1] for at in range(3)] == ["False"] * 3


@pytest.mark.parametrize("size", [1, 3])
def test_answers_that_are_all_the_same_are_each_run(fresh, size):
    """TorchRL then holds their text once, and not for each environment."""
    env, state = environment(fresh, size)
    answer = History(role="assistant", content="```python\nprint(1)\n```").view(1, 1)
    state["history"].full = state["history"].prompt.extend(
        answer.expand(size, 1), dim=-1, inplace=False
    )
    after = env.step(state)["next"]
    assert after["python", "runs"].tolist() == [[1]] * size
    for at in range(size):
        assert replies(after, at) == ["Code block 1 executed successfully:\n1\n"]


def test_batches_have_any_shape(persistent):
    """Nested dimensions, one environment without a batch: replies and outcomes in that shape."""
    env, state = environment(persistent, 2, 3)
    after = run(env, state, *[f"print({n})" if n != 4 else "1/0" for n in range(6)])
    assert after["history"].prompt.shape == (2, 3, 4)
    assert replies(after, 0, 2) == ["Code block 1 executed successfully:\n2\n"]
    assert after["python", "ok"].tolist() == [[[True]] * 3, [[True], [False], [True]]]
    assert [list(row) for row in after["python", "reason"]] == [
        ["ok", "ok", "ok"],
        ["ok", "exception", "ok"],
    ]


def test_batches_grow_and_shrink(persistent):
    """The executor of one transform takes any number of environments, and keeps each one's state."""
    for size in (1, 4, 2):
        codes = {at: ["n = globals().get('n', 0) + 1; print(n)"] for at in range(size)}
        found = persistent._executor.run(codes)
        assert all(found[at][0]["success"] for at in range(size))
    assert found[0][0]["stdout"] == "3\n" and found[1][0]["stdout"] == "2\n"


@pytest.mark.parametrize("persists", [False, True])
def test_environments_run_at_the_same_time(persists):
    """Two that sleep do so at once, on two workers."""
    interpreter = PythonInterpreter(pool_size=2, persistent=persists)
    env, state = environment(interpreter, 2)
    run(env, state, "pass", "pass")
    wait_until(lambda: is_idle(interpreter._own.get().pool))
    state = run(env, state, NAP, NAP)
    assert overlapped(replies(state, 0)[-1], replies(state, 1)[-1])
    interpreter.close()


def test_what_a_step_tells_of_each_environment(fresh):
    """Reason, exit code, seconds, memory, under the documented keys; zeros after a reset."""
    env, state = environment(fresh, 4)
    assert state["python", "runs"].tolist() == [[0]] * 4
    assert state["python", "ok"].all() and not state["python", "infra_error"].any()
    texts = [
        "```python\nx = bytearray(50 << 20)\nwhile __import__('time').process_time() < 0.2: pass\n```",
        "no code",
        "```python\nimport sys; sys.exit(3)\n```",
        "```python\n1/0\n```\n```python\nprint(1)\n```",
    ]
    found = step(env, state, texts)["python"]
    assert found["runs"].tolist() == [[1], [0], [1], [2]]
    assert found["ok"].tolist() == [[True], [True], [False], [False]]
    assert found["exit_code"].tolist() == [[0], [-1], [3], [0]]
    assert list(found["reason"]) == ["ok", "", "exit", "exception"]
    assert not found["infra_error"].any()
    assert found["cpu_s"][0] > 0.15 and found["wall_s"][0] > 0.15 and found["wall_s"][1] == 0
    assert found["peak_memory_bytes"][0] > 50 << 20 or found["peak_memory_bytes"][0] == 0
    assert (found["queue_s"] >= 0).all()


def test_specs_describe_what_steps_give(fresh):
    """What the environment says of its observations is what comes."""
    env, state = environment(fresh, 2)
    after = run(env, state, "pass", "1/0")
    spec = env.observation_spec["python"]
    for name in spec:
        assert name in after["python"]
        if name != "reason":
            assert after["python", name].shape == spec[name].shape
            assert after["python", name].dtype == spec[name].dtype


FAULTS = [
    ("def f(n): return 1 if n < 1 else n * f(n - 1)\nprint(f(5))", "120\n"),
    ("def f(): return 1\ndef g(): return f() + 1\nprint(g())", "2\n"),
    ("import math\ndef f(): return math.floor(1.5)\nprint(f())", "1\n"),
    ("n = 2\nprint([x * n for x in range(3)])", "[0, 2, 4]\n"),
    ("import sys; print('warned', file=sys.stderr); print('fine')", "fine\n"),
    ("print('---END---')", "---END---\n"),
    ("print('no newline', end='')", "no newline"),
]


@pytest.mark.parametrize("code, output", FAULTS)
@pytest.mark.parametrize("mode", ["fresh", "persistent"])
def test_what_fails_with_them_runs_here(mode, code, output, request):
    """Recursion, functions calling each other, imports and globals inside them, stderr, markers in
    the output, output without a last newline; and the answer after it is the right one.
    """
    env, state = environment(request.getfixturevalue(mode))
    after = run(env, state, code)
    assert replies(after, 0) == [f"Code block 1 executed successfully:\n{output}"]
    assert replies(run(env, after, "print('next')"), 0)[-1].endswith("\nnext\n")


@pytest.mark.parametrize("mode", ["fresh", "persistent"])
@pytest.mark.parametrize(
    "code", ["import sys; sys.exit()", "import os; os._exit(0)", "import os; os.abort()"]
)
def test_an_end_takes_no_interpreter_along(mode, code, request):
    """After sys.exit, os._exit or a signal, the next block of that environment runs."""
    env, state = environment(request.getfixturevalue(mode))
    state = run(env, state, "x = 1")
    state = run(env, state, code)
    if mode == "persistent":
        assert replies(run(env, state, "print(x)"), 0)[-1].endswith("\n1\n")


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(60)", "input()"])
def test_what_does_not_end_is_ended(code):
    """The time-out is kept, and said to the model; state from before is still there."""
    interpreter = PythonInterpreter(pool_size=1, persistent=True, timeout=0.5)
    env, state = environment(interpreter)
    state = run(env, state, "x = 1")
    began = time.monotonic()
    state = run(env, state, code)
    assert time.monotonic() - began < SOON_S
    assert "failed" in replies(state, 0)[-1]
    assert replies(run(env, state, "print(x)"), 0)[-1].endswith("\n1\n")
    interpreter.close()


def test_content_without_code_is_left_alone(fresh):
    """No text at all, other languages, no fence: no reply, and nothing runs."""
    env, state = environment(fresh, 3)
    after = step(env, state, ["", "```bash\nls\n```", "x = 1"])
    assert after["history"].prompt.shape == (3, 3)
    assert after["python", "runs"].sum() == 0
    assert fresh._codes(None) == fresh._codes([{"type": "text"}]) == []


def test_hundreds_of_blocks_run_in_order(persistent):
    """In one answer, each with its own reply."""
    env, state = environment(persistent)
    text = "```python\nn = 0\n```\n" + "```python\nn += 1; print(n)\n```\n" * 200
    found = replies(step(env, state, [text]), 0)
    assert [reply.split("\n")[1] for reply in found[1:]] == [str(n) for n in range(1, 201)]


@pytest.mark.parametrize("which, numbers", [("all", "123"), ("first", "1"), ("last", "3")])
def test_which_blocks(which, numbers):
    """All of them, or only the first or the last."""
    interpreter = PythonInterpreter(pool_size=1, which_blocks=which)
    env, state = environment(interpreter)
    after = step(env, state, ["".join(f"```python\nprint({n})\n```\n" for n in (1, 2, 3))])
    assert "".join(reply.split("\n")[1] for reply in replies(after, 0)) == numbers
    interpreter.close()


def test_long_output_is_cut_in_its_middle():
    """With the count of what was left out."""
    interpreter = PythonInterpreter(pool_size=1, max_output_chars=400)
    env, state = environment(interpreter)
    (reply,) = replies(run(env, state, "print('a' * 5000 + 'z')"), 0)
    assert len(reply) <= 400 and "characters left out" in reply and reply.endswith("z\n")
    interpreter.close()


def test_limits_and_packages_reach_the_pool():
    """Those of the constructor hold for the blocks."""
    interpreter = PythonInterpreter(
        pool_size=1,
        limits=Limits(memory_bytes=64 << 20),
        packages=("numpy",),
        preload=("numpy",),
        tier="landlock",
    )
    env, state = environment(interpreter)
    after = run(env, state, "import numpy; print(numpy.arange(3).sum())")
    assert replies(after, 0)[-1].endswith("\n3\n")
    after = run(env, state, "x = bytearray(1 << 30)")
    assert list(after["python", "reason"]) == ["memory"]
    interpreter.close()


def test_clones_and_pickles_keep_the_settings(persistent):
    """And share nothing; what was pickled works, also after it had been used."""
    env, state = environment(persistent)
    state = run(env, state, "x = 1")
    for other in (persistent.clone(), pickle.loads(pickle.dumps(persistent))):
        assert (other.persistent, other.services, other.tool_role) == (True, None, "tool")
        env, state = environment(other)
        assert "NameError" in replies(run(env, state, "print(x)"), 0)[-1]
        other.close()


def test_a_closed_transform_can_be_used_again(fresh):
    """Closing gives back the pool; the next step makes another."""
    env, state = environment(fresh)
    run(env, state, "print(1)")
    fresh.close()
    fresh.close()
    assert replies(run(env, state, "print(2)"), 0)[-1].endswith("\n2\n")


def test_their_methods_are_there(persistent):
    """`_execute_python_code`, `_process_batch_item`, `processes`, `python_service`."""
    result = persistent._execute_python_code("print(1)", 0)
    assert (result["success"], result["stdout"], result["returncode"]) == (True, "1\n", 0)
    assert persistent._process_batch_item("```python\nprint(2)\n```", 0) == [
        "Code block 1 executed successfully:\n2\n"
    ]
    assert persistent._process_batch_item("no", 0) is None
    assert persistent.python_service is None and len(persistent.processes) == 1


def test_what_makes_no_sense_is_refused():
    """The error names it, when the transform is made."""
    with pytest.raises(ValueError, match="Invalid services backend"):
        PythonInterpreter(services="invalid")
    with pytest.raises(ValueError, match="timeout=-1"):
        PythonInterpreter(timeout=-1)
    with pytest.raises(ValueError, match="which"):
        PythonInterpreter(which_blocks="some")
    with pytest.raises(ValueError, match="max_output_chars"):
        PythonInterpreter(max_output_chars=1)


def test_history_mode_is_required(fresh):
    """In another mode, and without an environment, the error says so."""
    env = ChatEnv(batch_size=(1,), input_mode="text").append_transform(fresh)
    nothing = TensorDict(batch_size=(1,))
    with pytest.raises(RuntimeError, match="history mode"):
        env.transform._step(nothing, nothing)
    with pytest.raises(RuntimeError, match="ChatEnv"):
        PythonInterpreter()._step(nothing, nothing)


def test_limits_are_kept_unless_timeout_says_otherwise():
    """timeout is short for limits.wall_s, and wins over it."""
    limits = Limits(wall_s=60.0)
    assert PythonInterpreter(limits=limits).timeout == 60.0
    assert PythonInterpreter(timeout=2.0, limits=limits).timeout == 2.0
    assert PythonInterpreter().timeout == 10.0
    assert PythonInterpreter(limits=Limits(wall_s=None)).timeout is None
