"""Names to services. Empty for now: see CHANGELOG.md."""
