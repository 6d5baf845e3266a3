"""What is the local backend's own: owners, forks, private folders, other users, other processes."""

import asyncio
import contextlib
import errno
import fcntl
import multiprocessing
import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from clusters import HERE, main_of
from conftest import wait_until
from example_services import Broken, Counter, Hungry, Meeting, Owner, Slow

from interpreter_pool import PythonExecutorService
from interpreter_pool.registry import LocalService, ServiceDied, ServiceError, get_services
from interpreter_pool.registry.local import wire
from interpreter_pool.registry.local.handle import _Answers
from interpreter_pool.registry.local.records import Records, default_folder, require_private
from interpreter_pool.registry.local.server import Server


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "services")


@pytest.fixture
def services(folder):
    services = LocalService("test", folder=folder)
    yield services
    if not services._is_shut:
        services.reset()
        services.shutdown()


def peer_code(folder: str) -> str:
    return (
        "import os, sys, time\n"
        "from interpreter_pool import get_services\n"
        "from example_services import Counter, Owner, Slow\n"
        "from interpreter_pool import PythonExecutorService\n"
        f"services = get_services('local', namespace='test', folder={folder!r})\n"
    )


def start(folder: str, code: str) -> "subprocess.Popen[str]":
    """Another process of this user, which has said its first line."""
    command = main_of(peer_code(folder) + code)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


def test_an_answer_that_comes_to_a_closed_connection_is_dropped():
    """The thread that took it ends as it does without one, and raises nothing."""
    ours, theirs = socket.socketpair()
    answers = _Answers("counter", wire.Channel(ours))
    refused = answers.call(b"a call")
    number, _, _ = wire.receive(theirs)
    thread = threading.Thread(target=answers.take)
    with answers._lock:  # the thread takes the answer, and can't look for who waits for it
        thread.start()
        wire.send(theirs, number, wire.Kind.VALUE, pickle.dumps(1))
        wait_until(lambda: not _unread(ours))
        answers.close(os.getpid())
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(ServiceDied, match="closed"):
        refused.result(0)
    theirs.close()


