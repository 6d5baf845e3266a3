"""`Pool.function`: an untrusted function, called like any other; its mistakes are its own."""

import math
import os
import threading

import pytest
from conftest import is_idle, wait_until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interpreter_pool import LimitExceeded, Limits, Pool, PoolClosed, PoolTimeout, ProgramError

SOURCE = """
import collections, os, sys
calls = []
point = collections.namedtuple("point", "x y")

def echo(*args, **kwargs):
    return args, kwargs

def count():
    calls.append(1)
    return len(calls)

class Solution:
    offset = 1
    def __init__(self):
        self.base = 10
    def add(self, number):
        return self.base + number
    class Inner:
        @staticmethod
        def twice(text):
            return text * 2

def fail():
    raise LookupError("mine")

def leave(code):
    sys.exit(code)

def quit():
    os._exit(0)

def crash():
    os.abort()

def spin():
    while True:
        pass

def fill():
    return bytearray(1 << 40)

def flood():
    while True:
        print("x" * 1000)

def kinds():
    return collections.Counter("aab"), collections.OrderedDict(a=point(1, 2))

def read():
    return sys.stdin.read(), open("given").read(), sys.argv[1:], os.environ.get("A")

if __name__ == "__main__":
    raise SystemExit("the main part must not run")
"""


@pytest.fixture
def function(pool):
    return lambda name, **options: pool.function(SOURCE, name, **options)


def test_a_function_is_called_with_plain_data(function):
    """Positions and keywords go in, the value comes out, of exact types."""
    value = (1, "é", b"\0", 1.5, 2j, None, True, [1, (2,)], {"k": {1, 2}}, frozenset((3,)))
    assert function("echo")(*value, key=value) == (value, {"key": value})
    assert type(function("kinds")()[0]) is dict
    assert function("kinds")() == ({"a": 2, "b": 1}, {"a": (1, 2)})


def test_names_lead_through_attributes_and_constructors(function):
    """A method of a fresh instance, a static method of an inner class."""
    assert function("Solution().add")(5) == 15
    assert function("Solution.Inner.twice")("ab") == "abab"
    assert function("Solution.Inner().twice")("ab") == "abab"


def test_every_call_has_a_process_of_its_own(function):
    """Nothing is remembered between calls, and the main part does not run."""
    count = function("count")
    assert [count() for _ in range(5)] == [1] * 5


def test_options_are_those_of_a_run(function):
    """Input, files, arguments and environment are there for every call."""
    read = function("read", stdin="in", files={"given": "file"}, args=("a",), env={"A": "b"})
    assert read() == read() == ("in", "file", ["a"], "b")


@pytest.mark.parametrize(
    "name, arguments, kind, words",
    [
        ("fail", (), "LookupError", "mine"),
        ("nothing", (), "NameError", "'nothing' is not defined"),
        ("Solution().nothing", (), "AttributeError", "nothing"),
        ("calls", (), "TypeError", "not callable"),
        ("echo.add", (), "AttributeError", "add"),
        ("leave", (3,), "SystemExit", "status 3"),
        ("leave", (0,), "SystemExit", "status 0"),
        ("quit", (), "SystemExit", "status 0"),
        ("crash", (), "SIGABRT", ""),
    ],
)
def test_what_a_program_does_instead_of_returning_is_its_error(
    function, name, arguments, kind, words
):
    """`ProgramError` with type, message, and the whole result."""
    with pytest.raises(ProgramError) as caught:
        function(name)(*arguments)
    assert caught.value.type == kind
    assert words in caught.value.message
    assert not caught.value.result.infra_error
    if kind == "LookupError":
        assert "raise LookupError" in caught.value.traceback
        assert "furnish" not in caught.value.traceback


def test_a_source_that_does_not_load_is_its_error(pool):
    """A syntax error, and an exception at import."""
    for source, kind in (("def f(:", "SyntaxError"), ("1/0", "ZeroDivisionError")):
        with pytest.raises(ProgramError) as caught:
            pool.function(source, "f")()
        assert caught.value.type == kind


@pytest.mark.parametrize(
    "name, reason", [("spin", "wall_timeout"), ("fill", "memory"), ("flood", "output")]
)
def test_a_limit_has_its_own_error(function, name, reason):
    """`LimitExceeded` with the reason; what was printed is in the result."""
    with pytest.raises(LimitExceeded) as caught:
        function(name, timeout=0.5)()
    assert caught.value.reason == reason
    assert name != "flood" or caught.value.result.stdout.startswith("xxx")


RETURNS = [
    # what is returned (O6 of the attack corpus), how that ends
    ("(x := []).append(x) or x", "cyclic"),
    ("__import__('functools').reduce(lambda a, _: [a], range(200_000), [])", "nested deeper"),
    ("b'x' * (17 << 20)", "larger"),
    ("type('Own', (), {'__reduce__': lambda _: (print, ('unpickled',))})()", "no plain data"),
    ("object()", "no plain data"),
    ("(n for n in 'ab')", "no plain data"),
]


@pytest.mark.parametrize("value, words", RETURNS)
def test_what_is_no_plain_data_is_refused(pool, value, words):
    """O6: cyclic, deep, large and pickling values are errors, and nothing is run."""
    with pytest.raises(ProgramError) as caught:
        pool.function(f"def f(): return {value}", "f", timeout=20)()
    assert caught.value.type == "TypeError"
    assert words in caught.value.message


