"""URLs of executors, and what is wrong with them."""

import gc
import os
import signal
import threading
import time
from concurrent.futures import CancelledError

import pytest
from conftest import wait_until
from small_services import LIMITS, OPTIONS, local_services

from interpreter_pool import (
    Limits,
    Pool,
    PoolError,
    PoolFull,
    Program,
    PythonExecutorService,
    SessionLost,
    Stdio,
    connect,
)
from interpreter_pool.pool.remote import desk, messages
from interpreter_pool.pool.remote.desk import Desks
from interpreter_pool.pool.remote.messages import Reply, Request, RunBody, Sent
from interpreter_pool.registry import ServiceError
from interpreter_pool.sandbox.run.job import Job


@pytest.mark.parametrize(
    "url, said",
    [
        ("ray://head:10001", "Ray Client's addresses"),
        ("http://somewhere:8080", "can't be reached by HTTP yet"),
        ("rya://executor", "did you mean ray://?"),
        ("executor", "begins with none of local://NAME"),
        ("local://", "must be local://NAME"),
        ("local://a/b", "must be local://NAME"),
        ("local://a?nmespace=b", "unknown 'nmespace'; there is namespace"),
    ],
)
def test_a_url_with_a_typo_is_refused(url, said):
    """The error names the URL and the way out."""
    with pytest.raises(ValueError, match="url=") as caught:
        connect(url)
    assert said in str(caught.value) and url in str(caught.value)
    with pytest.raises(TypeError, match="url must be text"):
        connect(5)


@pytest.mark.parametrize(
    "options, error",
    [
        ({"retries": -1}, ValueError),
        ({"retries": "2"}, TypeError),
        ({"hedge_after": -1}, ValueError),
        ({"patience": "long"}, TypeError),
        ({"max_queue": 0}, ValueError),
        ({"colour": "red"}, TypeError),
    ],
)
def test_options_that_make_no_sense_are_refused(options, error):
    with pytest.raises(error, match=next(iter(options))):
        connect("local://executor", **options)


class Greeter:
    def greet(self):
        return "hello"


class Impostor:
    """Speaks as no version of ours does."""

    def describe_executor(self):
        return b"interpreter-pool exchange 9\n..."


def test_what_is_no_executor_is_refused():
    """The error names it, and what is there."""
    with local_services() as services:
        at = f"?namespace={services.namespace}"
        with pytest.raises(KeyError, match="executor"):
            connect(f"local://executor{at}")
        services.register("greeter", Greeter)
        with pytest.raises(PoolError, match=r"greeter.*no PythonExecutorService"):
            connect(f"local://greeter{at}")
        services.register("impostor", Impostor)
        with pytest.raises(PoolError, match="same version of interpreter-pool"):
            connect(f"local://impostor{at}")


def test_a_fleet_is_no_service_and_a_service_no_fleet():
    """A name is one of both; `get` says what to do with a fleet."""
    with local_services() as services:
        services.register("one", Greeter)
        services.register_fleet("many", Greeter, min=2)
        assert services.list() == ["many", "one"]
        assert len(services.members("many")) == 2
        assert len(services.members("one")) == 1
        with pytest.raises(TypeError, match=r"'many' is a fleet.*connect\('local://many'\)"):
            services.get("many")
        for name in ("one", "many"):
            with pytest.raises(ValueError, match="already exists"):
                services.register_fleet(name, Greeter)
            with pytest.raises(ValueError, match="already exists"):
                services.register(name, Greeter)
        for wrong in ({"min": 0}, {"min": 3, "max": 2}, {"max": "2"}):
            with pytest.raises((TypeError, ValueError), match=r"min|max"):
                services.register_fleet("wrong", Greeter, **wrong)
        assert "wrong" not in services


class Broken:
    def __init__(self):
        raise ValueError("no such model")


def test_a_fleet_whose_members_fail_leaves_nothing():
    with local_services() as services:
        with pytest.raises(ServiceError, match="no such model"):
            services.register_fleet("broken", Broken, min=2)
        assert services.list() == []
        assert not services._records.all()


