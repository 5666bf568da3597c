"""Alarms: the ISA-18.2 life cycle on conditions, as pure functions and one table of data."""
