"""From how a case's run ended to what the case says about the program."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from ...sandbox.reasons import ExitReason
from ...sandbox.result import Result
from ...sandbox.run.record import Record
from ..errors import LimitExceeded, PoolError, ProgramError
from ..function import value_of
from . import asserts, interactive, text, values
from .cases import Asserts, Call, Checker, Interactive, Stdio, TestModule
from .checker import CheckerProgram, Said
from .excerpt import line, shorten
from .finding import PASSED, Finding, ending
from .plan import Item
from .verdict import CHECKER, CHECKERS_RUN, CaseResult, Outcome


def find_all(
    item: Item, indices: Sequence[int], result: Result, record: Record | None
) -> list[CaseResult] | None:
    """Return the results of the cases `indices`, which shared a pair of runs, as far as they can be
    told; the others are to be run again. None if nothing is known of any, and each must be run
    by itself. Of one case, there always is a result.
    """
    if len(indices) == 1:
        return [find(item, indices[0], result, record)]
    if record is None or not asserts.tells(record):
        return None
    results: list[CaseResult] = []
    for number, (index, part) in enumerate(zip(indices, record.parts, strict=False)):
        found = asserts.judge_part(item.tested(index).subject, part, number)
        if found is None:
            return results
        its = dataclasses.replace(result, wall_s=part.wall_s, cpu_s=part.cpu_s)
        results.append(_result(item, index, found, its, None))
    if not record.parts:
        return [find(item, indices[0], result, record)]
    if asserts.is_clear(record):
        wall_s = max(result.wall_s - sum(part.wall_s for part in record.parts), 0.0)
        cpu_s = max((result.cpu_s or 0.0) - sum(part.cpu_s for part in record.parts), 0.0)
        its = dataclasses.replace(result, wall_s=wall_s, cpu_s=cpu_s)
        results.append(find(item, indices[len(record.parts)], its, record))
    return results


def find(item: Item, index: int, result: Result, record: Record | None = None) -> CaseResult:
    """Return the result of the case `index`, whose run ended with `result`; record: of asserts,
    what became of the test.
    """
    case = item.cases[index]
    if isinstance(case, (Asserts, TestModule)):
        found = asserts.judge(case.subject, result, record)
    elif isinstance(case, Interactive):
        found = interactive.judge(result, record)
    elif result.reason in (ExitReason.INTERNAL, ExitReason.CANCELLED):
        # Cancelled by somebody else: the pool is closing.
        found = Finding(Outcome.INFRA_ERROR, "internal", result.detail or str(result.reason))
    elif isinstance(case, Stdio):
        found = _of_stdio(item, case, result)
    else:
        found = _of_call(case, result)
    return _result(item, index, found, result, record)


def _result(
    item: Item, index: int, found: Finding, result: Result, record: Record | None
) -> CaseResult:
    return dataclasses.replace(
        item.case_result(index, found.outcome, found.reason, shorten(found.detail)),
        diff=shorten(found.diff),
        score=found.score,
        weak=found.weak,
        wall_s=result.wall_s,
        cpu_s=result.cpu_s,
        queue_s=result.queue_s,
        peak_memory_bytes=result.peak_memory_bytes,
        not_offered=result.not_offered or (record.test.not_offered if record is not None else None),
    )


def _of_stdio(item: Item, case: Stdio, result: Result) -> Finding:
    output = output_of(item, case, result)
    if isinstance(output, Finding):
        return output
    if isinstance(case.checker, CheckerProgram):
        raise AssertionError("its checker is still to be run")
    if case.checker is not None:
        got = output.decode("utf-8", "replace")
        return _checked(case.checker, got, case.expected, "wrong_output")
    diff = text.difference(
        output,
        text.to_bytes(case.expected),
        case.compare,
        case.abs_tol or 0.0,
        case.rel_tol or 0.0,
    )
    if diff is None:
        return PASSED
    return Finding(Outcome.FAIL, "wrong_output", "the output is not what was expected", diff)


def output_of(item: Item, case: Stdio, result: Result) -> bytes | Finding:
    """Return what a program has written, which has come to a good end; else what is found."""
    if result.reason in (ExitReason.INTERNAL, ExitReason.CANCELLED):
        # Cancelled by somebody else: the pool is closing.
        return Finding(Outcome.INFRA_ERROR, "internal", result.detail or str(result.reason))
    if not result.ok:
        return Finding(Outcome.FAIL, str(result.reason), ending(result))
    if not result.completed:
        return Finding(Outcome.FAIL, "incomplete", "left with status 0 before its end (os._exit)")
    if case.output_file is None:
        return result.stdout_bytes
    output = result.files.get(case.output_file)
    if output is None:
        why = result.files_skipped.get(case.output_file, "there is none")
        said = f"no output in the file {case.output_file}: {why}"
        return Finding(Outcome.FAIL, "wrong_output", said)
    most = item.most_output(case)
    if most is not None and len(output) > most:
        said = f"wrote {len(output)} bytes to {case.output_file}, more than {most}"
        return Finding(Outcome.FAIL, str(ExitReason.OUTPUT), said)
    return output


def of_check(its: Said, result: Result) -> Finding:
    """What a checker has said of an output; result: of the checker's run."""
    if result.reason in (ExitReason.INTERNAL, ExitReason.CANCELLED):
        said = f"{CHECKERS_RUN}was lost: {result.detail or result.reason}"
        return Finding(Outcome.INFRA_ERROR, "internal", said)
    if its.score is None:
        return Finding(Outcome.FAIL, CHECKER, CHECKERS_RUN + its.why)
    if its.score == 1:
        return PASSED
    words = line(result.stderr_bytes.strip()) if result.stderr_bytes.strip() else ""
    said = f"the checker gave {its.score:g}"
    return Finding(Outcome.FAIL, "wrong_output", said, words, its.score)


