"""Snapshots, inside their jail."""