def test_members_that_die_are_replaced_and_work_goes_on():
    """Nothing is lost, nothing comes twice; sessions of the dead are lost, and say so."""
    with local_services() as services:
        services.register_fleet("fleet", PythonExecutorService, min=2, **OPTIONS)
        url = f"local://fleet?namespace={services.namespace}"
        with connect(url) as executor:
            sessions = [executor.session(history=0) for _ in range(4)]
            for session in sessions:
                session.run("x = 1")
            before = set(services.members("fleet"))
            record = services._records.find("fleet::0")
            results = executor.map(
                [f"import time; time.sleep(.01); print({n})" for n in range(300)]
            )
            found = [next(results) for _ in range(20)]
            os.kill(record["pid"], signal.SIGKILL)
            found += results
            assert [result.stdout for result in found] == [f"{n}\n" for n in range(300)]
            lost = 0
            for session in sessions:
                try:
                    assert session.run("x").value == "1"
                except SessionLost as error:
                    assert not error.by_program and "was lost" in str(error)
                    lost += 1
            assert lost == 2
            wait_until(lambda: len(services.members("fleet")) == 2, 20)
            assert set(services.members("fleet")) != before
            wait_until(lambda: len(executor.router.executors()) == 2 or not executor.run("1"), 20)


def test_a_client_that_dies_leaves_nothing():
    """Its runs are cancelled and its sessions ended when its lease is over."""
    with Pool(1) as pool:
        desks = Desks(pool, lease_s=0.5)
        described = messages.unpack(messages.Described, desks.describe(), "it")
        job = Job(b"import time; time.sleep(60)", (), b"", Limits(wall_s=60))
        orders = [
            Sent(1, messages.SESSION, ("", "open", (), {})),
            Sent(2, messages.RUN, RunBody(job, None, None, "")),
        ]
        desks.exchange(messages.pack_request(Request("me", 0, described.incarnation, orders)))
        wait_until(lambda: pool.stats().workers_busy == 1 and pool.stats().sessions == 1)
        assert desks.clients() == 1
        wait_until(lambda: desks.clients() == 0)
        wait_until(lambda: pool.stats().workers_busy == 0 and pool.stats().sessions == 0)
        desks.close()


def test_a_drained_member_finishes_and_is_replaced():
    with local_services() as services:
        services.register_fleet("fleet", PythonExecutorService, min=2, **OPTIONS)
        with connect(f"local://fleet?namespace={services.namespace}") as executor:
            session = executor.session()
            session.run("x = 1")
            before = services.members("fleet")
            services.result([each.drain.remote() for each in before.values()])
            time.sleep(0.1)
            assert session.run("x").value == "1"  # what is there, stays
            session.close()
            wait_until(lambda: not before.keys() & services.members("fleet").keys(), 30)
            assert executor.run("print(1)").stdout == "1\n"


def test_a_client_that_was_silent_for_long_goes_on(monkeypatch):
    """Its desk is gone, and another takes its next request, whatever number that has, at once."""
    monkeypatch.setattr(desk, "_PARK_S", 30)
    with Pool(1) as pool:
        desks = Desks(pool, lease_s=0.2)
        described = messages.unpack(messages.Described, desks.describe(), "it")
        for sequence in (0, 57, 58):
            job = Job(b"print(1)", (), b"", Limits())
            order = Sent(sequence + 1, messages.RUN, RunBody(job, None, None, ""))
            request = Request("me", sequence, described.incarnation, [order], oldest=sequence)
            began = time.monotonic()
            reply = messages.unpack(Reply, desks.exchange(messages.pack_request(request)), "it")
            assert time.monotonic() - began < 20
            ((result, _),) = [answer.value for answer in reply.answers]
            assert result.stdout == "1\n"
            if not sequence:
                wait_until(lambda: desks.clients() == 0)
        desks.close()


