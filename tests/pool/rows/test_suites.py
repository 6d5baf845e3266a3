"""Rows whose tests are modules: of the shapes of KodCode, BigCodeBench and ClassEval."""

import pytest
from conftest import lasting_pool

from interpreter_pool.pool import read_row
from interpreter_pool.pool.judge.plan import judging_limits
from interpreter_pool.pool.rows.suites import PATCHES, PLOTS, RUNS


@pytest.fixture(scope="module")
def pool(tier):
    yield from lasting_pool(tier)


def verdict_of(pool, row, code):
    reading = read_row(row, code)
    assert reading.cases, reading.why
    (verdict,) = pool.judge_many([reading.item(code, judging_limits(pool.limits, None, None))])
    return verdict


KODCODE = {
    # name: solution, test, a solution that is wrong
    "functions": (
        "def add(a, b):\n    return a + b",
        "from solution import add\n\ndef test_add():\n    assert add(1, 2) == 3\n\n"
        "def test_text():\n    assert add('a', 'b') == 'ab'",
        "def add(a, b):\n    return 3",
    ),
    "parametrized": (
        "def is_prime(n):\n    return n > 1 and all(n % k for k in range(2, int(n**0.5) + 1))",
        "import pytest\nfrom solution import is_prime\n\n"
        "@pytest.mark.parametrize('n, expected', [(1, False), (2, True), (9, False), (97, True)])\n"
        "def test_prime(n, expected):\n    assert is_prime(n) is expected",
        "def is_prime(n):\n    return n > 1 and n % 2 == 1 or n == 2",
    ),
    "errors": (
        "def root(x):\n    if x < 0:\n        raise ValueError('negative: %d' % x)\n    return x ** 0.5",
        "import pytest\nfrom solution import root\n\ndef test_error():\n"
        "    with pytest.raises(ValueError, match='negative') as caught:\n        root(-1)\n"
        "    assert str(caught.value) == 'negative: -1'\n\n"
        "def test_value():\n    assert root(2) == pytest.approx(1.41421356)",
        "def root(x):\n    return x ** 0.5 if x > 0 else None",
    ),
    "a class": (
        "class Stack:\n    def __init__(self):\n        self._items = []\n"
        "    def push(self, item):\n        self._items.append(item)\n"
        "    def pop(self):\n        if not self._items:\n            raise IndexError('empty')\n"
        "        return self._items.pop()\n    def __len__(self):\n        return len(self._items)",
        "import pytest\nfrom solution import Stack\n\n@pytest.fixture\ndef stack():\n    s = Stack()\n"
        "    s.push(1)\n    s.push(2)\n    return s\n\ndef test_order(stack):\n"
        "    assert len(stack) == 2\n    assert stack.pop() == 2 and stack.pop() == 1\n"
        "    with pytest.raises(IndexError):\n        stack.pop()",
        "class Stack:\n    def __init__(self): self._items = []\n"
        "    def push(self, item): self._items.append(item)\n"
        "    def pop(self): return self._items.pop(0)\n    def __len__(self): return len(self._items)",
    ),
    "nodes of the program's": (
        "class Node:\n    def __init__(self, value, next=None):\n        self.value = value\n"
        "        self.next = next\n\ndef reverse(head):\n    before = None\n    while head:\n"
        "        head.next, before, head = before, head, head.next\n    return before",
        "from solution import Node, reverse\n\ndef values(node):\n    found = []\n"
        "    while node is not None:\n        found.append(node.value)\n        node = node.next\n"
        "    return found\n\ndef test_reverse():\n    assert values(reverse(Node(1, Node(2, Node(3))))) "
        "== [3, 2, 1]\n    assert reverse(None) is None",
        "class Node:\n    def __init__(self, value, next=None): self.value, self.next = value, next\n"
        "def reverse(head): return head",
    ),
    "errors of its own": (
        "class LimitError(Exception):\n    def __init__(self, limit):\n"
        "        super().__init__(f'limit {limit}')\n        self.limit = limit\n\n"
        "def take(n):\n    if n > 3:\n        raise LimitError(3)\n    return n",
        "import pytest\nimport solution\n\ndef test_limit():\n"
        "    with pytest.raises(solution.LimitError) as info:\n        solution.take(4)\n"
        "    assert info.value.limit == 3\n    assert solution.take(3) == 3",
        "class LimitError(Exception): pass\ndef take(n):\n    if n > 3: raise LimitError(4)\n    return n",
    ),
    "several names": (
        "MOST = 10\n\ndef clamp(x):\n    return min(max(x, 0), MOST)\n\ndef scale(x):\n    return 2 * clamp(x)",
        "from solution import *\n\ndef test_all():\n    assert clamp(99) == MOST == 10\n"
        "    assert scale(-1) == 0 and scale(3) == 6",
        "MOST = 10\ndef clamp(x): return x\ndef scale(x): return 2 * x",
    ),
    "files": (
        "import json\n\ndef save(path, data):\n    with open(path, 'w') as file:\n"
        "        json.dump(data, file)\n\ndef load(path):\n    with open(path) as file:\n"
        "        return json.load(file)",
        "import json\nfrom solution import load, save\n\ndef test_files(tmp_path):\n"
        "    path = tmp_path / 'data.json'\n    save(path, {'a': [1, 2]})\n"
        "    assert json.loads(path.read_text()) == {'a': [1, 2]}\n"
        "    path.write_text('[3]')\n    assert load(str(path)) == [3]",
        "import json\ndef save(path, data): open(path, 'w').write('{}')\ndef load(path): return [3]",
    ),
    "output": (
        "def greet(name):\n    print(f'Hello, {name}!')",
        "from solution import greet\n\ndef test_greet(capsys):\n    greet('Ann')\n"
        "    assert capsys.readouterr().out == 'Hello, Ann!\\n'",
        "def greet(name):\n    print('Hello!')",
    ),
    "coroutines": (
        "import asyncio\n\nasync def double(x):\n    await asyncio.sleep(0)\n    return 2 * x",
        "import asyncio\nimport pytest\nfrom solution import double\n\n"
        "@pytest.mark.asyncio\nasync def test_double():\n    assert await double(2) == 4\n\n"
        "def test_many():\n    async def both():\n        return await asyncio.gather(double(1), double(3))\n"
        "    assert asyncio.run(both()) == [2, 6]",
        "async def double(x):\n    return x + 2",
    ),
    "generators": (
        "def countdown(n):\n    while n:\n        yield n\n        n -= 1",
        "from solution import countdown\n\ndef test_all():\n    assert list(countdown(3)) == [3, 2, 1]\n"
        "    it = countdown(2)\n    assert next(it) == 2",
        "def countdown(n):\n    return iter([3, 2, 1])",
    ),
    "a class of tests": (
        "class Account:\n    def __init__(self, balance=0):\n        self.balance = balance\n"
        "    def deposit(self, amount):\n        if amount <= 0:\n            raise ValueError('amount')\n"
        "        self.balance += amount\n        return self.balance",
        "import pytest\nfrom solution import Account\n\nclass TestAccount:\n"
        "    def setup_method(self):\n        self.account = Account(10)\n\n"
        "    def test_deposit(self):\n        assert self.account.deposit(5) == 15\n"
        "        assert self.account.balance == 15\n\n    @pytest.mark.parametrize('amount', [0, -1])\n"
        "    def test_wrong(self, amount):\n        with pytest.raises(ValueError):\n"
        "            self.account.deposit(amount)",
        "class Account:\n    def __init__(self, balance=0): self.balance = balance\n"
        "    def deposit(self, amount):\n        self.balance += amount\n        return self.balance",
    ),
    "dates and fractions": (
        "from datetime import date, timedelta\nfrom fractions import Fraction\n\n"
        "def later(day, n):\n    return day + timedelta(days=n)\n\ndef half(x):\n    return Fraction(x, 2)",
        "from datetime import date\nfrom fractions import Fraction\nfrom solution import later, half\n\n"
        "def test_both():\n    assert later(date(2024, 2, 28), 2) == date(2024, 3, 1)\n"
        "    assert half(3) == Fraction(3, 2)",
        "from fractions import Fraction\ndef later(day, n): return day\ndef half(x): return Fraction(x)",
    ),
    "seeds": (
        "import random\n\ndef draw(n):\n    return [random.randint(1, 6) for _ in range(n)]",
        "import random\nfrom solution import draw\n\ndef test_seeded():\n    random.seed(7)\n"
        "    expected = [random.randint(1, 6) for _ in range(5)]\n    random.seed(7)\n"
        "    assert draw(5) == expected",
        "def draw(n):\n    return [1] * n",
    ),
}


