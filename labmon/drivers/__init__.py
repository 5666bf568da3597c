"""Drivers: what one kind of instrument is, from a file (or a Python class that returns the same things)."""
