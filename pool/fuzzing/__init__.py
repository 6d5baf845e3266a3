"""Fuzzing, with hypothesis: inputs for untrusted functions, and where two of them differ."""

from .difference import Answer, Difference

__all__ = ["Answer", "Difference"]
