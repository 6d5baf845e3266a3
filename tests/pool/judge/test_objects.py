"""Objects between a test and a program: records, handles, exceptions, iterators, what is printed."""

import pytest
from conftest import lasting_pool

from interpreter_pool import Asserts, TestModule
from interpreter_pool.pool.judge import Outcome


@pytest.fixture(scope="module")
def pool(tier):
    yield from lasting_pool(tier)


@pytest.fixture
def judge(pool):
    """Judge one program by one case; return how it went."""

    def judge(source, case, **options):
        (result,) = pool.judge(source, [case], **options).cases
        assert result.outcome != Outcome.INFRA_ERROR, result
        return result

    return judge


NODES = """
class ListNode:
    def __init__(self, val=0, next=None):
        self.val = val
        self.next = next

class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val, self.left, self.right = val, left, right

def list_node(values):
    head = last = ListNode(0)
    for value in values:
        last.next = last = ListNode(value)
    return head.next

def values(node):
    found = []
    while node:
        found.append(node.val)
        node = node.next
    return found
"""
REVERSE = (
    NODES
    + """
class Solution:
    def reverse(self, head):
        before = None
        while head:
            head.next, before, head = before, head, head.next
        return before
"""
)


@pytest.mark.parametrize("length", [0, 1, 5, 100_000])
def test_lists_of_nodes_cross_however_long(judge, length):
    """As records: each side has its own class; nothing recurses."""
    test = f"assert values(candidate(list_node(range({length})))) == list(range({length}))[::-1]"
    case = Asserts(f"def check(candidate):\n    {test}", "Solution().reverse", NODES)
    result = judge(REVERSE, case)
    assert result.passed, result


RECORDS = [
    # what the program does with what it is given; what the test looks at
    (
        "def f(x): return x",
        "n = ListNode(3); n.next = n\nm = f(n)\nassert m.next is m and m is not n",
    ),
    ("def f(x): return [x, x]", "a, b = f(ListNode(1))\nassert a is b and type(a) is ListNode"),
    (
        "def f(x): return TreeNode(x.val, x.right, x.left)",
        "t = f(TreeNode(1, TreeNode(2), TreeNode(3)))\n"
        "assert (t.val, t.left.val, t.right.val, t.left.left) == (1, 3, 2, None)",
    ),
    (
        "def f(x): return {'a': x, 1: [x.next]}",
        "d = f(list_node([1, 2]))\nassert d[1][0] is d['a'].next",
    ),
    (
        "class ListNode:\n"
        "    def __init__(self, v, n=None): self.val, self.next, self.more = v, n, 'own'\n"
        "def f(x): return ListNode(x.val + 1)",
        "n = f(ListNode(1))\nassert n.val == 2 and n.more == 'own' and type(n) is ListNode",
    ),
    ("def f(x): return x.__class__.__name__", "assert f(ListNode(1)) == 'ListNode'"),
]


@pytest.mark.parametrize("source, test", RECORDS)
def test_instances_of_the_preludes_classes_cross_as_records(judge, source, test):
    """With shared references and cycles; a program may have its own class of that name."""
    result = judge(NODES + source, Asserts(test, "f", NODES))
    assert result.passed, result


SLOTS = """
import dataclasses
@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 0
    def norm(self): return abs(self.x) + abs(self.y)
"""


def test_frozen_records_with_slots_cross(judge):
    case = Asserts("p = f(Point(1, 2))\nassert p == Point(2, 1) and p.norm() == 3", "f", SLOTS)
    assert judge(SLOTS + "def f(p): return Point(p.y, p.x)", case).passed


