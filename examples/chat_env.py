"""One chat environment whose model can run Python. Needs TorchRL; run it with `python`.

The model's part is played by two lines of text.
"""

from tensordict import TensorDict, lazy_stack, set_list_to_stack
from torchrl.data.llm import History
from torchrl.envs.llm import ChatEnv

from interpreter_pool.transforms import PythonInterpreter

set_list_to_stack(True).set()

ANSWERS = [
    "Let me try:\n```python\nnumbers = [3, 1, 2]\nprint(sorted(numbers))\n```",
    "And back again:\n```python\nprint(sorted(numbers, reverse=True), 1 / 0)\n```",
]


def say(state, text):
    """Put `text` into the mouth of the model."""
    answer = lazy_stack([lazy_stack([History(role="assistant", content=text)])])
    state["history"].full = state["history"].prompt.extend(answer, dim=-1, inplace=False)
    return state


interpreter = PythonInterpreter(persistent=True, timeout=2.0)
env = ChatEnv(batch_size=(1,), system_prompt="You can run Python.", input_mode="history")
env = env.append_transform(interpreter)
state = env.reset(TensorDict({"query": ["Sort 3, 1, 2."]}, batch_size=(1,)))
for text in ANSWERS:
    state = env.step(say(state, text))["next"]
    print(state["python", "reason"], state["python", "wall_s"].item())
for message in state["history"].prompt[0].unbind(0):
    print(f"--- {message.role}\n{message.content}")
interpreter.close()