@pytest.mark.parametrize(
    "value, held",
    [
        ("type('Own', (int,), {'__eq__': lambda *_: True, '__int__': lambda _: 7})(1)", 1),
        ("type('Own', (str,), {'__str__': lambda _: 'x', 'encode': lambda *_: b'x'})('y')", "y"),
        ("type('Own', (list,), {'__iter__': lambda _: iter('ab'), '__len__': lambda _: 9})()", []),
    ],
)
def test_what_is_derived_from_plain_data_is_what_it_holds(pool, value, held):
    """O6: and never what its own methods say; it comes as the plain type."""
    found = pool.function(f"def f(): return {value}", "f")()
    assert (found, type(found)) == (held, type(held))


def test_odd_values_are_faithful(pool):
    """O6: NaN, infinities, signed zero, huge integers, surrogates."""
    f = pool.function("def f(x): return x", "f")
    assert math.isnan(f(float("nan")))
    assert math.copysign(1, f(-0.0)) == -1
    for value in (float("inf"), 1 << 100_000, -(1 << 63), "\ud800", "", (), {}, set()):
        assert f(value) == value
        assert type(f(value)) is type(value)


FORGE = """
import atexit, ctypes
start = next(int(l.split('-')[0], 16) for l in open('/proc/self/maps') if 'report' in l)
def f(data):
    data = len(data).to_bytes(4, 'little') + data
    atexit.register(lambda: ctypes.memmove(start + 65536, data, len(data)))
"""


def test_forged_values_are_the_programs_own_error():
    """What a program writes into the channel by hand is no value, or one of its own making; and no
    later run finds anything of it there.
    """
    with Pool(1, tier="namespaces") as pool:
        for data in (b"?", b"l" + b"\xff" * 4, b"S\2\0\0\0NN"):
            with pytest.raises(ProgramError, match="can't be read"):
                pool.function(FORGE, "f")(data)
        assert pool.function(FORGE, "f")(b"T") is True
        look = "print(set(ctypes.string_at(start + 65536, 16 << 20)))"
        wrote = pool.run(FORGE + f"ctypes.memset(start + (1 << 20), 7, 8192)\n{look}")
        assert wrote.stdout == "{0, 7}\n", wrote.stderr
        assert pool.run(FORGE + look).stdout == "{0}\n"


@pytest.mark.parametrize(
    "name", ["", "1f", "f()()", "f(1)", "a..b", "f;g", "a b", ".f", "f.", "__import__('os')"]
)
def test_names_that_are_none_are_refused(pool, name):
    """Before anything is run."""
    with pytest.raises(ValueError, match="name="):
        pool.function("def f(): pass", name)


def test_arguments_that_cant_cross_are_the_callers_mistake(pool):
    """A TypeError that says what is wrong; nothing is run."""
    f = pool.function("def f(*args): pass", "f")
    before = pool.stats().runs
    for argument in (object(), lambda: 1, os, [{1: object()}], type("Own", (), {})()):
        with pytest.raises(TypeError, match="no plain data"):
            f(argument)
    assert pool.stats().runs == before


def test_calls_from_many_threads_do_not_mix(function):
    """Each thread gets its own answers."""
    echo = function("echo")
    wrong = []

    def work(number: int) -> None:
        for turn in range(20):
            if echo(number, turn) != ((number, turn), {}):
                wrong.append((number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_waiting_call_times_out_and_a_closed_pool_refuses(tier):
    """`queue_timeout` and `PoolClosed` are as for `run`."""
    with Pool(1, tier=tier) as pool:
        busy = pool.submit("import time; time.sleep(5)")
        with pytest.raises(PoolTimeout):
            pool.function("def f(): pass", "f", queue_timeout=0.1)()
        busy.cancel()
        wait_until(lambda: is_idle(pool))
        f = pool.function("def f(): pass", "f")
    with pytest.raises(PoolClosed):
        f()


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
    ),
    max_leaves=20,
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=PLAIN)
def test_any_plain_value_crosses_and_comes_back(pool, value):
    """Inside @given: what goes in comes out, equal and of the same type."""
    back = pool.function("def same(x): return x", "same")(value)
    assert back == value
    assert repr(back) == repr(value)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(numbers=st.lists(st.integers(), max_size=30))
def test_an_untrusted_function_is_fuzzed_like_any_other(pool, numbers):
    """A property of a function that is never run here."""
    ordered = pool.function("def order(numbers): return sorted(numbers)", "order")(numbers)
    assert ordered == sorted(numbers)


def test_limits_are_each_calls_own(pool):
    """`limits=` holds for every call, and the memory of one is not the next one's."""
    f = pool.function(
        "def f(n): return len(bytearray(n))", "f", limits=Limits(memory_bytes=64 << 20)
    )
    for _ in range(3):
        assert f(30 << 20) == 30 << 20
        with pytest.raises(LimitExceeded, match="memory"):
            f(100 << 20)


def test_a_signal_without_a_name_is_named_by_its_number(pool):
    """A function that ends itself by a real-time signal is a ProgramError like any other."""
    with pytest.raises(ProgramError, match="signal 40"):
        pool.function("import os\ndef f(): os.kill(os.getpid(), 40)", "f")()
