"""What a registry promises, on every backend alike."""

import os
import pickle
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import wait_until
from example_services import (
    Async,
    Broken,
    Client,
    Counter,
    Meeting,
    Owner,
    Raises,
    Slow,
)

from interpreter_pool.registry import (
    DEFAULT_NAMESPACE,
    Service,
    ServiceDied,
    ServiceError,
    StartTimeout,
    get_services,
)

pytest_plugins = ["registries"]


def call(services, handle, method, *args, **kwargs):
    return services.result(getattr(handle, method).remote(*args, **kwargs), timeout=30)


# ---- names and services


def test_a_service_is_registered_and_called(services):
    """register returns a handle whose .method.remote(...) is resolved by services.result."""
    handle = services.register("counter", Counter, 40, vocabulary=["a"])
    assert call(services, handle, "add", amount=2) == 42
    assert services.result([handle.get.remote(), handle.pid.remote()], timeout=30)[0] == 42
    assert services.result((handle.get.remote(),), timeout=30) == [42]
    assert services.result([], timeout=30) == []


def test_all_see_what_one_registers_at_once(services, connect):
    """Another registry of the namespace finds the service, with its state, when register returns."""
    call(services, services.register("counter", Counter, 1), "add")
    peer = connect()
    assert "counter" in peer
    assert peer.list() == ["counter"]
    assert call(peer, peer["counter"], "get") == 2
    assert call(peer, peer.get("counter"), "pid") != os.getpid()


def test_names_are_listed_sorted(services):
    """list() holds every name once, in order."""
    assert services.list() == []
    for name in ("b", "c", "a b/ü"):
        services.register(name, Counter)
    assert services.list() == ["a b/ü", "b", "c"]


def test_a_service_is_registered_like_an_item(services):
    """services["x"] = Class makes one without arguments."""
    services["counter"] = Counter
    assert call(services, services["counter"], "get") == 0


def test_a_name_is_given_once(services, connect):
    """The second registration raises ValueError, from whomever, and the first service stays."""
    services.register("counter", Counter, 1)
    for each in (services, connect()):
        with pytest.raises(ValueError, match="'counter' already exists"):
            each.register("counter", Counter, 2)
    assert call(services, services["counter"], "get") == 1


def test_of_six_at_once_one_wins(services, connect):
    """Six registrations at the same moment: one handle, five "already exists", one service."""
    peers = [services, *(connect() for _ in range(5))]
    barrier = threading.Barrier(len(peers))

    def register(number):
        barrier.wait(30)
        try:
            peers[number].register("counter", Counter, number)
        except ValueError as error:
            return str(error)
        return number

    with ThreadPoolExecutor(len(peers)) as executor:
        answers = list(executor.map(register, range(len(peers))))
    (winner,) = (answer for answer in answers if isinstance(answer, int))
    refused = [answer for answer in answers if answer != winner]
    assert len(refused) == 5
    assert all("already exists" in answer for answer in refused)
    assert call(services, services["counter"], "get") == winner


def test_a_missing_service_is_a_key_error_that_tells_what_there_is(services):
    """KeyError: not found, and the names that are."""
    services.register("counter", Counter)
    for look in (services.get, services.__getitem__, services.get_client):
        with pytest.raises(KeyError, match=r"not found.*'counter'"):
            look("tokenizer")
    assert "tokenizer" not in services
    assert 3 not in services


def test_a_registry_that_was_shut_down_can_be_left(connect):
    """Leaving its `with` block does nothing more, and hides no error from within it."""
    with connect() as services:
        services.register("counter", Counter)
        services.shutdown()
    with pytest.raises(LookupError, match="from within"), connect() as services:
        services.shutdown()
        raise LookupError("from within")


@pytest.mark.parametrize("name", ["", "a::b", "::"])
def test_names_that_are_none_are_refused(services, connect, name):
    """Empty names and such with '::' are a ValueError, for services and namespaces."""
    with pytest.raises(ValueError, match="must not be empty, or hold '::'"):
        services.register(name, Counter)
    with pytest.raises(ValueError, match="must not be empty, or hold '::'"):
        services.get(name)
    with pytest.raises(ValueError, match="namespace"):
        connect(namespace=name)


def test_what_is_no_service_is_refused(services):
    """A name that is no string, a factory that is no class: TypeError naming it."""
    with pytest.raises(TypeError, match="name must be a string, not 3"):
        services.register(3, Counter)
    with pytest.raises(TypeError, match="must be a class, or an owner"):
        services.register("counter", lambda: Counter())
    with pytest.raises(TypeError, match="start_timeout"):
        type(services)(start_timeout="soon")
    with pytest.raises(ValueError, match="start_timeout"):
        type(services)(start_timeout=0)
    assert services.list() == []


def test_namespaces_isolate(services, connect, namespace):
    """The same name in another namespace is another service; reset touches one namespace only."""
    other = connect(namespace=namespace + "-b")
    services.register("counter", Counter, 1)
    other.register("counter", Counter, 2)
    assert call(services, services["counter"], "get") == 1
    assert call(other, other["counter"], "get") == 2
    services.reset()
    assert services.list() == []
    assert call(other, other["counter"], "get") == 2


