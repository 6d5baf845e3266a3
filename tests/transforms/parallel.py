"""Two turns of two environments in processes of their own; prints what the models were told."""

from chat import environment, replies, reset, run
from torchrl.envs import ParallelEnv

from interpreter_pool.transforms import PythonInterpreter


def make():
    return environment(PythonInterpreter(pool_size=1, persistent=True), 1)[0]


if __name__ == "__main__":
    # Consolidation can't take histories, with or without this transform.
    env = ParallelEnv(2, make, use_buffers=False, mp_start_method="spawn", consolidate=False)
    after = run(env, reset(env), "x = 1", "x = 2")
    after = run(env, after, "print(x)", "print(x)")
    print([replies(after, at, 0)[-1].split("\n")[1] for at in range(2)])
    env.close()
