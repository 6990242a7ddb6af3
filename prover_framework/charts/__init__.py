"""Charts as plugins describe them, drawn: as SVG, in a terminal, as rows."""
