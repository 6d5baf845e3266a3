"""Text of a language model in, results and rewards out. Empty for now: see CHANGELOG.md."""
