"""W12: sessions that are lost by their program's own doing, which is scored."""

import pickle

import pytest
from conftest import wait_until

from interpreter_pool import ExitReason, Limits, Pool, PythonExecutorService, SessionLost
from interpreter_pool.sandbox.jail.messages import JailLost
from interpreter_pool.sandbox.run.watchdog import Watchdog
from interpreter_pool.transforms import CodeRewardFunction, PythonEnvironment
from interpreter_pool.transforms.executors import Sessions

SPIN = "while True: pass"


@pytest.fixture
def slow_to_go(monkeypatch):
    """What a limit ends takes longer to go than is waited for, as of 13 GiB."""
    look = Watchdog.look

    def look_and_lose(watchdog):
        look(watchdog)
        if watchdog._stop.reason is not None:
            raise JailLost("killed, but not gone after 5 s")

    monkeypatch.setattr(Watchdog, "look", look_and_lose)


def test_w12_a_session_that_is_slow_to_go_is_lost_by_its_programs_doing(tier, slow_to_go):
    """W12: the call has the limit's reason; later ones, and `SessionLost`, say whose doing it was."""
    with Pool(1, tier=tier) as pool, pool.session() as session:
        session.run("x = 1")
        result = session.run(SPIN, timeout=0.2)
        assert (result.reason, result.rolled_back) == (ExitReason.WALL_TIMEOUT, 2)
        assert not result.infra_error and "killed, but not gone" in result.detail
        with pytest.raises(SessionLost, match="ended with wall_timeout") as caught:
            session.run("x")
        assert caught.value.by_program
        copy = pickle.loads(pickle.dumps(caught.value))
        assert (str(copy), copy.by_program) == (str(caught.value), True)
        session.reset()
        assert session.run("1").value == "1"


def test_w12_a_session_that_loses_all_its_states_is_lost_by_its_programs_doing(tier):
    """W12: there is no checkpoint to go back to."""
    with Pool(1, tier=tier) as pool, pool.session(history=0, rollback=False) as session:
        assert session.run(SPIN, timeout=0.2).reason is ExitReason.WALL_TIMEOUT
        with pytest.raises(SessionLost) as caught:
            session.run("x")
        assert caught.value.by_program


def test_w12_a_session_that_is_cancelled_is_nobodys_doing(tier, slow_to_go):
    """Whoever cancels a call, and loses the session by it, is told so as before."""
    with Pool(1, tier=tier) as pool, pool.session(rollback=False) as session:
        seen = []
        call = session.submit(f"print(1)\n{SPIN}", on_output=lambda *said: seen.append(said))
        wait_until(lambda: seen)
        call.cancel()
        wait_until(session.is_lost)
        with pytest.raises(SessionLost) as caught:
            session.run("x")
        assert not caught.value.by_program


@pytest.mark.parametrize("end", ["slow", "no state left"])
def test_w12_a_rollout_that_loses_its_session_by_itself_is_scored(tier, request, monkeypatch, end):
    """W12: `PythonEnvironment` is told what happened, goes on anew, and has a reward."""
    if end == "slow":
        request.getfixturevalue("slow_to_go")
    with Pool(1, tier=tier) as pool:
        if end != "slow":
            make = pool.session
            monkeypatch.setattr(pool, "session", lambda: make(rollback=False))
        environment = PythonEnvironment(pool, timeout=0.2)
        environment.python("x = 1")
        assert "wall time is over" in environment.python(SPIN)
        assert "the session was ended" in environment.python("x")
        assert "NameError" in environment.python("x")
        monkeypatch.undo()
        reward = CodeRewardFunction(pool)
        tests = {"test": ["assert f() == 1"], "entry_point": ["f"]}
        answer = "```python\ndef f(): return 2\n```"
        assert reward(None, [answer], environments=[environment], **tests) == [0.0]
        environment.reset()


def test_w12_a_service_answers_for_a_session_that_lost_itself(tier, slow_to_go):
    """W12: with `denied`, which is scored; for one that was closed, with an infra error."""
    with PythonExecutorService(1, tier=tier, limits=Limits(wall_s=0.5)) as service:
        lost, closed = service.open_sessions(2)
        service.close_session(closed)
        first, second, third = service.execute_in_many(
            [(lost, ["x = 1", SPIN, "x"]), (closed, ["1"]), (lost, ["x"])]
        )
        assert [each["reason"] for each in first] == ["ok", "wall_timeout", "denied"]
        assert [each["infra_error"] for each in first + third] == [False] * 4
        assert second[0]["infra_error"]


def test_w12_an_environment_of_torchrl_has_a_new_session_after_it(tier, slow_to_go):
    """W12: its blocks go on in another one, and none of them was lost for our fault."""
    with PythonExecutorService(1, tier=tier, limits=Limits(wall_s=0.5)) as service:

        def call(method, *args, timeout_s, **options):
            return getattr(service, method)(*args, **options)

        sessions = Sessions(call, lambda count: None)
        blocks = ["x = 1", SPIN], ["x"], ["x = 2\nprint(x)"]
        ends = [end for codes in blocks for end in sessions.run({0: codes})[0]]
        assert [end["reason"] for end in ends] == ["ok", "wall_timeout", "denied", "ok"]
        assert not any(end["infra_error"] for end in ends)
        sessions.reset()


def test_w12_a_session_that_is_evicted_over_its_share_is_evicted_by_its_own_doing(tier):
    """W12: who holds more than its share of `session_memory_bytes`; who does not, is not to blame."""
    with Pool(1, tier=tier, session_memory_bytes=64 << 20) as pool:
        greedy, modest = pool.session(), pool.session()
        modest.run("x = 1")
        greedy.run("x = bytes(range(256)) * (90 << 12)")
        wait_until(greedy.is_lost)
        with pytest.raises(SessionLost, match="more than its share of") as caught:
            greedy.run("x")
        assert caught.value.by_program
        if modest.is_lost():
            with pytest.raises(SessionLost) as caught:
                modest.run("x")
            assert not caught.value.by_program
        for each in (greedy, modest):
            each.close()
