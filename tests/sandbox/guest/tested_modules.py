"""Test modules of all kinds, and how each ends: passed, failed, or unfit (nothing of it is run: it
holds no test, skips one, or pytest itself would refuse it).
"""

PASSED, FAILED, UNFIT = "passed", "failed", "unfit"

MODULES = {
    # functions
    "one": (PASSED, "def test_one(): assert 1 + 1 == 2"),
    "one_fails": (FAILED, "def test_one(): assert 1 + 1 == 3"),
    "second_fails": (FAILED, "def test_a(): pass\ndef test_b(): raise ValueError('x')"),
    "empty": (UNFIT, "def check(): pass"),
    "no_underscore": (FAILED, "def testing(): assert 0"),
    "not_under_test": (UNFIT, "def test_a(): assert 0\ntest_a.__test__ = False"),
    "defaults_are_no_fixtures": (PASSED, "def test_a(x=3): assert x == 3"),
    "unknown_fixture": (UNFIT, "def test_a(nothing): pass"),
    "exit": (FAILED, "import sys\ndef test_a(): sys.exit(0)"),
    "module_state": (
        PASSED,
        "seen = []\ndef test_b(): seen.append(1)\ndef test_a(): assert seen == [1]",
    ),
    "lambda": (PASSED, "test_a = lambda: None"),
    "redefined": (PASSED, "def test_a(): assert 0\ndef test_a(): pass"),
    "wraps": (
        FAILED,
        """
import functools
def twice(f):
    @functools.wraps(f)
    def g(*a, **k):
        f(*a, **k)
        return f(*a, **k)
    return g
n = 0
@twice
def test_a(tmp_path):
    global n
    n += 1
    assert n < 2
""",
    ),
    "mock_patch": (
        PASSED,
        """
from unittest.mock import patch
import os
@patch("os.getcwd", return_value="/x")
@patch.object(os, "sep", "|")
def test_a(getcwd, tmp_path):
    assert os.getcwd() == "/x" and os.sep == "|" and tmp_path.exists()
class TestA:
    @patch("os.getcwd")
    def test_b(self, getcwd, tmp_path):
        getcwd.return_value = 3
        assert os.getcwd() == 3
""",
    ),
    # classes
    "class": (
        PASSED,
        """
class TestA:
    n = 0
    def test_b(self): self.n = 1
    def test_a(self): assert self.n == 0
    @staticmethod
    def test_s(): pass
    @classmethod
    def test_c(cls): assert cls is TestA
    class TestInner:
        def test_i(self): pass
""",
    ),
    "inner_class_fails": (
        FAILED,
        "class TestA:\n    class TestB:\n        def test_i(self): assert 0",
    ),
    "class_with_init": (UNFIT, "class TestA:\n    def __init__(self): pass\n    def test_a(self): pass"),
    "other_class": (UNFIT, "class Checks:\n    def test_a(self): assert 0"),
    "inherited": (
        PASSED,
        """
order = []
class Base:
    def test_base(self): order.append("base " + type(self).__name__)
    def test_both(self): assert 0
class TestA(Base):
    def test_own(self): order.append("own")
    def test_both(self): order.append("both")
class TestB(TestA): pass
def test_order():
    assert order == ["base TestA", "own", "both", "base TestB", "own", "both"], order
""",
    ),
    "xunit": (
        PASSED,
        """
log = []
def setup_module(module): log.append(module.__name__ != "")
def teardown_module(): log.append("end")
def setup_function(function): log.append(function.__name__)
def teardown_function(): log.append("-")
def test_a(): assert log == [True, "test_a"]
class TestC:
    @classmethod
    def setup_class(cls): cls.x = 1; log.append("class")
    @classmethod
    def teardown_class(cls): log.append("class end")
    def setup_method(self, method): log.append(method.__name__)
    def teardown_method(self): log.append("method end")
    def test_b(self): assert self.x == 1
    def test_c(self): pass
def test_z():
    assert log == [True, "test_a", "-", "class", "test_b", "method end", "test_c", "method end",
                   "class end", "test_z"], log
""",
    ),
    "xunit_inherited": (
        PASSED,
        """
class Base:
    def setup_method(self): self.x = 1
class TestC(Base):
    def setup_method(self): super().setup_method(); self.y = self.x + 1
    def test_b(self): assert self.y == 2
""",
    ),
    "setup_sets": (
        PASSED,
        "def setup_module(module): module.x = 1\ndef setup_function(f): f.y = 2\ndef test_a(): assert x + test_a.y == 3",
    ),
    "setup_fails": (FAILED, "def setup_module(): assert 0\ndef test_a(): pass"),
    "teardown_fails": (FAILED, "def teardown_function(): assert 0\ndef test_a(): pass"),
    "teardown_of_class_fails": (
        FAILED,
        "class TestA:\n    @classmethod\n    def teardown_class(cls): assert 0\n    def test_a(self): pass",
    ),
    "teardown_of_module_fails": (FAILED, "def teardown_module(): 1 / 0\ndef test_a(): pass"),
    # parametrize
    "parametrize": (
        PASSED,
        """
import pytest
seen = []
@pytest.mark.parametrize("x", [0, 1])
@pytest.mark.parametrize(("y", "z"), [(2, "a"), pytest.param(3, "b", id="named")])
def test_a(x, y, z, request): seen.append(request.node.name)
@pytest.mark.parametrize("a, b", [(1, [2]), (None, 1.5)], ids=["one", None])
@pytest.mark.parametrize("f", [len, dict], ids=lambda f: f.__name__.upper())
def test_b(a, b, f, request): seen.append(request.node.name)
class Own: pass
@pytest.mark.parametrize("f", [len, Own, Own(), test_a, (1,), "x" * 101, -1])
def test_d(f, request): seen.append(request.node.name)
def test_e():
    assert seen[8:] == [f"test_d[{each}]" for each in ("len", "Own", "f2", "test_a", "f4", "f5", "-1")], seen
    del seen[8:]
def test_c():
    assert seen == ["test_a[2-a-0]", "test_a[2-a-1]", "test_a[named-0]", "test_a[named-1]",
                    "test_b[LEN-one]", "test_b[LEN-None-1.5]", "test_b[DICT-one]",
                    "test_b[DICT-None-1.5]"], seen
""",
    ),
    "parametrize_fails": (
        FAILED,
        "import pytest\n@pytest.mark.parametrize('x', range(9))\ndef test_a(x): assert x < 8",
    ),
    "parametrize_class": (
        PASSED,
        """
import pytest
pytestmark = pytest.mark.parametrize("z", [7])
seen = []
@pytest.mark.parametrize("x", [1, 2])
class TestA:
    @pytest.mark.parametrize("y", [3, 4])
    def test_a(self, x, y, z): seen.append((x, y, z))
def test_b(z): assert seen == [(1, 3, 7), (2, 3, 7), (1, 4, 7), (2, 4, 7)], seen
""",
    ),
    "parametrize_unused": (
        UNFIT,
        "import pytest\n@pytest.mark.parametrize('x', [1])\ndef test_a(): pass",
    ),
    "parametrize_count": (
        UNFIT,
        "import pytest\n@pytest.mark.parametrize('x,y', [(1,)])\ndef test_a(x, y): pass",
    ),
    "parametrize_nothing": (
        UNFIT,
        "import pytest\n@pytest.mark.parametrize('x', [])\ndef test_a(x): pass",
    ),
    "indirect": (
        PASSED,
        """
import pytest
@pytest.fixture
def double(request): return 2 * request.param
@pytest.mark.parametrize("double, y", [(1, 2), (2, 4)], indirect=["double"])
def test_a(double, y): assert double == y
""",
    ),
    "param_with_skip": (
        UNFIT,
        "import pytest\n@pytest.mark.parametrize('x', [1, pytest.param(2, marks=pytest.mark.skip)])\ndef test_a(x): pass",
    ),
    # fixtures
    "fixtures": (
        PASSED,
        """
import pytest
log = []
@pytest.fixture(scope="module")
def base(): log.append("base"); yield 1; log.append("base end")
@pytest.fixture
def other(base): log.append("other"); yield base + 1; log.append("other end")
@pytest.fixture(autouse=True)
def always(): log.append("always"); yield; log.append("always end")
@pytest.fixture(name="renamed")
def _name(): return "n"
@pytest.fixture()
def plain(request): request.addfinalizer(lambda: log.append("fin")); return request.fixturename
def test_a(other, renamed): assert (other, renamed) == (2, "n")
def test_b(plain, other): assert plain == "plain"
class TestC:
    @pytest.fixture
    def base(self, base): return base + 10
    @pytest.fixture(autouse=True)
    def _set(self, other): self.other = other
    def test_c(self): assert self.other == 12
    @pytest.mark.usefixtures("plain")
    def test_d(self, request): assert request.getfixturevalue("base") == 11
def test_z():
    log.pop()
    assert log == ["base", "always", "other", "other end", "always end", "always", "other",
                   "other end", "fin", "always end", "always", "other", "other end", "always end",
                   "always", "other", "fin", "other end", "always end"] or log == [
                   "base", "always", "other", "other end", "always end",
                   "always", "other", "other end", "fin", "always end",
                   "always", "other", "other end", "always end",
                   "always", "other", "other end", "fin", "always end"] or print(log), log
""",
    ),
    "fixture_params": (
        PASSED,
        """
import pytest
seen = []
@pytest.fixture(params=[1, 2], ids=["one", "two"])
def number(request): return request.param
@pytest.fixture(params=["a", pytest.param("b", id="bee")])
def letter(request): return request.param
@pytest.mark.parametrize("x", [5, 6])
def test_a(letter, number, x, request): seen.append(request.node.name)
def test_b(): assert seen[0] == "test_a[a-one-5]" and seen[-1] == "test_a[bee-two-6]" and len(seen) == 8, seen
""",
    ),
    "class_fixtures": (
        PASSED,
        """
import pytest
made = []
@pytest.fixture(scope="class")
def shared(request): made.append(request.cls and request.cls.__name__); return made
class TestA:
    def test_a(self, shared): pass
    def test_b(self, shared): assert made == ["TestA"]
class TestB(TestA):
    def test_b(self, shared): assert made == ["TestA", "TestB"]
@pytest.fixture(scope="class", autouse=True)
def sets(request):
    if request.cls: request.cls.value = 3
class TestC:
    def test_c(self): assert self.value == 3
""",
    ),
    "fixture_fails": (FAILED, "import pytest\n@pytest.fixture\ndef f(): 1 / 0\ndef test_a(f): pass"),
    "fixture_end_fails": (
        FAILED,
        "import pytest\n@pytest.fixture\ndef f():\n    yield\n    1 / 0\ndef test_a(f): pass",
    ),
    "fixture_yields_twice": (
        FAILED,
        "import pytest\n@pytest.fixture\ndef f():\n    yield\n    yield\ndef test_a(f): pass",
    ),
    "fixture_called": (FAILED, "import pytest\n@pytest.fixture\ndef f(): return 1\ndef test_a(): f()"),
    "fixture_in_a_circle": (
        UNFIT,
        "import pytest\n@pytest.fixture\ndef f(g): pass\n@pytest.fixture\ndef g(f): pass\ndef test_a(f): pass",
    ),
    "fixture_scope": (
        UNFIT,
        "import pytest\n@pytest.fixture\ndef f(): pass\n@pytest.fixture(scope='module')\ndef g(f): pass\ndef test_a(g): pass",
    ),
    "fixture_is_not_for_tests": (PASSED, "import pytest\n@pytest.fixture\ndef test_data(): return 1\ndef test_a(test_data): assert test_data == 1"),
    # skip and its like
    "skip": (UNFIT, "import pytest\ndef test_b(): assert 0\n@pytest.mark.skip\ndef test_a(): pass"),
    "skip_reason": (UNFIT, "import pytest\n@pytest.mark.skip(reason='r')\nclass TestA:\n    def test_a(self): pass"),
    "skip_module": (UNFIT, "import pytest\npytestmark = [pytest.mark.slow, pytest.mark.skip('r')]\ndef test_a(): pass"),
    "skipif": (UNFIT, "import pytest\n@pytest.mark.skipif(True, reason='r')\ndef test_a(): pass"),
    "skipif_text": (UNFIT, "import pytest\n@pytest.mark.skipif('sys.version_info > (3,)', reason='r')\ndef test_a(): pass"),
    "skipif_not": (PASSED, "import pytest\n@pytest.mark.skipif(False, reason='r')\ndef test_a(): pass"),
    "xfail": (UNFIT, "import pytest\n@pytest.mark.xfail\ndef test_a(): assert 0"),
    "xfail_reason": (UNFIT, "import pytest\n@pytest.mark.xfail(reason='r', raises=ValueError)\ndef test_a(): raise ValueError"),
    "xfail_not": (PASSED, "import pytest\n@pytest.mark.xfail(False, reason='r')\ndef test_a(): pass"),
    "skip_while_running": (FAILED, "import pytest\ndef test_a():\n    try: pytest.skip('r')\n    except Exception: pass"),
    "xfail_while_running": (FAILED, "import pytest\ndef test_a(): pytest.xfail('r')"),
    "fail": (FAILED, "import pytest\ndef test_a():\n    try: pytest.fail('r')\n    except Exception: pass"),
    "importorskip": (PASSED, "import pytest\ndef test_a(): assert pytest.importorskip('json').dumps(1) == '1'"),
    "marks": (PASSED, "import pytest\n@pytest.mark.slow\n@pytest.mark.timeout(3)\n@pytest.mark.anything(a=1)\ndef test_a(request):\n    assert request.node.get_closest_marker('anything').kwargs == {'a': 1}"),
    # raises and warns
    "raises": (
        PASSED,
        """
import pytest, re
class Own(Exception): pass
def test_a():
    with pytest.raises(ValueError) as info: raise ValueError("a 1 b")
    assert info.type is ValueError and str(info.value) == "a 1 b" and info.match(r"\\d")
    with pytest.raises((KeyError, LookupError), match="k"): {}["k"]
    with pytest.raises(Own, match=re.compile("^x$")): raise Own("x")
    assert pytest.raises(ZeroDivisionError, lambda a, b: a / b, 1, b=0).value.args
    with pytest.raises(SystemExit): raise SystemExit(3)
    with pytest.raises(TypeError): pytest.raises("ValueError")
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        with pytest.raises(ValueError): pass
    with pytest.raises(AssertionError):
        with pytest.raises(ValueError, match="y"): raise ValueError("x")
""",
    ),
    "raises_not": (FAILED, "import pytest\ndef test_a():\n    with pytest.raises(ValueError): pass"),
    "raises_other": (FAILED, "import pytest\ndef test_a():\n    with pytest.raises(ValueError): raise KeyError"),
    "raises_no_match": (FAILED, "import pytest\ndef test_a():\n    with pytest.raises(ValueError, match='^b'): raise ValueError('ab')"),
    "warns": (
        PASSED,
        """
import pytest, warnings
def test_a(recwarn):
    with pytest.warns(UserWarning, match="m") as record: warnings.warn("me")
    assert len(record) == 1 and record[0].category is UserWarning
    with pytest.deprecated_call(): warnings.warn("d", DeprecationWarning)
    assert pytest.warns(UserWarning, lambda: warnings.warn("x") or 3) == 3
    warnings.warn("kept")
    assert str(recwarn.pop(UserWarning).message) == "kept"
def test_b():
    with pytest.raises(pytest.fail.Exception):
        with pytest.warns(UserWarning): pass
    with pytest.raises(pytest.fail.Exception):
        with pytest.warns(UserWarning, match="q"): warnings.warn("me")
def test_c(): warnings.simplefilter("error")
def test_d(): warnings.warn("no error any more")
""",
    ),
    "warns_not": (FAILED, "import pytest\ndef test_a():\n    with pytest.warns(UserWarning): pass"),
    # approx
    "approx": (
        PASSED,
        """
import pytest, math
from decimal import Decimal
from fractions import Fraction
from pytest import approx
def test_a():
    assert 0.1 + 0.2 == approx(0.3) and approx(0.3) == 0.1 + 0.2
    assert 1 != approx(1.1) and not (1 == approx(1.00001)) and 1.00001 == approx(1, rel=1e-4)
    assert 100 == approx(100.4, abs=0.5) and 100 != approx(100.6, abs=0.5)
    assert 0 == approx(1e-13) and 0 != approx(1e-11)
    assert math.inf == approx(math.inf) and 1e300 != approx(math.inf)
    assert math.nan != approx(math.nan) and math.nan == approx(math.nan, nan_ok=True)
    assert 1 + 2j == approx(1 + 2.0000001j)
    assert Decimal("1.0000001") == approx(Decimal("1")) and Decimal(2) != approx(Decimal(1))
    assert Fraction(1, 3) == approx(1 / 3)
    assert True != approx(1.5) and True == approx(True) and 1 != approx(True) and 1.0 == approx(True) or True
    assert "a" == approx("a") and "a" != approx("b") and None == approx(None) and None != approx(1)
    assert None != approx(0.0) and "1" != approx(1)
def test_b():
    assert [0.1 + 0.2, 1] == approx([0.3, 1]) and (0.1 + 0.2,) == approx((0.3,))
    assert [1, 2] != approx([1, 2, 3]) and [1, 2] != approx([1, 3]) and 1 != approx([1])
    assert {"a": 0.1 + 0.2} == approx({"a": 0.3}) and {"a": 1} != approx({"b": 1})
    assert {"a": 1, "b": 2} != approx({"a": 1}) and [1] != approx({"a": 1})
    assert [1, "a", None] == approx([1, "a", None])
    assert (1, 2) == approx([1, 2]) and range(2) == approx([0, 1])
    for nested in ([[1]], {"a": {"b": 1}}, [(1,)]):
        with pytest.raises(TypeError): approx(nested)
    with pytest.raises(TypeError): approx({1, 2})
    with pytest.raises(ValueError): 1 == approx(1.5, rel=-1)
    with pytest.raises(ValueError): 1 == approx(1.5, abs=-1)
def test_c():
    assert repr(approx(1)) == "1 ± 1e-06" or repr(approx(1)) == "1 ± 1.0e-06"
    assert repr(approx([1.0, 2000])) == "approx([1.0 ± 1.0e-06, 2000 ± 0.002])"
    assert repr(approx({"a": 1.5})) == "approx({'a': 1.5 ± 1.5e-06})"
    assert repr(approx((3 + 4j,))) == "approx(((3+4j) ± 5.0e-06 ∠ ±180°,))"
    assert repr(approx(math.inf)) == "inf" and repr(approx("x")) == "x" and repr(approx(None)) == "None"
    with pytest.raises(AssertionError): bool(approx(1))
""",
    ),
    "approx_numpy": (
        PASSED,
        """
import numpy as np, pytest
from pytest import approx
def test_a():
    assert np.array([0.1 + 0.2, 1]) == approx(np.array([0.3, 1]))
    assert approx(np.array([0.3, 1])) == np.array([0.1 + 0.2, 1])
    assert [0.1 + 0.2, 1] == approx(np.array([0.3, 1])) and np.array([0.1 + 0.2]) == approx([0.3])
    assert np.array([1, 2]) != approx(np.array([1, 3])) and np.array([1]) != approx(np.array([1, 1]))
    assert np.array([[1, 2.0]]) == approx(np.array([[1, 2.0000001]]))
    assert np.float32(0.5) == approx(0.5) and 0.5 == approx(np.float64(0.5)) and np.int64(3) == approx(3)
    assert np.array([0.3, 0.3]) == approx(0.3) and np.array([0.3, 0.4]) != approx(0.3)
    assert np.bool_(True) == approx(True) and 0.3 != approx(np.array([0.3, 0.4]))
    assert np.array([np.nan]) == approx(np.array([np.nan]), nan_ok=True)
    assert repr(approx(np.array([[1.0]]))) == "approx([[1.0 ± 1.0e-06]])"
""",
    ),
    "approx_fails": (FAILED, "from pytest import approx\ndef test_a(): assert 1.0 == approx(1.1)"),
    # built-in fixtures
    "tmp_path": (
        PASSED,
        """
import os
def test_a(tmp_path, tmp_path_factory, tmpdir):
    (tmp_path / "f").write_text("x")
    assert os.listdir(tmp_path) == ["f"] and tmp_path_factory.mktemp("d").is_dir()
    p = tmpdir.join("g.txt"); p.write("hello")
    assert p.read() == "hello" and open(str(p)).read() == "hello" and p.check()
    assert tmpdir.mkdir("sub").strpath == os.path.join(str(tmpdir), "sub") and (tmpdir / "sub").isdir if hasattr(tmpdir, "isdir") else True
def test_b(tmp_path): assert not list(tmp_path.iterdir())
""",
    ),
    "capsys": (
        PASSED,
        """
import sys, os
def test_a(capsys):
    print("out"); print("err", file=sys.stderr)
    out, err = capsys.readouterr()
    assert (out, err) == ("out\\n", "err\\n") and capsys.readouterr().out == ""
    with capsys.disabled(): print("not kept")
    sys.stdout.buffer.write(b"bytes"); assert capsys.readouterr().out == "bytes"
def test_b(capfd):
    os.write(1, b"low\\n"); print("high"); os.write(2, b"e")
    assert capfd.readouterr() == ("low\\nhigh\\n", "e")
    print("x", end=""); assert capfd.readouterr().out == "x"
def test_c(): print("free")
""",
    ),
    "monkeypatch": (
        PASSED,
        """
import os, sys, pytest
class C:
    x = 1
    @staticmethod
    def s(): return 1
class D(C): pass
data = {"a": 1}
def test_a(monkeypatch, tmp_path):
    monkeypatch.setattr(C, "x", 2); monkeypatch.setattr(D, "x", 3); monkeypatch.setattr(C, "s", lambda: 4)
    monkeypatch.setattr("os.getcwd", lambda: "/"); monkeypatch.setattr("os.path.sep", "|")
    monkeypatch.setitem(data, "a", 2); monkeypatch.setitem(data, "b", 2)
    monkeypatch.setenv("RUNNER_X", "1"); monkeypatch.delenv("PATH", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert (C.x, D.x, os.getcwd(), os.path.sep, data, os.environ["RUNNER_X"]) == (2, 3, "/", "|", {"a": 2, "b": 2}, "1")
    with pytest.raises(AttributeError): monkeypatch.setattr(C, "nothing", 1)
    with pytest.raises(KeyError): monkeypatch.delitem(data, "nothing")
    with pytest.MonkeyPatch.context() as m: m.setattr(C, "x", 9); assert C.x == 9
    assert C.x == 2
def test_b(monkeypatch, tmp_path):
    assert C.x == 1 and "x" not in vars(D) and C.s() == 1 and os.getcwd() != "/" and os.path.sep == "/"
    assert data == {"a": 1} and "RUNNER_X" not in os.environ and "PATH" in os.environ
    here = os.getcwd(); monkeypatch.chdir(tmp_path); assert os.getcwd() == str(tmp_path.resolve()); monkeypatch.undo()
    assert os.getcwd() == here
    monkeypatch.delattr(C, "x"); assert not hasattr(C, "x"); monkeypatch.undo(); assert C.x == 1
""",
    ),
    "caplog": (
        PASSED,
        """
import logging
log = logging.getLogger("l")
def test_a(caplog):
    log.warning("w %d", 1); log.info("unseen")
    assert caplog.messages == ["w 1"] and "w 1" in caplog.text and "WARNING" in caplog.text
    assert caplog.record_tuples == [("l", logging.WARNING, "w 1")]
    with caplog.at_level(logging.DEBUG, logger="l"): log.debug("d")
    log.debug("unseen"); assert caplog.records[-1].levelname == "DEBUG"
    caplog.clear(); caplog.set_level("INFO"); log.info("i"); assert caplog.messages == ["i"]
def test_b(caplog): log.info("unseen"); assert not caplog.records
""",
    ),
    # unittest
    "unittest": (
        PASSED,
        """
import unittest
log = []
def setUpModule(): log.append("module")
class A(unittest.TestCase):
    @classmethod
    def setUpClass(cls): log.append("class")
    @classmethod
    def tearDownClass(cls): log.append("class end")
    def setUp(self): log.append("set up"); self.addCleanup(log.append, "clean")
    def tearDown(self): log.append("tear down")
    def test_b(self):
        for n in range(3):
            with self.subTest(n=n): self.assertLess(n, 3)
        with self.assertRaises(ValueError): int("x")
    def test_a(self): self.assertEqual(log[-1], "set up")
class Z(unittest.IsolatedAsyncioTestCase):
    async def test_z(self):
        self.assertEqual(log, ["module", "class"] + ["set up", "tear down", "clean"] * 2 + ["class end"])
if __name__ == "__main__": unittest.main()
""",
    ),
    "unittest_fails": (FAILED, "from unittest import TestCase\nclass A(TestCase):\n    def test_a(self): self.assertEqual(1, 2)"),
    "unittest_errs": (FAILED, "import unittest\nclass A(unittest.TestCase):\n    def test_a(self): 1 / 0"),
    "unittest_subtest_fails": (
        FAILED,
        "import unittest\nclass A(unittest.TestCase):\n    def test_a(self):\n        for n in range(3):\n            with self.subTest(n=n): self.assertEqual(n, 0)",
    ),
    "unittest_set_up_fails": (FAILED, "import unittest\nclass A(unittest.TestCase):\n    def setUp(self): 1 / 0\n    def test_a(self): pass"),
    "unittest_set_up_class_fails": (FAILED, "import unittest\nclass A(unittest.TestCase):\n    @classmethod\n    def setUpClass(cls): 1 / 0\n    def test_a(self): pass"),
    "unittest_tear_down_class_fails": (FAILED, "import unittest\nclass A(unittest.TestCase):\n    @classmethod\n    def tearDownClass(cls): 1 / 0\n    def test_a(self): pass"),
    "unittest_cleanup_fails": (FAILED, "import unittest\nclass A(unittest.TestCase):\n    def test_a(self): self.addCleanup(lambda: 1 / 0)"),
    "unittest_exit": (FAILED, "import unittest\nclass A(unittest.TestCase):\n    def test_a(self): raise SystemExit(0)"),
    "unittest_skip": (UNFIT, "import unittest\nclass A(unittest.TestCase):\n    def test_b(self): pass\n    @unittest.skip('r')\n    def test_a(self): pass"),
    "unittest_skip_class": (UNFIT, "import unittest\n@unittest.skipIf(True, 'r')\nclass A(unittest.TestCase):\n    def test_a(self): pass"),
    "unittest_skip_not": (PASSED, "import unittest\nclass A(unittest.TestCase):\n    @unittest.skipIf(False, 'r')\n    def test_a(self): pass"),
    "unittest_skip_while_running": (FAILED, "import unittest\nclass A(unittest.TestCase):\n    def test_a(self): self.skipTest('r')"),
    "unittest_expected_failure": (UNFIT, "import unittest\nclass A(unittest.TestCase):\n    @unittest.expectedFailure\n    def test_a(self): assert 0"),
    "unittest_base": (FAILED, "import unittest\nclass Base(unittest.TestCase):\n    def test_a(self): self.assertTrue(self.x)\nclass A(Base): x = 1"),
    "unittest_run_test": (FAILED, "import unittest\nclass A(unittest.TestCase):\n    def runTest(self): assert 0"),
    "unittest_nothing": (UNFIT, "import unittest\nclass A(unittest.TestCase):\n    def check(self): pass"),
    "both_styles": (
        PASSED,
        """
import unittest, pytest
log = []
@pytest.fixture(autouse=True)
def around(): log.append("<"); yield; log.append(">")
@pytest.fixture
def value(): return 5
def test_a(): log.append("a")
class B(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _take(self, value, capsys): self.value = value
    def test_b(self): log.append("b"); self.assertEqual(self.value, 5)
    def test_c(self): log.append("c")
def test_z(): assert "".join(log) == "<a><b><c><"
""",
    ),
    "both_styles_fails": (FAILED, "import unittest\ndef test_a(): pass\nclass B(unittest.TestCase):\n    def test_b(self): assert 0"),
}  # fmt: skip
