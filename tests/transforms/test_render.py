"""What a model is told of a run."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from interpreter_pool import Limits
from interpreter_pool.sandbox.result import Result
from interpreter_pool.transforms import render_result


def told(success: bool, stdout: str = "", stderr: str = "", **options) -> str:
    return render_result({"success": success, "stdout": stdout, "stderr": stderr}, **options)


def test_the_texts_are_torchrls():
    """What TorchRL's transform answers, to the letter."""
    assert told(True, "a=1\n") == "Code block 1 executed successfully:\na=1\n"
    assert told(True, "x", "a warning", number=3) == "Code block 3 executed successfully:\nx"
    assert told(False, "", "Error: x\n", number=2) == "Code block 2 failed:\nError: x\n"


def test_a_run_is_told_of_as_it_ended(pool):
    """Output, a traceback, a status, a limit: each end is in the reply."""
    run = pool.run
    assert render_result(run("print(6 * 7)")) == "Code block 1 executed successfully:\n42\n"
    failed = render_result(run("print('first')\n1 / 0"))
    assert failed.startswith("Code block 1 failed:\nTraceback")
    assert failed.endswith("ZeroDivisionError: division by zero\nOutput until then:\nfirst\n")
    assert render_result(run("exit(3)")) == "Code block 1 failed:\n[exit status 3]\n"
    late = render_result(run("print('first', flush=True)\nwhile True: pass", timeout=0.3))
    late = re.sub(r"\d+\.\d s", "some time", late)
    assert late == (
        "Code block 1 failed:\n[wall time is over (some time)]\nOutput until then:\nfirst\n"
    )
    flood = run("while True: print('x' * 999)", limits=Limits(output_bytes=50_000))
    assert "[too much output]" in render_result(flood)


def test_a_result_and_its_json_are_told_of_alike(pool):
    """A service sends `to_dict`: the reply is the same."""
    for code in ("print(1)", "print(1); 1 / 0", "import os; os.abort()"):
        result = pool.run(code)
        assert render_result(result) == render_result(result.to_dict())


def test_infra_errors_blame_nobody():
    """A failure of ours is told as that, without its details, which are about the host."""
    result = Result.internal("no worker: /secret/path", tier="none", queue_s=0.0)
    text = render_result(result, number=2)
    assert text.startswith("Code block 2 ") and "the Python tool was unavailable" in text
    assert "secret" not in text and "failed" not in text


def test_values_are_shown_on_request(pool):
    """In a session a trailing expression has a value, which a prompt would show."""
    with pool.session() as session:
        result = session.run("print('a', end='')\n6 * 7")
        assert render_result(result, show_value=True).endswith(":\na\n42\n")
        assert render_result(result).endswith(":\na")
        late = session.run("while True: pass", timeout=0.3)
        assert "; the session is as it was before]" in render_result(late)


def test_control_characters_are_visible():
    """What would move a cursor, turn text around, or end a string is written as an escape."""
    text = told(True, "a\x1b[2J\r\x00\u202eb\ud800\n\tc")
    assert text.endswith("a\\x1b[2J\\r\\x00\\u202eb\\ud800\n\tc")


def test_long_output_keeps_its_ends():
    """The beginning and the end are shown, and how much was left out between them."""
    text = told(True, "A" * 5000 + "B" * 5000, max_chars=300)
    head, gap, tail = text.partition("\n[... ")
    count, gap, tail = tail.partition(" characters left out ...]\n")
    assert len(text) <= 300 and gap
    assert head.endswith("A" * 90) and set(tail) == {"B"} and len(tail) > 90
    shown = text.count("A") + text.count("B")
    assert int(count) + shown == 10_000


def test_a_long_traceback_leaves_room_for_output_and_its_own_end():
    """Neither stream can push the other out of the reply."""
    text = told(False, "O" * 9000 + "end of output", "T" * 9000 + "KeyError: 1", max_chars=1000)
    assert len(text) <= 1000
    assert "KeyError: 1" in text and text.endswith("end of output")
    short = told(False, "O" * 9000, "KeyError: 1", max_chars=1000)
    assert "failed:\nKeyError: 1\nOutput" in short and 990 <= len(short) <= 1000


@settings(deadline=None)
@given(st.text(), st.text(), st.booleans(), st.integers(200, 400))
@example("\U00018cd6", "\x1f", False, 200)
def test_no_reply_is_longer_than_it_may(stdout, stderr, success, most):
    """Whatever a program writes, escapes included, `max_chars` holds."""
    assert len(told(success, stdout * 20, stderr * 20, max_chars=most)) <= most


def test_nonsense_is_refused():
    """Errors name the argument and its value."""
    with pytest.raises(ValueError, match="max_chars=10: must be 200 or more"):
        told(True, max_chars=10)
    with pytest.raises(TypeError, match="max_chars must be a whole number or None, not '9'"):
        told(True, max_chars="9")


def test_a_package_that_is_not_there_is_told_of_neutrally(pool):
    """The model learns that it is not available, and not of options that are not its own."""
    told_of = render_result(pool.run("print('first')\nimport numpy"))
    assert told_of.endswith(
        "ModuleNotFoundError: No module named 'numpy'\n[the package numpy is not available]\n"
        "Output until then:\nfirst\n"
    )
    assert "Pool(" not in told_of
    assert "available" not in render_result(pool.run("import surely_not_there"))
