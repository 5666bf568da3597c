"""Alarms: rules as data, one table of transitions, a pure step, and the engine that runs them for a gateway."""
