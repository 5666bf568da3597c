"""Simulated instruments at the level of bytes, from their driver files."""
