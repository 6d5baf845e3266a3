"""Which executor gets what, and what becomes of what is lost: with executors that do as told."""

import threading
import time
from collections import Counter
from concurrent.futures import Future, wait

import pytest
from conftest import wait_until

from interpreter_pool import Limits, PoolClosed, PoolFull, PoolTimeout, Result, SessionLost
from interpreter_pool.pool.remote import messages
from interpreter_pool.pool.remote.messages import Answer, Described, Load, Reply, RunBody
from interpreter_pool.pool.remote.order import Order, RunOrder, SessionOrder
from interpreter_pool.pool.remote.router import Router
from interpreter_pool.sandbox.reasons import ExitReason
from interpreter_pool.sandbox.run.job import Job

LIMITS = Limits()


def result_of(job, by):
    template = Result.internal("", tier="namespaces", queue_s=0.0, id=job.id)
    return template.__class__(
        **{
            **{name: getattr(template, name) for name in template.__slots__},
            "reason": ExitReason.OK,
            "stdout_bytes": job.source,
            "detail": by,
        }
    )


class Gone(Exception):
    """What a registry raises for a service that is gone."""


class Executor:
    """One that answers what it is told to answer. holds: it answers nothing as long as this is so.
    dies_of: a program that ends it. full: how many orders it refuses at first.
    """

    def __init__(self, name, size=2, *, holds=False, dies_of=None, full=0, seconds=0.0):
        self.name = name
        self.size = size
        self.holds = holds
        self.dies_of = dies_of
        self.full = full
        self.seconds = seconds
        self.draining = False
        self.dead = False
        self.silent = False
        self.says = None  # in place of a reply
        self.got: list[bytes] = []
        self.cancelled: list[int] = []
        self.incarnation = f"{name} itself"
        self.most = 0
        self.lock = threading.Condition()
        self.waiting: list[messages.Sent] = []
        self.parked: list[tuple[Future, int]] = []
        self.answers: list[Answer] = []
        self.sequences: list[int] = []
        self.desk = "first"
        self.fails = False  # each run, for a reason of its own
        self.clients = 1
        self.batches: list[set[bytes]] = []  # what came in each request

    # ---- as a `Reach`

    def __call__(self, method, *args):
        if self.dead:
            raise Gone(f"{self.name} is gone")
        call = Future()
        if method == "describe_executor":
            load = Load(self.size, 0, self.draining)
            call.set_result(messages.pack(Described(self.incarnation, LIMITS, "namespaces", load)))
        else:
            threading.Thread(target=self.exchange, args=(call, *args), daemon=True).start()
        return call

    def result(self, call, timeout):
        return call.result(timeout)

    # ---- within

    def die(self):
        with self.lock:
            self.dead = True
            parked, self.parked = self.parked, []
        for call, _ in parked:
            call.set_exception(Gone(f"{self.name} is gone"))

    def release(self):
        with self.lock:
            self.holds = False
            for order in self.waiting:
                self.answer(order)
            self.waiting.clear()
            self.reply()

    def exchange(self, call, data):
        request = messages.unpack_request(data)
        with self.lock:
            self.sequences.append(request.sequence)
            if self.dead:
                call.set_exception(Gone(f"{self.name} is gone"))
                return
            parked, self.parked = self.parked, []
            for earlier, _ in parked:
                self.say(earlier)
            runs = [order for order in request.orders if order.kind == messages.RUN]
            self.batches.append({order.body.job.source for order in runs})
            for order in request.orders:
                self.take(order)
            if not self.dead and not self.silent:
                self.parked.append((call, request.sequence))
        if self.dead:
            self.die()
            call.cancel() or call.done() or call.set_exception(Gone(f"{self.name} is gone"))
            return
        if self.seconds:
            time.sleep(self.seconds)
        with self.lock:
            if self.answers or any(order.kind == messages.LEAVE for order in request.orders):
                self.reply()

    def take(self, order):
        if order.kind == messages.CANCEL:
            self.cancelled.append(order.body)
            return
        if order.kind == messages.LEAVE:
            return
        if order.kind == messages.RUN:
            source = order.body.job.source
            self.got.append(source)
            if source == self.dies_of:
                self.dead = True
                return
            if self.full:
                self.full -= 1
                self.answers.append(Answer(order.number, None, PoolFull("full")))
                return
        self.waiting.append(order)
        self.most = max(self.most, len(self.waiting))
        if not self.holds:
            self.waiting.remove(order)
            self.answer(order)

    def answer(self, order):
        value = "done"
        if order.kind == messages.RUN:
            value = result_of(order.body.job, self.name), None
            if self.fails:
                value = Result.internal("no worker", tier="namespaces", queue_s=0.0), None
        self.answers.append(Answer(order.number, value))

    def reply(self):
        parked, self.parked = self.parked, []
        for call, _ in parked:
            self.say(call)

    def say(self, call):
        answers, self.answers = self.answers, []
        load = Load(self.size, 0, self.draining, self.clients)
        call.set_result(self.says or messages.pack(Reply(answers, load, self.desk)))


