"""One run, from the host's side."""
