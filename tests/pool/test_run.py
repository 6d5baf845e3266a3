"""`Pool.run`: a program behaves as under `python file.py`, and its end is told truthfully."""

import pickle

import pytest

from interpreter_pool import ExitReason

ENDS = [
    # program, reason, exit code, signal, completed
    ("print(1)", "ok", 0, None, True),
    ("import sys; sys.exit()", "ok", 0, None, True),
    ("import sys; sys.exit(3)", "exit", 3, None, True),
    ("import os; os._exit(0)", "ok", 0, None, False),
    ("1/0", "exception", 1, None, True),
    ("import os; os.abort()", "signal", None, 6, False),
    ("import ctypes; ctypes.string_at(0)", "signal", None, 11, False),
    ("raise KeyboardInterrupt", "signal", None, 2, True),
    ("x = bytearray(1 << 40)", "memory", None, None, True),
]


@pytest.mark.parametrize("code, reason, exit_code, signal, completed", ENDS)
def test_the_end_is_told(pool, code, reason, exit_code, signal, completed):
    """Every end of DESIGN's table gives its own reason, exit code and signal."""
    result = pool.run(code)
    assert result.reason == ExitReason(reason), result
    assert (result.exit_code, result.signal) == (exit_code, signal)
    assert result.completed is completed
    assert result.ok is (reason == "ok")


def test_a_pool_is_not_pickled(pool):
    """The error names what other processes can have."""
    with pytest.raises(TypeError, match=r'connect\("local://NAME"\)'):
        pickle.dumps(pool)
