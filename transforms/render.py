"""What a model is told of a run."""

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

from ..pool.wording import ending_of, escape, escape_character
from ..sandbox.reasons import ExitReason
from ..sandbox.result import Result

MOST_CHARACTERS = 10_000

_FEWEST_CHARACTERS = 200
"""Room for the reply's own words."""

_TOLD_BY_STDERR = (ExitReason.EXCEPTION, ExitReason.OK)

UNAVAILABLE = "the Python tool was unavailable. This says nothing about the code."


def render_result(
    result: Result | Mapping[str, Any],
    *,
    number: int = 1,
    max_chars: int | None = MOST_CHARACTERS,
    show_value: bool = False,
) -> str:
    """Return what a model is told of a run, in TorchRL's words.

    result: a `Result`, or what its `to_dict` made of it; of a mapping, `success`, `stdout` and
        `stderr` are enough.
    number: of the code block in the model's message, from 1.
    max_chars: the longest reply, 200 at least; None: any. Of longer output, the beginning and the
        end are shown, with the number of characters left out between them.
    show_value: add the repr of a trailing expression, of a session's call, to its output.

    A run that failed shows its standard error, how it ended where that doesn't say so (or which
    package is not available), and its standard output, if there was any. Control and format
    characters are written as escapes. Of a failure of ours nothing is told but that it was one.

    >>> render_result({"success": True, "stdout": "42\\n", "stderr": ""})
    'Code block 1 executed successfully:\\n42\\n'
    """
    require_max_chars("max_chars", max_chars)
    run = result.to_dict() if isinstance(result, Result) else result
    if run.get("infra_error"):
        return f"Code block {number} was not run to its end: {UNAVAILABLE}"
    if run["success"]:
        head = f"Code block {number} executed successfully:\n"
        return head + excerpt(_shown(run, show_value), _left(max_chars, head))
    head = f"Code block {number} failed:\n"
    complaint, output = _complaint(run), run["stdout"]
    if not output:
        return head + excerpt(complaint, _left(max_chars, head))
    middle = "" if complaint.endswith("\n") else "\n"
    middle += "Output until then:\n"
    left = _left(max_chars, head, middle)
    for_output = None if left is None else max(left // 2, left - len(excerpt(complaint, left)))
    output = excerpt(output, for_output)
    complaint = excerpt(complaint, None if left is None else left - len(output))
    return head + complaint + middle + output


def require_max_chars(name: str, value: object) -> None:
    """Raise where the argument `name` is no length of a reply."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number or None, not {value!r}")
    if value < _FEWEST_CHARACTERS:
        raise ValueError(f"{name}={value!r}: must be {_FEWEST_CHARACTERS} or more")


def excerpt(text: str, most: int | None) -> str:
    """Return `text` with control characters visible, in `most` characters at most: what does not
    fit is left out of its middle and counted.
    """
    if most is None:
        return escape(text)
    if len(text) <= most:
        whole = escape(text)
        if len(whole) <= most:
            return whole
    half = max((most - len(_gap(len(text)))) // 2, 0)
    head = _fitting(text[:half], half)
    tail = _fitting(reversed(text[len(text) - half :]), half)
    shown = len(head) + len(tail)
    return "".join([*head, _gap(len(text) - shown), *reversed(tail)])


def _gap(count: int) -> str:
    return f"\n[... {count} characters left out ...]\n"


def _fitting(text: Iterable[str], most: int) -> list[str]:
    """As many of the characters of `text`, made visible, as have `most` characters together."""
    visible = list(map(escape_character, text))
    sizes = accumulate(map(len, visible))
    return visible[: sum(size <= most for size in sizes)]


def _left(max_chars: int | None, *parts: str) -> int | None:
    return None if max_chars is None else max_chars - sum(map(len, parts))


def _shown(run: Mapping[str, Any], show_value: bool) -> str:
    """Standard output; and, as at a prompt, the value of a trailing expression."""
    output: str = run["stdout"]
    value = run.get("value") if show_value else None
    if value is None:
        return output
    return f"{output}{'' if output.endswith(chr(10)) or not output else chr(10)}{value}\n"


def _complaint(run: Mapping[str, Any]) -> str:
    """Standard error, and how the run ended where that is not told by a traceback."""
    stderr: str = run["stderr"]
    reason = run.get("reason")
    missing = run.get("not_offered")
    if missing is not None:
        return f"{stderr}{_line_break(stderr)}[the package {missing} is not available]\n"
    if reason is None or reason in _TOLD_BY_STDERR:
        return stderr
    if reason == ExitReason.EXIT:
        end = f"exit status {run['exit_code']}"
    else:
        end = ending_of(reason, run["wall_s"], run["cpu_s"], run["signal"])
    undone = int(run.get("rolled_back", 0))
    if undone == 1:
        end += "; the session is as it was before"
    elif undone:
        end += f"; the last {undone} calls, this one included, are undone"
    return f"{stderr}{_line_break(stderr)}[{end}]\n"


def _line_break(text: str) -> str:
    """What is wanted between a text and a line of ours."""
    return "" if text.endswith("\n") or not text else "\n"
