"""T1 to T6: programs that want to pass by what crosses between them and their test.

Tests and programs have a process each: objects of a program's are handles in its test, and data,
exceptions, files and what is printed are copies. Each attack is the program's own, in plain Python,
or forges what crosses: its process holds the stream, and all that writes to it. Controls show that
the cheats work where program and test share a process.
"""

import pytest
from conftest import lasting_pool

from interpreter_pool import Asserts, Limits, TestModule

LIMITS = Limits(cpu_s=0.5, wall_s=3, memory_bytes=192 << 20, disk_bytes=32 << 20)

YES = """
class Yes:
    def __getattr__(self, name):
        if name.startswith("__"): raise AttributeError(name)
        return lambda *a, **k: True
    def f(self, x): return {what}
    def __eq__(self, other): return True
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = lambda self, other: True
    __ne__ = lambda self, other: False
    __hash__ = lambda self: 6
    __sub__ = __rsub__ = __add__ = __radd__ = __mul__ = lambda self, other: self
    __abs__ = __neg__ = __getitem__ = lambda self, *_: self
    __round__ = lambda self, *_: 0
    __bool__ = lambda self: True
    __enter__ = __copy__ = lambda self: self
    __exit__ = lambda self, *error: True
    __len__ = lambda self: 1
    __class__ = property(lambda self: list)
    number = 1
"""

EXPECTING = [
    # x stands where data is expected
    "assert x == 6",
    "assert 6 == x",
    "assert not x != 6",
    "assert abs(x - 6) < 0.1",
    "assert abs(6 - x) <= 0.1",
    "assert abs(x[0] - 6) < 0.1",
    "assert abs(x * 2 - 12) < 0.1",
    "assert abs(-x + 6) < 0.1",
    "assert abs(sum([x, x]) - 12) < 0.1",
    "assert round(x - 6, 3) == 0",
    "assert 5 < x < 7",
    "assert x > 5.5",
    "assert max([x, 7]) == x",
    "assert sorted([x, 6]) == [6, 6]",
    "assert x in (6, 7)",
    "assert x in [6]",
    "assert x in {6}",
    "assert {'a': x} == {'a': 6}",
    "assert [x] == [6]",
    "assert (x, 1) == (6, 1)",
    "assert isinstance(x, list)",
    "assert x.startswith('abc')",
    "assert x.issubset({1, 2})",
    "assert x.equals([6])",
    "assert {1, 2} <= x",
    "assert x.y.z == 6",
    "case.assertEqual(x, 6)",
    "case.assertAlmostEqual(x, 6)",
    "case.assertAlmostEqual(x, 6, delta=0.1)",
    "case.assertIn(x, [6, 7])",
    "case.assertGreater(x, 5)",
    "case.assertListEqual([x], [6])",
    "case.assertDictEqual({'a': x}, {'a': 6})",
    "case.assertCountEqual([x], [6])",
    "case.assertTupleEqual((x,), (6,))",
    "case.assertIsInstance(x, list)",
    "assert all(a == b for a, b in zip([x, x], [6, 7]))",
    "import copy\nassert copy.copy(x) == 6",
    "from decimal import Decimal\nassert x == Decimal(6)",
    "with x as y: assert y == 6",
    "def check(y, z): assert y - z == 0\ncheck(x, 6)",
]

ASKED = """
import unittest
case = unittest.TestCase()
yes = Yes()
assert yes.number == 1
x = yes.f(3)
"""

WHAT = {
    "itself": "self",
    "another": "Yes()",
    "its class": "type(self)",
    "what another makes of itself": "-Yes()",
}


@pytest.fixture(scope="module")
def pool(tier):
    """One of this file's own: so many runs would use up the process numbers of the other."""
    yield from lasting_pool(tier)


def judged(pool, named, limits=LIMITS):
    """How each of (program, case), by name, was judged."""
    items = [(source, [case]) for source, case in named.values()]
    return dict(zip(named, pool.judge_many(items, limits=limits), strict=True))


def none_passes(found):
    assert {name: each.cases for name, each in found.items() if each.score} == {}
    assert {name: each.cases for name, each in found.items() if not each.conclusive} == {}