def _unread(link: socket.socket) -> bool:
    try:
        return bool(link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


def test_other_processes_find_a_service(services, folder):
    """A process that has nothing to do with the owner calls the service by its name."""
    services.register("counter", Counter, 40)
    code = "print(services.result(services['counter'].add.remote(2), timeout=30))"
    run = subprocess.run(
        main_of(peer_code(folder) + code), capture_output=True, text=True, timeout=60
    )
    assert run.stdout == "42\n", run.stderr
    assert services.result(services["counter"].get.remote(), timeout=30) == 42


@pytest.mark.parametrize("end", ["kill", "exit", "error"])
def test_services_go_with_their_owner(services, folder, end):
    """Killed with SIGKILL, ended, or failed: its services' processes are gone, and their names."""
    code = (
        "handle = services.register('counter', Counter)\n"
        "services.register('external', Owner(1).start())\n"
        "print(services.result(handle.pid.remote(), timeout=30), flush=True)\n"
        + {"kill": "time.sleep(60)", "exit": "", "error": "1 / 0"}[end]
    )
    with start(folder, code) as owner:
        pid = int(owner.stdout.readline())
        if end == "kill":
            assert services.list() == ["counter", "external"]
            handle = services["counter"]
            owner.kill()
            wait_until(lambda: not psutil.pid_exists(pid), 5)
            with pytest.raises(ServiceDied):
                services.result(handle.get.remote(), timeout=30)
        owner.wait(30)
    wait_until(lambda: not psutil.pid_exists(pid), 5)
    assert services.list() == []
    services.register("counter", Counter)


def test_an_owner_that_dies_while_it_registers_leaves_nothing(services, folder, tmp_path):
    """kill -9 while the constructor runs: the name is free, and the half-made process gone."""
    note = tmp_path / "note"
    with start(folder, f"services.register('model', Slow, 60, {str(note)!r})") as owner:
        wait_until(note.exists, 30)
        with pytest.raises(ValueError, match="already exists"):
            services.register("model", Counter)
        owner.kill()
    wait_until(lambda: not psutil.pid_exists(int(note.read_text())), 5)
    services.register("model", Counter)


def test_nothing_survives_the_kill_of_an_executors_owner(services, folder):
    """kill -9 of the owner of an executor: service, jails and runs are gone within 3 s."""
    code = (
        "executor = services.register('executor', PythonExecutorService, 2, max_concurrency=4)\n"
        "refs = [executor.execute.remote('import time; time.sleep(60)') for _ in range(2)]\n"
        "while services.result(executor.stats.remote())['workers_busy'] < 2: time.sleep(0.01)\n"
        "print('busy', flush=True); time.sleep(60)"
    )
    with start(folder, code) as owner:
        assert owner.stdout.readline() == "busy\n"
        family = psutil.Process(owner.pid).children(recursive=True)
        assert len(family) >= 5
        owner.kill()
        wait_until(lambda: not any(map(is_running, family)), 3)


def is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_an_executor_is_a_local_service(services):
    """Programs, batches, sessions and the text of mistakes, as on Ray."""
    executor = services.register("executor", PythonExecutorService, 2, max_concurrency=4)

    def call(method, *args):
        return services.result(getattr(executor, method).remote(*args), timeout=30)

    assert call("execute", "print(6 * 7)")["stdout"] == "42\n"
    assert [each["success"] for each in call("execute_many", ["1", "1 / 0"])] == [True, False]
    session = call("open_session")
    assert call("execute_in", session, "x = 1; x")["value"] == "1"
    with pytest.raises(TypeError, match="code must be str or bytes, not int"):
        call("execute", 3)
    call("cleanup")


def test_handles_cross_processes_and_forks(services):
    """A handle that is pickled, or used in a forked child, makes a connection of its own."""
    handle = services.register("counter", Counter, 1)
    assert services.result(handle.add.remote(), timeout=30) == 2
    copy = pickle.loads(pickle.dumps(handle))
    assert services.result(copy.add.remote(), timeout=30) == 3

    def child():
        assert services.result(handle.add.remote(), timeout=30) == 4

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert services.result(handle.get.remote(), timeout=30) == 4
    with pytest.raises(TypeError, match="belongs to the process that made the call"):
        pickle.dumps(handle.get.remote())


def test_a_forked_child_keeps_no_name(services, folder):
    """An owner's client is gone with its process, though a forked child of it lives on."""
    code = (
        "services.register('external', Owner(1).start())\n"
        "child = os.fork()\n"
        "if child == 0:\n    time.sleep(60)\n"
        "print(child, flush=True); time.sleep(60)"
    )
    with start(folder, code) as owner:
        child = int(owner.stdout.readline())
        try:
            assert services.list() == ["external"]
            owner.kill()
            owner.wait(10)
            assert psutil.pid_exists(child)
            # The child lets go of it as soon as it runs, which it need not have done yet.
            wait_until(lambda: services.list() == [])
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_script_without_a_main_guard_does_not_start_services_without_end(folder, tmp_path):
    """register at a script's top level is told how to write it; it does not multiply."""
    script = tmp_path / "script.py"
    script.write_text(
        f"from interpreter_pool import get_services\n"
        f"class Mine:\n    def get(self): return 7\n"
        f"services = get_services('local', folder={folder!r})\n"
        f"handle = services.register('mine', Mine)\n"
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert "__name__ == '__main__'" in run.stderr
    script.write_text(
        f"from interpreter_pool import get_services\n"
        f"class Mine:\n    def get(self): return 7\n"
        f"if __name__ == '__main__':\n"
        f"    services = get_services('local', folder={folder!r})\n"
        f"    handle = services.register('mine', Mine)\n"
        f"    print(services.result(handle.get.remote(), timeout=30))\n"
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert run.stdout == "7\n", run.stderr


def test_a_script_is_not_run_again_for_a_class_of_a_module(folder, tmp_path):
    """Only what comes from the script itself needs it to be importable."""
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path[:0] = {[HERE]!r}\n"
        f"print('run')\n"
        f"from interpreter_pool import get_services\n"
        f"from example_services import Counter\n"
        f"with get_services('local', folder={folder!r}) as services:\n"
        f"    handle = services.register('counter', Counter, 7)\n"
        f"    print(services.result(handle.get.remote(), timeout=30))\n"
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert run.stdout == "run\n7\n", run.stderr


@pytest.mark.parametrize("whose", ["service", "owner"])
def test_a_terminated_service_leaves_no_file(services, folder, whose):
    """SIGTERM of it, or of its owner: record and socket are gone before anybody has looked, and
    with the last of them the folder of the namespace.
    """
    code = (
        "handle = services.register('counter', Counter)\n"
        "print(services.result(handle.pid.remote(), timeout=30), flush=True)\ntime.sleep(60)"
    )
    with start(folder, code) as owner:
        pid = int(owner.stdout.readline())
        assert len(os.listdir(services._records.path)) == 3  # and the lock
        os.kill(pid if whose == "service" else owner.pid, signal.SIGTERM)
        wait_until(lambda: not psutil.pid_exists(pid), 5)
        assert os.listdir(folder) == []
        owner.kill()


def test_a_service_that_is_terminated_while_it_is_made_leaves_no_file(services, folder, tmp_path):
    """Its constructor still runs, and ends within the time that a service has for its end."""
    note = tmp_path / "note"
    with start(folder, f"services.register('model', Slow, 60, {str(note)!r})") as owner:
        wait_until(note.exists, 30)
        owner.terminate()
    wait_until(lambda: not psutil.pid_exists(int(note.read_text())), 5)
    assert os.listdir(folder) == []


@pytest.mark.parametrize("look", ["list", "contains"])
def test_a_killed_service_is_swept_by_the_next_who_looks(services, folder, look):
    """SIGKILL leaves its record and socket: `list`, or asking for the name, removes them."""
    handle = services.register("counter", Counter)
    os.kill(services.result(handle.pid.remote(), timeout=30), signal.SIGKILL)
    wait_until(lambda: not services.list() if look == "list" else "counter" not in services, 5)
    assert os.listdir(folder) == []


def test_a_name_that_is_taken_away_while_its_service_is_made_leaves_no_socket(
    services, folder, tmp_path
):
    """Its process may have made the socket after the name was gone."""
    services.register("counter", Counter)
    before = sorted(os.listdir(services._records.path))
    note = tmp_path / "note"
    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(services.register, "model", Slow, 1, str(note))
        wait_until(note.exists, 30)
        service = int(note.read_text())
        token = next(each["token"] for each in services._records.all() if not each.get("ready"))
        services._records.remove("model", token)  # as a peer's reset, before its signal
        with pytest.raises(ServiceError):
            future.result(30)
    assert not psutil.pid_exists(service)
    assert sorted(os.listdir(services._records.path)) == before


class Many:
    """A service with methods of its own beside those for callers."""

    def add(self): ...

    def multiply(self): ...

    def reset(self): ...

    def _reset_all(self): ...


def test_a_method_that_is_not_there_is_told_with_those_that_are(services):
    """The public ones only, those of a similar name first; a traceback proposes no others."""
    handle = services.register("many", Many)
    with pytest.raises(AttributeError, match=r"no method 'nope'; it has: add, multiply, reset$"):
        handle.nope  # noqa: B018
    with pytest.raises(AttributeError, match=r"it has: reset, add, multiply$") as caught:
        handle.reste.remote()
    assert "_reset_all" not in "".join(traceback.format_exception(caught.value))
    assert dir(handle) == ["add", "multiply", "reset"]


def test_what_cannot_go_to_another_process_is_refused(services):
    """A class that can't be imported, an argument that can't be pickled: TypeError, at once."""

    class Inner:
        pass

    with pytest.raises(TypeError, match="'inner' can't go to a process of its own"):
        services.register("inner", Inner)
    with pytest.raises(TypeError, match="can't go to a process of its own"):
        services.register("counter", Counter, threading.Lock())
    assert services.list() == []


def test_a_constructor_that_ends_its_process_is_told(services):
    """os._exit in a constructor: ServiceError with the status, and no waiting."""
    began = time.monotonic()
    with pytest.raises(ServiceError, match="could not be started"):
        services.register("exits", Exits)
    assert time.monotonic() - began < 20
    assert services.list() == []


class Exits:
    def __init__(self):
        os._exit(3)


def test_errors_carry_the_story_of_the_service(services):
    """A note on the error holds the traceback in the service's process."""
    handle = services.register("counter", Counter)
    with pytest.raises(LookupError) as caught:
        services.result(handle.fail.remote("here"), timeout=30)
    assert "example_services.py" in "".join(caught.value.__notes__)
    with pytest.raises(ServiceError) as caught:
        services.register("broken", Broken)
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("option", ["num_cpus", "num_gpus", "max_restarts", "runtime_env"])
def test_options_of_ray_are_refused_by_name(services, option):
    """TypeError naming the option, whichever way it is given; the same for the registry's own."""
    with pytest.raises(TypeError, match=f"local backend has no option {option}"):
        services.register("counter", Counter, **{option: 1})
    with pytest.raises(TypeError, match=f"local backend has no option {option}"):
        services.register_with_options("counter", Counter, {option: 1})
    assert services.list() == []


def test_the_door_names_what_makes_no_sense():
    """Unknown backends are a ValueError, options of another backend a TypeError naming them."""
    for unknown in ("invalid", "", None, 3):
        with pytest.raises(ValueError, match="Unsupported backend"):
            get_services(backend=unknown)
    with pytest.raises(TypeError, match="local backend has no option ray_init_config"):
        get_services("local", ray_init_config={})
    with pytest.raises(TypeError, match="ray backend has no option folder"):
        get_services("ray", folder="x")
    with pytest.raises(ValueError, match="max_concurrency=0"):
        LocalService("door").register("x", Counter, max_concurrency=0)


# ---- who may


def test_the_folder_is_private(services, folder):
    """0700 folders, 0600 records; a folder that others can enter, or a link, is refused."""
    services.register("counter", Counter)
    for path, _, names in os.walk(folder):
        assert os.stat(path).st_mode & 0o077 == 0
        for name in names:
            if name.endswith(".json") or name == "lock":
                assert os.stat(os.path.join(path, name)).st_mode & 0o077 == 0
    os.chmod(folder, 0o755)
    with pytest.raises(PermissionError, match="nobody else can enter"):
        LocalService(folder=folder)
    os.chmod(folder, 0o700)
    os.symlink(folder, folder + "-link")
    with pytest.raises(PermissionError):
        require_private(folder + "-link")


def test_nothing_is_left_in_the_folder(services, folder):
    """Of services that ended, and of one that was killed, nothing stays, nor of their namespace."""
    for name in ("a", "b"):
        handle = services.register(name, Counter)
    os.kill(services.result(handle.pid.remote(), timeout=30), signal.SIGKILL)
    wait_until(lambda: services.list() == ["a"])
    services.reset()
    assert os.listdir(folder) == []


def test_a_folder_that_goes_just_when_it_has_been_found_is_made_again(folder, monkeypatch):
    make = os.mkdir
    found = []

    def make_late(path, mode):
        try:
            make(path, mode)
        except FileExistsError:
            found.append(path)
            os.rmdir(path)  # by the last one who used it
            raise

    make(folder, 0o700)
    monkeypatch.setattr(os, "mkdir", make_late)
    require_private(folder)
    assert found == [folder]
    assert os.path.isdir(folder)


def test_a_namespace_that_comes_and_goes_is_one_at_a_time(folder):
    """Its folder goes with the last name in it, while others are just coming: a name that is taken
    is never given to another, and nobody fails.
    """
    holders = dict.fromkeys("ab", 0)
    most = dict.fromkeys("ab", 0)
    guard = threading.Lock()
    failures = []

    def come_and_go(name, number):
        try:
            for turn in range(100):
                records = Records("busy", folder)
                claim = records.claim(name, f"{number}-{turn}")
                if claim is None:
                    continue
                with guard:
                    holders[name] += 1
                    most[name] = max(most[name], holders[name])
                assert records.write(claim, {})
                with guard:
                    holders[name] -= 1
                assert records.remove(name, claim.token) is not None
                claim.close()
        except Exception as error:  # noqa: BLE001  (it is looked at below)
            failures.append(error)

    threads = [threading.Thread(target=come_and_go, args=("ab"[n % 2], n)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert most == {"a": 1, "b": 1}
    assert os.listdir(folder) == []


def test_a_lock_that_was_removed_before_it_was_held_holds_nothing(folder, monkeypatch):
    """Whoever waits for the lock of a folder that goes meanwhile makes it anew."""
    records = Records("gone", folder)
    lock = os.path.join(records.path, "lock")
    left = []

    def leave_first(fd, how):
        if not left:
            left.append(True)
            os.unlink(lock)
            os.rmdir(records.path)
        flock(fd, how)

    flock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", leave_first)
    with records._locked():
        assert os.path.exists(lock)
    assert left


def test_who_does_not_know_the_key_is_not_served(services, folder):
    """A wrong key ends the connection before anything is unpickled; a silent peer stops nobody."""
    handle = services.register("counter", Counter)
    record = Records("test", folder).find("counter")
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(10)
        with wire.short(record["socket"]) as name:
            silent.connect(name)
            stranger.connect(name)
        stranger.sendall(bytes(wire.KEY_BYTES))
        harm = pickle.dumps((os._exit, (1,)))
        try:
            wire.send(stranger, 1, wire.Kind.CALL, harm)
            assert stranger.recv(1) == b""
        except OSError:
            pass  # it was closed before all was sent
        assert services.result(handle.get.remote(), timeout=30) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_not_admitted():
    """The kernel tells the user at the other end; the key does not help anybody else."""
    ours, theirs = socket.socketpair()
    with ours:
        wire.require_same_user(ours)
    theirs.close()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # an abstract name of the kernel's choice
        listener.listen()
        child = os.fork()
        if child == 0:
            os.setuid(65534)
            link = socket.socket(socket.AF_UNIX)
            link.connect(listener.getsockname())
            time.sleep(10)
            os._exit(0)
        link, _ = listener.accept()
        with link, pytest.raises(PermissionError, match="65534"):
            wire.require_same_user(link)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


# ---- what hangs


def test_a_stopped_holder_of_the_folder_does_not_hang_others(services, folder, monkeypatch):
    """Whoever finds the folder locked for too long is told so."""
    monkeypatch.setattr("interpreter_pool.registry.local.records._PATIENCE_S", 0.5)
    records = Records("test", folder)
    with records._locked(), pytest.raises(ServiceError, match="seems to be stopped"):
        services.list()


def test_a_service_that_does_not_end_is_ended(services):
    """A call that runs on and on does not hold up reset for longer than a few seconds."""
    handle = services.register("counter", Counter)
    pid = services.result(handle.pid.remote(), timeout=30)
    handle.sleep.remote(60)
    began = time.monotonic()
    services.reset()
    assert time.monotonic() - began < 6
    assert not psutil.pid_exists(pid)


def test_a_stopped_service_is_taken_away(services):
    """SIGSTOP: calls wait as long as their callers want, and reset ends it all the same."""
    handle = services.register("counter", Counter)
    pid = services.result(handle.pid.remote(), timeout=30)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    with pytest.raises(TimeoutError):
        services.result(handle.get.remote(), timeout=0.2)
    services.reset()
    assert not psutil.pid_exists(pid)


def test_callers_that_go_away_do_no_harm(services, folder):
    """A caller killed in the midst of its calls: the service serves all others."""
    services.register("meeting", Meeting, max_concurrency=2)
    code = (
        "for _ in range(20): services['meeting'].attend.remote(0.05)\n"
        "print('called', flush=True); time.sleep(60)"
    )
    with start(folder, code) as caller:
        assert caller.stdout.readline() == "called\n"
        caller.kill()
    handle = services["meeting"]
    assert services.result(handle.attend.remote(0.01), timeout=30) <= 2


def test_owners_of_the_same_name_are_told_apart(services, folder):
    """After a peer's reset a name can be another's; the first one's shutdown leaves it alone."""
    services.register("external", Owner(1).start())
    peer = LocalService("test", folder=folder)
    peer.reset()
    peer.register("external", Owner(2).start())
    services.shutdown()
    assert peer.get_client("external").value == 2
    peer.shutdown()


def test_an_answer_that_is_not_taken_ends_the_connection(monkeypatch):
    """A part of it is on its way by then: what came after it would be taken for the rest."""
    monkeypatch.setattr(wire, "SEND_PATIENCE_S", 1.0)
    ours, theirs = socket.socketpair()
    key = bytes(wire.KEY_BYTES)
    server = Server(Counter(), key, None)
    serving = threading.Thread(target=server._serve, args=(theirs,))
    serving.start()
    ours.sendall(key)
    request = pickle.dumps(("echo", (bytes(8 << 20),), {}))
    server._service.echo = lambda data: data
    server.methods.append("echo")
    wire.send(ours, 1, wire.Kind.CALL, request)
    time.sleep(2.5)
    with pytest.raises(OSError, match="closed"):
        wire.receive(ours)
    ours.close()
    serving.join(5)
    server._executor.shutdown()


def test_a_service_that_has_no_descriptors_for_a_moment_is_called_again(services, folder):
    """Who comes meanwhile waits at the door."""
    services.register("hungry", Hungry)
    handle = services["hungry"]
    handle.starve.remote(1.0)
    time.sleep(0.3)
    other = LocalService("test", folder=folder)
    assert other.result(other["hungry"].ping.remote(), timeout=20) == "pong"
    other.shutdown()


def test_a_call_can_be_awaited_where_nothing_else_holds_its_handle(services):
    services.register("counter", Counter, 5)

    async def main():
        return await services["counter"].get.remote()

    assert asyncio.run(main()) == 5


def test_a_record_that_was_never_written_is_in_nobodys_way(services, folder):
    """Whoever claimed the name was killed before it, or the disk was full."""
    services.register("counter", Counter, 5)
    records = services._records
    for name in ("", "{"):
        with open(records._path("lost"), "w") as file:
            file.write(name)
        assert services.list() == ["counter"]
        assert not os.path.exists(records._path("lost"))
    with open(records._path("lost"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # by somebody who lives
        assert services.list() == ["counter"]
        with pytest.raises(ValueError, match="exists"):
            services.register("lost", Counter)
    services.register("lost", Counter, 6)
    assert services.result(services["lost"].get.remote(), timeout=20) == 6


def test_a_name_that_could_not_be_written_is_free(services, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Records, "_put", full)
        with pytest.raises(OSError, match="No space"):
            services.register("counter", Counter)
    services.register("counter", Counter, 7)
    assert services.list() == ["counter"]


def test_an_owner_whose_client_could_not_be_written_leaves_its_name_free(services, monkeypatch):
    """The name was taken by then; nothing holds it, and no descriptor is left."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    owner = Owner(1).start()
    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(Records, "write", full)
        with pytest.raises(OSError, match="No space"):
            services.register("owner", owner)
    assert len(os.listdir("/proc/self/fd")) == before
    services.register("owner", owner)
    assert services.list() == ["owner"]
    owner.shutdown()


def test_without_threads_nothing_is_half_made(services, monkeypatch):
    """Neither a service nor a connection to one; with threads again, both are had."""

    def fail(thread):
        raise RuntimeError("can't start new thread")

    services.register("counter", Counter, 5)
    handle = services["counter"]
    before = len(os.listdir("/proc/self/fd")), len(psutil.Process().children())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(ServiceError, match="can't start new thread"):
            handle.get.remote()
        with pytest.raises(ServiceError, match="can't start new thread"):
            services.register("other", Counter)
    assert (len(os.listdir("/proc/self/fd")), len(psutil.Process().children())) == before
    assert services.result(handle.get.remote(), timeout=20) == 5
    services.register("other", Counter)
    assert services.list() == ["counter", "other"]


def test_without_descriptors_no_service_is_half_made(services):
    """However few there are, none is lost, and the name is free again."""
    before = sorted(os.listdir("/proc/self/fd"))
    # A limit is on numbers: those below it that are free can be had, too.
    free = [fd for fd in range(len(before) + 8) if not os.path.exists(f"/proc/self/fd/{fd}")]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for room in range(6):
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[room], hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                services.register("counter", Counter)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert sorted(os.listdir("/proc/self/fd")) == before, f"with room for {room}"
    services.register("counter", Counter)
    assert services.list() == ["counter"]


# ---- another user who takes the folder's name first

FIND = "from interpreter_pool.registry.local.records import default_folder; print(default_folder())"


@pytest.fixture
def shared(tmp_path, monkeypatch) -> str:
    """A folder that is everybody's, in which somebody has taken the name of ours."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    os.symlink("/etc", tmp_path / "interpreter-pool-services")
    (tmp_path / "interpreter-pool-services-0").mkdir()  # and tried another: everybody can enter it
    (tmp_path / "interpreter-pool-services-0").chmod(0o755)
    return str(tmp_path)


def test_a_name_that_somebody_else_has_taken_stops_nobody(shared):
    """Services are registered and found by other processes all the same, in a folder whose name
    nobody could foresee, also when the usual name is free again.
    """
    with LocalService() as services:
        services.register("counter", Counter)
        folder = default_folder()
        assert os.stat(folder).st_mode & 0o777 == 0o700
        assert os.path.dirname(folder) == shared and len(os.path.basename(folder)) > 40
        os.unlink(os.path.join(shared, "interpreter-pool-services"))
        code = "from interpreter_pool.registry import LocalService\nprint(LocalService().list())"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=30
        )
        assert done.stdout == "['counter']\n", done
        services.reset()


def test_who_begins_at_once_finds_the_same_folder(shared):
    """Where a name has been taken, too; and where somebody holds the lock for it, in a moment."""
    with contextlib.ExitStack() as owned:
        found = [
            owned.enter_context(
                subprocess.Popen([sys.executable, "-c", FIND], stdout=subprocess.PIPE, text=True)
            )
            for _ in range(4)
        ]
        assert len({each.communicate(timeout=30)[0] for each in found}) == 1
    folder = default_folder()
    os.rmdir(folder)
    lock = os.open(shared, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        assert default_folder() not in (folder, os.path.join(shared, "interpreter-pool-services"))
    finally:
        os.close(lock)


def test_a_signal_that_another_thread_takes_ends_the_wait_for_an_answer(services):
    """The main thread alone has handlers, and a wait that is not woken by it looks up."""
    services.register("counter", Counter)

    def take():
        time.sleep(0.3)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    ref = services.get("counter").sleep.remote(20)
    threading.Thread(target=take).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        services.result(ref)
    assert time.monotonic() - began < 10
