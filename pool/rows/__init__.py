"""Rows of public data sets: what each asks of a program."""

from .calibrating import calibrate
from .calibration import Calibration, Kind, RowReport
from .imports import FUNCTION_IMPORTS, MODULES, with_imports
from .read import read_row, read_value
from .reading import Reading, Unreadable
from .solutions import solutions_of

__all__ = [
    "FUNCTION_IMPORTS",
    "MODULES",
    "Calibration",
    "Kind",
    "Reading",
    "RowReport",
    "Unreadable",
    "calibrate",
    "read_row",
    "read_value",
    "solutions_of",
    "with_imports",
]