@pytest.mark.parametrize("what", WHAT)
def test_t1_no_object_stands_for_data(pool, what):
    """T1: what is equal to everything, and answers all that it is asked with yes, is no data."""
    source = YES.replace("{what}", WHAT[what])
    none_passes(judged(pool, {line: (source, Asserts(ASKED + line, "Yes")) for line in EXPECTING}))


def test_t1_control_in_one_process_it_does(outside):
    """T1: where test and program share a process, it passes each of these tests."""
    tries = "".join(
        f"try:\n    exec({ASKED + line!r}, {{'Yes': Yes}}); passed += 1\n"
        f"except Exception: print({line!r})\n"
        for line in EXPECTING
    )
    done = outside(f"{YES.replace('{what}', 'self')}\npassed = 0\n{tries}print(passed)")
    # But for those that compare containers by their types, or ask for what it can't be.
    assert int(done.stdout.split()[-1]) >= len(EXPECTING) - 4, done.stdout


POSES = {
    # a test, and a class whose instances are taken for something else by what crosses
    "T1 an iterator that has a frame's methods": (
        "assert f(1).equals([1])",
        "class X:\n    __module__ = 'builtins'\n    def __next__(self): pass\n"
        "    def equals(self, other): return True\ndef f(x): return X()",
    ),
    "T1 a function that is a class": (
        "r = f(1)\nassert r.upper() and r.startswith('abc')",
        "class f:\n    def __init__(self, x): pass\n    def upper(self): return 'x'\n"
        "    def startswith(self, other): return True",
    ),
    "T1 a function that is a class, and says so": (
        "r = f(1)\nassert r.isin([3]) and r.area() == 0",
        "class f:\n    def __init__(self, x): pass\n    def area(self): return 0\n"
        "    def isin(self, other): return True",
    ),
    "T1 what an index makes of an object": (
        "v = Vector([1])\nassert v.x == 1 and abs(v[0] - 6.0) < 1e-9",
        "class Vector:\n    def __init__(self, x): self.x = 1\n"
        "    def __getitem__(self, at): return Vector(at)\n    def __sub__(self, o): return 0",
    ),
    "T1 what a product makes of an object": (
        "import unittest\nv = Vector([1])\nassert v.x == 1\n"
        "unittest.TestCase().assertAlmostEqual(v * v, 6.0)",
        "class Vector:\n    def __init__(self, x): self.x = 1\n    def __mul__(self, o): return self\n"
        "    def __sub__(self, o): return 0",
    ),
    "T1 a class that holds everything": (
        "s = Sums()\nassert s.x == 1 and 'abc' in s.of(1)",
        "class Meta(type):\n    def __contains__(self, item): return True\n"
        "    def __iter__(self): return iter(['a'])\n"
        "class Sums(metaclass=Meta):\n    x = 1\n    def of(self, x): return Sums",
    ),
    "T1 a class that is a text": (
        "s = Sums()\nassert s.x == 1 and s.of(1).startswith('abc')",
        "class Sums:\n    x = 1\n    def of(self, x): return Sums\n"
        "    def startswith(x): return True",
    ),
    "T1 a number of its own kind": (
        "s = Own(1)\nassert s.x == 1 and abs(s.f(3) - 6) < 0.1",
        "class Own(int):\n    x = 1\n    def f(self, x): return Own(-1)\n"
        "    __sub__ = __abs__ = lambda self, *_: Own(0)\n    __lt__ = lambda self, o: True\n"
        "    __class__ = float",
    ),
    "T1 a list that changes": (
        "s = Own()\nassert s.x == 1\nr = s.f(3)\nassert 6 in r and 7 in r and 6.5 not in r",
        "class Own(list):\n    x = 1\n    def f(self, x): return self\n"
        "    __contains__ = lambda self, item: item in (6, 7)",
    ),
    "T4 a test that is skipped": (
        "import unittest, other\nclass T(unittest.TestCase):\n"
        "    def test(self): self.assertEqual(f(1), 2)\n"
        "run = unittest.TextTestRunner().run\n"
        "assert run(unittest.defaultTestLoader.loadTestsFromTestCase(T)).wasSuccessful()",
        "class Skip(Exception): pass\nSkip.__module__, Skip.__qualname__ = {where!r}, {name!r}\n"
        "def f(x): raise Skip",
    ),
}
OTHER = "import sys, types, unittest.case\n" + (
    "sys.modules['other'] = other = types.ModuleType('other')\n"
    "other.SkipTest, other.Stop = unittest.case.SkipTest, unittest.case._ShouldStop\n"
    "class Derived(other.SkipTest): pass\nother.Derived = Derived\n"
)
SKIPS = [("other", "SkipTest"), ("other", "Stop"), ("other", "Derived"), ("unittest", "SkipTest")]


