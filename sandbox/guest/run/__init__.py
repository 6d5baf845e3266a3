"""A program, run as Python would run it."""
