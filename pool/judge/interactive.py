"""Whose fault it is how a program's talk with an interactor ended.

The interactor's own, if it came to a bad end before it had read anything: nothing that the program
said can have led it astray. After that, what it does is the program's doing. How it ends by itself
is its verdict; the program must have come to a good end as well.
"""

from ...sandbox.reasons import ExitReason
from ...sandbox.result import Result
from ...sandbox.run.dialogue import Fault
from ...sandbox.run.record import Record
from .checker import RIGHT, WRONG
from .finding import PASSED, Finding, ending
from .verdict import INTERACTOR, Outcome


def judge(program: Result, record: Record | None) -> Finding:
    """Return what an interactor says about a program.

    program: the result of the program's run. record: the interactor's; None where they could not
    be run.
    """
    if record is None or ExitReason.INTERNAL in (program.reason, record.test.reason):
        return Finding(Outcome.INFRA_ERROR, "internal", program.detail or str(program.reason))
    its = record.test
    if record.lost is Fault.TEST:
        return Finding(Outcome.HARNESS_ERROR, "harness", f"the interactor {ending(its)}")
    if record.lost is not None:
        return Finding(Outcome.FAIL, str(program.reason), ending(program))
    if ExitReason.CANCELLED in (program.reason, its.reason):  # the pool is closing
        return Finding(Outcome.INFRA_ERROR, "internal", "cancelled")
    ends = its.reason in (ExitReason.OK, ExitReason.EXIT)
    verdict = ends and its.exit_code in (*RIGHT, *WRONG)
    if not verdict and not record.heard:
        said = f"the interactor itself {ending(its)}, before it had read anything"
        return Finding(Outcome.HARNESS_ERROR, "harness", said)
    if not program.ok:
        return Finding(Outcome.FAIL, str(program.reason), f"the program {ending(program)}")
    if not program.completed and not record.let_go:
        said = "the program left with status 0 before its end (os._exit)"
        return Finding(Outcome.FAIL, "incomplete", said)
    if not verdict:
        return Finding(Outcome.FAIL, INTERACTOR, f"the interactor {ending(its)}")
    if its.exit_code in RIGHT:
        return PASSED
    words = its.stderr.strip()
    said = f"the interactor says that it is wrong (status {its.exit_code})"
    return Finding(Outcome.FAIL, "wrong_output", said, words)