def with_finding(item: Item, index: int, result: Result, found: Finding) -> CaseResult:
    """Return the result of the case `index`, of a program whose run ended with `result`."""
    return _result(item, index, found, result, None)


def _of_call(case: Call, result: Result) -> Finding:
    try:
        value = value_of(result, case.most_nodes)
    except LimitExceeded:
        return Finding(Outcome.FAIL, str(result.reason), ending(result))
    except ProgramError as error:
        incomplete = error.type == "SystemExit" and result.ok
        reason = "incomplete" if incomplete else str(result.reason)
        if result.ok and not incomplete:  # more than is worth reading, or no value at all
            return Finding(Outcome.FAIL, "wrong_value", f"{case.function} returned {error.message}")
        hint = f" ({result.detail})" if result.not_offered else ""
        return Finding(Outcome.FAIL, reason, f"{case.function} did not return: {error}{hint}")
    except PoolError as error:
        return Finding(Outcome.INFRA_ERROR, "internal", str(error))
    if case.checker is not None:
        return _checked(case.checker, value, case.expected, "wrong_value")
    diffs = [values.difference(value, each, case.rule) for each in case.accepted]
    if None in diffs:
        return PASSED
    diff = diffs[0] or ""
    return Finding(Outcome.FAIL, "wrong_value", f"{case.function} returned another value", diff)


def _checked(checker: Checker, got: Any, expected: Any, reason: str) -> Finding:
    """Ask a checker, which runs here, in the trusted process. What it makes of what it was given is
    the program's doing, as in a test: otherwise a program could choose not to be counted.
    """
    try:
        answer = checker(got, expected)
        if answer is None:
            raise TypeError("it returned None, neither True nor False nor a number")
        score = float(answer)  # type: ignore[arg-type]
    except Exception as error:  # noqa: BLE001  (whatever a caller's own code raises)
        said = f"the checker failed on it: {type(error).__name__}: {error}"
        return Finding(Outcome.FAIL, CHECKER, said)
    if not math.isfinite(score):
        return Finding(Outcome.FAIL, reason, f"the checker gave {score}")
    if not 0 <= score <= 1:
        said = f"the checker gave {score:g}, which is not from 0 to 1"
        return Finding(Outcome.FAIL, CHECKER, said)
    if score == 1:
        return PASSED
    return Finding(Outcome.FAIL, reason, f"the checker gave {score:g}", score=score)