def test_a_snapshot_outlives_its_clients_silence():
    """A client that has one is heard of, also when it has nothing to do."""
    with local_services() as services:
        services.register("one", ShortLease, **OPTIONS)
        with connect(f"local://one?namespace={services.namespace}") as executor:
            with executor.snapshot("x = 41") as snapshot, executor.session() as session:
                session.run("y = 1")
                time.sleep(2.5)
                assert snapshot.run("print(x + 1)").stdout == "42\n"
                assert session.run("y").value == "1"


class ShortLease(PythonExecutorService):
    def __init__(self, **options):
        super().__init__(**options)
        self.desks._lease_s = 1.0


def test_an_executor_that_is_stopped_for_a_while_comes_back():
    """What it had is made again when it has; another client of its is not kept waiting."""
    with local_services() as services:
        services.register("one", PythonExecutorService, **OPTIONS)
        url = f"local://one?namespace={services.namespace}"
        with connect(url, retries=50) as executor:
            executor.router._silent_s = 1.0
            assert executor.run("print(1)").ok
            pid = services._records.find("one")["pid"]
            for link in executor.router.executors():
                link._silent_s = 1.0
            os.kill(pid, signal.SIGSTOP)
            futures = [executor.submit(f"print({n})") for n in range(10)]
            wait_until(lambda: not executor.router.links, 20)
            os.kill(pid, signal.SIGCONT)
            assert [future.result(60).stdout for future in futures] == [f"{n}\n" for n in range(10)]
            (link,) = executor.router.executors()
            before = link._sequence
            session = executor.session()
            time.sleep(2.5)
            assert link._sequence - before < 20  # it waits there, and does not ask and ask
            session.close()


def test_a_client_with_one_run_does_not_wait_for_anothers_thousand():
    """By order, not by time: it is among the first that end."""
    with local_services() as services:
        services.register("one", PythonExecutorService, **OPTIONS)
        url = f"local://one?namespace={services.namespace}"
        with connect(url) as many, connect(url) as few:
            flood = [many.submit("import time; time.sleep(.02)") for _ in range(200)]
            wait_until(lambda: flood[5].done())
            assert few.run("print(1)").ok
            ended = sum(future.done() for future in flood)
            assert ended < 100
            for future in flood:
                future.cancel()


def test_what_waits_for_its_turn_counts_as_load():
    """A fleet grows by it."""
    with PythonExecutorService(pool_size=1) as service:
        described = messages.unpack(messages.Described, service.describe_executor(), "it")
        job = Job(b"import time; time.sleep(60)", (), b"", Limits(wall_s=60))
        orders = [Sent(n, messages.RUN, RunBody(job, None, None, "")) for n in range(1, 11)]
        service.exchange(messages.pack_request(Request("me", 0, described.incarnation, orders)))
        assert service.fleet_state()[0] > 9


@pytest.fixture
def desks():
    with Pool(2, limits=LIMITS) as pool:
        desks = Desks(pool)
        yield desks
        desks.close()


def ask(desks, sequence, orders, oldest=0):
    """What a client says, and what it is answered."""
    incarnation = messages.unpack(messages.Described, desks.describe(), "it").incarnation
    request = Request("me", sequence, incarnation, orders, oldest=oldest)
    reply = messages.unpack(Reply, desks.exchange(messages.pack_request(request)), "it")
    return {answer.number: answer for answer in reply.answers}


def run(number, code="pass", snapshot=""):
    job = Job(code.encode(), (), b"", LIMITS)
    return Sent(number, messages.RUN, RunBody(job, None, None, snapshot))


def test_requests_are_taken_in_their_order_also_by_one_that_has_just_begun(desks):
    """The second comes first: the run that it ends is begun by then, or it would run on."""
    found: dict = {}
    ending = [Sent(0, messages.CANCEL, 1)]
    later = threading.Thread(target=lambda: found.update(ask(desks, 1, ending)))
    later.start()
    time.sleep(0.3)
    began = time.monotonic()
    found |= ask(desks, 0, [run(1, "import time; time.sleep(15)")])
    later.join()
    for sequence in range(2, 20):
        if found:
            break
        found |= ask(desks, sequence, [], oldest=sequence)
    answer = found[1]
    assert isinstance(answer.error, CancelledError) or answer.value[0].reason == "cancelled"
    assert time.monotonic() - began < 10


