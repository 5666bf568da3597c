"""The daemon: composition and life cycle, nothing else."""
