"""The commands of `vreid`; each calls what the library offers, and `command.py` turns its outcome into text or JSON."""
