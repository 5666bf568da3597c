"""Drivers that come with labmon and are written in Python, since no driver file can say what they do."""
