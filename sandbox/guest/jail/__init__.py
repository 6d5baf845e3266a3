"""The zygote, and what confines it and its children."""
