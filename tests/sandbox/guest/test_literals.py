"""Long lists in a test's source: what is executed in their place is the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpreter_pool.sandbox.guest.run.literals import LITERAL, Literals

ATOMS = (
    st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.booleans()
    | st.none()
    | st.sampled_from(["True", "it's", 'a "b"', "\\n", "(", "{", "#", "é", "[1]"])
)
LISTS = st.lists(
    st.recursive(ATOMS, lambda each: st.lists(each, max_size=4) | st.tuples(each), max_leaves=6),
    min_size=1,
    max_size=6,
)


def executed(source: str, calls: int = 1) -> list[object]:
    literals = Literals(source.encode("utf-8", "surrogatepass"))
    namespace = {LITERAL: literals, "nan": float("nan"), "inf": float("inf")}
    found = []
    for _ in range(calls):
        exec(compile(literals.rewritten, "x", "exec"), namespace)
        found.append(namespace["x"])
    return found


@given(LISTS)
def test_what_is_read_is_what_python_would_make_of_it(values):
    """In value and in types; what JSON can't tell is left to Python."""
    longer = values * (2500 // len(repr(values)) + 1)
    (found,) = executed(f"y = 1\nx = {longer!r}\n")
    assert repr(found) == repr(longer)


@pytest.mark.parametrize(
    "literal, is_read",
    [
        ("[1, 2.5, -3, 1e5]", True),
        ("['a', 'b', ['']]", True),
        ("[True, False, None]", True),
        ("['True', 1]", True),
        ("['a', True]", False),
        ("[(1, 2)]", False),
        ("[{1: 2}]", False),
        ("['\\\\n']", False),
        ('["it\'s"]', False),
        ("[b'a']", False),
        ("['a' 'b']", False),
        ("[1_000]", False),
        ("[0x10]", False),
        ("[nan]", False),
        ("[inf]", False),
        ("[x for x in [1]]", False),
    ],
)
def test_only_what_json_tells_exactly_is_read(literal, is_read):
    padding = ", ".join(["1"] * 1000)
    source = f"def f():\n    x = [{literal}, {padding}]\n    return x\nx = f()"
    assert (LITERAL.encode() in Literals(source.encode()).rewritten) is is_read
    (found,) = executed(source)
    expected = eval(literal, {"nan": float("nan"), "inf": float("inf")})
    assert repr(found[0]) == repr(expected)


def test_each_time_it_is_another_list():
    source = f"x = [{', '.join(['1'] * 1000)}]\nx.append(2)"
    first, second, third = executed(source, calls=3)
    assert first == second == third == [1] * 1000 + [2]
    assert first is not second and second is not third


def test_short_lists_and_other_lines_are_left():
    source = b"x = [1, 2]\ny = 'x = [' + 'a' * 5000\n"
    assert Literals(source).rewritten == source