def run_order(source, *, expires_at=None, id=None):
    body = RunBody(Job(source.encode(), (), b"", LIMITS, id=id), None, None, "")
    return RunOrder(body, "namespaces", expires_at)


@pytest.fixture
def route():
    routers = []

    def make(*executors, **options):
        there = {each.name: each for each in executors}
        router = Router(
            "ray://it", lambda: {k: v for k, v in there.items() if not v.dead}, **options
        )
        router.there = there
        router.start()
        routers.append((router, there))
        return router

    yield make
    for router, there in routers:
        for each in there.values():
            each.silent = False
            each.release()
        router.close()


def put_all(router, count, name="run"):
    orders = [run_order(f"{name} {number}", id=str(number)) for number in range(count)]
    futures = [order.future for order in orders]
    for order in orders:
        router.put(order)
    return futures


def outcomes(futures):
    return [future.result(20) for future in futures]


def test_all_executors_share_the_work(route):
    """Each result comes back to who asked for it, once."""
    one, two = Executor("one"), Executor("two")
    results = outcomes(put_all(route(one, two), 200))
    assert [result.stdout for result in results] == [f"run {n}" for n in range(200)]
    assert len(one.got) + len(two.got) == 200
    assert min(len(one.got), len(two.got)) > 20


def test_requests_of_a_client_are_numbered(route):
    one = Executor("one")
    outcomes(put_all(route(one), 50))
    assert sorted(one.sequences) == list(range(len(one.sequences)))


def test_what_was_in_flight_on_a_lost_executor_is_made_by_another(route):
    one, two = Executor("one", holds=True), Executor("two")
    router = route(one, two)
    futures = put_all(router, 30)
    wait_until(lambda: one.got and len(two.got) + len(one.got) == 30)
    one.die()
    results = outcomes(futures)
    assert [result.stdout for result in results] == [f"run {n}" for n in range(30)]
    assert {result.detail for result in results} == {"two"}
    assert router.retried == len(one.got)


def test_lost_orders_are_made_alone(route):
    """One at a time at an executor, as one of them may be to blame; what is new goes elsewhere."""
    one, two, three = Executor("one", 8, holds=True), Executor("two", holds=True), Executor("three")
    router = route(one)
    futures = put_all(router, 8)
    wait_until(lambda: len(one.got) == 8)
    router.there.update(two=two, three=three)
    one.die()
    wait_until(lambda: len(router.links) == 2)
    two.release()
    results = outcomes(futures + put_all(router, 20, "new"))
    assert all(result.ok for result in results)
    assert max(two.most, three.most) >= 1
    lost = {f"run {n}".encode() for n in range(8)}
    for each in (two, three):
        assert all(
            len(lost & batch) <= 1 and not (lost & batch and batch - lost) for batch in each.batches
        )


def test_after_its_retries_an_order_is_an_infra_error(route):
    """Which says nothing of the program: each time it was there with others."""
    first = Executor("0", 4, holds=True)
    router = route(first, retries=0)
    futures = put_all(router, 3)
    wait_until(lambda: len(first.got) == 3)
    first.die()
    results = outcomes(futures)
    assert [result.reason for result in results] == ["internal"] * 3
    assert all(result.infra_error and "0 was lost" in result.detail for result in results)
    assert [result.id for result in results] == ["0", "1", "2"]


