"""The journal: the one durable log; every consumer is a cursor over it."""
