"""Where headers come from."""