def test_a_program_that_brings_down_two_executors_alone_is_denied(route):
    """And costs the others nothing."""
    executors = [Executor(str(n), dies_of=b"killer") for n in range(5)]
    router = route(*executors)
    killer = run_order("killer")
    future = killer.future
    others = put_all(router, 20)
    router.put(killer)
    others += put_all(router, 20)
    result = future.result(20)
    assert (result.reason, result.infra_error) == ("denied", False)
    assert "brought down 2 executors" in result.detail
    assert all(result.ok for result in outcomes(others))
    assert sum(each.dead for each in executors) <= 3


def test_an_executor_that_says_nothing_is_lost(route):
    """What it says later changes nothing."""
    one, two = Executor("one"), Executor("two")
    one.silent = True
    router = route(one, two, silent_s=0.5)
    results = outcomes(put_all(router, 20))
    assert {result.detail for result in results} == {"two"}
    assert "one" not in router.links or router.links["one"].in_flight == {}


@pytest.mark.parametrize(
    "says, named",
    [
        (b"<html>", "does not speak"),
        (None, "None"),
        (messages.HEADER + b"no pickle", "can't be unpickled"),
        (messages.pack({"a": 1}), "in place of a Reply"),
    ],
)
def test_an_executor_that_answers_nonsense_is_lost(route, says, named):
    """The work goes to the others; with none, the answer names the executor and what it said."""
    one, two = Executor("one"), Executor("two")
    one.says = says or "None"
    router = route(one, two)
    assert {result.detail for result in outcomes(put_all(router, 20))} == {"two"}
    alone = Executor("alone")
    alone.says = says or "None"
    (result,) = outcomes(put_all(route(alone, retries=0), 1))
    assert result.infra_error
    assert named in result.detail and "executor alone" in result.detail


def test_an_executor_that_has_forgotten_the_client_is_asked_anew(route):
    """It was silent for too long, with something in flight: nobody else will ever answer that."""
    one = Executor("one", 4, holds=True)
    router = route(one)
    outcome = put_all(router, 3)
    wait_until(lambda: len(one.got) == 3)
    with one.lock:
        one.reply()  # with nothing, as an executor has to each second
    wait_until(lambda: router.links["one"].desk == "first" and one.parked)
    with one.lock:
        one.waiting.clear()
        one.desk, one.holds = "second", False
        one.reply()
    assert all(result.ok for result in outcomes(outcome))
    wait_until(lambda: "one" in router.links)
    link = router.links["one"]
    wait_until(lambda: not link.in_flight and not link.requests)
    one.desk = "third"  # while nothing was under way
    assert all(result.ok for result in outcomes(put_all(router, 3)))
    assert router.links["one"] is link


def test_an_executor_of_another_kind_is_refused_at_once():
    class Another(Executor):
        def result(self, call, timeout):
            return {"success": True}

    one = Another("one")
    with pytest.raises(messages.Nonsense, match="executor one does not speak"):
        Router("ray://it", lambda: {"one": one}).start()


def test_a_full_executor_is_asked_later(route):
    one = Executor("one", full=3)
    results = outcomes(put_all(route(one), 10))
    assert all(result.ok for result in results)
    assert len(one.got) == 13


def test_a_draining_executor_gets_nothing_new(route):
    one, two = Executor("one"), Executor("two")
    one.draining = True
    router = route(one, two)
    results = outcomes(put_all(router, 30))
    assert {result.detail for result in results} == {"two"}
    assert router.least_busy().key == "two"


def test_a_slow_executor_gets_less(route):
    slow, quick = Executor("slow", seconds=0.1), Executor("quick")
    counts = Counter(result.detail for result in outcomes(put_all(route(slow, quick), 400)))
    assert counts["slow"] < counts["quick"] / 2, counts


