"""Plugins: found, loaded one by one, and called."""