def test_the_default_namespace_is_one(backend):
    """Who names no namespace meets all others who name none."""
    assert get_services(backend).namespace == DEFAULT_NAMESPACE


# ---- ends


def test_reset_ends_everything_and_frees_the_names(services, connect):
    """reset ends the services of all, and the names can be taken again at once."""
    services.register("a", Counter)
    peer = connect()
    handle = peer.register("b", Counter)
    call(peer, handle, "get")
    services.reset()
    assert services.list() == peer.list() == []
    assert "b" not in peer
    with pytest.raises(ServiceDied):
        call(peer, handle, "get")
    assert call(services, services.register("b", Counter, 5), "get") == 5


def test_shutdown_leaves_what_a_peer_registered(services, connect):
    """shutdown ends one's own services; a peer's live on, and so does the registry for it."""
    services.register("mine", Counter, 1)
    peer = connect()
    peer.register("theirs", Counter, 2)
    services.shutdown()
    services.shutdown(raise_on_error=False)  # idempotent
    assert peer.list() == ["theirs"]
    assert call(peer, peer["theirs"], "get") == 2
    with pytest.raises(RuntimeError, match="shut down"):
        services.list()


def test_shutdown_leaves_a_name_that_someone_else_has_now(services, connect):
    """What was registered anew by a peer after a reset is the peer's."""
    services.register("counter", Counter, 1)
    peer = connect()
    peer.reset()
    peer.register("counter", Counter, 2)
    services.shutdown()
    assert call(peer, peer["counter"], "get") == 2


def test_services_outlive_the_registry_object(connect):
    """A registry that is dropped without a word takes nothing with it."""
    handle = connect().register("counter", Counter, 7)
    assert call(connect(), handle, "get") == 7


def test_a_with_block_resets_at_the_end(backend, namespace, connect):
    """with get_services(...): everything in the namespace is gone afterwards, also after an error."""
    with get_services(backend, namespace=namespace) as services:
        services.register("counter", Counter)
    assert connect().list() == []
    with pytest.raises(LookupError, match="mine"):
        with get_services(backend, namespace=namespace) as services:
            services.register("counter", Counter)
            raise LookupError("mine")
    assert connect().list() == []


# ---- faults


def test_a_failing_constructor_raises_and_lists_nothing(services):
    """register raises what happened; the name is free."""
    with pytest.raises(ServiceError, match="'model' could not be started") as caught:
        services.register("model", Broken)
    assert "ValueError: no such model" in str(caught.value)
    assert services.list() == []
    services.register("model", Counter)


def test_wrong_arguments_of_a_class_raise_from_register(services):
    """As does a constructor that does not take what it is given."""
    with pytest.raises((ServiceError, TypeError), match="unexpected"):
        services.register("counter", Counter, unexpected=1)
    assert services.list() == []


def test_a_constructor_that_takes_too_long_is_given_up(connect):
    """start_timeout: a TimeoutError, nothing is listed, and the name is free."""
    services = connect(start_timeout=1.0)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="start_timeout=1 s") as caught:
        services.register("model", Slow, 60)
    assert isinstance(caught.value, StartTimeout)
    assert time.monotonic() - began < 10
    assert services.list() == []
    assert "model" not in services


def test_what_is_not_ready_is_not_listed(services, connect, tmp_path):
    """While a constructor runs the name is taken, and leads nowhere."""
    note = tmp_path / "note"
    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(services.register, "model", Slow, 1.5, str(note))
        wait_until(note.exists, 30)
        peer = connect()
        assert peer.list() == []
        assert "model" not in peer
        with pytest.raises(ValueError, match="already exists"):
            peer.register("model", Counter)
        assert call(services, future.result(30), "get") == "ready"
    assert peer.list() == ["model"]


def test_a_reset_while_a_constructor_runs_is_told_to_who_registers(services, connect, tmp_path):
    """register raises, and nothing is left."""
    note = tmp_path / "note"
    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(services.register, "model", Slow, 3, str(note))
        wait_until(note.exists, 30)
        connect().reset()
        with pytest.raises(ServiceError):
            future.result(30)
    assert services.list() == []


def test_a_dead_service_is_not_listed(services, connect):
    """kill -9: its name goes, callers are told, and the name can be taken again."""
    handle = services.register("counter", Counter, 1)
    os.kill(call(services, handle, "pid"), signal.SIGKILL)
    wait_until(lambda: "counter" not in services, 20)
    assert services.list() == connect().list() == []
    with pytest.raises(KeyError, match="not found"):
        services.get("counter")
    with pytest.raises(ServiceDied):
        call(services, handle, "get")
    assert call(services, services.register("counter", Counter, 2), "get") == 2


def test_a_call_that_is_lost_with_its_service_is_told(services):
    """kill -9 while a call runs: its result raises ServiceDied, well before any time limit."""
    handle = services.register("meeting", Meeting, max_concurrency=2)
    pid = call(services, handle, "pid")
    ref = handle.attend.remote(60)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ServiceDied):
        services.result(ref, timeout=30)


