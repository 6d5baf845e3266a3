"""The skeleton of a training loop that leaves infra errors out. Needs TorchRL; no model is trained:
a "policy" of one number picks between a right and a wrong program, and learns which.

What it shows: the reward comes from cases that the program never sees, and a failure of ours is a
masked sample, never a reward of zero.
"""

import json

import torch
from tensordict import NonTensorData, NonTensorStack, TensorDict, lazy_stack, set_list_to_stack
from torchrl.data.llm import History
from torchrl.envs.llm import ChatEnv

from interpreter_pool.transforms import CodeReward

set_list_to_stack(True).set()

BATCH = 16
PROGRAMS = ["print(int(input()) + 1)", "print(int(input()) * 2)"]
CASES = json.dumps([{"kind": "stdio", "input": str(n), "expected": str(2 * n)} for n in (0, 3, 5)])

judge = CodeReward(timeout=2.0)
env = ChatEnv(batch_size=(BATCH,), input_mode="history").append_transform(judge)
preference = torch.zeros(2, requires_grad=True)
optimizer = torch.optim.SGD([preference], lr=2.0)

for step in range(5):
    chosen = torch.distributions.Categorical(logits=preference.expand(BATCH, 2))
    actions = chosen.sample()
    state = env.reset(TensorDict({"query": ["Double the number."] * BATCH}, batch_size=(BATCH,)))
    state["cases"] = NonTensorStack(*[NonTensorData(CASES)] * BATCH)
    texts = [f"```python\n{PROGRAMS[action]}\n```" for action in actions.tolist()]
    answers = lazy_stack([lazy_stack([History(role="assistant", content=each)]) for each in texts])
    state["history"].full = state["history"].prompt.extend(answers, dim=-1, inplace=False)
    after = env.step(state)["next"]

    usable = ~after["infra_error"].squeeze(-1)  # the rest says nothing
    reward = after["reward"].squeeze(-1)[usable]
    loss = -(chosen.log_prob(actions)[usable] * (reward - reward.mean())).sum() / BATCH
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step}: mean reward {reward.mean():.2f}, {int(usable.sum())} of {BATCH} usable")
judge.close()
