"""Seeing what a pool does: a hook for every result, Prometheus's text, and lines in the log."""

import logging
import os
import re
import signal
import threading

import pytest
from conftest import wait_until

from interpreter_pool import Asserts, Call, Limits, Pool, PythonExecutorService, Stdio

SECRET = "s3cret"


# ---- a hook


def test_the_hook_sees_every_result_in_a_workers_thread(tier):
    """Runs, calls of functions, judged programs; before their caller has them. A test beside a judged
    program is none of them.
    """
    seen = []

    def note(result):
        seen.append((threading.get_ident(), result))

    with Pool(1, tier=tier, on_result=note) as pool:
        result = pool.run("print(1)", id="a")
        assert seen[-1][1] is result and seen[-1][0] != threading.get_ident()
        pool.function("def f(): return 1", "f")()
        list(pool.map(["exit(3)", "1 / 0"]))
        assert [str(each.reason) for _, each in seen] == ["ok", "ok", "exit", "exception"]
        source = "def f(x): return x"
        cases = [Stdio("", ""), Call("f", (1,), expected=1), Asserts("assert f(1) == 1", "f")]
        assert pool.judge(source, cases).passed
        assert len(seen) == 4 + 3


def test_the_hook_sees_calls_of_sessions_and_runs_of_snapshots(tier):
    """Whatever the state that they begin from."""
    seen = []
    with Pool(1, tier=tier, on_result=seen.append) as pool:
        with pool.session() as session:
            session.run("x = 1")
        with pool.snapshot("x = 1") as snapshot:
            snapshot.run("print(x)")
    assert [each.stdout for each in seen] == ["", "1\n"]


@pytest.mark.parametrize("error", [OSError("no metrics"), SystemExit(3), KeyboardInterrupt()])
def test_a_hook_that_fails_costs_no_result(tier, error, caplog):
    """It is logged, and the worker goes on."""

    def fail(result):
        raise error

    with Pool(1, tier=tier, on_result=fail) as pool:
        assert pool.submit("print(1)").result(timeout=30).ok
        assert pool.run("print(2)").stdout == "2\n"
        assert pool.stats().replaced == 0
    assert "on_result failed" in caplog.text


def test_a_hook_must_be_callable():
    """Known at once, not when the first run has ended."""
    with pytest.raises(TypeError, match="on_result must be callable or None, not 3"):
        Pool(1, on_result=3)


# ---- counters


def test_counters_are_offered_as_prometheus_reads_them(tier):
    """Each with its meaning and kind; samples by label, and histograms that add up."""
    with Pool(1, tier=tier) as pool:
        list(pool.map(["print(1)", "print(2)", "exit(3)", "import numpy"]))
        stats = pool.stats()
    text = stats.prometheus()
    assert text.endswith("\n")
    samples = {}
    for line in text.splitlines():
        if line.startswith("#"):
            assert re.fullmatch(
                r"# HELP pool_\w+ .+\.|# TYPE pool_\w+ (counter|gauge|histogram)", line
            )
            continue
        found = re.fullmatch(r'(pool_\w+(?:\{\w+="[^"]*"\})?) (\S+)', line)
        assert found, line
        samples[found[1]] = float(found[2])
    assert samples['pool_runs{reason="ok"}'] == 2
    assert samples['pool_runs{reason="exit"}'] == 1
    assert samples['pool_not_offered{package="numpy"}'] == 1
    assert samples["pool_workers"] == 1
    assert samples["pool_run_s_count"] == samples['pool_run_s_bucket{le="+Inf"}'] == 4
    assert samples["pool_run_s_sum"] == pytest.approx(stats.run_s)
    counts = [n for name, n in samples.items() if name.startswith("pool_queue_s_bucket")]
    assert counts == sorted(counts)
    helps, types = (re.findall(rf"# {kind} (\S+)", text) for kind in ("HELP", "TYPE"))
    assert helps == types and len(set(helps)) == len(helps)


def test_the_text_is_what_prometheus_own_parser_takes(pool):
    """Where its client is installed."""
    parser = pytest.importorskip("prometheus_client.parser")
    families = {
        each.name for each in parser.text_string_to_metric_families(pool.stats().prometheus())
    }
    assert {"pool_runs", "pool_run_s", "pool_workers_alive"} <= families


def test_a_service_offers_the_same(tier):
    """As text, and as plain data with the times in buckets."""
    with PythonExecutorService(pool_size=1, tier=tier) as service:
        service.execute("print(1)")
        assert 'pool_runs{reason="ok"} 1' in service.metrics()
        assert service.stats()["run_s_buckets"]["+Inf"] == 1


# ---- the log


def test_the_log_says_what_a_pool_does(tier, caplog):
    """At DEBUG: jails and runs, what was tried again and why; by part. No program, and no output."""
    caplog.set_level(logging.DEBUG, "interpreter_pool")
    with Pool(1, tier=tier) as pool:
        pool.run(f"x = '{SECRET}'; print(x)\nraise ValueError(x)", id="run-7")
        future = pool.submit("import time; time.sleep(0.5)", id="lost")
        wait_until(lambda: pool.stats().workers_busy == 1)
        wait_until(future.running)
        os.kill(pool.engine.workers[0].jail.zygote_pid, signal.SIGKILL)
        future.result()
    lines = [(each.name, each.levelno, each.getMessage()) for each in caplog.records]
    said = "\n".join(text for _, _, text in lines)
    assert re.search(rf"jail \d+ started: RunJail, tier {tier}, process \d+, in \d+\.\d+ s", said)
    assert re.search(r"run run-7 ended: exception after \d", said)
    assert "run lost is tried again" in said
    assert "is taken away, and replaced" in said
    assert SECRET not in said
    assert {name.split(".")[0] for name, _, _ in lines} == {"interpreter_pool"}
    assert "interpreter_pool.pool.engine.stats" in {name for name, _, _ in lines}


def test_the_log_says_what_becomes_of_sessions_and_snapshots(tier, caplog):
    """Made, evicted, ended, and why."""
    caplog.set_level(logging.DEBUG, "interpreter_pool")
    with Pool(1, tier=tier, max_sessions=1) as pool:
        first = pool.session()
        first.run(f"x = '{SECRET}'")
        with pool.session() as second:
            second.run("print(1)")
        with pool.snapshot(f"x = '{SECRET}'"):
            pass
    said = caplog.text
    assert len(re.findall(r"session \w+ made: process \d+", said)) == 2
    assert "was evicted: the pool has max_sessions=1" in said
    assert re.search(r"session \w+ has ended: 'it was closed'", said)
    assert re.search(r"a snapshot was made: process \d+, in", said)
    assert SECRET not in said


def test_the_log_is_silent_by_default(tier, caplog):
    """Above DEBUG nothing is said of programs that end as they like."""
    caplog.set_level(logging.INFO, "interpreter_pool")
    with Pool(1, tier=tier, limits=Limits(wall_s=0.3)) as pool:
        pool.run(f"print('{SECRET}')")
        pool.run("while True: pass")
        pool.run("import numpy")
    assert [each for each in caplog.records if "weaker" not in each.getMessage()] == []