STACK = """
class Empty(ValueError):
    def __init__(self, name):
        super().__init__(f"{name} is empty")
        self.name = name

class Stack:
    LIMIT = 3
    made = 0
    def __init__(self, items=(), name="stack"):
        self.items = list(items)
        self.name = name
        Stack.made += 1
    def push(self, item):
        self.items.append(item)
        return self
    def pop(self):
        if not self.items:
            raise Empty(self.name)
        return self.items.pop()
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(self.items)
    def __contains__(self, item): return item in self.items
    def __getitem__(self, at): return self.items[at]
    def __setitem__(self, at, item): self.items[at] = item
    def __delitem__(self, at): del self.items[at]
    def __eq__(self, other): return isinstance(other, Stack) and self.items == other.items
    def __lt__(self, other): return len(self) < len(other)
    def __hash__(self): return hash(tuple(self.items))
    def __add__(self, other): return Stack(self.items + list(other))
    def __mul__(self, times): return Stack(self.items * times)
    def __bool__(self): return bool(self.items)
    def __str__(self): return f"<{self.name}>"
    def __repr__(self): return f"Stack({self.items})"
    def __format__(self, spec): return f"{self.name:{spec}}"
    def __enter__(self): return self
    def __exit__(self, kind, error, traceback):
        self.items.clear()
        return kind is KeyError
    def __call__(self, x): return x + len(self)
    @property
    def top(self): return self.items[-1]
    @classmethod
    def of(cls, *items): return cls(items)
    @staticmethod
    def double(x): return 2 * x
    def _Stack__secret(self): return 42
    def each(self):
        for item in self.items: yield item
    async def later(self): return len(self)

class Big(Stack): pass

def fresh(): return Stack([1])
LIMITS = {"most": 3}
"""

HANDLES = [
    "s = Stack([1, 2])\nassert s.pop() == 2 and s.items == [1] and s.top == 1 and len(s) == 1",
    "s = Stack()\ntry: s.pop()\nexcept Empty as e: assert e.name == 'stack' and str(e) == 'stack is empty'\n"
    "else: assert False",
    "s = Stack()\ntry: s.pop()\nexcept ValueError as e: assert isinstance(e, Empty)\nelse: assert False",
    "s = Stack([1, 2])\nassert 1 in s and 3 not in s and list(s) == [1, 2] and s[0] == 1 and s[-1] == 2",
    "s = Stack([1, 2])\ns[0] = 5\ndel s[1]\ns.name = 'mine'\nassert s.items == [5] and str(s) == '<mine>'\n"
    "assert f'{s:>6}' == '  mine' and repr(s) == 'Stack([5])'",
    "s = Stack([1])\nassert s.push(2) is s and s.items == [1, 2]",
    "assert Stack([1]) == Stack([1]) and Stack([1]) != Stack([2])\nassert Stack.double(2) == 4",
    "assert isinstance(Stack(), Stack) and not isinstance(Stack(), int)\nassert Stack([3]).top == 3",
    "assert Stack.LIMIT == 3\nStack.LIMIT = 4\nassert Stack.LIMIT == 4 and Stack().LIMIT == 4",
    "s = Stack.of(1, 2)\nassert type(s) is Stack and s.items == [1, 2] and Stack.double(4) == 8",
    "s = Stack([1]) + Stack([2]) * 2\nassert s.items == [1, 2, 2]",
    "assert sorted([Stack([1, 2]), Stack([1])])[0].items == [1]",
    "assert not Stack() and Stack([1]) and Stack([0]).items == [0]",
    "assert len({Stack([1]), Stack([1]), Stack([2])}) == 2 and Stack([1]).top == 1",
    "with Stack([1]) as s:\n    assert s.items == [1]\nassert s.items == []",
    "s = Stack([1])\nwith s:\n    raise KeyError\nassert s.items == []",
    "assert Stack([1])(3) == 4 and Stack([1]).top == 1",
    "assert Stack([1])._Stack__secret() == 42",
    "assert list(Stack([1, 2]).each()) == [1, 2] and next(Stack([5]).each()) == 5",
    "import asyncio\nassert asyncio.run(Stack([1]).later()) == 1",
    "import copy\ns = Stack([1])\nt = copy.deepcopy(s)\nt.push(2)\nassert s.items == [1] and t.items == [1, 2]",
    "b = Big([1])\nassert isinstance(b, Big) and isinstance(b, Stack) and type(b) is Big and b.top == 1\n"
    "assert issubclass(Big, Stack) and not issubclass(Stack, Big) and Stack([2]).top == 2",
    "s = Stack([1])\nassert hasattr(s, 'top') and not hasattr(s, 'bottom') and getattr(s, 'x', 7) == 7",
    "s = fresh()\nassert s.items == [1] and isinstance(s, Stack)",
    "assert LIMITS == {'most': 3} and LIMITS['most'] == 3 and Stack([1]).top == 1",
    "s = Stack([1])\nt = Stack([s])\nassert t.pop() is s and s.items == [1]",
    "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        s = Stack([1])\n"
    "        self.assertEqual(s.pop(), 1)\n        self.assertIsInstance(s, Stack)\n"
    "        self.assertRaises(Empty, s.pop)\n"
    "assert unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(T))"
    ".wasSuccessful()",
]


