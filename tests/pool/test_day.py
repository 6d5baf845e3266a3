"""A day in the life: sessions that do for half an hour what agents do with numeric libraries."""

import concurrent.futures
import random
import time
from collections import Counter

import psutil
import pytest
from conftest import descriptors, wait_until

from interpreter_pool import Limits, Pool, Session

TIERS = ("namespaces", "landlock")

PACKAGES = ("numpy", "pandas", "scikit-learn", "matplotlib", "tqdm")
PRELOAD = ("numpy", "pandas", "sklearn.linear_model", "matplotlib.pyplot")

IMPORTS = """
import os
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from tqdm import tqdm
counter, slope = 0, None
"""

STATE = "counter, slope, None if 'df' not in globals() else int(df.x.sum())"
"""What a session holds, as far as the tests know it, too."""

GROWTH_BYTES = 64 << 20
"""Of the host's process, in half an hour."""


class Agent:
    """One session, what it must hold, and what is done with it. `act` takes one step."""

    def __init__(self, session: Session, seed: int, counts: Counter) -> None:
        self.session = session
        self.random = random.Random(seed)
        self.counts = counts
        self.counter = 0
        self.slope: float | None = None
        self.total: int | None = None
        self.value(IMPORTS)

    def value(self, code: str, **options: float) -> "str | None":
        result = self.session.run(code, **options)
        assert result.ok, (result, self.session)
        self.counts["without a checkpoint"] += not result.checkpointed
        return result.value

    def act(self) -> None:
        step = self.random.choice(
            [self.load, self.fit, self.plot, self.fail, self.time_out, self.go_on, self.branch,
             self.go_back, self.use_threads, self.show_progress]
        )  # fmt: skip
        step()
        self.counts[step.__name__] += 1
        assert self.value(STATE) == repr((self.counter, self.slope, self.total)), step.__name__

    def load(self) -> None:
        rows, factor = self.random.randint(10, 500), self.random.randint(2, 9)
        lines = [f"{x},{factor * x + 1}" for x in range(rows)]
        self.session.write("data.csv", "x,y\n" + "\n".join(lines) + "\n")
        self.value("df = pd.read_csv('data.csv')")
        self.total = rows * (rows - 1) // 2
        assert self.session.listdir().count("data.csv") == 1

    def fit(self) -> None:
        if self.total is not None:
            self.value(
                "model = LinearRegression().fit(df[['x']].values, df.y.values)\n"
                "slope = round(float(model.coef_[0]), 3)"
            )
            got = self.value("[slope, round(float(np.polyfit(df.x, df.y, 1)[0]), 3)]")
            slope, other = map(float, got.strip("[]").split(", "))
            assert slope == other
            self.slope = slope

    def plot(self) -> None:
        self.value("figure, axes = plt.subplots()\naxes.plot(range(20))\nfigure.savefig('p.png')")
        self.value("plt.close('all')")
        assert self.session.read("p.png").startswith(b"\x89PNG")

    def fail(self) -> None:
        result = self.session.run("counter += 1\nnp.zeros(3) + np.zeros(4)")
        assert result.exception.type == "ValueError"
        self.counter += 1

    def time_out(self) -> None:
        result = self.session.run("counter = slope = df = None\nwhile True: pass", timeout=0.2)
        assert (result.reason, result.rolled_back) == ("wall_timeout", 1), result

    def go_on(self) -> None:
        self.value("counter += int((np.ones((60, 60)) @ np.ones((60, 60)))[0, 0])")
        self.counter += 60

    def branch(self) -> None:
        branches = self.session.fork(3)
        for number, branch in enumerate(branches):
            result = branch.run(f"counter += {number}")
            assert result.ok, (result, branch)
        for number, branch in enumerate(branches):
            result = branch.run("counter")
            assert result.value == str(self.counter + number), (result, branch)
            branch.close()

    def go_back(self) -> None:
        self.value("counter = -1")
        self.session.rollback()

    def use_threads(self) -> None:
        self.value("from concurrent.futures import ThreadPoolExecutor as E; executor = E(2)")
        self.value("counter += executor.submit(len, 'four').result()")
        self.value("executor.shutdown()")
        self.counter += 4

    def show_progress(self) -> None:
        self.value("for _ in tqdm(range(3)): counter += 1")
        self.counter += 3


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("tier", TIERS)
def test_two_hundred_sessions_of_agents(tier, request, capsys):
    """160 with the libraries preloaded, 40 that import for themselves; --minutes, at most 30. They
    hold some 13 GB.

    Every state is right after each step, none is lost, and nothing has grown.
    """
    minutes = min(request.config.getoption("--minutes"), 30)
    counts: Counter = Counter()
    limits = Limits(memory_bytes=1 << 30, wall_s=120)
    with (
        Pool(2, packages=PACKAGES, preload=PRELOAD, tier=tier, limits=limits) as warm,
        Pool(2, packages=PACKAGES, tier=tier, limits=limits) as cold,
        concurrent.futures.ThreadPoolExecutor(4) as threads,
    ):
        sessions = [warm.session(history=4) for _ in range(160)]
        sessions += [cold.session(history=4) for _ in range(40)]
        agents = list(
            threads.map(lambda each: Agent(each[1], each[0], counts), enumerate(sessions))
        )
        order = random.Random(tier)
        # Until each has what it keeps, its history included.
        for _ in range(5):
            list(threads.map(Agent.act, agents))
        held, resident = len(descriptors()), psutil.Process().memory_info().rss
        deadline = time.monotonic() + minutes * 60
        while time.monotonic() < deadline:
            list(threads.map(Agent.act, order.sample(agents, 40)))
        for agent in agents:
            agent.act()
        evicted = warm.stats().sessions_evicted + cold.stats().sessions_evicted
        grown = psutil.Process().memory_info().rss - resident
        with capsys.disabled():
            steps = sum(counts.values()) - counts["without a checkpoint"]
            print(f"\n{tier}: {steps} steps, {dict(counts)}, {grown / 1e6:.1f} MB grown")
        assert evicted == 0
        assert grown < GROWTH_BYTES
        most = held + 20  # histories differ by a few states
        wait_until(lambda: len(descriptors()) <= most)
        for session in sessions:
            session.close()
