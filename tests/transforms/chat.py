"""Chat environments with answers put into their models' mouths."""

import torch
from tensordict import TensorDict, lazy_stack, set_list_to_stack
from torchrl.data.llm import History
from torchrl.envs.llm import ChatEnv

set_list_to_stack(True).set()
torch.set_num_threads(1)  # those that it would start at some time stay


def environment(transform, *shape):
    """An environment of this batch shape with the transform, and what its reset gave."""
    shape = shape or (1,)
    env = ChatEnv(batch_size=shape, system_prompt="s", input_mode="history")
    env = env.append_transform(transform)
    return env, reset(env)


def reset(env):
    query = _nested("q", env.batch_size)
    return env.reset(TensorDict({"query": query}, batch_size=env.batch_size))


def step(env, state, answers):
    """Let the models answer, one text for each environment; return the step's "next"."""
    state = state.clone()
    prompt = state["history"].prompt
    messages = [lazy_stack([History(role="assistant", content=each)]) for each in answers]
    stack = messages[0] if not env.batch_size else lazy_stack(messages)
    if len(env.batch_size) > 1:
        stack = stack.reshape(*env.batch_size, 1)
    state["history"].full = prompt.extend(stack, dim=-1, inplace=False)
    return env.step(state)["next"]


def run(env, state, *codes):
    """One block of code for each environment."""
    return step(env, state, [f"So:\n```python\n{code}\n```" for code in codes])


def replies(after, *at):
    """What an environment was told after its last answer."""
    history = after["history"].prompt[at]
    roles, contents = list(history.role), list(history.content)
    last = len(roles) - 1 - roles[::-1].index("assistant")
    return [text for role, text in zip(roles, contents, strict=True) if role == "tool"][
        roles[:last].count("tool") :
    ]


def _nested(value, shape):
    for size in reversed(shape):
        value = [value] * size
    return value
