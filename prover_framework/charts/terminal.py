"""A chart in a terminal: the first curve in dots, everything else in signs of its own.

Nothing is told by a colour alone: without any, each part still has its sign, which the lines below
the chart explain.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from textwrap import wrap

from attrs import Factory, define
from rich.text import Text

from prover_framework.charts.extent import Extent, extent_of
from prover_framework.charts.numbers import ticks
from prover_framework.charts.words import ILLUSTRATION, axis_text, mark_text
from prover_framework.model.charts import Band, Chart, Curve, Histogram

# Lines of the drawing itself; title, axis and explanations come beside it.
ROWS = 16

# Narrower, nothing could be told apart.
LEAST_WIDTH = 40

# Letters of a number beside the vertical axis; few have more than "1,000,000".
MOST_BESIDE = 14

TICKS_UP, COLUMNS_A_TICK = 4, 16

# Signs of curves after the first, which is drawn in dots; of bands; of marks, by their numbers.
CURVE_SIGNS = "ox+*vsdhqwz"
BAND_SIGNS = "░▒▓"
MARK_SIGNS = "123456789ABC"
LEVEL, MOMENT = "┄", "┊"
DOTS_SIGN = "⠒"

# Blocks that fill a cell from below, by eighths.
BLOCKS = " ▁▂▃▄▅▆▇█"

# The bits of a sign in Braille by row and column: a cell has two by four dots.
BRAILLE = 0x2800
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
DOTS_ACROSS, DOTS_UP = 2, 4

STYLES = ("bold blue", "yellow", "green", "magenta", "cyan", "white")
BAND_STYLE, BAR_STYLE, MARK_STYLE, FAINT = "blue", "blue", "bold red", "dim"


@define
class _Grid:
    """The cells of a drawing, from the top down; each has a sign and a style."""

    extent: Extent
    margin: int
    width: int
    beside: dict[int, str] = Factory(dict)
    signs: list[list[str]] = Factory(
        lambda self: [[" "] * self.width for _ in range(ROWS)], takes_self=True
    )
    styles: list[list[str]] = Factory(
        lambda self: [[""] * self.width for _ in range(ROWS)], takes_self=True
    )

    @property
    def highest(self) -> float:
        """The number of the vertical axis that lies farthest from zero."""
        return max(abs(self.extent.y_low), abs(self.extent.y_high))

    def column(self, x: float, parts: int = 1) -> int:
        """Return the column of a value, or of one of the parts of columns; ends hold the rest."""
        count = self.width * parts
        return min(max(int(self.extent.along(x) * count), 0), count - 1)

    def row(self, y: float, parts: int = 1) -> int:
        """Return the row of a value from the top, or of one of the parts of rows."""
        count = ROWS * parts
        return min(max(int((1 - self.extent.up(y)) * count), 0), count - 1)

    def put(self, row: int, column: int, sign: str, style: str) -> None:
        """Put a sign into a cell, in place of what is there."""
        self.signs[row][column] = sign
        self.styles[row][column] = style

    def put_behind(self, row: int, column: int, sign: str, style: str) -> None:
        """Put a sign where nothing or only a band is."""
        if self.signs[row][column] in f" {BAND_SIGNS}":
            self.put(row, column, sign, style)


def draw_text(chart: Chart, width: int) -> Text:
    """Return a chart as lines of text.

    Args:
        chart: The chart.
        width: How many columns it may take.
    """
    grid = _grid(chart, max(width, LEAST_WIDTH))
    for number, band in enumerate(chart.bands):
        _fill(grid, band, BAND_SIGNS[number % len(BAND_SIGNS)])
    if chart.histogram is not None:
        _stack(grid, chart.histogram)
    for number, curve in enumerate(chart.curves):
        if number:
            _trace(grid, curve, CURVE_SIGNS[number - 1], _style(number))
        else:
            _dot(grid, curve, _style(number))
    _mark(grid, chart)
    lines = [
        *_wrapped(chart.title, grid, "bold"),
        *_wrapped(axis_text(chart.y, grid.highest), grid, FAINT),
        *_rows(grid),
        *_axis(grid, chart),
        *_explained(grid, chart),
    ]
    return Text("\n").join(lines)


def _grid(chart: Chart, width: int) -> _Grid:
    """Return the cells of a chart, beside as much room as the numbers of its vertical axis take."""
    extent = extent_of(chart)
    found = ticks(extent.y_low, extent.y_high, chart.y.unit, TICKS_UP)
    # What is cut off would be another number.
    found = [tick for tick in found if len(tick.text) <= MOST_BESIDE]
    margin = max((len(tick.text) for tick in found), default=0) + 2
    grid = _Grid(extent, margin, width - margin)
    grid.beside = {grid.row(tick.value): tick.text for tick in found}
    return grid


def _style(number: int) -> str:
    return STYLES[number % len(STYLES)]


def _fill(grid: _Grid, band: Band, sign: str) -> None:
    points = [(x, low, high) for x, low, high in zip(band.x, band.low, band.high, strict=True)]
    for column, (low, high) in _columns(grid, points):
        for row in range(grid.row(high), grid.row(low) + 1):
            grid.put(row, column, sign, BAND_STYLE)


def _trace(grid: _Grid, curve: Curve, sign: str, style: str) -> None:
    """Draw a curve by a sign: in each column from its lowest to its highest value there."""
    points = [(x, y, y) for x, y in zip(curve.x, curve.y, strict=True)]
    for column, (low, high) in _columns(grid, points):
        for row in range(grid.row(high), grid.row(low) + 1):
            grid.put(row, column, sign, style)


def _columns(
    grid: _Grid, points: Sequence[tuple[float, float, float]]
) -> Iterator[tuple[int, tuple[float, float]]]:
    """Yield each column that points reach, with the lowest and highest value there.

    A column between two points has what lies on the line between them.
    """
    found: dict[int, tuple[float, float]] = {}
    for x, low, high in points:
        column = grid.column(x)
        known = found.get(column, (low, high))
        found[column] = min(known[0], low), max(known[1], high)
    places = list(found)
    yield from found.items()
    for before, after in pairwise(places):
        for column in range(before + 1, after):
            part = (column - before) / (after - before)
            low, high = (
                one + part * (other - one)
                for one, other in zip(found[before], found[after], strict=True)
            )
            yield column, (low, high)


def _dot(grid: _Grid, curve: Curve, style: str) -> None:
    """Draw a curve in dots, of which a cell has two by four."""
    cells: dict[tuple[int, int], int] = {}
    points = [
        (grid.column(x, DOTS_ACROSS), grid.row(y, DOTS_UP))
        for x, y in zip(curve.x, curve.y, strict=True)
    ]
    for (x0, y0), (x1, y1) in pairwise([*points[:1], *points]):
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for step in range(steps + 1):
            x = round(x0 + (x1 - x0) * step / steps)
            y = round(y0 + (y1 - y0) * step / steps)
            cell = y // DOTS_UP, x // DOTS_ACROSS
            cells[cell] = cells.get(cell, 0) | DOTS[y % DOTS_UP][x % DOTS_ACROSS]
    for (row, column), bits in cells.items():
        grid.put(row, column, chr(BRAILLE + bits), style)


def _stack(grid: _Grid, bars: Histogram) -> None:
    """Draw a histogram; of several bars in one column the highest."""
    heights = [0.0] * grid.width
    for (start, end), count in zip(pairwise(bars.edges), bars.counts, strict=True):
        # The end of a bar is the beginning of the next, and of the next column where they meet.
        first, last = grid.column(start), grid.column(end)
        for column in range(first, max(last, first + 1)):
            heights[column] = max(heights[column], count)
    if bars.counts:
        heights[-1] = max(heights[-1], bars.counts[-1])
    for column, height in enumerate(heights):
        # What is there is shown, however low it is.
        eighths = max(round(grid.extent.up(height) * ROWS * 8), 1 if height > 0 else 0)
        for row in range(ROWS):
            sign = BLOCKS[min(max(eighths - 8 * (ROWS - 1 - row), 0), 8)]
            if sign != " ":
                grid.put(row, column, sign, BAR_STYLE)


def _mark(grid: _Grid, chart: Chart) -> None:
    for number, mark in enumerate(chart.marks):
        sign = MARK_SIGNS[number]
        if mark.x is not None and mark.y is not None:
            grid.put(grid.row(mark.y), grid.column(mark.x), sign, MARK_STYLE)
        elif mark.y is not None:
            row = grid.row(mark.y)
            for column in range(grid.width - 1):
                grid.put_behind(row, column, LEVEL, MARK_STYLE)
            grid.put(row, grid.width - 1, sign, MARK_STYLE)
        elif mark.x is not None:
            column = grid.column(mark.x)
            for row in range(1, ROWS):
                grid.put_behind(row, column, MOMENT, MARK_STYLE)
            grid.put(0, column, sign, MARK_STYLE)


def _rows(grid: _Grid) -> Iterator[Text]:
    for row, (signs, styles) in enumerate(zip(grid.signs, grid.styles, strict=True)):
        text = grid.beside.get(row, "")
        line = Text(f"{text:>{grid.margin - 2}} {'┤' if text else '│'}", FAINT)
        for sign, style in zip(signs, styles, strict=True):
            line.append(sign, style)
        yield line


def _axis(grid: _Grid, chart: Chart) -> Iterator[Text]:
    line, names = ["─"] * grid.width, [" "] * grid.width
    extent = grid.extent
    free = 0
    for tick in ticks(
        extent.x_low, extent.x_high, chart.x.unit, max(grid.width // COLUMNS_A_TICK, 2)
    ):
        column = grid.column(tick.value)
        start = min(max(column - len(tick.text) // 2, 0), grid.width - len(tick.text))
        # A name that would touch the one before is left out, with its tick.
        if start >= free:
            line[column] = "┬"
            names[start : start + len(tick.text)] = tick.text
            free = start + len(tick.text) + 1
    margin = " " * (grid.margin - 1)
    yield Text(f"{margin}└{''.join(line)}", FAINT)
    yield Text(f"{margin} {''.join(names).rstrip()}", FAINT)
    title = axis_text(chart.x, extent.x_high)
    yield Text(f"{margin} {title[: grid.width]:^{grid.width}}".rstrip(), FAINT)


def _explained(grid: _Grid, chart: Chart) -> Iterator[Text]:
    """Say what each sign means, and where the marked parts of the axis are."""
    width = grid.width + grid.margin
    for span in chart.spans:
        first, last = grid.column(span.start), grid.column(span.end)
        bar = "├" + "─" * max(last - first - 1, 0) + "┤" if last > first else "┴"
        room = grid.width - last - 2
        text = f"{bar} {span.name}" if len(span.name) <= room else bar
        yield Text(f"{' ' * (grid.margin + first)}{text}"[:width], "green")
        if len(span.name) > room:
            name = f"{span.name:>{min(last + 1, grid.width)}}"
            yield Text(f"{' ' * grid.margin}{name}"[:width], "green")
    keys = [
        *(
            (CURVE_SIGNS[number - 1] if number else DOTS_SIGN, curve.name, _style(number))
            for number, curve in enumerate(chart.curves)
        ),
        *(
            (BAND_SIGNS[number % len(BAND_SIGNS)], band.name, BAND_STYLE)
            for number, band in enumerate(chart.bands)
        ),
        *([] if chart.histogram is None else [("█", chart.histogram.name, BAR_STYLE)]),
        *(
            (MARK_SIGNS[number], mark_text(chart, mark), MARK_STYLE)
            for number, mark in enumerate(chart.marks)
        ),
    ]
    line = Text()
    for sign, name, style in keys:
        entry = Text.assemble((sign, style), " ", name)
        entry.truncate(width, overflow="ellipsis")
        if line and len(line) + 3 + len(entry) > width:
            yield line
            line = Text()
        line = Text("   ").join([line, entry]) if line else entry
    if line:
        yield line
    yield from _wrapped(f"{ILLUSTRATION} {chart.note}", grid, FAINT)


def _wrapped(text: str, grid: _Grid, style: str) -> Iterator[Text]:
    return (Text(line, style) for line in wrap(text, grid.width + grid.margin))
