"""Receipts as documents: written canonically, read with suspicion."""
