"""The demonstration: a simulated facility on one machine."""
