"""Backups of a gateway: what it needs to live again on another box, and the proof that it can."""
