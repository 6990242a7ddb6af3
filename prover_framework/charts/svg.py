"""A chart as SVG: no script, no inline style, readable without either.

Colours come from ``chart.css`` by classes; attributes stand in where that file is not there. Curves
differ by their dashes as well as by colour.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from xml.sax.saxutils import escape, quoteattr

from attrs import frozen

from prover_framework.charts.extent import Extent, extent_of
from prover_framework.charts.numbers import ticks, value_text
from prover_framework.charts.words import axis_text, mark_text, summary
from prover_framework.model.charts import Chart

WIDTH, HEIGHT = 960.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 72.0, 18.0, 14.0, 46.0
LEGEND_LINE = 22.0

# About what a letter of the font takes, to place what stands beside it.
LETTER = 7.3

# Columns into which the points of a curve are gathered where there are more: its lowest and highest
# point of each are drawn, so that no extreme is lost.
COLUMNS = 700

COLOURS = ("#175a86", "#b3541e", "#1b6e3c", "#5a3fa0", "#8a1c4a", "#4a5866")
DASHES = ("", "7 4", "2 3", "9 3 2 3", "12 4", "1 3")

SHEET = '<?xml-stylesheet type="text/css" href="/static/chart.css"?>\n'


@frozen(kw_only=True)
class _Frame:
    """Where numbers come to lie."""

    extent: Extent
    top: float

    @property
    def bottom(self) -> float:
        return HEIGHT - BOTTOM

    @property
    def right(self) -> float:
        return WIDTH - RIGHT

    def x(self, value: float) -> float:
        return LEFT + self.extent.along(value) * (self.right - LEFT)

    def y(self, value: float) -> float:
        return self.bottom - self.extent.up(value) * (self.bottom - self.top)

    def inside(self, value: float) -> float:
        """Return the place of a value on the horizontal axis, at an end where it lies beyond."""
        return min(max(self.x(value), LEFT), self.right)


@frozen
class _Key:
    """An entry of the legend."""

    kind: str
    number: int
    name: str


def draw(chart: Chart, *, alone: bool = False, identifier: str = "chart") -> str:
    """Return a chart as SVG.

    Args:
        chart: The chart.
        alone: Whether it is a document of its own; else it is a part of a page.
        identifier: Tells it from others on its page.
    """
    keys = _keys(chart)
    lines = list(_legend_lines(keys))
    frame = _Frame(extent=extent_of(chart), top=TOP + LEGEND_LINE * len(lines))
    label = f"{identifier}-title"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" '
        f'viewBox="0 0 {WIDTH:g} {HEIGHT:g}" aria-labelledby={quoteattr(label)} '
        'font-family="system-ui, sans-serif" font-size="13">'
    )
    parts: list[Iterator[str]] = [
        iter([head, f"<title id={quoteattr(label)}>{escape(summary(chart))}</title>"]),
        _grid(chart, frame),
        _spans(chart, frame),
        _bands(chart, frame),
        _bars(chart, frame),
        _curves(chart, frame),
        _marks(chart, frame),
        _axes(chart, frame),
        _legend(lines),
        iter(["</svg>"]),
    ]
    text = "\n".join(chain.from_iterable(parts))
    return f"{SHEET}{text}\n" if alone else text


def _grid(chart: Chart, frame: _Frame) -> Iterator[str]:
    for tick in ticks(frame.extent.y_low, frame.extent.y_high, chart.y.unit, 5):
        y = frame.y(tick.value)
        yield (
            f'<line class="grid" x1="{LEFT:g}" x2="{frame.right:g}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="#d9dee5"/>'
        )
        yield _text(LEFT - 8, y + 4.5, tick.text, anchor="end")
    for tick in ticks(frame.extent.x_low, frame.extent.x_high, chart.x.unit, 7):
        x = frame.x(tick.value)
        yield (
            f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.bottom:g}" '
            f'y2="{frame.bottom + 5:g}" stroke="#56616e"/>'
        )
        yield _text(x, frame.bottom + 19, tick.text, anchor="middle")


def _axes(chart: Chart, frame: _Frame) -> Iterator[str]:
    yield (
        f'<line class="axis" x1="{LEFT:g}" x2="{frame.right:g}" y1="{frame.bottom:g}" '
        f'y2="{frame.bottom:g}" stroke="#56616e"/>'
    )
    x_title = axis_text(chart.x, frame.extent.x_high)
    yield _text((LEFT + frame.right) / 2, HEIGHT - 6, x_title, anchor="middle", kind="name")
    y_title = axis_text(chart.y, max(abs(frame.extent.y_low), abs(frame.extent.y_high)))
    middle = (frame.top + frame.bottom) / 2
    yield (
        f'<text class="name" transform="translate(15 {middle:.1f}) rotate(-90)" '
        f'text-anchor="middle" fill="#56616e">{escape(y_title)}</text>'
    )


def _spans(chart: Chart, frame: _Frame) -> Iterator[str]:
    for number, span in enumerate(chart.spans):
        start, end = frame.inside(span.start), frame.inside(span.end)
        # What is thinner than a line is drawn as one.
        width = max(end - start, 1.5)
        yield (
            f'<rect class="span s{number % 4}" x="{start:.1f}" y="{frame.top:g}" '
            f'width="{width:.1f}" height="{frame.bottom - frame.top:g}" '
            f'fill="{_span_colour(number)}" fill-opacity="0.09">'
            f"<title>{escape(span.name)}</title></rect>"
        )


def _span_colour(number: int) -> str:
    # The first colour is the first curve's.
    return COLOURS[(number + 1) % len(COLOURS)]


def _bands(chart: Chart, frame: _Frame) -> Iterator[str]:
    for number, band in enumerate(chart.bands):
        if not band.x:
            continue
        there = _points(_gathered(band.x, band.high, max), frame)
        back = _points(_gathered(band.x, band.low, min), frame)
        outline = " ".join(there + back[::-1])
        yield (
            f'<polygon class="band b{number % 3}" points="{outline}" fill="#175a86" '
            f'fill-opacity="0.18"><title>{escape(band.name)}</title></polygon>'
        )


def _gathered(
    xs: Sequence[float], ys: Sequence[float], extreme: Callable[[Sequence[float]], float]
) -> list[tuple[float, float]]:
    """Gather points into columns, each with its extreme, where there are many."""
    size = -(-len(xs) // COLUMNS)
    if size <= 1:
        return list(zip(xs, ys, strict=True))
    starts = range(0, len(xs), size)
    found = [(xs[start], extreme(ys[start : start + size])) for start in starts]
    return [*found, (xs[-1], ys[-1])]


def _bars(chart: Chart, frame: _Frame) -> Iterator[str]:
    if chart.histogram is None:
        return
    edges = chart.histogram.edges
    for start, end, count in zip(edges, edges[1:], chart.histogram.counts, strict=False):
        x, y = frame.x(start), frame.y(count)
        text = f"{value_text(start, chart.x.unit)} to {value_text(end, chart.x.unit)}: {count:g}"
        yield (
            f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" '
            f'width="{max(frame.x(end) - x - 1, 0.5):.1f}" height="{frame.bottom - y:.1f}" '
            f'fill="{COLOURS[0]}" fill-opacity="0.75"><title>{escape(text)}</title></rect>'
        )


def _curves(chart: Chart, frame: _Frame) -> Iterator[str]:
    for number, curve in enumerate(chart.curves):
        points = " ".join(_points(_thinned(curve.x, curve.y), frame))
        dash = DASHES[number % len(DASHES)]
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        yield (
            f'<polyline class="curve c{number % len(COLOURS)}" points="{points}" fill="none" '
            f'stroke="{COLOURS[number % len(COLOURS)]}" stroke-width="1.6" '
            f'stroke-linejoin="round"{dashed}><title>{escape(curve.name)}</title></polyline>'
        )


def _thinned(xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    """Return the points of a curve; of many that lie in one column the lowest and the highest."""
    size = -(-len(xs) // COLUMNS)
    if size <= 2:
        return list(zip(xs, ys, strict=True))
    found: list[tuple[float, float]] = []
    for start in range(0, len(xs), size):
        column = range(start, min(start + size, len(xs)))
        low, high = min(column, key=ys.__getitem__), max(column, key=ys.__getitem__)
        found.extend((xs[place], ys[place]) for place in sorted({low, high}))
    return found


def _points(points: Sequence[tuple[float, float]], frame: _Frame) -> list[str]:
    return [f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points]


def _marks(chart: Chart, frame: _Frame) -> Iterator[str]:
    for mark in chart.marks:
        text = mark_text(chart, mark)
        if mark.x is not None and mark.y is not None:
            x, y = frame.inside(mark.x), frame.y(mark.y)
            yield f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="5" fill="#a82424"/>'
            yield _beside(x, y - 10, text, frame)
        elif mark.y is not None:
            y = frame.y(mark.y)
            yield _line(LEFT, frame.right, y, y)
            yield _beside(frame.right, y - 6, text, frame)
        elif mark.x is not None:
            x = frame.inside(mark.x)
            yield _line(x, x, frame.top, frame.bottom)
            yield _beside(x + 6, frame.top + 14, text, frame)


def _line(x1: float, x2: float, y1: float, y2: float) -> str:
    return (
        f'<line class="mark" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}" '
        'stroke="#a82424" stroke-width="1.6" stroke-dasharray="8 4"/>'
    )


def _beside(x: float, y: float, text: str, frame: _Frame) -> str:
    """Write beside a place, to the side where there is room."""
    fits = x + LETTER * len(text) < frame.right
    return _text(x, max(y, frame.top + 12), text, anchor="start" if fits else "end", kind="label")


def _text(x: float, y: float, text: str, *, anchor: str, kind: str = "place") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
        f'fill="#56616e">{escape(text)}</text>'
    )


def _keys(chart: Chart) -> list[_Key]:
    return [
        *(_Key("curve", number, each.name) for number, each in enumerate(chart.curves)),
        *(_Key("band", number, each.name) for number, each in enumerate(chart.bands)),
        *(_Key("span", number, each.name) for number, each in enumerate(chart.spans)),
    ]


def _legend_lines(keys: Sequence[_Key]) -> Iterator[list[tuple[float, _Key]]]:
    """Lay the legend out in lines, each entry with where it begins."""
    line: list[tuple[float, _Key]] = []
    x = LEFT
    for key in keys:
        width = 34 + LETTER * len(key.name) + 18
        if line and x + width > WIDTH - RIGHT:
            yield line
            line, x = [], LEFT
        line.append((x, key))
        x += width
    if line:
        yield line


def _legend(lines: Sequence[Sequence[tuple[float, _Key]]]) -> Iterator[str]:
    for number, line in enumerate(lines):
        y = TOP + LEGEND_LINE * number + 6
        for x, key in line:
            colour = COLOURS[key.number % len(COLOURS)]
            if key.kind == "curve":
                dash = DASHES[key.number % len(DASHES)]
                dashed = f' stroke-dasharray="{dash}"' if dash else ""
                yield (
                    f'<line class="curve c{key.number % len(COLOURS)}" x1="{x:.1f}" '
                    f'x2="{x + 26:.1f}" y1="{y:g}" y2="{y:g}" stroke="{colour}" '
                    f'stroke-width="2.4"{dashed}/>'
                )
            else:
                shade, ink, opacity = (
                    (f"band b{key.number % 3}", COLOURS[0], "0.3")
                    if key.kind == "band"
                    else (
                        f"span s{key.number % 4}",
                        COLOURS[(key.number + 1) % len(COLOURS)],
                        "0.25",
                    )
                )
                yield (
                    f'<rect class="{shade} key" x="{x:.1f}" y="{y - 6:g}" width="26" height="12" '
                    f'fill="{ink}" fill-opacity="{opacity}"/>'
                )
            yield _text(x + 34, y + 4.5, key.name, anchor="start", kind="legend")
