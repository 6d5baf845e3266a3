"""A search that forks a session: partial programs grow step by step, and only what goes on is kept.

    python examples/search.py

A state that was expensive to reach (here: a table that takes a while to fill) is reached once. Each
candidate for the next step is tried in a branch of its own, with its own memory; whatever a wrong
one does to its state, or for how long, the others never see. Without branches, every candidate has
to begin anew and do all earlier steps again; with one shared interpreter, the wrong steps would
leave their traces in the right ones.
"""

import time

from interpreter_pool import Pool

SET_UP = """
primes = [n for n in range(2, 20000) if all(n % d for d in range(2, int(n ** 0.5) + 1))]
state = [1]

def score():
    # How close the state is to what is wanted: the sum of squares that begins with 1, 4, 9, 16.
    wanted = [1, 4, 9, 16, 25, 36]
    return sum(a == b for a, b in zip(state, wanted)) - max(len(state) - len(wanted), 0)
"""

STEPS = (
    "state.append(state[-1] + 2 * len(state) + 1)",
    "state.append(state[-1] * 2)",
    "state.append(primes[len(state)])",
    "state.clear()",
    "while True: pass",  # a wrong step may never end, and costs its time
)
DEPTH = 5
STEP_S = 0.05


def with_branches(pool):
    """Keep the best state of each step; return its score, and the seconds it took."""
    began = time.perf_counter()
    best = pool.session()
    best.run(SET_UP)
    for _ in range(DEPTH):
        branches = best.fork(len(STEPS))
        scores = []
        for branch, step in zip(branches, STEPS, strict=True):
            branch.run(step, limits=pool.limits.replace(cpu_s=STEP_S))
            scores.append(branch.call("score"))
        best.close()
        best = branches.pop(scores.index(max(scores)))
        for branch in branches:
            branch.close()
    found = best.call("score")
    best.close()
    return found, time.perf_counter() - began


def from_the_beginning(pool):
    """The same search with fresh processes: every candidate does all the steps before it again."""
    began = time.perf_counter()
    path = SET_UP
    set_up_s = pool.run(path).cpu_s
    for _ in range(DEPTH):
        scores = []
        for step in STEPS:
            limits = pool.limits.replace(cpu_s=2 * set_up_s + STEP_S)
            result = pool.run(f"{path}\n{step}\nprint(score())", limits=limits)
            scores.append(int(result.stdout) if result.ok else -1)
        path += "\n" + STEPS[scores.index(max(scores))]
    return max(scores), time.perf_counter() - began


def main():
    with Pool(2) as pool:
        pool.session().close()  # the jail of sessions is made with the first one
        forked, forked_s = with_branches(pool)
        anew, anew_s = from_the_beginning(pool)
    print(f"with branches:      score {forked} in {forked_s:.2f} s")
    print(f"from the beginning: score {anew} in {anew_s:.2f} s")
    print(f"saved: {anew_s - forked_s:.2f} s, {anew_s / forked_s:.1f} times as fast")


if __name__ == "__main__":
    main()