@pytest.mark.parametrize("test", HANDLES)
def test_instances_of_the_programs_classes_are_held_by_handles(judge, test):
    """A test does with them what it does where it shares a process with them."""
    exec(STACK + test, {"__name__": "both"})
    case = Asserts(test)
    result = judge(STACK, case)
    assert result.passed and not result.weak, result


KINDS_OF_DATA = """
import collections, enum
class Color(enum.Enum):
    RED = 1
    BLUE = 2
class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2
Point = collections.namedtuple("Point", "x y")
class Bag(dict):
    def total(self): return sum(self.values())
def point(): return Point(1, 2)
"""


@pytest.mark.parametrize(
    "test",
    [
        "assert Color.RED.value == 1 and Color.RED is Color.RED and Color(2) is Color.BLUE",
        "assert Color['RED'] == Color.RED and [c.name for c in Color] == ['RED', 'BLUE'] and len(Color) == 2",
        "assert Level.LOW == 1 and Level.HIGH > 1 and Level.LOW + 1 == 2 and Level.LOW < Level.HIGH",
        "p = Point(1, 2)\nassert p.x == 1 and p == (1, 2) and p[1] == 2 and isinstance(p, Point)\nx, y = p",
        "p = point()\nassert p.y == 2 and p == (1, 2) and isinstance(p, Point)",
        "b = Bag(a=1)\nb['b'] = 2\nassert b.total() == 3 and b == {'a': 1, 'b': 2} and 'a' in b",
    ],
)
def test_classes_derived_from_plain_data_are_that_as_well(judge, test):
    exec(KINDS_OF_DATA + test, {"__name__": "both"})
    assert judge(KINDS_OF_DATA, Asserts(test)).passed


@pytest.mark.parametrize(
    "source, test",
    [
        (
            "def f(x):\n    yield x\n    yield 2 * x",
            "assert list(f(2)) == [2, 4]\ng = f(1)\nassert next(g) == 1",
        ),
        (
            "def f(x):\n    while True: yield x",
            "import itertools\nassert list(itertools.islice(f(1), 3)) == [1] * 3",
        ),
        (
            "def f(x): return map(str, x)",
            "assert list(f([1, 2])) == ['1', '2'] and ''.join(f([3])) == '3'",
        ),
        ("async def f(x): return 2 * x", "import asyncio\nassert asyncio.run(f(2)) == 4"),
        (
            "async def f(x): return 2 * x",
            "import asyncio\nasync def main(): return await asyncio.gather(f(1), f(2))\n"
            "assert asyncio.run(main()) == [2, 4]",
        ),
        (
            "import json\ndef f(x): return json.loads(x)",
            "import json\ntry: f('{')\nexcept json.JSONDecodeError: pass\nelse: assert 0",
        ),
        (
            "def f(x): raise KeyError(x)",
            "try: f('a')\nexcept KeyError as e: assert e.args == ('a',)\nelse: assert 0",
        ),
    ],
)
def test_what_is_taken_one_after_the_other_crosses(judge, source, test):
    assert judge(source, Asserts(test, "f")).passed


