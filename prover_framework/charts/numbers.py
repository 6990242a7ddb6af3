"""Numbers of charts for people: ticks at round places, and their texts with units."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import ceil, floor, log10

from attrs import frozen

from prover_framework.model.charts import Unit

# Below this, prices are shown in wei.
GWEI = 10**9
SHOWN_IN_GWEI = GWEI / 1000

DAY = 86400

# Steps of a time axis, in seconds; longer ones are in months.
TIME_STEPS = (
    *(60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600),
    *(DAY, 2 * DAY, 7 * DAY, 14 * DAY),
)
HOUR_STEPS = (1.0, 2.0, 3.0, 6.0, 12.0, 24.0, 48.0, 168.0, 336.0, 720.0)
MONTH_STEPS = (1, 2, 3, 6, 12, 24, 60, 120)
LONGEST_MONTH = 31 * DAY

# Moments that have a date.
FIRST_MOMENT, LAST_MOMENT = 0, 253_402_300_799


@frozen
class Tick:
    """A place on an axis, with what is written there."""

    value: float
    text: str


def ticks(low: float, high: float, unit: Unit, wanted: int) -> list[Tick]:
    """Return round places on an axis.

    Args:
        low: Where it begins.
        high: Where it ends, above that.
        unit: What its numbers are.
        wanted: About how many.
    """
    if unit is Unit.TIME and low >= FIRST_MOMENT and high <= LAST_MOMENT:
        return _time_ticks(low, high, wanted)
    scale = _scale(max(abs(low), abs(high)), unit)
    least = (high - low) / scale / wanted
    step = _round_step(least)
    if unit is Unit.COUNT:
        step = max(step, 1.0)
    elif unit is Unit.HOURS:
        step = next((each for each in HOUR_STEPS if least <= each * 1.0001), step)
    digits = max(0, -floor(log10(step) + 1e-9))
    return [
        Tick(place * step * scale, f"{place * step:,.{digits}f}")
        for place in range(ceil(low / scale / step - 1e-9), floor(high / scale / step + 1e-9) + 1)
    ]


def unit_text(high: float, unit: Unit) -> str:
    """Return what an axis up to a value is in; empty where its numbers have no unit."""
    match unit:
        case Unit.TIME:
            return "UTC"
        case Unit.HOURS:
            return "h"
        case Unit.WEI:
            return "gwei" if high >= SHOWN_IN_GWEI else "wei"
        case Unit.FRACTION:
            return "%"
        case _:
            return ""


def value_text(value: float, unit: Unit) -> str:
    """Write one value with its unit, short."""
    match unit:
        case Unit.TIME if FIRST_MOMENT <= value <= LAST_MOMENT:
            return f"{_moment(value):%Y-%m-%d %H:%M}"
        case Unit.WEI if abs(value) >= SHOWN_IN_GWEI:
            return f"{value / GWEI:,.4g} gwei"
        case Unit.WEI:
            return f"{value:,.4g} wei"
        case Unit.FRACTION:
            return f"{100 * value:.4g} %"
        case Unit.HOURS:
            return f"{value:,.6g} h"
        case _:
            return f"{value:,.6g}"


def _scale(largest: float, unit: Unit) -> float:
    if unit is Unit.FRACTION:
        return 0.01
    return GWEI if unit is Unit.WEI and largest >= SHOWN_IN_GWEI else 1.0


def _round_step(step: float) -> float:
    """Return the next of 1, 2, 5, 10 and so on."""
    power = 10.0 ** floor(log10(step))
    return next((power * each for each in (1, 2, 5) if step <= power * each * 1.0001), 10 * power)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


def _time_ticks(low: float, high: float, wanted: int) -> list[Tick]:
    step = (high - low) / wanted
    if (chosen := next((each for each in TIME_STEPS if step <= each), None)) is None:
        return _month_ticks(low, high, step)
    # Weeks begin on Mondays: the first of 1970 was the fourth day after the epoch.
    offset = 4 * DAY if chosen % (7 * DAY) == 0 else 0
    first = ceil((low - offset) / chosen)
    last = floor((high - offset) / chosen)
    pattern = "%d %b" if chosen >= DAY else "%d %b %H:%M" if high - low > DAY else "%H:%M"
    return _dated([place * chosen + offset for place in range(first, last + 1)], pattern)


def _month_ticks(low: float, high: float, step: float) -> list[Tick]:
    months = next((each for each in MONTH_STEPS if step <= each * LONGEST_MONTH), MONTH_STEPS[-1])
    moment = _moment(low)
    number = moment.year * 12 + moment.month - 1
    number -= number % months
    found = []
    while (at := datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)) <= _moment(high):
        if at >= moment - timedelta(seconds=1):
            found.append(at.timestamp())
        number += months
    return _dated(found, "%b")


def _dated(moments: Sequence[float], pattern: str) -> list[Tick]:
    """Write moments by a pattern, the year with the first and whenever it changes."""
    found: list[Tick] = []
    year = None
    for at in moments:
        moment = _moment(at)
        text = f"{moment:{pattern}}"
        found.append(Tick(at, text if moment.year == year else f"{text} {moment.year}"))
        year = moment.year
    return found
