"""labmon: environmental monitoring for GMP cell therapy plants."""

__version__ = "0.1.0"
