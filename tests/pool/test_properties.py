"""Arbitrary programs: none hangs the pool, each has exactly one result, and the next one runs."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interpreter_pool import ExitReason, Result

slow_and_shared = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

pieces = st.sampled_from(
    [
        "print(1)\n", "1/0\n", "import sys\n", "sys.exit(5)\n", "while True: pass\n", "x = [0]\n",
        "x *= 1 << 30\n", "def f(): return f()\n", "f()\n", "import os\n", "os._exit(3)\n",
        "os.close(1)\n", "os.close(2)\n", "os.closerange(0, 100)\n", "os.kill(os.getpid(), 15)\n",
        "os.abort()\n", "import threading\n", "threading.Thread(target=print).start()\n",
        "open('f', 'w').write('x' * 99)\n", "del __builtins__\n", "sys.stdout = None\n",
        "sys.modules.clear()\n", "raise KeyboardInterrupt\n", "input()\n", "import gc, atexit\n",
        "atexit.register(lambda: 1/0)\n", "globals().clear()\n", "print('x' * 2000000)\n",
        "class A:\n def __del__(self): 1/0\n", "a = A()\n", "import ctypes\n",
        "ctypes.string_at(0)\n", "sys.setrecursionlimit(10**6)\n", "os.kill(0, 9)\n",
        "os.kill(-1, 9)\n", "os.chmod('.', 0)\n", "os.rmdir('.')\n", "sys.excepthook = 1\n",
    ]
)  # fmt: skip


def check(pool, source: str | bytes, **options) -> None:
    """Run `source`, look at its result, and make sure that the pool still works."""
    runs = pool.stats().runs
    result = pool.run(source, timeout=1, **options)
    assert isinstance(result, Result)
    assert result.reason in set(ExitReason) - {ExitReason.INTERNAL}, result
    assert result.wall_s < 4
    following = pool.run("print('fine')")
    assert following.stdout == "fine\n", following
    assert pool.stats().runs == runs + 2


@slow_and_shared
@given(st.text(max_size=200))
def test_arbitrary_text(pool, source):
    """Any text at all, as a program."""
    check(pool, source)


@slow_and_shared
@given(st.binary(max_size=200))
def test_arbitrary_bytes(pool, source):
    """Any bytes at all, as a program's file."""
    check(pool, source)


@slow_and_shared
@given(st.lists(pieces, max_size=6).map("".join))
def test_arbitrary_combinations_of_rude_statements(pool, source):
    """Statements that each break something, in any order."""
    check(pool, source)


@slow_and_shared
@given(
    st.lists(st.text(st.characters(exclude_characters="\0"), max_size=20), max_size=5),
    st.binary(max_size=200),
)
def test_arguments_and_input_arrive_unchanged(pool, args, data):
    """Any arguments without a NUL and any input come out as they went in."""
    code = (
        "import sys\nprint(ascii(sys.argv[1:]))\nsys.stdout.flush()\n"
        "sys.stdout.buffer.write(sys.stdin.buffer.read())"
    )
    result = pool.run(code, args=args, stdin=data)
    assert result.stdout_bytes == f"{args!a}\n".encode() + data