def test_a_test_sees_what_a_call_prints(judge):
    test = (
        "import io, contextlib\nout = io.StringIO()\n"
        "with contextlib.redirect_stdout(out):\n    assert f('a') == 1\n"
        "assert out.getvalue() == 'a\\nb\\n', out.getvalue()"
    )
    source = "print('loaded')\ndef f(x):\n    print(x)\n    print('b')\n    return 1"
    result = judge(source, Asserts(test, "f"))
    assert result.passed, result
    wrong = judge(source.replace("'b'", "'c'"), Asserts(test, "f"))
    assert wrong.reason == "assertion"


MUTATING = [
    ("def f(x): x.sort()", "x = [3, 1]\nf(x)\nassert x == [1, 3]"),
    (
        "def f(x): x['a'].append(2); del x['b']",
        "x = {'a': [1], 'b': 0}\ny = x['a']\nf(x)\nassert x == {'a': [1, 2]} and y is x['a'] and y == [1, 2]",
    ),
    ("def f(x): x.clear(); x.add(5)", "x = {1}\nf(x)\nassert x == {5}"),
    ("def f(*, k): k.append(1)", "k = []\nf(k=k)\nassert k == [1]"),
    (
        NODES + "def f(head):\n    a = head\n    a.next.next, a.next = a, None",
        "a = list_node([1, 2])\nb = a.next\nf(a)\nassert b.next is a and a.next is None",
    ),
    (
        "def f(m):\n    for row in m: row.reverse()",
        "m = [[1, 2], [3, 4]]\nf(m)\nassert m == [[2, 1], [4, 3]]",
    ),
]


@pytest.mark.parametrize("source, test", MUTATING)
def test_changes_of_arguments_come_back_only_where_the_case_says_so(judge, source, test):
    assert judge(source, Asserts(test, "f", NODES, mutates=True)).passed
    assert not judge(source, Asserts(test, "f", NODES)).passed


def test_the_names_are_those_that_the_test_lacks():
    names = dict(Asserts("assert f(2) == g(LIMIT)\ns = Shape(1)\nassert s.area() == 1\n").names)
    assert names == {"LIMIT": "constant", "Shape": "class", "f": "function", "g": "function"}
    module = "import solution as s\nfrom solution import Err, run as go\ndef test():\n    s.other()\n    go()\n    raise Err"
    names = dict(TestModule(module).names)
    assert names == {"Err": "error", "other": "function", "run": "function"}


VECTOR = (
    "class Vector:\n    def __init__(self, x): self.x = x\n"
    "    def __mul__(self, n): return Vector(self.x * n)\n    __rmul__ = __mul__\n"
    "    def __add__(self, o): return Vector(self.x + getattr(o, 'x', o))\n"
)


@pytest.mark.parametrize(
    "test",
    [
        "v = Vector(1)\nw = v * 3\nassert w.x == 3",
        "v = Vector(1)\nw = v\nu = 2 * w\nassert u.x == 2",
        "assert (Vector(1) + 1).x == 2",
        "v = Vector(1)\nv *= 2\nassert (v * 3).x == 6",
        "import unittest\nclass T(unittest.TestCase):\n"
        "    def setUp(self): self.v = Vector(2)\n"
        "    def test(self):\n        w = self.v * 2\n        self.assertEqual(w.x, 4)\n"
        "assert unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(T))"
        ".wasSuccessful()",
    ],
)
def test_what_a_test_makes_is_reckoned_with_data_however_it_gets_there(judge, test):
    """Its variables lead from the class to the attribute that shows it to be one."""
    result = judge(VECTOR, Asserts(test))
    assert result.passed, result


