"""The words of labmon as plain data: readings, events, the plant. Imports nothing of labmon."""
