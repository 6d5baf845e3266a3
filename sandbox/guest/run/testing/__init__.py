"""A small runner of test modules, which needs no pytest and passes what pytest passes.

`runner.py` is the way through: `collecting.py` finds tests, `setups.py` gives them what they
request, by `fixtures.py`, which knows which fixture that is, and `xunit.py`, which makes some of
`setup_method` and its like. `unit.py` runs unittest's classes, `outcomes.py` says how a test ends.
`pytest_api.py` is what tests import as `pytest`: `marks.py`, `raising.py`, `approx.py`, and the
fixtures that are always there (`builtin.py`, `capturing.py`, `logs.py`, `monkeypatching.py`).

All of it is imported before a process is confined: functions import from the standard library only.
"""

from .outcomes import Failed, Skipped, Unfit
from .runner import prepare, run

__all__ = ["Failed", "Skipped", "Unfit", "prepare", "run"]