@pytest.mark.parametrize("name", KODCODE)
def test_rows_of_kodcodes_shape_are_judged(pool, name):
    solution, test, wrong = KODCODE[name]
    row = {"question": "?", "solution": solution, "test": test, "style": "instruct"}
    verdict = verdict_of(pool, row, solution)
    assert verdict.passed, verdict.cases
    failed = verdict_of(pool, row, wrong)
    assert failed.score == 0 and failed.conclusive, failed.cases
    nothing = verdict_of(pool, row, "pass")
    assert nothing.score == 0 and nothing.conclusive, nothing.cases


UNITTEST = """
import unittest

class TestCases(unittest.TestCase):
    def setUp(self):
        self.data = [3, 1, 2]
    def test_case_1(self):
        self.assertEqual(task_func(self.data), math.fsum([1, 2, 3]))
    def test_case_2(self):
        with self.assertRaises(ValueError):
            task_func([])
"""
PROMPT = '''import math

def task_func(numbers):
    """Add numbers; raise ValueError if there are none."""
'''


def test_rows_of_bigcodebenchs_shape_are_judged(pool):
    """Their tests take the prompt's imports for granted."""
    row = {"complete_prompt": PROMPT, "test": UNITTEST, "entry_point": "task_func"}
    code = "def task_func(numbers):\n    if not numbers: raise ValueError\n    return math.fsum(numbers)"
    assert verdict_of(pool, row, code).passed
    assert verdict_of(pool, row, "def task_func(numbers): return 6.0").score == 0


