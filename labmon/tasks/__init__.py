"""Tasks and threads that neither fail in silence nor hold up the end of the process. Imports nothing of labmon."""
