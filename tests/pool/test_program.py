"""What a program is given: environment, seed; and the doors that it goes in by."""

import asyncio
import itertools
import json
import threading
import time

import pytest
from conftest import SOON_S, is_idle, wait_until

from interpreter_pool import Limits, Pool, PoolClosed, Program


def test_an_environment_is_complete(pool):
    """What is given is all there is, in Python and for C."""
    code = (
        "import os, ctypes, time\n"
        "print(sorted(os.environ.items()), ctypes.CDLL(None).getenv(b'HOME'), time.tzname[0])"
    )
    result = pool.run(code, env={"TZ": "Europe/Berlin", "Ä": "ö"})
    assert result.stdout == "[('TZ', 'Europe/Berlin'), ('Ä', 'ö')] 0 CET\n", result.stderr
    assert pool.run("import os; print(len(os.environ))", env={}).stdout == "0\n"
    assert "HOME" in pool.run("import os; print(*os.environ)").stdout


RANDOM = "import random; print(random.random(), random.getstate()[1][:3])"


def test_a_seed_makes_random_repeatable(pool):
    """Equal seeds give equal numbers, on every worker; other seeds, and none, others."""
    results = [pool.run(RANDOM, seed=seed).stdout for seed in [7] * 6 + [8, -1, 1 << 80]]
    assert len(set(results[:6])) == 1
    assert len(set(results)) == 4
    assert pool.run(RANDOM).stdout != pool.run(RANDOM).stdout


NUMPY = (
    "import numpy; print(numpy.random.rand(), 'numpy.random.mtrand' in __import__('sys').modules)"
)


@pytest.mark.slow
def test_a_seed_reaches_numpy_whenever_it_is_imported(tier):
    """The global generator begins with the seed, preloaded or imported by the program."""
    found = set()
    for preload in ((), ("numpy",)):
        with Pool(1, tier=tier, packages=("numpy",), preload=preload) as pool:
            runs = [pool.run(NUMPY, seed=3).stdout for _ in range(2)]
            assert runs[0] and pool.run(NUMPY).stdout not in runs
            found.update(runs)
    assert len(found) == 1, found


def test_a_program_carries_everything(pool):
    """Run, submit, map and arun take the same `Program`; options take the place of its fields."""
    program = Program(
        "import sys; print(sys.argv[1:], input(), open('f').read())",
        stdin="in", args=("a",), files={"f": "file"}, limits=Limits(wall_s=5), id="first",
    )  # fmt: skip
    expected = "['a'] in file\n"
    results = [
        pool.run(program),
        pool.submit(program).result(),
        next(pool.map([program])),
        asyncio.run(pool.arun(program)),
    ]
    assert [(each.stdout, each.id) for each in results] == [(expected, "first")] * 4
    changed = pool.run(program, args=("b",), id="second")
    assert (changed.stdout, changed.id) == ("['b'] in file\n", "second")
    assert pool.run(Program("while True: pass"), timeout=0.1).reason == "wall_timeout"


def test_a_program_comes_from_json():
    """Every field, and bytes as base64."""
    data = {
        "id": 7,
        "code": {"base64": "cGFzcw=="},
        "stdin": "x",
        "args": ["a"],
        "files": {"a": "text", "b": {"base64": "AP8="}},
        "collect": ["*.x"],
        "limits": {"wall_s": 1, "memory_bytes": None},
        "env": {"A": "b"},
        "seed": 3,
    }
    program = Program.from_dict(json.loads(json.dumps(data)))
    assert program.code == b"pass"
    assert program.files == {"a": "text", "b": b"\0\xff"}
    assert (program.id, program.seed, program.limits) == (
        "7", 3, Limits(wall_s=1, memory_bytes=None),
    )  # fmt: skip


@pytest.mark.parametrize(
    "data, words",
    [
        ([], "JSON object"),
        ({}, "'code'"),
        ({"code": "pass", "cod": 1}, "'cod'"),
        ({"code": "pass", "limits": {"wall": 1}}, "'wall'"),
        ({"code": "pass", "limits": 3}, "limits"),
        ({"code": "pass", "limits": {"wall_s": -1}}, "wall_s"),
        ({"code": {"base64": "?"}}, "base64"),
        ({"code": {"hex": "00"}}, "code"),
        ({"code": "pass", "files": {"a": {"base64": 1}}}, "files"),
        ({"code": "pass", "files": {"../a": ""}}, "files"),
        ({"code": "pass", "seed": "x"}, "seed"),
        ({"code": "pass", "args": "x"}, "args"),
    ],
)
def test_bad_json_is_refused_by_name(data, words):
    """The error names the field."""
    with pytest.raises((TypeError, ValueError), match=words):
        Program.from_dict(data)


