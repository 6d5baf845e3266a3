"""Our own frames do not stand below a program's, in no way that it is run."""

from interpreter_pool import Asserts
from interpreter_pool.sandbox.guest.run import frames

STACK = "def f(): return [each.function for each in __import__('inspect').stack()]"


def test_a_call_of_a_session_stands_alone(pool):
    """In its first call, a later one, after a fork, and a function that is called by name."""
    with pool.session() as session:
        assert session.run(STACK + "\nf()").value == "['f', '<module>']"
        assert session.call("f") == ["f"]
        shown = session.run("import traceback\ntraceback.print_stack()").stderr
        assert shown.count("File") == 1 and '"<call 2>", line 2, in <module>' in shown
        with session.fork() as branch:
            assert branch.run("f()").value == "['f', '<module>']"


def test_set_up_code_and_runs_of_a_snapshot_stand_alone(pool):
    """The set-up code itself, a program forked from it, and a call."""
    with pool.snapshot(STACK + "\nfound = f()") as snapshot:
        assert snapshot.run("print(found, f())").stdout == "['f', '<module>'] ['f', '<module>']\n"
        assert snapshot.call("f") == ["f"]


def test_a_function_and_a_test_stand_alone(pool):
    """A function that is called for its value; a test, and the program that it calls."""
    assert pool.function(STACK, "f")() == ["f"]
    test = (
        "import inspect\ndef check(g):\n    assert len(inspect.stack()) == 1\n"
        "    assert g() == ['f']\nassert len(inspect.stack()) == 1"
    )
    assert pool.judge(STACK, [Asserts(test, "f")]).passed


def test_where_the_number_cannot_be_told_nothing_is_hidden(monkeypatch):
    """A debug build asserts what a frame must be; another version may have it elsewhere."""
    monkeypatch.setattr("sys.gettotalrefcount", lambda: 0, raising=False)
    assert frames._place() is None
    monkeypatch.undo()
    assert frames._place() is not None
    monkeypatch.setattr(frames, "_SIZES", (0, 0))  # which is found in many places
    assert frames._place() is None
