"""Chain data: headers, their rules, where they come from, and the hourly sums."""
