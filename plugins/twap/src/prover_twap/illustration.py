"""What a TWAP looks like: the hourly base fee, its mean, and the range."""

from itertools import accumulate

from prover_framework import (
    HOUR_SECONDS,
    Axis,
    Chart,
    Curve,
    HourlySeries,
    Mark,
    Span,
    Unit,
)

# Hours of the moving mean that shows the course of the days.
DAY_HOURS = 24


def base_fee_chart(series: HourlySeries, twap_wei: float) -> Chart:
    """Return the chart of a series and its TWAP.

    Args:
        series: The hours of the range.
        twap_wei: Their mean, in wei.
    """
    means = series.means_wei()
    hours = [float(series.first_hour + position * HOUR_SECONDS) for position in range(len(series))]
    sums = [0.0, *accumulate(means)]
    days = [
        (sums[position + DAY_HOURS] - sums[position]) / DAY_HOURS
        for position in range(len(means) - DAY_HOURS + 1)
    ]
    curves = [Curve(name="Mean of the hour", x=tuple(hours), y=tuple(means))]
    if len(days) > 1:
        curves.append(
            Curve(name="Mean of the last 24 hours", x=tuple(hours[DAY_HOURS - 1 :]), y=tuple(days))
        )
    return Chart(
        name="base_fee",
        title="Hourly base fee and its TWAP",
        x=Axis(title="Hour", unit=Unit.TIME),
        y=Axis(title="Base fee", unit=Unit.WEI),
        curves=tuple(curves),
        spans=(
            Span(
                name=f"Range, {len(series):,} hours",
                start=hours[0],
                end=hours[-1] + HOUR_SECONDS,
            ),
        ),
        marks=(Mark(name="TWAP", y=twap_wei),),
    )