def test_a_silent_executors_work_is_hedged_where_that_is_wanted(route):
    """The first answer counts, and the other one is cancelled."""
    one, two = Executor("one", holds=True), Executor("two")
    router = route(one, two, hedge_after=0.3)
    futures = put_all(router, 20)
    assert {result.detail for result in outcomes(futures)} == {"two"}
    assert one.got
    wait_until(lambda: len(one.cancelled) == len(one.got))
    assert router.retried == 0


def test_nothing_waits_for_ever_where_there_is_no_executor(route):
    one = Executor("one")
    router = route(one, patience_s=0.3)
    outcomes(put_all(router, 1))
    one.die()
    (result,) = outcomes(put_all(router, 1))
    assert result.infra_error
    assert "no executor of ray://it is there" in result.detail


def test_an_executor_that_joins_is_used(route):
    """Also by what waits since none was there."""
    one, two = Executor("one"), Executor("two")
    router = route(one)
    one.die()
    futures = put_all(router, 5)
    router.there["two"] = two
    assert {result.detail for result in outcomes(futures)} == {"two"}


def test_a_full_queue_says_for_how_long(route):
    one = Executor("one", 1, holds=True)
    router = route(one, max_queue=2)
    with pytest.raises(PoolFull, match="max_queue=2") as caught:
        put_all(router, 100)
    assert caught.value.retry_after_s > 0
    asked = threading.Event()
    router.when_room(asked.set)
    assert not asked.is_set()
    thread = threading.Thread(target=lambda: router.put(run_order("last"), wait=True))
    thread.start()
    one.release()
    assert asked.wait(10)
    thread.join(10)
    wait_until(lambda: b"last" in one.got)


def test_an_order_waits_no_longer_than_it_may(route):
    one = Executor("one", 1, holds=True)
    router = route(one)
    put_all(router, 40)
    late = run_order("late", expires_at=time.monotonic() + 0.2)
    future = late.future
    router.put(late)
    with pytest.raises(PoolTimeout):
        future.result(10)
    one.release()
    put_all(router, 1)
    assert b"late" not in one.got


def test_what_waits_is_taken_back_and_what_runs_is_cancelled(route):
    one = Executor("one", 1, holds=True)
    router = route(one)
    futures = put_all(router, 40)
    wait_until(lambda: one.got)
    assert futures[-1].cancel() and futures[-1].cancelled()
    assert futures[0].cancel() and not futures[0].done()
    wait_until(lambda: one.cancelled)
    one.release()
    assert futures[0].result(10).ok  # it had just ended


def test_what_cannot_be_sent_costs_nobody_else(route):
    one = Executor("one", holds=True)
    router = route(one)
    bad = Order(messages.STATS, threading.Lock(), router.least_busy())
    future = bad.future
    futures = put_all(router, 3)
    router.put(bad)
    with pytest.raises(TypeError, match="can't be sent"):
        future.result(10)
    one.release()
    assert all(result.ok for result in outcomes(futures))


def test_what_belongs_to_an_executor_is_lost_with_it(route):
    """A session's calls are never made again."""
    one, two = Executor("one", holds=True), Executor("two")
    router = route(one, two)
    link = router.links["one"]
    call = SessionOrder(messages.CALL, ("0", "x", None, {}), link)
    future = call.future
    router.put(call)
    wait_until(lambda: one.waiting)
    one.die()
    with pytest.raises(SessionLost, match="executor one was lost"):
        future.result(10)
    with pytest.raises(SessionLost, match="executor one was lost"):
        router.put(SessionOrder(messages.CALL, ("0", "x", None, {}), link))
    assert not two.got


def test_closing_answers_what_is_under_way(route):
    one = Executor("one", 1, holds=True)
    router = route(one)
    futures = put_all(router, 10)
    wait_until(lambda: one.got)
    router.close()
    for future in futures:
        with pytest.raises(PoolClosed):
            future.result(10)
    with pytest.raises(PoolClosed):
        router.put(run_order("more"))


