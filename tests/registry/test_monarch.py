"""What is particular to services as Monarch actors; what all have in common is in test_contract.py."""

import os
import pickle
import signal
import subprocess
import sys
import threading

import pytest
from clusters import main_of, needs_monarch, warm_monarch
from conftest import wait_until
from example_services import Counter

from interpreter_pool import PythonExecutorService, connect, get_services
from interpreter_pool.registry import ServiceDied, ServiceError

pytestmark = [pytest.mark.slow, needs_monarch]


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    warm_monarch()


@pytest.fixture
def services(request):
    with get_services("monarch", namespace=f"{request.node.name}-{os.getpid()}") as services:
        yield services


def peer(services, code: str) -> "subprocess.Popen[str]":
    """Another process, which has `services` of the same namespace."""
    head = (
        "from example_services import Counter\n"
        "from interpreter_pool import get_services\n"
        f"services = get_services('monarch', namespace={services.namespace!r})\n"
    )
    return subprocess.Popen(
        main_of(head + code), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_another_process_calls_a_service_and_ends_it(services):
    """A peer finds it by its name; the peer's reset ends it, and its owner's calls with it."""
    handle = services.register("counter", Counter, 40, max_concurrency=2)
    pid = services.result(handle.pid.remote(), 30)
    ref = handle.sleep.remote(60)
    with peer(
        services,
        "print(services.result(services['counter'].add.remote(2), 30))\nservices.reset()\n",
    ) as process:
        out, errors = process.communicate(timeout=60)
    assert (out, errors, process.returncode) == ("42\n", "", 0)
    with pytest.raises(ServiceDied):
        services.result(ref, 10)
    assert not is_alive(pid)
    assert services.list() == []


def test_nothing_is_left_of_an_owner_that_is_killed(services):
    """kill -9: its services end, calls from others raise ServiceDied, the names are free."""
    code = (
        "handle = services.register('counter', Counter, max_concurrency=2)\n"
        "print(services.result(handle.pid.remote(), 30), flush=True)\n"
        "import time; time.sleep(60)\n"
    )
    with peer(services, code) as process:
        pid = int(process.stdout.readline())
        handle = services["counter"]
        ref = handle.sleep.remote(60)
        process.kill()
        process.communicate()
    with pytest.raises(ServiceDied):
        services.result(ref, 10)
    wait_until(lambda: not is_alive(pid), 10)
    wait_until(lambda: services.list() == [], 10)
    with pytest.raises(ServiceDied):
        handle.get.remote()
    with pytest.raises(ServiceDied):
        pickle.loads(pickle.dumps(handle)).get.remote()


def test_monarch_is_imported_when_it_is_used_and_writes_nothing(services):
    """A registry that is only asked imports none of it; one that is used is silent, to its end."""
    code = (
        "import sys\n"
        "assert services.list() == [] and 'monarch' not in sys.modules\n"
        "handle = services.register('counter', Counter)\n"
        "sys.stderr.write('mine')\n"
        "print(services.result(handle.get.remote(), 30))\n"
    )
    with peer(services, code) as process:
        out, errors = process.communicate(timeout=60)
    assert (out, errors, process.returncode) == ("0\n", "mine", 0)
    wait_until(lambda: services.list() == [], 10)


def test_a_service_that_dies_does_not_harm_its_owner(services):
    """No failure of a mesh reaches the owner's Monarch, which would end it; other services go on."""
    doomed = services.register("doomed", Counter)
    other = services.register("other", Counter, 1)
    os.kill(services.result(doomed.pid.remote(), 30), signal.SIGKILL)
    wait_until(lambda: "doomed" not in services, 10)
    for _ in range(20):
        with pytest.raises(ServiceDied):
            services.result(doomed.get.remote(), 10)
    assert services.result(other.get.remote(), 30) == 1


def test_a_handle_in_a_forked_child_is_refused(services):
    """The child gets a ServiceError that names the way out; the parent's calls go on."""
    handle = services.register("counter", Counter, 3)
    assert services.result(handle.get.remote(), 30) == 3
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            handle.get.remote()
        except ServiceError as error:
            os.write(write, str(error).encode())
        handle._link._answers.close(handle._link.pid)  # as its collection does
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with open(read, "rb") as file:
        assert b"start method" in file.read()
    assert services.result(handle.get.remote(), 30) == 3


def test_a_connection_ends_with_its_last_handle(services):
    """Its two threads and its descriptors are given back; the service lives on."""
    handle = services.register("counter", Counter, 3)
    assert services.result(handle.get.remote(), 30) == 3
    before = threading.active_count()
    other = services["counter"]
    assert services.result(other.get.remote(), 30) == 3
    assert threading.active_count() == before + 2
    del other
    wait_until(lambda: threading.active_count() == before, 10)
    assert services.result(handle.get.remote(), 30) == 3


def test_the_names_are_not_those_of_local_services(services):
    """The same namespace of another backend is another."""
    services.register("counter", Counter)
    with get_services("local", namespace=services.namespace) as local:
        assert local.list() == []
    assert services.list() == ["counter"]


def test_programs_run_on_a_monarch_service(services):
    """connect("monarch://NAME") is an executor like any other."""
    services.register("executor", PythonExecutorService, pool_size=1)
    with connect(f"monarch://executor?namespace={services.namespace}") as executor:
        assert executor.run("print(6 * 7)").stdout == "42\n"


def test_without_monarch_the_error_names_the_extra(services, monkeypatch):
    """ServiceError at the first use, and no name is taken."""
    monkeypatch.setitem(sys.modules, "monarch.actor", None)
    with pytest.raises(ServiceError, match=r"pip install 'interpreter-pool\[monarch\]'"):
        services.register("counter", Counter)
    assert services.list() == []


def test_calls_of_many_threads_get_their_own_answers(services):
    """Eight threads call by one handle; each has the answers of its calls."""
    handle = services.register("counter", Counter, max_concurrency=8)
    wrong = []

    def work(start: int) -> None:
        values = list(range(start, start + 100))
        if services.result([handle.echo.remote(value) for value in values], 30) != values:
            wrong.append(start)

    threads = [threading.Thread(target=work, args=(1000 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


MESH = """
import os, signal, sys, time
import monarch.actor
from monarch.actor import this_host

from interpreter_pool import PythonExecutorService, connect, get_services

def main():
    monarch.actor.unhandled_fault_hook = lambda failure: None
    procs = this_host().spawn_procs(per_host={"gpus": 2})
    namespace = sys.argv[1]
    with get_services("monarch", namespace=namespace) as services:
        services.register_fleet("pools", PythonExecutorService, pool_size=1, procs=procs)
        print(services.list(), len(services.members("pools")), flush=True)
        sys.stdin.readline()
        one = next(iter(services.members("pools").values()))
        os.kill(one._member["pid"], signal.SIGKILL)
        while len(services.members("pools")) > 1:
            time.sleep(0.05)
        print("one is gone", flush=True)
        sys.stdin.readline()
    print("closed", flush=True)

if __name__ == "__main__":
    main()
"""


def test_a_fleet_is_made_on_a_mesh_of_monarchs_own_processes(services):
    """A member on each proc, found by other processes; where one ends, work goes on."""
    with subprocess.Popen(
        [*main_of(MESH), services.namespace],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout.readline() == "['pools'] 2\n"
        url = f"monarch://pools?namespace={services.namespace}"
        with connect(url, patience=5) as executor:
            codes = [f"import time; time.sleep(0.02); print({n})" for n in range(40)]
            found = [result.stdout for result in executor.map(codes)]
            assert found == [f"{n}\n" for n in range(40)]
            runs = [stats.runs for stats in executor.stats_by_executor().values()]
            assert len(runs) == 2 and min(runs) > 5
            futures = [executor.submit(code) for code in codes]
            owner.stdin.write("\n")
            owner.stdin.flush()
            assert owner.stdout.readline() == "one is gone\n"
            assert [future.result(30).stdout for future in futures] == found
            owner.stdin.write("\n")
            owner.stdin.flush()
            assert owner.stdout.readline() == "closed\n"
            wait_until(lambda: services.list() == [])


def test_what_is_no_mesh_is_refused(services):
    with pytest.raises(TypeError, match="procs must be a mesh"):
        services.register_fleet("pools", Counter, procs=3)
    assert services.list() == []