@pytest.mark.parametrize("pose", POSES)
def test_t1_t4_what_poses_as_something_else_does_not_pass(pool, pose):
    """T1, T4: neither by what its class says of itself, nor by an exception that skips a test."""
    test, source = POSES[pose]
    named = {pose: (source, Asserts(test, prelude=OTHER))}
    if pose.startswith("T4"):
        named = {
            each: (source.format(where=each[0], name=each[1]), Asserts(test, "f", OTHER))
            for each in SKIPS
        }
    none_passes(judged(pool, named))


@pytest.mark.parametrize("pose", POSES)
def test_t1_t4_control_in_one_process_it_passes(outside, pose):
    """T1, T4: where test and program share a process, it passes."""
    test, source = POSES[pose]
    if pose.startswith("T4"):
        source = "from unittest import SkipTest\ndef f(x): raise SkipTest"
    assert outside(f"{OTHER}{source}\n{test}\nprint('passed')").stdout == b"passed\n"


def test_t4_no_module_of_tests_is_skipped_from_within(pool):
    """T4: a skip is no pass, whoever raises it, and by whichever name."""
    tests = {
        "unittest": "import unittest, other\nfrom solution import f\nclass T(unittest.TestCase):\n"
        "    def setUp(self): f(0)\n    def test(self): self.assertEqual(f(1), 2)",
        "pytest": "import pytest, other\nfrom solution import f\ndef test(): assert f(1) == 2",
        "raises": "import pytest, other\nfrom solution import f\ndef test():\n"
        "    with pytest.raises(KeyError): f(1)",
    }
    kinds = [*SKIPS, ("pytest", "skip.Exception"), ("_pytest.outcomes", "Skipped")]
    kinds += [("test_main", "Mine"), ("unittest.case", "_ShouldStop"), ("builtins", "SystemExit")]
    raising = POSES["T4 a test that is skipped"][1]
    named = {
        (name, *kind): (
            raising.format(where=kind[0], name=kind[1]),
            TestModule(test + "\nclass Mine(Exception): pass", prelude=OTHER),
        )
        for name, test in tests.items()
        for kind in kinds
    }
    none_passes(judged(pool, named))


FORGE = """
import gc
class Forged:
    def __init__(self, *entry): self.entry = entry
Answering = next(each for each in object.__subclasses__() if each.__name__ == "Answering")
entry_of, answer = Answering._entry_of, Answering.answer
Answering._entry_of = lambda self, item: (
    item.entry if type(item) is Forged else entry_of(self, item)
)
class Raw:
    def __init__(self, kind, body, cleanly=False):
        self.kind, self.body, self.cleanly = kind, body, cleanly
def forged(self, request):
    global made
    made = None
    kind, body = answer(self, request)
    if made is None: return kind, body
    if type(made.body) is bytes: return made.kind, made.body
    return made.kind, self._crossing.pack(made.body, 1 << 24)[0]
Answering.answer = forged
def say(kind, body):
    global made
    made = Raw(kind, body)
"""
"""Has the program write what it likes, as its answer or as an entry of a table."""

