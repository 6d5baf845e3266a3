"""Hosts on which the pool has to work, imitated on this one, and the suites run there."""
