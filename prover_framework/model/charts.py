"""Charts as plugins describe them: what is drawn, in which units. The core draws.

A chart is an illustration. It is made from a result's inputs when somebody looks, is no part of any
statement, and nothing rests on it.
"""

from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from math import isfinite
from typing import Any

from attrs import Attribute, field, frozen
from attrs.validators import deep_iterable, instance_of, matches_re

from prover_framework.model.names import KIND_NAME

# More say less.
MAX_CHARTS = 8

# Of curves, bands, spans and marks: more cannot be told apart.
MAX_PARTS = 12

# Numbers of one chart: two curves of ten years by the hour would be too much to look at.
MAX_NUMBERS = 100_000

MAX_TEXT_LENGTH = 400


class Unit(StrEnum):
    """What the numbers of an axis are."""

    TIME = "time"
    """Unix seconds."""
    HOURS = "hours"
    """Hours from some moment on."""
    WEI = "wei"
    """Wei, a price of one unit of gas."""
    FRACTION = "fraction"
    """A fraction of one, shown in per cent."""
    NUMBER = "number"
    """A number without a unit."""
    COUNT = "count"
    """How many."""


def _text(instance: object, attribute: "Attribute[str]", value: str) -> None:
    del instance
    if not value.isprintable() or len(value) > MAX_TEXT_LENGTH:
        raise ValueError(
            f"'{attribute.name}' must be one line of {MAX_TEXT_LENGTH} characters at the most"
        )


def _numbers(instance: object, attribute: "Attribute[Any]", value: Sequence[float]) -> None:
    del instance
    if not all(map(isfinite, value)):
        raise ValueError(f"'{attribute.name}' must hold finite numbers only")


def _finite(instance: object, attribute: "Attribute[Any]", value: float | None) -> None:
    if value is not None:
        _numbers(instance, attribute, (value,))


def _rising(name: str, values: Sequence[float]) -> None:
    if any(later < earlier for earlier, later in pairwise(values)):
        raise ValueError(f"'{name}' must not fall")


@frozen(kw_only=True)
class Axis:
    """An axis.

    Args:
        title: What is on it, without the unit.
        unit: What its numbers are.
    """

    title: str = field(validator=[instance_of(str), _text])
    unit: Unit = field(default=Unit.NUMBER, validator=instance_of(Unit))


@frozen(kw_only=True)
class Curve:
    """Points that are joined.

    Args:
        name: What they are.
        x: Where, rising.
        y: The value at each.
    """

    name: str = field(validator=[instance_of(str), _text])
    x: tuple[float, ...] = field(validator=_numbers, repr=False)
    y: tuple[float, ...] = field(validator=_numbers, repr=False)

    def __attrs_post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"curve {self.name!r}: x has {len(self.x)} values, y {len(self.y)}")
        _rising("x", self.x)


@frozen(kw_only=True)
class Band:
    """What lies between two curves.

    Args:
        name: What it is.
        x: Where, rising.
        low: Its lower end at each.
        high: Its upper end at each.
    """

    name: str = field(validator=[instance_of(str), _text])
    x: tuple[float, ...] = field(validator=_numbers, repr=False)
    low: tuple[float, ...] = field(validator=_numbers, repr=False)
    high: tuple[float, ...] = field(validator=_numbers, repr=False)

    def __attrs_post_init__(self) -> None:
        if not len(self.x) == len(self.low) == len(self.high):
            raise ValueError(f"band {self.name!r}: x, low and high must be of one length")
        _rising("x", self.x)


@frozen(kw_only=True)
class Span:
    """A part of the horizontal axis that is marked.

    Args:
        name: What it is.
        start: Where it begins.
        end: Where it ends.
    """

    name: str = field(validator=[instance_of(str), _text])
    start: float = field(validator=_finite)
    end: float = field(validator=_finite)


