"""What a max return looks like: the moving mean, and the two windows of the largest change."""

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


def moving_mean_chart(
    series: HourlySeries, window_hours: int, occurred_hour: int, maximum: float
) -> Chart:
    """Return the chart of the moving mean, with the windows that the maximum compares.

    Args:
        series: The hours of the range, at least twice the window's.
        window_hours: Hours of the mean.
        occurred_hour: Unix seconds of the last hour of the later window.
        maximum: The max return, a fraction.
    """
    hours, means = _means(series, window_hours)
    end = float(occurred_hour + HOUR_SECONDS)
    window = float(window_hours * HOUR_SECONDS)
    later = (occurred_hour - int(hours[0])) // HOUR_SECONDS
    earlier = later - window_hours
    return Chart(
        name="moving_mean",
        title="Moving mean of the base fee, and the windows of the max return",
        x=Axis(title="Last hour of the window", unit=Unit.TIME),
        y=Axis(title="Base fee", unit=Unit.WEI),
        curves=(Curve(name=f"Mean of {window_hours:,} hours", x=tuple(hours), y=tuple(means)),),
        spans=(
            Span(name="Earlier window", start=end - 2 * window, end=end - window),
            Span(name="Later window", start=end - window, end=end),
        ),
        marks=(
            Mark(name="Mean of the earlier window", x=hours[earlier], y=means[earlier]),
            Mark(name=f"{maximum:+.2%}", x=hours[later], y=means[later]),
        ),
    )


def returns_chart(
    series: HourlySeries, window_hours: int, occurred_hour: int, maximum: float
) -> Chart:
    """Return the chart of all returns that there were to choose from; see `moving_mean_chart`."""
    hours, means = _means(series, window_hours)
    pairs = zip(means, means[window_hours:], strict=False)
    returns = [later / earlier - 1 for earlier, later in pairs]
    return Chart(
        name="returns",
        title="Return of the moving mean over one window",
        x=Axis(title="Last hour of the later window", unit=Unit.TIME),
        y=Axis(title="Return", unit=Unit.FRACTION),
        curves=(
            Curve(
                name=f"Return over {window_hours:,} hours",
                x=tuple(hours[window_hours:]),
                y=tuple(returns),
            ),
        ),
        marks=(Mark(name="Max return", x=float(occurred_hour), y=maximum),),
    )


def _means(series: HourlySeries, window_hours: int) -> tuple[list[float], list[float]]:
    """Return the last hour of each window in Unix seconds, and its mean in wei."""
    sums = [0.0, *accumulate(series.means_wei())]
    means = [
        (late - early) / window_hours
        for early, late in zip(sums, sums[window_hours:], strict=False)
    ]
    first = series.first_hour + (window_hours - 1) * HOUR_SECONDS
    return [float(first + place * HOUR_SECONDS) for place in range(len(means))], means
