"""Health of lines and devices as data."""
