"""Acquisition: lines poll devices, readings are normalised, alarms evaluated and all of it journaled."""
