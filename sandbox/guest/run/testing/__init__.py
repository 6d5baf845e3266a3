"""A small runner of test modules: what pytest and unittest would say of one, without either."""

from .outcomes import Failed, Skipped, Unfit
from .runner import prepare, run

__all__ = ["Failed", "Skipped", "Unfit", "prepare", "run"]
