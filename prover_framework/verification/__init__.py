"""Checking receipts that anybody has sent; apart from issuing them."""