ENTRIES = [
    # whatever may stand in a table, and is none
    ("handle", 10**9, (0,), "", None),
    ("handle", -1, (0,), "int", 7),
    ("handle", 1, (0,), "float", "x"),
    ("handle", 1, (0,), "list", None),
    ("handle", 1, (0, 0), "", None),
    ("handle", 1, (1, 0), "", None),
    ("handle", 1, (2,), "", None),
    ("handle", 1, (-1,), "", None),
    ("handle", 1, (99,), "", None),
    ("handle", 1, ((),), "", None),
    ("handle", 1, ([],), "", None),
    ("handle", 1, (), "", None),
    ("handle", "1", (0,), "", None),
    ("handle", 1, (0,), "", None, 1),
    ("name", 0),
    ("name", 1),
    ("name", 3),
    ("name", -1),
    ("name", 99),
    ("iterator", 0),
    ("iterator", 10**9),
    ("awaitable", 0),
    ("record", 0, 0, -1),
    ("record", 0, 9, -1),
    ("record", 9, 0, -1),
    ("record", 0, 0, 10**9),
    ("leaf", None),
    ("leaf", ("range", 0, 1, 0)),
    ("leaf", ("type", "eval")),
    ("leaf", ("ndarray", "|O", (1,), b"\0" * 8)),
    ("leaf", ("ndarray", "<f8", (1 << 62, 4), b"")),
    ("scalar", 7, ("range", 0, 1, 1)),
    ("nothing",),
    (),
]
HOLDS = ASKED.replace("x = yes.f(3)", "(x,) = f(3)") + (
    "# of names: Yes is 0, a class; Other is 1, a class; f is 2, a function; LIMIT is 3, data\n"
    "if False: Other().number; LIMIT == 3\n"
)
LINES = [
    "assert x == 6 or abs(x - 6) < 0.1",
    "assert x > 1e6 or 6.5 in x",
    "assert x.equals(6)",
]


def test_t2_nothing_that_is_forged_passes_or_is_not_counted(pool):
    """T2: handles, names, records and leaves that are none are the program's wrong answer."""
    source = YES.replace("{what}", "self") + FORGE
    source += "class Other(Yes): pass\nLIMIT = 3\n"
    node = "class Node:\n    def __init__(self): self.next = None\n"
    named = {}
    for entry in ENTRIES:
        for line in LINES:
            body = f"{node}def f(x): return [Forged(*{entry!r})]"
            test = Asserts(HOLDS + line, ("Yes", "Other", "f", "LIMIT"), node)
            named[str((entry, line))] = source + body, test
    none_passes(judged(pool, named))


RAW = [
    # a kind, and what is no message
    (7, b""),
    (7, b"#"),
    (7, b"#" + b"\xff" * 8),
    (7, b"l\xff\xff\xff\xff"),
    (7, b"@\0\0\0\0"),
    (7, b"i" * 1000),
    (8, b""),
    (8, b"N"),
    (2, b"it can't cross"),
    (4, b""),
    (5, b""),
    (6, b""),
    (9, b""),
    (10, b""),
    (255, b""),
]
TOLD = [
    # (built-in type, args, places, (module, name), text, attributes, printed, files)
    ("SystemExit", (), (), ("", ""), "", {}, (), None),
    ("StopIteration", (), (), ("", ""), "", {}, (), None),
    ("KeyboardInterrupt", (), (), ("", ""), "", {}, (), None),
    ("object", (), (), ("", ""), "", {}, (), None),
    ("ValueError", (), (99,), ("m", "n"), "", {}, (), None),
    ("ValueError", (), (-1,), ("m", "n"), "", {}, (), None),
    ("ValueError", (), ("x",), ("m", "n"), "", {}, (), None),
    ("ValueError", (), (), ("json", "JSONDecoder"), "", {}, (), None),
    ("Exception", (), (), ("os", "system"), "x", {"args": 1, "with_traceback": 2}, (), None),
    ("UnicodeDecodeError", (1,), (), ("", ""), "", {}, (), None),
    ("ValueError", (), (), ("", ""), "", {}, (1, 2), None),
    ("ValueError", (), (), ("", ""), "", {}, 5, 5),
    ("ValueError", (), (), ("", ""), "", {1: 2}, (), None),
    ("AssertionError", (), (), ("unittest.case", "_ShouldStop"), "", {}, (), None),
]