def test_a_request_that_never_comes_is_not_passed_over(desks, monkeypatch):
    """What comes behind it is refused, whatever that costs."""
    monkeypatch.setattr("interpreter_pool.pool.remote.desk._EARLIER_S", 0.2)
    with pytest.raises(messages.Nonsense, match="request 1 has come, and 0 before it has not"):
        ask(desks, 1, [run(1)])


def test_an_executor_that_is_to_go_takes_nothing_new(desks):
    """Sessions and runs go elsewhere; what it has goes on."""
    assert ask(desks, 0, [Sent(1, messages.SESSION, ("", "open", (), {}))])[1].value == "0"
    desks.draining = True
    opening = Sent(2, messages.SESSION, ("", "open", (), {}))
    judging = Sent(3, messages.JUDGE, (Program("pass"), (Stdio("", ""),), {}))
    call = Sent(5, messages.CALL, ("0", "1 + 1", None, {}))
    found = ask(desks, 1, [opening, judging, run(4), call], oldest=1)
    for sequence in range(2, 20):
        if len(found) == 4:
            break
        found |= ask(desks, sequence, [], oldest=sequence)
    assert all(isinstance(found[number].error, PoolFull) for number in (2, 3, 4))
    assert found[5].value.value == "2"


def test_a_run_is_taken_back_while_its_snapshot_is_made(desks):
    made = Sent(0, messages.SNAPSHOT, ("a", b"import time; time.sleep(1)", None, None))
    found = ask(desks, 0, [made, run(1, snapshot="a"), Sent(0, messages.CANCEL, 1)])
    assert isinstance(found[1].error, CancelledError)


def test_replies_have_a_size(desks, monkeypatch):
    """What does not fit comes with the next."""
    monkeypatch.setattr("interpreter_pool.pool.remote.desk._MOST_REPLY_BYTES", 1000)
    counts = []
    got: set = set()
    ask(desks, 0, [run(number, "print('x' * 600)") for number in range(1, 9)])
    time.sleep(0.5)  # all of them have ended
    for sequence in range(1, 30):
        found = ask(desks, sequence, [], oldest=sequence)
        counts.append(len(found))
        got |= found.keys()
        if len(got) == 8:
            break
    assert max(counts) <= 2


def only_in(process):
    if os.getpid() != process:
        raise ImportError("no module named mine")
    return Stdio("", "")


class Mine(Stdio):
    """A case of a class that no other process knows."""

    def __reduce__(self):
        return only_in, (os.getpid(),)


def test_an_order_that_cannot_be_unpickled_costs_its_own_client_that_order():
    """All the others that go along with it are answered."""
    with local_services() as services:
        services.register("executor", PythonExecutorService, pool_size=2, limits=LIMITS)
        url = f"local://executor?namespace={services.namespace}"
        with connect(url) as executor:
            futures = [executor.submit(f"print({n})") for n in range(20)]
            with pytest.raises(messages.Unreadable, match="no module named mine"):
                executor.judge("pass", [Mine("", "")])
            futures += [executor.submit(f"print({n})") for n in range(20, 40)]
            assert [future.result(20).stdout for future in futures] == [f"{n}\n" for n in range(40)]
            assert executor.router.retried == 0


def test_a_session_that_nobody_holds_is_ended():
    """Soon, and wherever it is collected."""
    with local_services() as services:
        services.register("executor", PythonExecutorService, pool_size=1, limits=LIMITS)
        with connect(f"local://executor?namespace={services.namespace}") as executor:
            session = executor.session()
            assert executor.stats().sessions == 1
            del session
            gc.collect()
            wait_until(lambda: executor.stats().sessions == 0)


def test_patience_may_be_without_end():
    with local_services() as services:
        services.register("executor", PythonExecutorService, pool_size=1, limits=LIMITS)
        url = f"local://executor?namespace={services.namespace}"
        with connect(url, patience=None) as executor:
            assert executor.run("print(1)").stdout == "1\n"
