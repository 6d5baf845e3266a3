"""128 chat environments on one shared service, with and without state of their own.

    python examples/chat_env_shared.py [local | ray]

Every environment's block runs at the same time as the others', as far as the service has workers;
with `persistent=True` each environment has a session there: many more than there are workers.
"""

import sys
import time

from tensordict import TensorDict, lazy_stack, set_list_to_stack
from torchrl.data.llm import History
from torchrl.envs.llm import ChatEnv

from interpreter_pool import PythonExecutorService, get_services
from interpreter_pool.transforms import PythonInterpreter

set_list_to_stack(True).set()

ENVIRONMENTS = 128


def say(state, texts):
    """Put a text into the mouth of each environment's model."""
    answers = lazy_stack([lazy_stack([History(role="assistant", content=each)]) for each in texts])
    state["history"].full = state["history"].prompt.extend(answers, dim=-1, inplace=False)
    return state


def try_out(persistent, backend, namespace):
    interpreter = PythonInterpreter(
        persistent=persistent, services=backend, namespace=namespace, timeout=5.0
    )
    env = ChatEnv(batch_size=(ENVIRONMENTS,), input_mode="history").append_transform(interpreter)
    queries = ["Count."] * ENVIRONMENTS
    state = env.reset(TensorDict({"query": queries}, batch_size=(ENVIRONMENTS,)))
    for _ in range(3):
        code = "```python\nn = globals().get('n', 0) + 1\nprint(n)\n```"
        began = time.monotonic()
        state = env.step(say(state, [code] * ENVIRONMENTS))["next"]
        reply = state["history"].prompt[0, -1].content.splitlines()[-1]
        print(f"persistent={persistent}: {time.monotonic() - began:.2f} s, n is {reply}")
    interpreter.close()


backend = sys.argv[1] if len(sys.argv) > 1 else "local"
with get_services(backend=backend, namespace="chat_env_shared") as services:
    services.register("python_executor", PythonExecutorService, pool_size=4, timeout=5.0)
    for persistent in (False, True):
        try_out(persistent, backend, "chat_env_shared")
