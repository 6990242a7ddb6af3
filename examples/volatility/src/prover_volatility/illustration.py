"""What a volatility looks like: its course over the range, and the returns that make it up."""

from itertools import accumulate, pairwise
from math import log, sqrt

from prover_framework import HOUR_SECONDS, Axis, Chart, Curve, Histogram, HourlySeries, Mark, Unit

# Returns of the moving volatility: a week's, where each hour counts.
WINDOW = 168

BARS = 41


def volatility_charts(
    series: HourlySeries, interval_hours: int, year_hours: int, volatility: float
) -> list[Chart]:
    """Return the charts of a volatility.

    Args:
        series: The hours, with a base fee above zero in each that counts.
        interval_hours: Hours from one fee that counts to the next.
        year_hours: Hours of a year.
        volatility: What the whole series came to, for a year.
    """
    fees = series.means_wei()[::interval_hours]
    returns = [log(later / earlier) for earlier, later in pairwise(fees)]
    hours = [
        float(series.first_hour + (place + 1) * interval_hours * HOUR_SECONDS)
        for place in range(len(returns))
    ]
    window = min(WINDOW, len(returns))
    sums = [0.0, *accumulate(each * each for each in returns)]
    yearly = year_hours / (interval_hours * window)
    moving = [
        sqrt(max(late - early, 0.0) * yearly)
        for early, late in zip(sums, sums[window:], strict=False)
    ]
    course = Chart(
        name="course",
        title=f"Volatility of a year from the last {window} returns",
        x=Axis(title="Hour", unit=Unit.TIME),
        y=Axis(title="Volatility", unit=Unit.FRACTION),
        curves=(
            Curve(
                name=f"Of the last {window} returns",
                x=tuple(hours[window - 1 :]),
                y=tuple(moving),
            ),
        ),
        marks=(Mark(name="Volatility of the range", y=volatility),),
    )
    return [course, _histogram(returns)]


def _histogram(returns: list[float]) -> Chart:
    largest = max(map(abs, returns)) or 1.0
    width = 2 * largest / BARS
    counts = [0.0] * BARS
    for each in returns:
        counts[min(int((each + largest) / width), BARS - 1)] += 1
    return Chart(
        name="returns",
        title="Logarithmic returns of the base fee",
        x=Axis(title="Return", unit=Unit.FRACTION),
        y=Axis(title="Returns", unit=Unit.COUNT),
        histogram=Histogram(
            name="Returns",
            edges=tuple(-largest + place * width for place in range(BARS + 1)),
            counts=tuple(counts),
        ),
    )