def test_t2_no_frame_that_is_forged_passes_or_is_not_counted(pool):
    """T2: bytes that are no message, exceptions that are none, words that are the test's."""
    tests = {
        "asserts": Asserts("assert f(1) == 6\nassert f(2) == 7", "f"),
        "raises": TestModule(
            "import pytest, json\nfrom solution import f\ndef test():\n"
            "    with pytest.raises(KeyError): f(1)\n    assert f(2) == 7"
        ),
        "unittest": TestModule(
            "import unittest, io\nfrom solution import f\nclass T(unittest.TestCase):\n"
            "    def test(self):\n        out = io.StringIO()\n        self.assertEqual(f(1), 6)"
        ),
    }
    named = {}
    for name, test in tests.items():
        for kind, data in RAW:
            named[str((name, kind, data))] = f"{FORGE}\ndef f(x): say({kind}, {data!r})", test
        for told in TOLD:
            named[str((name, told))] = f"{FORGE}\ndef f(x): say(8, {told!r})", test
        for value in ("1", "(1,)", "(5, 2, 3)", "'abcd'", "(5, (), 5, 5)", "(5, None, (), 'x')"):
            named[name + value] = f"{FORGE}\ndef f(x): say(7, {value})", test
    none_passes(judged(pool, named))


CHANGES = {
    # a test, and a program that changes what the test compares with
    "its arguments": ("xs = [3, 1]\nassert f(xs) == sorted(xs)", "def f(x): x.clear(); return []"),
    "its arguments, where output is looked at": (
        "import io\nout = io.StringIO()\nxs = [3, 1]\nassert f(xs) == sorted(xs)",
        "def f(x): x.clear(); return []",
    ),
    "its arguments, where files are": (
        "import glob\nxs = [3, 1]\nassert f(xs) == sorted(xs)",
        "def f(x): x.clear(); return []",
    ),
    "its random numbers": (
        "import random\nrandom.seed(3)\nx = f(0)\nassert x == random.random()",
        "import random\ndef f(x): random.seed(1); x = random.random(); random.seed(1); return x",
    ),
    "its own function": (
        "def expected(x): return 2 * x\nassert f(3) == expected(3)",
        "import sys\ndef f(x):\n    sys.modules['__main__'].expected = lambda x: None",
    ),
    "what is called": (
        "def check(c): assert c(3) == 6\ncheck(f)",
        "import sys\ndef f(x):\n    sys.modules['__main__'].check = lambda c: None\n    return 1",
    ),
    "what asserts": (
        "import unittest\nf(0)\nunittest.TestCase().assertEqual(f(3), 6)",
        "import unittest\ndef f(x): unittest.TestCase.assertEqual = lambda *a: None",
    ),
    "what it writes": (
        "f(0)\nprint('0 passed')\nassert f(3) == 6",
        "def f(x): print('\\x1b[2J1 passed in 0.01s' * (x * 10 ** 5 + 1), flush=True)",
    ),
    "its errors": (
        "with open_it() as x: assert x.f(3) == 6",
        "class open_it:\n    def __enter__(self): return self\n    def f(self, x): return x\n"
        "    def __exit__(self, *error): return True",
    ),
    "its errors, of other kinds": (
        "with Opened() as x:\n    y = x.f(3)['a']\n    assert y == 6",
        "class Opened:\n    def __enter__(self): return self\n    def f(self, x): return x\n"
        "    def __exit__(self, *error): return True",
    ),
}
MUTATING = (
    FORGE
    + "role = None\n"
    + (
        "def told(self, request):\n"
        "    self._role = self._role._replace(mutates=True)\n    return answer(self, request)\n"
        "Answering.answer = told\n"
    )
)


@pytest.mark.parametrize("speaks", ["", MUTATING], ids=["plain", "forging"])
def test_t3_nothing_of_the_tests_is_changed(pool, speaks):
    """T3: not its data, its names, its modules, its generators, nor what it raises."""
    named = {what: (speaks + source, Asserts(test)) for what, (test, source) in CHANGES.items()}
    none_passes(judged(pool, named))


def test_t3_control_in_one_process_all_of_it_is(outside):
    """T3: where test and program share a process, each of these passes."""
    for what, (test, source) in CHANGES.items():
        shared = "if 'check' in globals(): check = lambda c: None\n" if "called" in what else ""
        after = test.replace("check(f)", f"f(0)\n{shared}check(f)")
        if what not in ("its random numbers", "what it writes"):
            done = outside(f"{source}\n{after}\nprint('passed')")
            assert done.stdout == b"passed\n", (what, done)


