"""Longer runs behind the figures of the docs; each is a command that anyone can repeat."""
