"""A campaign against the jail that goes on from a corpus that it keeps: `make campaign`."""