def test_errors_of_a_method_come_through(services):
    """What a method raises is raised by result, as what it is, and with its text."""
    handle = services.register("counter", Counter)
    with pytest.raises(LookupError, match="nothing there"):
        call(services, handle, "fail", "nothing there")
    assert call(services, handle, "get") == 0


def test_what_cannot_travel_is_told(services):
    """A result or an error that can't be pickled is an error, and no hanging caller."""
    handle = services.register("counter", Counter)
    with pytest.raises(Exception, match="lock"):
        call(services, handle, "lock")
    handle = services.register("raises", Raises)
    with pytest.raises(Exception, match="this and that"):
        call(services, handle, "unpicklable")
    with pytest.raises((AttributeError, TypeError), match="nonsense"):
        handle.nonsense.remote()
    with pytest.raises(TypeError):
        services["counter"].get()


def test_waiting_for_a_result_has_a_limit(services):
    """timeout: TimeoutError, of one and of a list."""
    handle = services.register("counter", Counter)
    ref = handle.sleep.remote(1.5)
    with pytest.raises(TimeoutError):
        services.result(ref, timeout=0.1)
    with pytest.raises(TimeoutError):
        services.result([ref, handle.get.remote()], timeout=0.1)
    assert services.result(ref, timeout=30) == 1.5
    with pytest.raises((TypeError, ValueError)):
        services.result("no ref")


# ---- how calls are made


def test_one_call_at_a_time_unless_told_otherwise(services):
    """Without max_concurrency calls run one after the other, in the order of their caller."""
    handle = services.register("meeting", Meeting)
    assert services.result([handle.attend.remote(0.05) for _ in range(4)], timeout=30) == [1] * 4
    handle = services.register("counter", Counter)
    assert services.result([handle.add.remote() for _ in range(50)], timeout=30) == list(
        range(1, 51)
    )


def test_max_concurrency_calls_at_once(services):
    """max_concurrency=3: three run at once, and the others wait for their turn."""
    handle = services.register("meeting", Meeting, max_concurrency=3)
    most = services.result([handle.attend.remote(0.3) for _ in range(9)], timeout=30)
    assert max(most) == 3


def test_options_apart_from_arguments(services):
    """register_with_options takes the backend's options as a mapping, and refuses unknown ones."""
    handle = services.register_with_options(
        "meeting", Meeting, actor_options={"max_concurrency": 2}
    )
    assert max(services.result([handle.attend.remote(0.3) for _ in range(4)], timeout=30)) == 2
    services.register_with_options("counter", Counter, {}, value=3, vocabulary=[1])
    with pytest.raises(TypeError, match="no option lifetime, nonsense"):
        services.register_with_options("x", Counter, {"nonsense": 1, "lifetime": "detached"})
    with pytest.raises(TypeError, match="actor_options must map"):
        services.register_with_options("x", Counter, ["max_concurrency"])
    assert services.list() == ["counter", "meeting"]


def test_coroutines_are_awaited(services):
    """A class with coroutines serves many calls at once."""
    handle = services.register("async", Async)
    refs = [handle.double.remote(number) for number in range(20)]
    assert services.result(refs, timeout=30) == [2 * number for number in range(20)]


def test_large_arguments_and_results(services):
    """Ten megabytes there and back."""
    handle = services.register("counter", Counter)
    data = os.urandom(10 << 20)
    assert call(services, handle, "echo", data) == data


def test_a_registry_can_be_sent_to_other_processes(services):
    """Pickled, it is a registry of the same namespace."""
    services.register("counter", Counter, 3)
    copy = pickle.loads(pickle.dumps(services))
    assert call(copy, copy["counter"], "get") == 3


# ---- owners


def test_an_owner_registers_its_client(services, connect):
    """Others find the client; neither reset nor shutdown ends the owner."""
    owner = Owner(42).start()
    assert isinstance(owner, Service)
    client = services.register("external", owner)
    assert isinstance(client, Client)
    peer = connect()
    assert peer.list() == ["external"]
    assert peer.get("external").value == peer.get_client("external").value == 42
    assert not hasattr(peer.get("external"), "shutdown")
    with pytest.raises(ValueError, match="already exists"):
        peer.register("external", Owner(1).start())
    peer.reset()
    assert owner.is_alive
    assert "external" not in services
    services.register("external", owner)
    services.shutdown()
    assert owner.is_alive
    assert peer.list() == []


def test_an_owner_takes_no_arguments_and_must_live(services):
    """Arguments or options for an owner are a TypeError; one that is not started a RuntimeError."""
    owner = Owner(42)
    with pytest.raises(RuntimeError, match="not alive"):
        services.register("external", owner)
    owner.start()
    with pytest.raises(TypeError, match="can't be given 1, value"):
        services.register("external", owner, 1, value=2)
    with pytest.raises(TypeError, match="max_concurrency"):
        services.register("external", owner, max_concurrency=2)
    assert services.list() == []


def test_a_service_made_from_a_class_has_no_client(services):
    """get_client: TypeError, legacy raw actor."""
    services.register("counter", Counter)
    with pytest.raises(TypeError, match="legacy raw actor"):
        services.get_client("counter")
