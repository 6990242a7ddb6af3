"""Charts drawn: as SVG, as a table, as CSV. What they show comes from plugins."""
