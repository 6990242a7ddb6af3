"""Where code of plugins runs: supervised processes with limits."""