def test_map_keeps_the_order_and_looks_ahead_a_bounded_way(pool):
    """Results come in the order of the programs; of an endless iterable, few are taken."""
    taken = itertools.count()

    def programs():
        for number in itertools.count():
            next(taken)
            yield f"import time; time.sleep({0.03 if number % 3 == 0 else 0}); print({number})"

    results = pool.map(programs())
    assert [next(results).stdout for _ in range(20)] == [f"{n}\n" for n in range(20)]
    results.close()
    assert next(taken) < 20 + 4 * 2 + 2
    wait_until(lambda: is_idle(pool))


def test_map_waits_where_submit_would_refuse(tier):
    """A bounded queue slows `map` down, also when others fill it, and nothing is lost."""
    with Pool(1, tier=tier, max_queue=1) as pool:
        others = [pool.submit("import time; time.sleep(0.2)")]
        results = [each.stdout for each in pool.map(f"print({n})" for n in range(10))]
        assert results == [f"{n}\n" for n in range(10)]
        assert others[0].result().ok


@pytest.mark.parametrize("programs", [None, 1, "print(1)", b"print(1)", Program("print(1)")])
def test_map_takes_a_sequence(pool, programs):
    """At once, not when the first result is asked for; one program is not many."""
    with pytest.raises(TypeError, match=r"^programs must be a sequence of programs, not "):
        pool.map(programs)


def test_map_numbers_a_program_that_makes_no_sense(pool):
    """Of many, one has to be found."""
    with pytest.raises(TypeError, match=r"^programs\[2\]: code must be str or bytes, not int"):
        list(pool.map(["1", "2", 3]))
    with pytest.raises(ValueError, match=r"^programs\[1\]: code has 9 bytes, more than"):
        list(pool.map(["1", "123456789"], limits=Limits(source_bytes=8)))


def test_map_passes_on_what_the_iterable_raises(pool):
    """What is in flight is cancelled, and the error is the caller's."""

    def programs():
        yield "while True: pass"
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        list(pool.map(programs()))
    wait_until(lambda: is_idle(pool))


def test_cancelling_a_task_kills_the_run(pool):
    """`arun` ends with its task, and so does the process."""

    async def give_up() -> float:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.arun("while True: pass"), 0.2)
        return time.monotonic() - began

    before = pool.stats().runs_by_reason.get("cancelled", 0)
    assert asyncio.run(give_up()) < SOON_S
    wait_until(lambda: pool.stats().runs_by_reason.get("cancelled", 0) == before + 1)


def test_many_aruns_at_once(pool):
    """A hundred tasks of one loop, each with its own answer."""

    async def all_of_them() -> list[str]:
        runs = [pool.arun(f"print({number})") for number in range(100)]
        return [result.stdout for result in await asyncio.gather(*runs)]

    assert asyncio.run(all_of_them()) == [f"{n}\n" for n in range(100)]


def test_output_comes_as_it_is_written(pool):
    """Each line is there long before the program ends, and together they are the whole."""
    pieces: list[tuple[str, bytes, float]] = []
    result = pool.run(
        "import sys, time\n"
        "for n in range(3):\n"
        "    print(n); print('e', file=sys.stderr); time.sleep(0.2)\n",
        on_output=lambda stream, data: pieces.append((stream, data, time.monotonic())),
    )
    ended = time.monotonic()
    assert b"".join(data for stream, data, _ in pieces if stream == "stdout") == b"0\n1\n2\n"
    assert b"".join(data for stream, data, _ in pieces if stream == "stderr") == b"e\n" * 3
    assert result.stdout == "0\n1\n2\n"
    assert ended - pieces[0][2] > 0.4


def test_output_as_it_comes_keeps_the_cap(pool):
    """The callback sees what the result holds, and no byte more."""
    seen = bytearray()
    result = pool.run(
        "while True: print('x' * 999)",
        limits=Limits(output_bytes=10_000),
        on_output=lambda stream, data: seen.extend(data),
    )
    assert result.reason == "output"
    assert bytes(seen) == result.stdout_bytes
    assert len(seen) == 10_000


def test_what_a_callback_raises_ends_the_run(pool):
    """The error goes to whoever waits for the result; the worker goes on."""

    def fail(stream, data):
        raise LookupError("mine")

    began = time.monotonic()
    with pytest.raises(LookupError, match="mine"):
        pool.run("print(1)\nwhile True: pass", on_output=fail)
    assert time.monotonic() - began < SOON_S
    assert pool.run("print(2)").stdout == "2\n"


def test_a_closed_pool_refuses_at_every_door(tier):
    """`PoolClosed` from all of them, and from a map that was begun before."""
    pool = Pool(1, tier=tier)
    started = pool.map(f"print({n})" for n in itertools.count())
    next(started)
    closer = threading.Thread(target=pool.close)
    closer.start()
    with pytest.raises(PoolClosed):
        for _ in started:
            pass
    closer.join()
    for door in (pool.run, pool.submit, lambda code: list(pool.map([code]))):
        with pytest.raises(PoolClosed):
            door("pass")
