"""Seals: what vouches for a receipt."""
