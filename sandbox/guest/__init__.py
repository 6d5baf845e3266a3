"""What runs inside a jail.

These modules are all of ours that a jail holds. They import the standard library and each
other, never the host side. The wire and the confinement probes are also used by the host; the
direction is always host -> guest.
"""