PARTS = """
class Node:
    def __init__(self, value, next=None): self.value, self.next = value, next
class Chain:
    def __init__(self, *values):
        self.head = None
        for value in reversed(values): self.head = Node(value, self.head)
    def find(self, value): return self.head
def adder(n): return lambda x: x + n
class Base:
    import sqlite3
    def __init__(self): self.connection = self.sqlite3.connect(":memory:")
"""


@pytest.mark.parametrize(
    "test",
    [
        "c = Chain(1, 2)\nassert c.head.value == 1 and c.head.next.value == 2 and c.head.next.next is None",
        "c = Chain(1, 2)\nat, found = c.head, []\nwhile at is not None:\n    found.append(at.value)\n"
        "    at = at.next\nassert found == [1, 2]",
        "c = Chain(1, 2)\nassert c.find(1).value == 1\nn = c.find(1)\nassert n.next.value == 2",
        "assert adder(3)(4) == 7\nadd = adder(1)\nassert add(1) == 2",
        "b = Base()\nassert b.connection.execute('select 1').fetchone() == (1,)\nb.connection.close()",
    ],
)  # fmt: skip
def test_what_a_test_takes_for_an_object_may_be_one(judge, test):
    """By its text: it looks for attributes of a part, or calls what a call returns."""
    exec(PARTS + test, {"__name__": "both"})
    result = judge(PARTS, Asserts(test))
    assert result.passed and not result.weak, result


@pytest.mark.parametrize(
    "test",
    [
        "p = f(3)\np.draw()\nassert abs(p - 6) < 0.1",
        "p = f(3)\np.draw()\nassert p == 6",
        "p = f(3)\np.draw()\nassert p.equals(6)",
        "p = f(3)\np.draw()\nassert 6 in p",
        "p = f(3)\np.draw()\nassert 5 < p < 7",
        "p = f(3)\np.draw()\nimport math\nassert math.isclose(p, 6)",
        "p = f(3)\np.draw()\nassert isinstance(p, (int, float))",
        "p = f(3)\np.draw()\nassert sorted([p, 6]) == [6, p]",
    ],
)
def test_such_an_object_answers_for_no_data(judge, test):
    source = (
        "class Yes:\n    def yes(self, *a, **k): return True\n"
        "    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = __contains__ = equals = draw = yes\n"
        "    def zero(self, *a): return 0.0\n    __sub__ = __rsub__ = __abs__ = __float__ = zero\n"
        "    def __iter__(self): return iter(())\n    def __hash__(self): return 6\n"
        "def f(x): return Yes()"
    )
    assert judge(source, Asserts(test, "f")).outcome == "fail"


def test_a_case_that_tests_nothing_is_refused():
    with pytest.raises(ValueError, match="entry_point: the test uses nothing that"):
        Asserts("assert True")
    with pytest.raises(ValueError, match="entry_points: the test uses nothing that"):
        TestModule("def test(): pass")
    with pytest.raises(ValueError, match="must be the name of a module"):
        TestModule("def test(): f()", "no/module")


def test_a_missing_name_is_the_programs_fault(judge):
    result = judge("def f(x): return x", Asserts("assert f(1) == g(1)"))
    assert (result.outcome, result.reason) == ("fail", "exception")
    assert "'g' is not defined" in result.detail


def test_a_test_that_only_asks_the_program_about_itself_is_weak(judge):
    """It passes, and says so."""
    source = (
        "class Vector:\n    def __init__(self, x): self.x = x\n    def __eq__(self, o): return True"
    )
    test = "assert Vector(1) == Vector(1)\nassert isinstance(Vector(2), Vector)"
    result = judge(source, Asserts(test))
    assert result.passed and result.weak and "says of itself" in result.detail
    assert not judge(source, Asserts(test + "\nassert Vector(1).x == 1")).weak
