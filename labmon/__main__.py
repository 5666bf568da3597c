"""`python -m labmon` is the command line."""

from labmon.cli import main

main()
