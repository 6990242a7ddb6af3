"""What a chart says in words: for those who do not see it, and beside what is drawn."""

from collections.abc import Sequence

from prover_framework.charts.numbers import unit_text, value_text
from prover_framework.model.charts import Axis, Chart, Mark

# Said with every chart, wherever it is drawn.
ILLUSTRATION = "An illustration: no part of the statement."


def summary(chart: Chart) -> str:
    """Return in a sentence what a chart shows, for those who do not see it."""
    said = [
        *(mark_text(chart, each) for each in chart.marks),
        *(f"{curve.name}: {_range(curve.y, chart.y)}" for curve in chart.curves if curve.y),
    ]
    return f"{chart.title}. {'; '.join(said)}" if said else chart.title


def mark_text(chart: Chart, mark: Mark) -> str:
    """Return the name of a mark, with where it is."""
    x = None if mark.x is None else value_text(mark.x, chart.x.unit)
    y = None if mark.y is None else value_text(mark.y, chart.y.unit)
    return f"{mark.name}: {' at '.join(each for each in (y, x) if each is not None)}"


def axis_text(axis: Axis, high: float) -> str:
    """Return the title of an axis that goes up to a value, with the unit of its numbers."""
    unit = unit_text(high, axis.unit)
    return f"{axis.title} ({unit})" if unit else axis.title


def _range(values: Sequence[float], axis: Axis) -> str:
    return f"{value_text(min(values), axis.unit)} to {value_text(max(values), axis.unit)}"