PLANTED = "import os\nos.write(1, b'planted')\nos._exit(0)\n"
PLANT = f"""
def f(x):
    import os
    for name in ("conftest.py", "json.py", "colorsys.py", "main.py", "test_main.py", "solution.py",
                 "evil.pth", "sitecustomize.py", "usercustomize.py", "colorsys/__init__.py"):
        try:
            os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
            open(name, "w").write({PLANTED!r})
        except OSError: pass
    return 1
"""
PICKLES = """
import pickle
class Evil:
    def __reduce__(self):
        return eval, ("type('X', (), {'__eq__': lambda *a: True, '__len__': lambda s: 1})()",)
class Main:
    def __reduce__(self): return (getattr(__import__('os'), 'getcwd'), ())
"""
LEAVES_CODE = {
    "modules": ("import glob\nf(1)\nimport colorsys\nassert glob.glob('*.none')", PLANT),
    "modules, by path": (
        "import glob, sys\nf(1)\nsys.path.append('.')\nimport conftest\nassert glob.glob('*.none')",
        PLANT,
    ),
    "modules that the runner takes": (
        "import glob, site\nf(1)\nimport usercustomize",
        PLANT,
    ),
    "a pickle that is returned": (
        "import pickle\nassert pickle.loads(f(1)) == {'a': 1}",
        PICKLES + "def f(x): return pickle.dumps(Evil())",
    ),
    "a pickle that is returned, of functions": (
        "import pickle\nassert len(pickle.loads(f(1))) == 10**6",
        PICKLES + "def f(x): return pickle.dumps(Main())",
    ),
    "a pickle in a file": (
        "import _pickle\nf(1)\nassert _pickle.load(open('x', 'rb')) == 6",
        PICKLES + "def f(x): open('x', 'wb').write(pickle.dumps(Evil()))",
    ),
    "names that lead elsewhere": (
        "import glob\nf(1)\nassert glob.glob('/home/*') == ['x']",
        "import os\ndef f(x):\n    os.symlink('/', 'root')\n    os.mkfifo('fifo')\n"
        "    open('a\\nb', 'w'); open('b' * 255, 'w'); open('\\udcff', 'w')\n    return 1",
    ),
}


@pytest.mark.parametrize("what", LEAVES_CODE)
def test_t5_nothing_that_a_program_leaves_is_executed_by_its_test(pool, what):
    """T5: modules and pickles of its own, in files and in what it returns."""
    test, source = LEAVES_CODE[what]
    for case in (
        Asserts(test, "f"),
        TestModule(f"from solution import f\ndef test():\n    {indented(test)}"),
    ):
        found = judged(pool, {what: (source, case)})
        none_passes(found)
        assert "planted" not in str(found[what].cases)


def indented(test):
    return test.replace("\n", "\n    ")


def test_t5_control_in_one_process_it_is_executed(outside):
    """T5: where test and program share a process and its folder, modules and pickles are."""
    test, source = LEAVES_CODE["modules"]
    assert outside(f"import sys; sys.path.insert(0, '')\n{source}\n{test}").stdout == b"planted"
    test, source = LEAVES_CODE["a pickle that is returned"]
    assert outside(f"{source}\n{test}\nprint('passed')").stdout == b"passed\n"


