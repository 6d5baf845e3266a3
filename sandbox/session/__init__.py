"""Sessions, from the host's side: a fork server, families of states, and their calls."""
