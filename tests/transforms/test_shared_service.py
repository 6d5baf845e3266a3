"""Many environments on one shared service, on every backend: fresh runs, and a session each."""

import pickle
import time

import pytest
import ray
from chat import environment, replies, run, step
from conftest import NAP, overlapped

from interpreter_pool import PythonExecutorService
from interpreter_pool.registry import DEFAULT_NAMESPACE, get_services, loopback
from interpreter_pool.transforms import PythonInterpreter

WORKERS = 2


@pytest.fixture(scope="module", params=["local", "ray"])
def backend(request):
    """Each backend in turn."""
    if request.param == "ray":
        loopback.init(ray, {"address": "local", "num_cpus": 8, "log_to_driver": False})
    yield request.param
    if request.param == "ray":
        ray.shutdown()


@pytest.fixture
def services(backend):
    """A registry with an executor in it, where nobody said in which namespace."""
    with get_services(backend) as services:
        services.register("python_executor", PythonExecutorService, pool_size=WORKERS, timeout=5.0)
        yield services


def make(services, backend, **options):
    return PythonInterpreter(services=backend, **options)


def test_it_finds_the_service_where_nobody_names_a_namespace(services, backend):
    """Registry and transform agree on the default; attributes are TorchRL's."""
    interpreter = make(services, backend)
    assert interpreter.python_service is not None and interpreter.processes is None
    assert (interpreter.services, interpreter.namespace) == (backend, None)
    assert services.list() == ["python_executor"] and DEFAULT_NAMESPACE
    env, state = environment(interpreter, 3)
    after = run(env, state, "x = 1; print(x)", "print('x' in globals())", "1/0")
    assert replies(after, 0) == ["Code block 1 executed successfully:\n1\n"]
    assert replies(after, 1) == ["Code block 1 executed successfully:\nFalse\n"]
    assert after["python", "ok"].tolist() == [[True], [True], [False]]


def test_state_does_not_leak_between_environments_of_a_service(services, backend):
    """Fresh runs: what one block leaves, no later one sees, in whichever interpreter it was."""
    env, state = environment(make(services, backend), 8)
    run(env, state, *["import builtins; builtins.leak = 1; open('f', 'w').write('x')"] * 8)
    code = "import builtins, os; print(hasattr(builtins, 'leak'), os.path.exists('f'))"
    after = run(env, state, *[code] * 8)
    assert {replies(after, at)[-1].split("\n")[1] for at in range(8)} == {"False False"}


def test_many_more_sessions_than_workers(services, backend):
    """A session each, on two workers; closing takes exactly its own away."""
    interpreter = make(services, backend, persistent=True)
    other = interpreter.clone()
    env, state = environment(interpreter, 12)
    another, start = environment(other, 1)
    run(another, start, "n = 'other'")
    state = run(env, state, *[f"n = {at}" for at in range(12)])
    state = run(env, state, *["n += 1; print(n)"] * 12)
    assert [replies(state, at)[-1].split("\n")[1] for at in range(12)] == [
        str(at + 1) for at in range(12)
    ]
    executor = services["python_executor"]
    assert services.result(executor.stats.remote(), timeout=30)["sessions"] == 13
    interpreter.close()
    assert services.result(executor.stats.remote(), timeout=30)["sessions"] == 1
    other.close()


def test_a_batch_runs_at_the_same_time(services, backend):
    """Two workers, two environments that sleep: at once, in one call of the service."""
    for persistent in (False, True):
        interpreter = make(services, backend, persistent=persistent)
        env, state = environment(interpreter, 2)
        run(env, state, "pass", "pass")
        state = run(env, state, NAP, NAP)
        assert overlapped(replies(state, 0)[-1], replies(state, 1)[-1])
        interpreter.close()


def test_pickles_and_clones_find_the_service_again(services, backend):
    """Their settings are kept, and the service is looked up where they arrive."""
    interpreter = make(services, backend, service_name="python_executor")
    for other in (interpreter.clone(), pickle.loads(pickle.dumps(interpreter))):
        assert other.services == backend and other.python_service is not None
        assert other._execute_python_code("print(1)", 0)["stdout"] == "1\n"


@pytest.mark.parametrize("persistent", [False, True])
def test_a_service_that_is_gone_is_not_the_models_fault(services, backend, persistent):
    """The reply says that the tool was unavailable, the mask is set; and it never hangs."""
    interpreter = make(services, backend, persistent=persistent)
    env, state = environment(interpreter, 2)
    state = run(env, state, "x = 1", "x = 2")
    services.reset()
    began = time.monotonic()
    after = step(env, state, ["```python\nprint(x)\n```", "no code"])
    assert time.monotonic() - began < 30
    assert after["python", "infra_error"].tolist() == [[True], [False]]
    assert list(after["python", "reason"]) == ["internal", ""]
    (reply,) = replies(after, 0)[-1:]
    assert "unavailable" in reply and "Error" not in reply
    interpreter.close()


def test_a_missing_service_is_said(backend):
    """RuntimeError, naming the backend and the service."""
    with pytest.raises(RuntimeError, match=f"Failed to get {backend.capitalize()} service"):
        PythonInterpreter(services=backend, service_name="nonexistent_service")