@frozen(kw_only=True)
class Mark:
    """A level (``y`` alone), a moment (``x`` alone), or a point (both).

    Args:
        name: What it is.
        x: Where on the horizontal axis.
        y: Where on the vertical axis.
    """

    name: str = field(validator=[instance_of(str), _text])
    x: float | None = field(default=None, validator=_finite)
    y: float | None = field(default=None, validator=_finite)

    def __attrs_post_init__(self) -> None:
        if self.x is None and self.y is None:
            raise ValueError(f"mark {self.name!r}: x or y must be given")


@frozen(kw_only=True)
class Histogram:
    """How many values lie in each of adjacent intervals.

    Args:
        name: What is counted.
        edges: The ends of the intervals, rising; one more than there are counts.
        counts: How many lie in each.
    """

    name: str = field(validator=[instance_of(str), _text])
    edges: tuple[float, ...] = field(validator=_numbers, repr=False)
    counts: tuple[float, ...] = field(validator=_numbers, repr=False)

    def __attrs_post_init__(self) -> None:
        if len(self.edges) != len(self.counts) + 1:
            raise ValueError(f"histogram {self.name!r}: there must be one edge more than counts")
        _rising("edges", self.edges)


def _few(instance: object, attribute: "Attribute[Any]", value: Sequence[object]) -> None:
    del instance
    if len(value) > MAX_PARTS:
        raise ValueError(f"'{attribute.name}' must have {MAX_PARTS} at the most, got {len(value)}")


@frozen(kw_only=True)
class Chart:
    """A chart.

    Args:
        name: What it is called in addresses: lower-case letters, digits, ``_`` and ``-``.
        title: What it shows, in a sentence's head.
        x: The horizontal axis.
        y: The vertical axis.
        curves: Points that are joined.
        bands: What lies between two curves.
        spans: Parts of the horizontal axis that are marked.
        marks: Levels, moments and points.
        histogram: Counts of values; none in most.
        note: What has to be said with it; empty for nothing.
    """

    name: str = field(validator=[instance_of(str), matches_re(KIND_NAME)])
    title: str = field(validator=[instance_of(str), _text])
    x: Axis
    y: Axis
    curves: tuple[Curve, ...] = field(
        default=(), validator=[_few, deep_iterable(instance_of(Curve))]
    )
    bands: tuple[Band, ...] = field(default=(), validator=[_few, deep_iterable(instance_of(Band))])
    spans: tuple[Span, ...] = field(default=(), validator=[_few, deep_iterable(instance_of(Span))])
    marks: tuple[Mark, ...] = field(default=(), validator=[_few, deep_iterable(instance_of(Mark))])
    histogram: Histogram | None = None
    note: str = field(default="", validator=[instance_of(str), _text])

    def __attrs_post_init__(self) -> None:
        numbers = sum(2 * len(curve.x) for curve in self.curves)
        numbers += sum(3 * len(band.x) for band in self.bands)
        numbers += 0 if self.histogram is None else 2 * len(self.histogram.edges)
        if numbers > MAX_NUMBERS:
            raise ValueError(
                f"chart {self.name!r} has {numbers} numbers, and may have {MAX_NUMBERS}"
            )
        if not numbers:
            raise ValueError(f"chart {self.name!r} has nothing to draw: no curve, band, histogram")


@frozen(kw_only=True)
class JobCharts:
    """The charts of one result.

    Args:
        job_id: Its job in the group.
        charts: Those that its plugin describes, or the hourly series that it was made from.
        failure: Why there are none; None where there are, or where there is nothing to draw.
    """

    job_id: str
    charts: tuple[Chart, ...]
    failure: str | None


@frozen(kw_only=True)
class GroupCharts:
    """The charts of the results of a group, in the order of its jobs.

    Args:
        job_group_id: The group.
        namespace: Where its id is unique.
        jobs: Its jobs that have a result.
    """

    job_group_id: str
    namespace: str
    jobs: tuple[JobCharts, ...]
