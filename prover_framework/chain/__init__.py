"""Headers of the chain: where they come from and what they must obey."""
