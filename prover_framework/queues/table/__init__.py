"""The queue that is a table of the database."""
