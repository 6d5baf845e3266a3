"""Pools elsewhere: what a client and an executor say to each other, and both sides of it."""