def test_rows_of_classevals_shape_are_judged(pool):
    """Their tests take the solution's imports for granted, and change what attributes hold."""
    solution = (
        "from collections import Counter\n\nclass Bag:\n    def __init__(self):\n        self.items = {}\n"
        "    def count(self):\n        return Counter(self.items.values())"
    )
    test = (
        "import unittest\n\nclass BagTestCount(unittest.TestCase):\n    def test_count(self):\n"
        "        bag = Bag()\n        bag.items['a'] = 1\n        held = bag.items\n        held['b'] = 1\n"
        "        self.assertEqual(bag.count(), Counter([1, 1]))\n        held['c'] = 2\n"
        "        self.assertEqual(bag.items, {'a': 1, 'b': 1, 'c': 2})\n"
    )
    row = {"class_name": "Bag", "solution": solution, "test": test}
    assert verdict_of(pool, row, solution).passed


@pytest.mark.parametrize(
    "line, why",
    [
        ("@patch('solution.f')\ndef test_f(m): f()", PATCHES),
        ("def test_f(monkeypatch):\n    monkeypatch.setattr('time.time', int)\n    f()", PATCHES),
        ("def test_f():\n    m = MagicMock()\n    f(m)", PATCHES),
        ("def test_f():\n    ax = f()\n    assert ax.get_title() == 'a'", PLOTS),
        ("import pickle\ndef test_f(tmp_path):\n    assert pickle.load(open(f(), 'rb'))", RUNS),
        ("class Own(F):\n    pass\ndef test_f(): Own().x()\nF().y", "derive a class from F"),
        ("def test_f(): assert f(lambda x: x) == 1", "pass a lambda to f"),
    ],
)
def test_what_can_not_be_judged_is_told_from_the_text(line, why):
    reading = read_row({"test": f"from solution import f, F\n{line}", "style": "x"})
    assert not reading.cases and why in reading.why


def test_a_module_that_leaves_before_its_tests_are_run_is_not_passed(pool):
    """Though pytest.main, which it calls, does nothing here."""
    test = "import sys\nimport pytest\nfrom solution import f\nx = f()\ndef test_f(): assert f() == 1\n"
    row = {"test": test, "style": "x"}
    assert verdict_of(pool, row, "def f(): return 1").passed
    row["test"] += "sys.exit(pytest.main())"
    verdict = verdict_of(pool, row, "def f(): return 2")
    assert verdict.score == 0 and verdict.cases[0].reason == "incomplete"


def test_output_that_is_captured_by_a_patch_is_judged(pool):
    test = (
        "import io, unittest\nfrom unittest.mock import patch\nfrom solution import f\n"
        "class T(unittest.TestCase):\n    @patch('sys.stdout', new_callable=io.StringIO)\n"
        "    def test_f(self, out):\n        f()\n        self.assertEqual(out.getvalue(), 'a\\n')\n"
    )
    row = {"test": test, "style": "x"}
    assert verdict_of(pool, row, "def f(): print('a')").passed
    assert verdict_of(pool, row, "def f(): print('b')").score == 0
