"""Snapshots, from the host's side."""