def test_a_run_that_is_cancelled_while_it_waits_harms_nobody(route):
    """Nor does the end of the time that it might have waited; whoever waits for it is told."""
    one = Executor("one", 1, holds=True)
    router = route(one)
    others = put_all(router, 40)
    late = run_order("late", expires_at=time.monotonic() + 0.2)
    future = late.future
    router.put(late)
    plain = run_order("plain")
    taken_back = plain.future
    router.put(plain)
    assert future.cancel() and taken_back.cancel()
    time.sleep(0.5)
    last = run_order("last")
    waited = last.future
    router.put(last)
    one.release()
    assert waited.result(20).ok and all(result.ok for result in outcomes(others))
    assert not wait([future, taken_back], timeout=10).not_done
    assert not {b"late", b"plain"} & set(one.got)


def test_lost_orders_do_not_wait_for_a_sessions_calls(route):
    """A session's call may take as long as it likes."""
    one, two = Executor("one", 4, holds=True), Executor("two", 4, holds=True)
    router = route(one)
    futures = put_all(router, 3)
    wait_until(lambda: len(one.got) == 3)
    router.there["two"] = two
    wait_until(lambda: "two" in router.links)
    call = SessionOrder(messages.CALL, ("0", "x", None, {}), router.links["two"])
    router.put(call)
    wait_until(lambda: two.waiting)
    one.die()
    wait_until(lambda: two.got, 20)
    two.release()
    assert all(result.ok for result in outcomes(futures))


def test_a_client_that_lost_its_last_executor_finds_the_next(route):
    """However long it was idle in between."""
    one, two = Executor("one"), Executor("two")
    router = route(one, patience_s=1.0)
    outcomes(put_all(router, 1))
    one.die()
    assert outcomes(put_all(router, 1))[0].infra_error
    time.sleep(1.5)
    router.there["two"] = two
    assert outcomes(put_all(router, 3))[0].ok


def test_nothing_waits_for_ever_for_executors_that_drain(route):
    one = Executor("one")
    router = route(one, patience_s=0.5)
    one.draining = True
    outcomes(put_all(router, 1))  # with whose answer it says so
    (result,) = outcomes(put_all(router, 1))
    assert result.infra_error and "all are draining" in result.detail


def lose_twice(route, lose, **options):
    """What becomes of a program that is alone on two executors, one after the other, when `lose`
    has these be lost; with a third, which is well.
    """
    executors = [Executor(str(n), holds=True) for n in range(3)]
    router = route(executors[0], **options)
    (future,) = put_all(router, 1)
    for number in range(2):
        one = executors[number]
        wait_until(lambda one=one: one.got)
        router.there.clear()
        router.there[str(number + 1)] = executors[number + 1]
        lose(one)
    executors[2].holds = False
    wait_until(lambda: executors[2].got)
    executors[2].release()
    return future.result(20)


def be_silent(one):
    one.silent = True


def talk_nonsense(one):
    with one.lock:
        one.says = b"<html>"
        one.reply()


def forget_the_client(one):
    with one.lock:
        one.reply()
    wait_until(lambda: one.parked)
    with one.lock:
        one.desk = "second"
        one.dead = True  # or it would be asked again
        one.reply()


@pytest.mark.parametrize("lose", [be_silent, talk_nonsense, forget_the_client])
def test_what_may_be_no_programs_fault_is_not_charged_to_it(route, lose):
    """An executor that stands still, or is another one, has not broken down under a program."""
    result = lose_twice(route, lose, silent_s=0.5)
    assert (result.reason, result.detail) == ("ok", "2")


def die_with_others(one):
    one.clients = 2
    with one.lock:
        one.reply()
    wait_until(lambda: one.parked)
    one.die()


def test_nor_is_what_another_clients_program_may_have_done(route):
    result = lose_twice(route, die_with_others)
    assert (result.reason, result.detail) == ("ok", "2")


def test_what_was_never_sent_is_not_lost(route):
    """It waits as before: an executor that can't be reached has not had it."""
    one, two = Executor("one"), Executor("two", holds=True)
    router = route(one, retries=0)
    one.dead = True
    futures = put_all(router, 4)
    router.there["two"] = two
    wait_until(lambda: two.got)
    two.release()
    results = outcomes(futures)
    assert [result.detail for result in results] == ["two"] * 4
    assert router.retried == 0


