"""What this host can hold, found by trying; its interpreters and packages."""
