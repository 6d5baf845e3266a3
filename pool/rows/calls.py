"""Cases from inputs and outputs: of standard streams, or of one function."""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..judge.cases import Call, Case, Stdio
from ..judge.values import Rule, difference
from .cells import parsed
from .reading import Reading

CONTEST = "judge"
"""How outputs are compared where a data set is of contests: its `compare`."""

_SOLUTION_CLASS = re.compile(r"^class Solution\b", re.MULTILINE)
_METHOD = re.compile(r"^class Solution\b[^\0]*?^[ \t]+def +(\w+) *\( *self\b", re.MULTILINE)
_FUNCTION = re.compile(r"^def +(\w+) *\(", re.MULTILINE)
_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,999})")
_DISPLAY = re.compile(r"\s*[A-Za-z_]\w*\s*(?:\[\s*\]){0,3}\s*=\s*\S")

DISPLAY = "the tests hold text as a web page shows it (n = 5), which no program can read"
NO_INTERACTOR = "interactive problems need an interactor, and the row has none"


def read_pairs(
    shape: str,
    inputs: Any,
    outputs: Any,
    *,
    name: str | None = None,
    code: str = "",
    compare: str = CONTEST,
) -> Reading:
    """Return a reading of inputs and outputs. name: of the function that is called with them; None:
    they are standard input and output. code: the program, which may have it in a class Solution.
    Raises ValueError or TypeError for what makes no sense.
    """
    given, expected = _listed("inputs", inputs), _listed("outputs", outputs)
    if all(isinstance(each, str) and _is_display(each) for each in given) and given:
        return Reading(shape=shape, why=DISPLAY)
    return Reading(shape=shape, cases=tuple(cases_of_pairs(given, expected, name, code, compare)))


def cases_of_pairs(
    inputs: Sequence[Any], outputs: Sequence[Any], name: str | None, code: str, compare: str
) -> list[Case]:
    """Return a case for each input and its output; see `read_pairs`."""
    if len(inputs) != len(outputs):
        raise ValueError(f"ground_truth: {len(inputs)} inputs, but {len(outputs)} outputs")
    if not inputs:
        raise ValueError("ground_truth: no inputs; without a case there is nothing to judge")
    pairs = zip(inputs, outputs, strict=True)
    if name is None:
        return [Stdio(lines(given or ""), lines(out), compare=compare) for given, out in pairs]
    function = callable_in(code, name)
    return [call_case(function, given, out) for given, out in pairs]


def call_case(function: str, given: Any, out: Any) -> Call:
    """Return the case of one call. given: the arguments, or JSON of one a line. out: what is to be
    returned, or JSON of it, or the text itself. Of a list of one, its element is as good.
    """
    if isinstance(given, str):
        texts = given.strip("\n").split("\n") if given.strip() else []
        args = [_from_json("ground_truth: a line of inputs", text) for text in texts]
    else:
        args = list(given or ())
    if len(args) == 1:
        args = [with_whole_keys(args[0])]
    if not isinstance(out, str):
        expected, text = out, None
    else:
        text = out
        try:
            expected = json.loads(out)
        except (ValueError, RecursionError):
            expected = out
    if text is None:
        alone = _is_list_of_one(expected)
        return Call(
            function, args, expected=expected, numeric=True, as_json=True, or_only_element=alone
        )
    return Call(function, args, expected=expected, checker=AsJson(text))


@dataclasses.dataclass(frozen=True, slots=True)
class AsJson:
    """A checker: a value is right if it equals what was expected as JSON has it; or the one element
    of a list that was expected, as data sets of Codewars wrap them; or if it is a string that is
    written so, as where a program prints it.
    """

    text: str

    def __call__(self, value: Any, expected: Any) -> bool:
        if type(value) is str and value.rstrip("\n") == self.text.rstrip("\n"):
            return True
        rule = Rule(numeric=True, as_json=True)
        if difference(value, expected, rule) is None:
            return True
        return _is_list_of_one(expected) and difference(value, expected[0], rule) is None


def _is_list_of_one(value: Any) -> bool:
    return type(value) in (list, tuple) and len(value) == 1


def with_whole_keys(value: Any) -> Any:
    """A dict whose keys are all texts of whole numbers, with these: JSON has made texts of them."""
    if type(value) is dict and value and all(_is_whole(key) for key in value):
        return {int(key): each for key, each in value.items()}
    return value


def _is_whole(key: Any) -> bool:
    return isinstance(key, str) and _WHOLE.fullmatch(key) is not None


def callable_in(code: str, name: str) -> str:
    """Return what leads to the function: itself, or a method of a class Solution that is there."""
    if "." in name or not _SOLUTION_CLASS.search(code):
        return name
    own = re.search(rf"^(?:(?:async +)?def +{re.escape(name)}\b|{re.escape(name)} *=)", code, re.M)
    return name if own else f"Solution().{name}"


def name_in_starter(starter: Any) -> str | None:
    """Return the function that a starter code asks for, or None."""
    if not isinstance(starter, str):
        return None
    found = _METHOD.search(starter) or _FUNCTION.search(starter)
    return found.group(1) if found else None


def lines(text: Any) -> Any:
    """What verl allows for a text: a list of its lines."""
    if isinstance(text, (str, bytes)):
        return text
    if (
        isinstance(text, Mapping)
        or not isinstance(text, Iterable)
        or not all(isinstance(line, str) for line in text)
    ):
        raise TypeError(
            f"ground_truth: inputs and outputs must be text, or lists of lines, not {text!r:.80}"
        )
    return "\n".join(text)


def halves(tests: Any) -> tuple[list[Any], list[Any]]:
    """Return the inputs and outputs of tests: a dict of two lists, or a list of dicts."""
    if isinstance(tests, Mapping):
        given = tests.get("input", tests.get("inputs"))
        out = tests.get("output", tests.get("outputs"))
        return _listed("inputs", given), _listed("outputs", out)
    inputs, outputs = [], []
    for test in _listed("tests", tests):
        if not isinstance(test, Mapping) or not {"input", "output"} <= test.keys():
            raise ValueError(f"a test must have input and output: {test!r:.80}")
        inputs.append(test["input"])
        outputs.append(test["output"])
    return inputs, outputs


def _listed(name: str, value: Any) -> list[Any]:
    if isinstance(value, str):
        value = parsed(name, value)
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
        raise TypeError(f"{name} must be a list, not {value!r:.80}")
    return list(value)


def _is_display(text: str) -> bool:
    found = [line for line in text.split("\n")[:50] if line.strip()]
    return bool(found) and all(_DISPLAY.match(line) for line in found)


def _from_json(what: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} is no JSON ({error}): {text!r:.80}") from None
