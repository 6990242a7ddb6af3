"""Receipts: what was proved, where it came from, and who stands for it, for others to check."""
