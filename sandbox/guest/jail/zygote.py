"""The zygote: the warm interpreter of one jail, from which every run is forked.

It never looks at a program: a run's job goes from the host to the child directly, over a socket
pair of that child's. The zygote only forks a child ahead of need, waits for it to end, clears
up what it left, and tells the host. It waits in one place, on two things:

- the control socket: the host asks for a prewarmed process of another profile, or has gone (end of
file),
  and then everything here ends with it, at once;
- the child's pidfd: the run has ended.

Messages on the control socket (SOCK_SEQPACKET): first, once in each direction, wire values:

==========================================  ==============================================
host -> zygote  {"tier", "scratch", ...}    configuration, with the report's memfd
zygote -> host  ("hello", facts)            everything is loaded; what is the case here
                ("fault", step, message)    or it can't go on, and this is why
==========================================  ==============================================

and from then on records of a fixed size (`protocol.py`): the host sends PROFILE (end the present
prewarmed process, fork one of this profile), HOLD (when this prewarmed process has ended, keep its
scratch, until RELEASE); the zygote sends READY, with the job socket and the pidfd of a prewarmed
process that waits for a job, HELD, with the working directory that is kept, and EXIT, when the
prewarmed process has ended and all that it had started with it.

On a child's job socket: the job from the host, with the three standard descriptors; then, from
the child, STARTED, the last thing before the program gets control, or a fault (a wire value: a
step and a message) where the child could not be confined.

What is done here for every run is kept short and touches little: after a fork, the first write
to a page costs some 2.5 µs, in the child and here.
"""

import array
import gc
import importlib
import os
import select
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from ..run import (
    accounts,
    answering,
    calling,
    dialogue,
    ending,
    frames,
    furnishing,
    maps,
    program,
    uncaught,
)
from ..session import family_init, fork_server, head
from ..snapshot import template
from . import confine, kernel, landlock, libraries, pages, protocol, rlimits, wire
from .report import Report

FAULT_EXIT_CODE = 121

REHEARSALS = 32
"""Python 3.11 specialises what has run some sixteen times."""

_IDLE_S = 0.002
"""Without a job for that long, a prewarmed process uses its time for a rehearsal (0.2 ms), which
makes the first run after a pause quicker; under load it would only cost."""

_REAP_EVERY_MS = 50
"""How often process 1 looks for orphans that have ended: they count as processes until it does."""

_LONGEST_LIST = protocol.MAX_MESSAGE // 2

_THREE_INTS = struct.Struct("iii")

WARM_MODULES = (
    # What most model-written programs import, or what running any program needs.
    "bisect", "collections", "copy", "datetime", "functools", "heapq", "itertools", "json",
    "linecache", "math", "operator", "random", "re", "string", "threading", "traceback",
    "typing",
)  # fmt: skip


def main(control_fd: int) -> NoReturn:
    """Serve the host at the other end of `control_fd` until it goes away."""
    control = socket.socket(fileno=control_fd)
    try:
        Zygote(control).serve()
    except (BrokenPipeError, ConnectionResetError, EOFError):
        pass  # the host is gone, and so are we
    except confine.ConfineError as error:
        control.send(wire.encode(("fault", error.step, str(error.cause))))
    except BaseException:
        traceback.print_exc()  # into the log that the host keeps
    finally:
        os._exit(0)


