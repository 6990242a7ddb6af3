"""Which part of the plane a chart takes up."""

from attrs import frozen

from prover_framework.model.charts import Chart

# Room above and below what is drawn, as a part of its height.
AIR = 0.06


@frozen(kw_only=True)
class Extent:
    """The ends of both axes, in the units of a chart."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def along(self, x: float) -> float:
        """Return how far a value is along the horizontal axis, as a part of it."""
        return (x - self.x_low) / (self.x_high - self.x_low)

    def up(self, y: float) -> float:
        """Return how far a value is up the vertical axis, as a part of it."""
        return (y - self.y_low) / (self.y_high - self.y_low)


def extent_of(chart: Chart) -> Extent:
    """Return the part of the plane that a chart takes up; its spans may go beyond."""
    bars = chart.histogram
    x = [
        *(each for curve in chart.curves for each in (curve.x[:1] + curve.x[-1:])),
        *(each for band in chart.bands for each in (band.x[:1] + band.x[-1:])),
        *(() if bars is None else (bars.edges[0], bars.edges[-1])),
        *(mark.x for mark in chart.marks if mark.x is not None),
    ]
    y = [
        *(each for curve in chart.curves for each in curve.y),
        *(each for band in chart.bands for each in (*band.low, *band.high)),
        *(() if bars is None else (0.0, *bars.counts)),
        *(mark.y for mark in chart.marks if mark.y is not None),
    ]
    x_low, x_high = _apart(min(x), max(x))
    y_low, y_high = _apart(min(y), max(y))
    air = AIR * (y_high - y_low)
    return Extent(
        x_low=x_low,
        x_high=x_high,
        # What cannot be negative is not shown as if it could.
        y_low=max(y_low - air, 0.0) if y_low >= 0 else y_low - air,
        y_high=y_high + air,
    )


def _apart(low: float, high: float) -> tuple[float, float]:
    """Return two ends that lie apart."""
    if low < high:
        return low, high
    room = abs(low) / 100 or 1.0
    return low - room, high + room
