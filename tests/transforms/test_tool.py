"""Python as a tool: a plain function, TRL's tool and environment, TorchRL's service."""

import gc
import warnings

import pytest

from interpreter_pool import Pool, PoolClosed
from interpreter_pool.transforms import PythonEnvironment, PythonTool


@pytest.fixture(scope="module")
def get_json_schema():
    """transformers' own way to tell a model of a function; TRL uses it for its tools."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers.utils import get_json_schema
    return get_json_schema


@pytest.fixture(scope="module")
def torchrl():
    """TorchRL's transforms for language models."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchrl.envs.llm import transforms
    return transforms


def test_a_tool_is_a_function_of_the_code(pool):
    """It returns what the model is to be told, and keeps nothing."""
    tool = PythonTool(pool)
    assert tool("x = 1; print(x)") == "Code block 1 executed successfully:\n1\n"
    assert "NameError" in tool(code="print(x)")
    assert "wall time is over" in PythonTool(pool, timeout=0.3)("while True: pass")


def test_code_in_a_fence_is_taken_out_of_it(pool):
    """Models fence code out of habit: a line that begins with a fence is no Python."""
    assert PythonTool(pool)("```python\nprint(1)\n```\n").endswith(":\n1\n")
    assert PythonTool(pool)("```\nprint(1)\n```").endswith(":\n1\n")


def test_transformers_can_describe_the_tools(pool, get_json_schema):
    """Name, description, and the one argument with its type, as TRL tells the model."""
    code = {"type": "string", "description": "The Python program."}
    schema = get_json_schema(PythonTool(pool, name="run", description="Runs."))["function"]
    assert (schema["name"], schema["description"]) == ("run", "Runs.")
    assert schema["parameters"] == {
        "type": "object",
        "properties": {"code": code},
        "required": ["code"],
    }
    schema = get_json_schema(PythonEnvironment(pool).python)["function"]
    assert schema["name"] == "python" and schema["parameters"]["required"] == ["code"]


def test_an_environment_keeps_its_state_until_it_is_reset(pool):
    """Calls go on from each other; values show as at a prompt; `reset` takes any row."""
    environment = PythonEnvironment(pool)
    environment.reset(prompt="p", answer=42)
    assert environment.python("x = 6").endswith(":\n")
    assert environment.python("x * 7").endswith(":\n42\n")
    environment.reset()
    assert "NameError" in environment.python("x")
    environment.reset()


def test_environments_are_apart(pool):
    """One rollout knows nothing of another."""
    first, second = PythonEnvironment(pool), PythonEnvironment(pool)
    first.python("x = 1")
    assert "NameError" in second.python("x")
    assert first.python("x").endswith(":\n1\n")
    first.reset()
    second.reset()


def test_an_environment_shows_trl_one_tool():
    """TRL makes a tool of every public function of the class but `reset`: there is one."""
    public = [name for name, each in vars(PythonEnvironment).items() if callable(each)]
    assert [name for name in public if not name.startswith("_")] == ["reset", "python"]


def test_a_state_with_threads_goes_on_and_what_is_undone_is_told(pool):
    """A thread that lives on stops no call; with one that a limit ends, several are undone."""
    environment = PythonEnvironment(pool, timeout=0.5)
    environment.python("x = 1")
    environment.python(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()"
    )
    assert environment.python("x = 2\nx").endswith(":\n2\n")
    answer = environment.python("while True: pass")
    assert "the last 3 calls, this one included, are undone" in answer
    assert environment.python("x").endswith(":\n1\n")
    assert not environment.infra_error
    environment.reset()


def test_an_environment_that_nobody_holds_gives_its_session_back(tier):
    """No close is needed, and TRL calls none."""
    with Pool(1, tier=tier) as pool:
        environment = PythonEnvironment(pool)
        environment.python("x = 1")
        session = environment._session
        assert repr(session) != "<Session closed>"
        del environment
        gc.collect()
        assert repr(session) == "<Session closed>"


def test_what_nobody_is_to_blame_for_is_told_as_that(tier):
    """A full pool, or a session that is gone, is no failure of the code; the environment says so."""
    with Pool(1, tier=tier) as pool:
        environment = PythonEnvironment(pool, queue_timeout=0)
        environment.python("x = 1")
        busy = pool.submit("import time; time.sleep(60)")
        for answer in (environment.python("x"), PythonTool(pool, queue_timeout=0)("1")):
            assert "unavailable" in answer and "failed" not in answer
        assert environment.infra_error
        busy.cancel()
        environment.reset()
        assert not environment.infra_error
        patient = PythonEnvironment(pool)
        patient.python("x = 1")
        patient._session.close()
        assert "unavailable" in patient.python("x") and patient.infra_error
        assert "NameError" in patient.python("x")
        with pytest.raises(TypeError, match="code must be a string, not None"):
            PythonTool(pool)(None)
    with pytest.raises(PoolClosed):
        PythonTool(pool)("1")
    with pytest.raises(PoolClosed):
        PythonEnvironment(pool).python("1")


def test_torchrl_executes_the_tool(pool, torchrl):
    """ExecuteToolsInOrder calls it by name, as JSON or raw, and shows the model a dict."""
    registry = torchrl.ToolRegistry([PythonTool(pool)])
    for stateful in (True, False):
        if not stateful:
            registry = torchrl.ToolRegistry([PythonTool(pool, structured=True)])
        execute = torchrl.ExecuteToolsInOrder(
            registry, torchrl.XMLBlockParser(), pass_state_to_tools=stateful
        )
        (text,) = execute._process_batch_item(
            '<tool name="python">{"code": "print(6 * 7)"}</tool> and\n'
            '<tool name="python" tag="B">print(1)\n1 / 0</tool>'
            '<tool name="python">{"cod": "x"}</tool>',
            0,
        )
        assert "Tool python (call 1) succeeded" in text and '"stdout": "42\\n"' in text
        assert '"success": false,\n  "reason": "exception",\n  "stdout": "1\\n"' in text
        assert "Tool python (call 3) failed:\n  Error: python takes no argument 'cod'" in text


def test_nonsense_is_refused(pool):
    """Errors name the argument and its value."""
    with pytest.raises(TypeError, match=r"pool must be a Pool, or what connect"):
        PythonTool(None)
    with pytest.raises(TypeError, match=r"pool must be a Pool, .* not 4"):
        PythonEnvironment(4)
    with pytest.raises(ValueError, match="name='a b': must be an identifier"):
        PythonTool(pool, name="a b")