class Zygote:
    """Holds the control socket and at most one child."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.pid = os.getpid()
        self.profiles = 0
        config, report_fd = _receive_configuration(control)
        self.report = Report(report_fd)
        os.close(report_fd)
        self.tier = config["tier"]
        self.families = config.get("families", False)
        self.confinement = confine.Confinement(
            self.tier,
            config["scratch"],
            config["rules"],
            config["filter"],
            families=self.families,
            run_filter=config.get("run_filter", b""),
            process_filter=config.get("process_filter", b""),
            shown=config.get("shown", False),
            explain=config.get("explain", False),
        )
        self.serial = 0
        self.orphans_s = 0.0
        self.held = False
        self._become_python(config["path"])
        if self.families:
            libraries.allow_no_idle()  # or states could not be forked
        _preload(WARM_MODULES)
        seeders: list[Callable[[], object]] = []
        if config["preload"] or config["warm"]:
            with self.confinement.home_for_imports(), libraries.quiet():
                _preload(config["preload"])
                if config["warm"]:
                    from . import warming  # few zygotes need it, and what it imports

                    seeders = warming.load(config["warm"])
        loaded = _loaded()
        if self.tier == "landlock":
            libraries.do_without_proc_and_shm()
        if config.get("private_maps"):
            maps.make_private(config["counted"])
        self.program = program.Program(self.confinement.home, self.report, seeders)
        if self.tier == "landlock":
            accounts.know_oneself(lambda: os.path.dirname(self.program.path))
        self._hide_frames()
        self._require_one_thread()
        # Before /proc is out of reach.
        address_bytes, data_bytes = _own_bytes()
        huge_pages = pages.HugePages()
        self.confinement.zygote()
        self._rehearse()
        huge_pages.gather()
        facts = {
            "python": sys.version.split()[0],
            "landlock_abi": landlock.probe(),
            "address_bytes": address_bytes,
            "data_bytes": data_bytes,
            "loaded": loaded,
        }
        control.send(wire.encode(("hello", facts)))

    @classmethod
    def forked(
        cls, control: socket.socket, confinement: confine.Confinement, own: program.Program
    ) -> NoReturn:
        """In a process that has been forked from a template: be its zygote."""
        zygote = cls.__new__(cls)
        zygote.control = control
        zygote.pid = os.getpid()
        zygote.profiles = zygote.serial = 0
        zygote.orphans_s = 0.0
        zygote.report = own.report
        zygote.tier = confinement.tier
        zygote.families = zygote.held = False
        zygote.confinement = confinement
        zygote.program = own
        gc.freeze()
        address_bytes, data_bytes = _own_bytes()
        facts = {"address_bytes": address_bytes, "data_bytes": data_bytes}
        control.send(wire.encode(("hello", facts)))
        zygote.serve()

    def serve(self) -> NoReturn:
        """Keep one child at a time, of the profile that the host asked for last; or families."""
        if self.families:
            self.report.close()  # what families say goes over their sockets; they share no memory
            fork_server.serve(self.control, self.confinement, self.program, Zygote.forked)
        profile = self._receive_command()
        assert profile is not None
        while True:
            profile = self._serve_one(profile) or profile

    def _serve_one(self, profile: protocol.Profile) -> protocol.Profile | None:
        """Fork a prewarmed process and stay with it until it ends; return another profile if one is
        asked.

        As much as can be is done before the fork: while there is a child, every page that is
        written here is copied first.
        """
        self.serial += 1
        ready = protocol.EVENT.pack(protocol.READY, self.serial, 0, self.profiles)
        self.confinement.lay_out(profile)
        host_end, child_end = socket.socketpair()
        pid = kernel.fork()
        if pid == 0:
            # With a copy of the host's end, this child would never see it close.
            host_end.close()
            self._be_prewarmed(child_end, profile)
        pidfd = os.pidfd_open(pid)
        rights = array.array("i", (host_end.fileno(), pidfd))
        self.control.sendmsg([ready], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        host_end.close()
        child_end.close()
        wanted = self._stay_with(pid, pidfd, _REAP_EVERY_MS if profile.processes else None)
        status, cpu_us = self._clear(pid)
        self.control.send(protocol.EVENT.pack(protocol.EXIT, self.serial, status, cpu_us))
        os.close(pidfd)
        while self.held:  # the host takes files out
            wanted = self._receive_command() or wanted
        self.confinement.take_away()
        return wanted

    def _stay_with(
        self, pid: int, pidfd: int, reap_every_ms: int | None
    ) -> protocol.Profile | None:
        """Wait for the child's end; end it, if the host wants a child of another profile. Where it
        may have processes, reap meanwhile those that nobody else will.
        """
        wanted = None
        self.orphans_s = 0.0
        ends = select.poll()
        ends.register(self.control, select.POLLIN)
        ends.register(pidfd, select.POLLIN)
        while pidfd not in (ready := dict(ends.poll(reap_every_ms))):
            if not ready:
                self._reap_orphans(pid)
                continue
            try:
                profile = self._receive_command()
            except EOFError:
                self._clear(pid)
                raise
            if profile is not None:
                wanted = profile
                _kill(pid)
        return wanted

    def _reap_orphans(self, pid: int) -> None:
        """Reap what has ended, up to the child itself, whose status is `_clear`'s to take."""
        while True:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None or ended.si_pid == pid:
                return
            usage = os.wait4(ended.si_pid, 0)[2]
            self.orphans_s += usage.ru_utime + usage.ru_stime

    def _receive_command(self) -> protocol.Profile | None:
        """Take a command of the host's; return the profile, if it wants another one."""
        data = self.control.recv(protocol.COMMAND.size)
        if not data:
            raise EOFError
        kind, numbers = protocol.unpack_command(data)
        if kind == protocol.PROFILE:
            self.profiles += 1
            return protocol.to_shape(numbers)
        if kind == protocol.RELEASE:
            self.held = False
        elif (
            numbers[0] == self.serial
        ):  # HOLD; of a prewarmed process that is gone, the host has its EXIT
            self.held = True
            held = protocol.EVENT.pack(protocol.HELD, self.serial, 0, 0)
            folder = os.open(self.confinement.home, os.O_RDONLY | os.O_DIRECTORY)
            socket.send_fds(self.control, [held], [folder])
            os.close(folder)
        return None

    def _be_prewarmed(self, jobs: socket.socket, profile: protocol.Profile) -> NoReturn:
        """In the child: be confined, wait for the job, run it."""
        try:
            if profile.numeric_threads is not None:
                libraries.limit(profile.numeric_threads)
            listener = self.confinement.prewarmed(profile)
            if listener >= 0:
                socket.send_fds(jobs, [protocol.LISTENER], [listener])
                os.close(listener)
            if profile.processes:
                self.program.let_execute()
                maps.share()
            # The death signal is for parents that die later: of one that had died before it was
            # asked for, it says nothing, and this child would wait for a job for ever.
            if os.getppid() != self.pid:
                os._exit(0)
            self.program.prepare()
            if not select.select((jobs,), (), (), _IDLE_S)[0]:
                self.program.rehearse()
            source, argv, limits, extras, more = _receive_job(jobs)
            if extras.filename is not None:
                self.program.rename(extras.filename)
            self.program.write(source)
            if extras is not protocol.NO_EXTRAS:
                self.program.furnishing(extras, more)
            jobs.send(protocol.STARTED)
        except EOFError:
            os._exit(0)  # the host no longer wants this prewarmed process
        except BaseException as error:
            step = error.step if isinstance(error, confine.ConfineError) else "job"
            try:
                jobs.send(wire.encode((step, f"{type(error).__name__}: {error}")))
            finally:
                os._exit(FAULT_EXIT_CODE)
        try:
            kept = 3
            if extras.role is not None:
                kept = os.dup2(more[-1], dialogue.FD) + 1
            os.closerange(kept, 1 << 20)
            # Only now: what fails for a limit from here on is the program's, not ours.
            rlimits.apply(limits)
            role = None if extras.role is None else dialogue.Role(*extras.role)
            self.program.run(source, argv, limits, extras.call, role)
        finally:
            os._exit(1)

    def _clear(self, pid: int) -> tuple[int, int]:
        """End all that the run left behind and reap it; return its wait status and CPU time.

        In a pid namespace the zygote is process 1, and one kill(-1) reaches everything else,
        at once and without a race. Elsewhere a run can't make processes (landlock), or is
        trusted (none).
        """
        if self.tier == "namespaces":
            _kill(-1)
        else:
            _kill(pid)
            if self.tier == "none":
                _kill(-pid)
        cpu_s = self.orphans_s
        status = 0
        while True:
            try:
                ended, its_status, usage = os.wait4(-1, 0)
            except ChildProcessError:
                return status, round(cpu_s * 1e6)
            cpu_s += usage.ru_utime + usage.ru_stime
            if ended == pid:
                status = its_status

    def _rehearse(self) -> None:
        """Pay now, once, what every child would pay again: its code is specialised by being run
        here (PEP 659), its look-ups are remembered; then keep the collector off these pages.
        """
        kernel.unbuffer_stdio()
        # What a module that is preloaded has left in one is no child's to write.
        kernel.flush_stdio()
        limits = rlimits.present()
        job = protocol.pack_job(b"", (), limits)
        for _ in range(REHEARSALS):
            self.confinement.rehearse()
            self.program.prepare()
            protocol.unpack_job(job)
            rlimits.apply(limits)
            self.program.rehearse()
        # Process 1 of a pid namespace is immune to its children's signals, except those it has
        # a handler for: Python's own, for SIGINT. Children get it back (`Program.prepare`).
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        gc.collect()
        self.blocks = pages.occupy_free_blocks()
        gc.freeze()

    def _become_python(self, path: list[str]) -> None:
        """Look like an interpreter started for a program: its paths, `exit` and `help`."""
        import linecache
        import site

        linecache.clearcache()  # from 3.13 on, of the text that this process was started with
        site.setquit()
        site.setcopyright()
        site.sethelper()
        sys.path[:] = path
        del os.environ["PYTHONHASHSEED"]  # it has had its effect
        del os.environ["LD_BIND_NOW"]
        sys.flags  # noqa: B018  (touched here, not in every child)
        sys.dont_write_bytecode = True

    def _hide_frames(self) -> None:
        """Keep what stands below a program, in this process and those that it forks, from it."""
        family, snapshot, server = family_init.FamilyInit, template.Template, fork_server
        frames.hide(
            *(main, self.serve, self._serve_one, self._be_prewarmed, self.forked),
            *(program, ending, uncaught, furnishing, accounts, head),
            # Not a test's stand-in: by its frame is told whose an exception is.
            *(calling.Test.before, calling.Test.after, answering.serve),
            *(answering.Answering.answer, *answering.OPERATIONS.values()),
            *(server.serve, server._serve, server._live),
            *(server._be_family_init, family.serve, family._obey, family._fork_first),
            *(server._be_template, snapshot.set_up, snapshot.serve, snapshot._be_zygote),
        )

    def _require_one_thread(self) -> None:
        """A fork copies one thread; a library that started others would hang in a child."""
        if not confine.becomes_single_threaded():
            raise confine.ConfineError(
                "preload", RuntimeError("a preloaded module started threads that do not end")
            )


