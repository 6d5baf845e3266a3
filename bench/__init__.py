"""Benches: one script a promise, JSON and a plot out. No timing is asserted anywhere."""
