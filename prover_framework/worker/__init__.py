"""The worker: receives messages, takes jobs, has them computed, settles what came of it."""