def _receive_configuration(control: socket.socket) -> tuple[dict[str, Any], int]:
    data, (report_fd,), _, _ = socket.recv_fds(control, protocol.MAX_MESSAGE, 1)
    if not data:
        raise EOFError
    return wire.decode(data), report_fd  # type: ignore[return-value]


_Job = tuple[bytes, list[str], protocol.JobLimits, protocol.Extras, list[int]]


def _receive_job(jobs: socket.socket) -> _Job:
    """Take the job, and with it the three standard descriptors, in place of our own; the others
    that it brings are returned last.
    """
    room = socket.CMSG_SPACE(5 * 4)
    data, ancillary, _, _ = jobs.recvmsg(protocol.FIRST_READ, room)
    if not data:
        raise EOFError
    descriptors = ancillary[0][2]
    stdin, stdout, stderr = _THREE_INTS.unpack_from(descriptors)
    more = [] if len(descriptors) == _THREE_INTS.size else list(array.array("i", descriptors)[3:])
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    missing = protocol.job_size(data) - len(data)
    if not missing:
        return *protocol.unpack_job(data), more
    pieces = [data]
    while missing > 0:
        piece = jobs.recv(min(missing, 1 << 20))
        if not piece:
            raise EOFError
        pieces.append(piece)
        missing -= len(piece)
    return *protocol.unpack_job(b"".join(pieces)), more


def _preload(names: Iterable[str]) -> None:
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            raise confine.ConfineError(f"preload {name}", error) from error


def _loaded() -> str:
    """The names of the modules that programs find imported, with blanks between them; of very many,
    the first.
    """
    public = (each for each in sorted(sys.modules) if "._" not in each and each[:1] != "_")
    return " ".join(public)[:_LONGEST_LIST].rpartition(" ")[0]


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _own_bytes() -> tuple[int, int]:
    """What RLIMIT_AS and RLIMIT_DATA count in this process already: every child begins with it."""
    with open("/proc/self/statm", "rb") as statm:
        fields = statm.read().split()
    page = os.sysconf("SC_PAGE_SIZE")
    return int(fields[0]) * page, int(fields[5]) * page