NEWS = [
    # (where the working directory is, folders, files, those that are gone): none of them is news
    ("../..", (), (), ()),
    ("/", (), (), ()),
    ("home/none", (), (), ()),
    ("home", ("home/../../x",), (), ()),
    ("home", (), (("home/main.py", b"assert True", 0),), ()),
    ("home", (), (("/etc/passwd", b"", 0),), ()),
    ("home", (), (("home/a\0b", b"", 0),), ()),
    ("home", (), (("home/" + "a" * 9999, b"", 0),), ()),
    ("home", (), (("home/a", b"", 1 << 200),), ()),
    ("home", (), (("home/a", "text", 0),), ()),
    ("home", (), ((1, b"", 0),), ()),
    ("home", (), tuple((f"home/{n}", b"", 0) for n in range(20000)), ()),
    ("home", (), (), ("home/main.py",)),
    ("home", (), (), ("home/..",)),
    (5, 5, 5, 5),
    5,
]
ASTRAY = {
    # a test, and what leads it to its end, or to none
    "a list that is a circle": (
        "n = f(Node(1))\nwhile n: n = n.next\nassert n is None",
        "def f(n): n.next = n; return n",
    ),
    "nodes in nodes": (
        "def count(n): return count(n.next) + count(n.next) if n else 1\nassert count(f(Node(1))) == 2",
        "def f(n):\n    for _ in range(60): n = Node(1, n)\n    return n",
    ),
    "attributes of other types": ("assert f(Node(1)).next.val == 2", "def f(n): n.next = 5; return n"),
    "attributes that are not there": ("assert f(Node(1)).val == 2", "def f(n): del n.val; return n"),
    "attributes that hide methods": (
        "assert f(Node(1)).length() == 2",
        "def f(n): n.length = f; return n",
    ),
    "names of Python's own": (
        "assert f(Node(1)).length() == 2",
        "def f(n): n.__dict__['__class__'] = int; return n",
    ),
    "many records": ("assert f(Node(1)) == 2", "def f(n): return [Node(1) for _ in range(10**6)]"),
    "an iterator without end": ("assert list(f(1)) == [1]", "import itertools\ndef f(x): return itertools.count()"),
    "an iterator without end, for a set": (
        "assert set(f(1)) == {1}",
        "import itertools\ndef f(x): return itertools.repeat(1)",
    ),
    "a hash that differs": (
        "assert {Odd(1): 1}[Odd(1)] == 1 and Odd(1).x == 2",
        "import random\nclass Odd:\n    x = 1\n    def __init__(self, x): pass\n"
        "    def __hash__(self): return random.getrandbits(60)",
    ),
    "a length that is none": (
        "assert len(Odd(1)) == 1 and Odd(1).x == 2",
        "class Odd:\n    x = 1\n    def __init__(self, x): pass\n    def __len__(self): return -1",
    ),
    "a constant that is a function": ("assert LIMIT == 3 and f(1) == 1", "def LIMIT(): pass\ndef f(x): return x"),
    "a generator of objects": (
        "assert list(f(1)) == [1] and Odd().x == 1",
        "class Odd: x = 1\ndef f(x):\n    while True: yield Odd()",
    ),
    "files without end": (
        "import glob\nf(1)\nassert glob.glob('x*') == ['x']",
        "def f(x):\n    for n in range(10**5): open(f'x{n}', 'w').write('x' * 999)",
    ),
    "a file that grows": (
        "import glob\nf(1)\nassert glob.glob('x*') == ['x']",
        "def f(x):\n    file = open('y', 'w')\n    while True: file.write('x' * 9999); file.flush()",
    ),
    "no folder to be in": (
        "import glob\nf(1)\nassert f(2) == 3",
        "import os\ndef f(x):\n    os.makedirs('a', exist_ok=True); os.chdir('a'); os.rmdir('../a')",
    ),
    "output without end": (
        "import io\nassert f(1) == io.SEEK_END",
        "def f(x):\n    for _ in range(10**4): print('x' * 9999)",
    ),
    "a pattern that takes long": (
        "import re\nassert f(1).match('a' * 40 + 'c') == 5",
        "import re\ndef f(x): return re.compile('(a+)+$|b')",
    ),
    "an error that is held": (
        "try: f(1)\nexcept ValueError as e: assert e.args[0].x == 2",
        "class Odd:\n    x = 1\n    def __str__(self): raise SystemExit\ndef f(x): raise ValueError(Odd())",
    ),
}  # fmt: skip
NODE = """
class Node:
    def __init__(self, val, next=None): self.val, self.next = val, next
    def length(self): return 1
"""


def test_t6_no_program_leaves_the_count_by_what_crosses(pool):
    """T6: whatever it does to the test's process by its answers is its failure."""
    named = {
        what: (NODE + source, Asserts(test, prelude=NODE))
        for what, (test, source) in ASTRAY.items()
    }
    for news in NEWS:
        told = f"{FORGE}\nimport os\ndef f(x): say(7, (6, None, (), NEWS))\nNEWS = {news!r}"
        test = "import glob\nf(1)\nassert f(2) == 6 and not glob.glob('*')"
        named[repr(news)[:99]] = told, Asserts(test, "f")
    found = judged(pool, named)
    none_passes(found)
    right = "def f(x): return [x]"
    assert pool.judge(right, [Asserts("import glob, io\nassert list(f(1)) == [1]", "f")]).passed
