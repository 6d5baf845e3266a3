"""A zygote whose children are confined layer by layer, so that each layer's cost can be told.

Its text is executed in a jail in place of the product's start of a zygote (`layers.py`), never
imported: the image, the namespaces, the cgroup and the zygote's own confinement are a worker's. It
is the product's zygote until it has said hello. Then it takes a shape and a job, as a zygote and a
child of its do, tells the names of its layers, and answers requests on the control socket:
(number of layers, runs) with (ms of CPU time, ms of wall time) of all the runs together.

A run is: fork, the first so many layers, print(1), exit, wait, by the product's own functions in
the product's order. The layers are cumulative, since each makes the system calls of the later ones
a little dearer, and the first to touch a page pays for it. CPU time is that of parent and children,
with what their exits cost (getrusage(2)).
"""

import importlib
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

PROGRAM = b"print(1)"


def _nothing() -> None:
    pass


class Layer(NamedTuple):
    """What a run's confinement, or its being a program, adds, and when.

    before: ahead of the fork. child: in the child. beside: in the zygote, while the child lives.
    after: in the zygote, once it has ended.
    """

    name: str
    child: Callable[[], object] = _nothing
    before: Callable[[], object] = _nothing
    beside: Callable[[], object] = _nothing
    after: Callable[[], object] = _nothing


class Layers:
    """The layers of a zygote's runs, in order. One run at a time."""

    def __init__(self, zygote: Any, guest: dict[str, Any], output: tuple[int, int]) -> None:
        self._zygote = zygote
        self._guest = guest
        self._output, self._write_end = output
        self._shape = zygote._receive_command()
        self._job = zygote.control.recv(guest["protocol"].MAX_MESSAGE)
        self._limits = guest["protocol"].unpack_job(self._job)[2]
        self._null = os.open(os.devnull, os.O_RDONLY)
        self._pid = 0
        self._status: int | None = None
        confinement, filter_ = zygote.confinement, zygote.confinement._filter
        self.all = [
            *(Layer(name, child=call) for name, call in confinement._calls),
            Layer("seccomp", child=lambda: (filter_.mark(os.getpid()), filter_.install())),
            Layer("randomness", child=zygote.program.prepare),
            Layer("handing over", self._take, self._connect, self._hand_over, self._disconnect),
            Layer(
                "scratch and file",
                child=lambda: zygote.program.write(PROGRAM),
                before=lambda: confinement.lay_out(self._shape),
                after=confinement.take_away,
            ),
            Layer("descriptors", child=lambda: os.closerange(3, 1 << 20)),
            Layer("rlimits", child=self._limit),
            Layer("being a program", child=lambda: zygote.program.run(PROGRAM, [])),
            Layer("clearing up", beside=self._clear),
        ]

    def run(self, layers: list[Layer]) -> None:
        self._status = None
        for each in layers:
            each.before()
        self._pid = self._guest["kernel"].fork()
        if self._pid == 0:
            self._be_child(layers)
        for each in layers:
            each.beside()
        if self._status is None:
            self._status = os.waitpid(self._pid, 0)[1]
        for each in layers:
            each.after()
        if self._status or os.read(self._output, 16) != b"1\n":
            raise RuntimeError(f"the child printed something else, or failed ({self._status})")

    def _be_child(self, layers: list[Layer]) -> NoReturn:
        try:
            for each in layers:
                each.child()
            exec(compile(PROGRAM, "main.py", "exec"), {"__name__": "__main__"})
            sys.stdout.flush()
            os._exit(0)
        finally:
            os._exit(1)

    def _connect(self) -> None:
        self._host_end, self._child_end = socket.socketpair()

    def _hand_over(self) -> None:
        descriptors = [self._null, self._write_end, 2]
        socket.send_fds(self._host_end, [self._job], descriptors)

    def _take(self) -> None:
        self._host_end.close()
        self._guest["zygote"]._receive_job(self._child_end)
        self._child_end.send(self._guest["protocol"].STARTED)

    def _disconnect(self) -> None:
        self._host_end.close()
        self._child_end.close()

    def _limit(self) -> None:
        self._guest["rlimits"].apply_tasks(self._shape.tasks)
        self._guest["rlimits"].apply(self._limits)

    def _clear(self) -> None:
        pidfd = os.pidfd_open(self._pid)
        self._zygote._stay_with(self._pid, pidfd, None)
        self._status = self._zygote._clear(self._pid)[0]
        os.close(pidfd)


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    # By name, as the jail does: `guest` stands at the top level there.
    names = ("kernel", "protocol", "rlimits", "wire", "zygote")
    guest: dict[str, Any] = {name: importlib.import_module(f"guest.{name}") for name in names}
    control = socket.socket(fileno=int(sys.argv[2]))
    zygote = guest["zygote"].Zygote(control)
    output, write_end = os.pipe()
    os.dup2(write_end, 1)
    layers = Layers(zygote, guest, (output, write_end))
    encode, decode = guest["wire"].encode, guest["wire"].decode
    control.send(encode(tuple(each.name for each in layers.all)))
    while request := control.recv(4096):
        how_many, count = decode(request)
        control.send(encode(_measure(layers, how_many, count)))


def _measure(layers: Layers, how_many: int, count: int) -> tuple[float, float]:
    chosen = layers.all[:how_many]
    cpu_s, began = _cpu_s(), time.perf_counter()
    for _ in range(count):
        layers.run(chosen)
    wall_s = time.perf_counter() - began
    return (_cpu_s() - cpu_s) * 1e3, wall_s * 1e3


def _cpu_s() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
