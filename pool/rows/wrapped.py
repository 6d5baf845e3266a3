"""Rows as trainers wrap them: one value holds the tests."""

from collections.abc import Mapping

from .cells import Row, parsed
from .reading import NO_TESTS, Reading
from .truth import read_truth


def own(row: Row, code: str, compare: str) -> Reading | None:
    """Our own: `cases`, a list of cases or of their fields, or JSON of it."""
    if not row.has("cases"):
        return None
    if row["cases"] is None:
        return Reading(shape="cases", why=NO_TESTS)
    cases = parsed("cases", row["cases"])
    if not isinstance(cases, list):
        raise TypeError(f"cases must be a list of cases, or JSON of one, not {cases!r:.80}")
    return read_truth("cases", cases, code, compare=compare)


def verl(row: Row, code: str, compare: str) -> Reading | None:
    """verl, Eurus-2 (PRIME), Code-R1, rStar-Coder's port: `reward_model` holds `ground_truth`."""
    return _inner(row, "reward_model", "ground_truth", "verl", code, compare)


def skyrl(row: Row, code: str, compare: str) -> Reading | None:
    """SkyRL: `reward_spec` holds `ground_truth`."""
    return _inner(row, "reward_spec", "ground_truth", "skyrl", code, compare)


def nemo_gym(row: Row, code: str, compare: str) -> Reading | None:
    """NeMo-Gym: `verifier_metadata` holds `unit_tests`."""
    return _inner(row, "verifier_metadata", "unit_tests", "nemo-gym", code, compare)


def synthetic(row: Row, code: str, compare: str) -> Reading | None:
    """SYNTHETIC-1 and -2, and what open-r1 made of them: `verification_info` has `test_cases`."""
    return _inner(row, "verification_info", "test_cases", "synthetic-1", code, compare)


def ground_truth(row: Row, code: str, compare: str) -> Reading | None:
    """verl's under TRL, rllm and open-instruct: `ground_truth`."""
    if not row.has("ground_truth") or row.has("cases"):
        return None
    return read_truth(
        "ground_truth", row["ground_truth"], code, compare=compare, name=row.get("fn_name")
    )


def _inner(
    row: Row, column: str, field: str, shape: str, code: str, compare: str
) -> Reading | None:
    if not row.has(column):
        return None
    holder = row.parsed(column)
    if not isinstance(holder, Mapping) or holder.get(field) is None:
        return Reading(shape=shape, why=NO_TESTS)
    language = str(holder.get("language") or "python").lower()
    if not language.startswith("py"):
        return Reading(shape=shape, why=f"the language is {language:.40}, and not Python")
    return read_truth(shape, holder[field], code, compare=compare, name=holder.get("fn_name"))
