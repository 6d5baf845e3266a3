"""What people are told when programs lack a package that is there to be offered."""

from collections.abc import Mapping

from ...sandbox.host.hints import not_offered
from ...sandbox.result import Result
from ..wording import lacking as in_words


def missing_package(result: Result) -> str:
    """Return a hint at `--with`, where the run failed for want of a package that is installed and
    not offered; else "".
    """
    name = result.not_offered
    return "" if name is None else not_offered(name, f"pool run --with {name} ...")


def lacking(counts: Mapping[str, int], total: int) -> list[str]:
    """Return a line for each package that some of `total` programs lacked (`Stats.not_offered`)."""
    return [
        in_words(count, total, name, f"--with {name}") for name, count in counts.items() if count
    ]
