"""`labmon watch`: tells people, from elsewhere, that a gateway or ingest is silent."""