def test_an_executor_that_fails_by_itself_is_not_the_last_word(route):
    """Another one may be well; where all fail, that is the answer."""
    one, two = Executor("one"), Executor("two")
    one.fails = True
    assert {result.detail for result in outcomes(put_all(route(one, two), 20))} == {"two"}
    three, four = Executor("three"), Executor("four")
    three.fails = four.fails = True
    results = outcomes(put_all(route(three, four), 6))
    assert {result.reason for result in results} == {"internal"}


def test_a_program_that_makes_executors_fail_is_not_taken_to_all_of_them(route):
    """It is made again as often as one that was lost."""
    executors = [Executor(str(n)) for n in range(6)]
    for each in executors:
        each.fails = True
    (result,) = outcomes(put_all(route(*executors, retries=2), 1))
    assert result.reason == "internal"
    assert sum(len(each.got) for each in executors) == 3


def test_a_client_that_stood_still_takes_what_has_come_meanwhile(route):
    """Its own time was over, not the executor's."""

    class Late(Executor):
        late = 0

        def result(self, call, timeout):
            if timeout == 7.0 and call.done():
                self.late += 1
                raise TimeoutError
            return call.result(timeout)

    one = Late("one", seconds=0.05)
    results = outcomes(put_all(route(one, silent_s=7.0), 5))
    assert {result.detail for result in results} == {"one"}


def test_a_failure_of_the_clients_own_leaves_nobody_waiting(route, caplog):
    """Of ours, and unforeseen."""
    one = Executor("one", holds=True)
    router = route(one)
    sent = put_all(router, 2)
    wait_until(lambda: len(one.got) == 2)
    router._assigner.assign = lambda now: 1 / 0
    results = outcomes([*sent, *put_all(router, 1)])
    assert {result.reason for result in results} == {"internal"}
    assert all("ZeroDivisionError" in result.detail for result in results)
    with pytest.raises(PoolClosed):
        put_all(router, 1)


def test_what_is_collected_in_the_midst_of_a_change_changes_nothing(route):
    """It is done by another thread, soon."""
    router = route(Executor("one"))
    done = threading.Event()
    with router._lock:
        router.later(done.set)
        assert not done.is_set()
    assert done.wait(5)


def test_futures_are_resolved_without_the_lock(route):
    """A callback may wait for whoever it likes."""
    one = Executor("one", 1, holds=True)
    router = route(one)
    put_all(router, 40)
    late = run_order("late", expires_at=time.monotonic() + 0.1)
    had = []

    def take():
        if router._lock.acquire(timeout=5):
            router._lock.release()
            had.append(True)

    def callback(_):
        other = threading.Thread(target=take)
        other.start()
        other.join()

    late.future.add_done_callback(callback)
    router.put(late)
    with pytest.raises(PoolTimeout):
        late.future.result(10)
    wait_until(lambda: had == [True])


def test_a_run_from_a_snapshot_that_was_closed_is_not_made(route):
    """It had not begun; no executor makes the snapshot for it anew."""

    class Origin:
        key, order, closed = "a", ("a", b"", None, None), False

    one = Executor("one", 1, holds=True)
    router = route(one)
    waiting = put_all(router, 40)
    order = run_order("forked")
    order.snapshot = Origin()
    router.put(order)
    order.snapshot.closed = True
    one.release()
    with pytest.raises(SessionLost, match="it was closed"):
        order.future.result(10)
    assert all(result.ok for result in outcomes(waiting))


def test_closing_does_not_wait_for_one_stopped_executor_after_the_other(route, monkeypatch):
    monkeypatch.setattr("interpreter_pool.pool.remote.router._LAST_WORD_S", 0.5)
    executors = [Executor(str(n), holds=True) for n in range(6)]
    router = route(*executors, silent_s=1.0)
    futures = put_all(router, 60)
    wait_until(lambda: all(each.got for each in executors))
    for each in executors:
        each.silent = True
    began = time.monotonic()
    router.close()
    assert time.monotonic() - began < 2.5
    assert all(isinstance(future.exception(1), PoolClosed) for future in futures)
