"""The data of a chart as rows: a table for readers, CSV for programs."""

import csv
from collections.abc import Iterator
from io import StringIO

from attrs import frozen

from prover_framework.charts.numbers import FIRST_MOMENT, LAST_MOMENT
from prover_framework.model.charts import Chart, Unit
from prover_framework.text import iso_utc


@frozen
class Rows:
    """The data of a chart.

    Args:
        head: The names of the columns.
        rows: The values, exactly; empty where a column has none.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def csv(self) -> str:
        """Return them as CSV."""
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(map(_harmless, self.head))
        writer.writerows(self.rows)
        return text.getvalue()


def rows_of(chart: Chart) -> Rows:
    """Return the data of a chart: a row for each place on the horizontal axis."""
    bars = chart.histogram
    columns = list(_columns(chart))
    names = tuple(f"{name} ({chart.y.unit})" for name, _ in columns)
    places = sorted({place for _, values in columns for place in values})
    rows = [
        (
            _place(place, chart.x.unit),
            *(repr(values[place]) if place in values else "" for _, values in columns),
        )
        for place in places
    ]
    if bars is None:
        return Rows((chart.x.title, *names), tuple(rows))
    # What is no bar has a place where that begins, and none where it ends.
    edges = [_place(edge, chart.x.unit) for edge in bars.edges]
    none = ("",) * len(names)
    counts = map(repr, bars.counts)
    return Rows(
        (f"{chart.x.title} from", f"{chart.x.title} to", bars.name, *names),
        (
            *((*bar, *none) for bar in zip(edges, edges[1:], counts, strict=False)),
            *((place, "", "", *values) for place, *values in rows),
        ),
    )


def _columns(chart: Chart) -> Iterator[tuple[str, dict[float, float]]]:
    for curve in chart.curves:
        yield curve.name, dict(zip(curve.x, curve.y, strict=True))
    for band in chart.bands:
        yield f"{band.name}, low", dict(zip(band.x, band.low, strict=True))
        yield f"{band.name}, high", dict(zip(band.x, band.high, strict=True))


def _place(value: float, unit: Unit) -> str:
    if unit is Unit.TIME and FIRST_MOMENT <= value <= LAST_MOMENT:
        return iso_utc(round(value * 1000))
    return repr(value)


def _harmless(name: str) -> str:
    """Keep a spreadsheet from taking a plugin's name for a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name
