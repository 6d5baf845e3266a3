"""The jail: how it is made, what it is made of, and how it ends."""
