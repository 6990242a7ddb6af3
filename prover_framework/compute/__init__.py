"""Computations in supervised child processes, one for each slot."""
