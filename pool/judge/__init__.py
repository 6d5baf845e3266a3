"""Judging programs: expected values, checkers and comparison stay in the trusted process."""

from .cases import Asserts, Call, Case, Interactive, Stdio, TestModule, case_from_dict
from .checker import CheckerProgram
from .verdict import CaseResult, Outcome, Verdict

__all__ = [
    "Asserts",
    "Call",
    "Case",
    "CaseResult",
    "CheckerProgram",
    "Interactive",
    "Outcome",
    "Stdio",
    "TestModule",
    "Verdict",
    "case_from_dict",
]
