"""Queues wake workers; the database is the truth."""
