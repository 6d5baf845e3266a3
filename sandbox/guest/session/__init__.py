"""Sessions, inside their jail."""
