"""A fleet on a cluster of three nodes, which lose and gain executors while it works: as
`test_cluster.py` starts it. Arguments: how many runs and how many judged programs.

Prints, as JSON, how the runs and verdicts came out, how sessions of lost nodes answered, how often
something was lost, and what was left of it all.
"""

import collections
import contextlib
import json
import os
import random
import signal
import sys
import threading
import time

import psutil
import ray
from ray.cluster_utils import Cluster

from interpreter_pool import (
    Asserts,
    PythonExecutorService,
    SessionLost,
    Stdio,
    connect,
    get_services,
)
from interpreter_pool.registry import loopback

TWICE = "n = int(input())\nprint(2 * n)"


def runs(executor, count, outcomes):
    """Each prints its own number; whatever comes back is counted, right or wrong."""
    results = executor.map(f"print({number})" for number in range(count))
    for number, result in enumerate(results):
        right = result.stdout == f"{number}\n"
        outcomes[f"{result.reason}, {'right' if right else 'wrong'}"] += 1


def verdicts(executor, count, outcomes):
    """Half of them right."""
    for begin in range(0, count, 100):
        items = []
        for number in range(begin, begin + 100):
            if number % 4 < 2:
                cases = [Stdio(str(number), str(2 * number)), Stdio("1", "2")]
                items.append((TWICE if number % 2 else "print(0)", cases))
            else:
                body = "return 2 * x" if number % 2 else "return x"
                items.append(
                    (f"def f(x): {body}", [Asserts(f"assert f({number}) == {2 * number}", "f")])
                )
        for number, verdict in zip(
            range(begin, begin + 100), executor.judge_many(items), strict=True
        ):
            right = verdict.conclusive and verdict.passed == bool(number % 2)
            outcomes["right" if right else f"wrong: {verdict}"] += 1


class Sessions:
    """Some on every node; each says the truth, or that it is lost."""

    def __init__(self, executor, count):
        self.executor = executor
        self.open = []
        self.said = collections.Counter()
        for number in range(count):
            session = executor.session(history=0)
            session.run(f"x = {number}")
            self.open.append((session, number))

    def ask(self):
        for each in list(self.open):
            session, number = each
            try:
                result = session.run("x")
                self.said["right" if result.value == str(number) else f"wrong: {result}"] += 1
            except SessionLost as error:
                self.said["blamed" if error.by_program else "lost"] += 1
                self.open.remove(each)


def executors_here():
    for process in psutil.process_iter(["name", "cmdline"]):
        with contextlib.suppress(psutil.Error):
            if any("PythonExecutorService" in part for part in process.info["cmdline"] or ()):
                yield process


def main(run_count, judged):
    random.seed(1)
    cluster = Cluster()
    with loopback.only():
        cluster.add_node(num_cpus=0, include_dashboard=False)
        nodes = [cluster.add_node(num_cpus=2) for _ in range(3)]
        ray.init(address=cluster.address, log_to_driver=False)
    services = get_services("ray", namespace="three", start_timeout=120)
    services.register_fleet("fleet", PythonExecutorService, pool_size=2, num_cpus=1, min=3)
    told = {"runs": collections.Counter(), "verdicts": collections.Counter()}
    kills = 0
    with connect("ray://fleet?namespace=three") as executor:
        sessions = Sessions(executor, 9)
        workers = [
            threading.Thread(target=runs, args=(executor, run_count, told["runs"])),
            threading.Thread(target=verdicts, args=(executor, judged, told["verdicts"])),
        ]
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            time.sleep(3)
            sessions.ask()
            if kills % 2 == 0:  # a node with all that is on it, and another one in its place
                cluster.remove_node(nodes.pop(random.randrange(len(nodes))), allow_graceful=False)
                with loopback.only():
                    nodes.append(cluster.add_node(num_cpus=2))
            elif here := list(executors_here()):  # a process, which Ray starts again
                random.choice(here).send_signal(signal.SIGKILL)
            kills += 1
        sessions.ask()
        told["sessions"] = sessions.said
        told["retried"] = executor.router.retried
        told["kills"] = kills
        for session, _ in sessions.open:
            session.close()
    services.reset()
    services.shutdown()
    deadline = time.monotonic() + 30
    while (left := [process.pid for process in executors_here()]) and time.monotonic() < deadline:
        time.sleep(0.2)
    told["left"] = left
    ray.shutdown()
    cluster.shutdown()
    print(json.dumps(told), flush=True)
    os._exit(0)  # nodes that were killed have hooks that fail


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
