"""Charts as SVG, rows and CSV: whole, escaped, bounded; nothing of a curve's extremes is lost."""

import csv
import re
from io import StringIO
from xml.etree import ElementTree as ET

import pytest

from prover_framework import Axis, Band, Chart, Curve, Histogram, Mark, Span, Unit
from prover_framework.charts.numbers import ticks, value_text
from prover_framework.charts.rows import rows_of
from prover_framework.charts.svg import COLUMNS, draw
from prover_framework.model.charts import MAX_NUMBERS

TIME = Axis(title="Hour", unit=Unit.TIME)
FEES = Axis(title="Base fee", unit=Unit.WEI)
SVG = "{http://www.w3.org/2000/svg}"


def curve(count: int, peak_at: int = 0) -> Curve:
    values = [2e10] * count
    values[peak_at] = 9e10
    return Curve(name="Fee", x=tuple(3600.0 * n for n in range(count)), y=tuple(values))


def chart(**parts: object) -> Chart:
    return Chart(name="fees", title="Fees <&>", x=TIME, y=FEES, **parts)  # type: ignore[arg-type]


def drawn(what: Chart) -> ET.Element:
    return ET.fromstring(draw(what, alone=True))


def points(element: ET.Element) -> list[tuple[float, float]]:
    return [
        (float(x), float(y))
        for x, y in (each.split(",") for each in element.attrib["points"].split())
    ]


def test_everything_that_is_described_is_drawn_and_named() -> None:
    what = chart(
        curves=(curve(48),),
        bands=(Band(name="Half", x=(0.0, 3600.0), low=(1e10, 1e10), high=(2e10, 3e10)),),
        spans=(Span(name="Range", start=0.0, end=7200.0),),
        marks=(
            Mark(name="TWAP", y=2e10),
            Mark(name="Peak", x=0.0, y=9e10),
            Mark(name="Now", x=9.0),
        ),
    )
    picture = drawn(what)
    text = "".join(picture.itertext())
    for name in ("Fee", "Half", "Range", "TWAP: 20 gwei", "Peak: 90 gwei at 1970-01-01 00:00"):
        assert name in text
    assert picture.find(f"{SVG}title").text.startswith("Fees <&>.")  # type: ignore[union-attr]


def test_a_chart_has_neither_script_nor_inline_style() -> None:
    hostile = Chart(
        name="x",
        title="</svg><script>alert(1)</script>",
        x=Axis(title='" onload="alert(1)'),
        y=Axis(title="<style>"),
        curves=(Curve(name="<b onclick=x>", x=(0.0, 1.0), y=(0.0, 1.0)),),
    )
    text = draw(hostile)
    names = {element.tag.removeprefix(SVG) for element in ET.fromstring(text).iter()}
    assert names <= {"svg", "title", "line", "text", "polyline", "rect", "circle", "polygon"}
    assert re.search(r"<script|<style| style=|<b ", text) is None


@pytest.mark.parametrize("peak_at", [0, 1, 777, 4321, 5759])
def test_the_peak_of_a_long_curve_is_drawn(peak_at: int) -> None:
    picture = drawn(chart(curves=(curve(5760, peak_at),)))
    (line,) = (each for each in picture.iter(f"{SVG}polyline"))
    found = points(line)
    assert len(found) <= 2 * COLUMNS
    heights = sorted({y for _, y in found})
    assert len(heights) == 2, "the peak, and everything else"


def test_a_curve_of_one_value_and_one_of_one_point_are_drawn() -> None:
    flat = Curve(name="Flat", x=(0.0, 1.0), y=(5.0, 5.0))
    point = Curve(name="Point", x=(7.0,), y=(0.0,))
    for each in (flat, point):
        what = Chart(name="c", title="t", x=Axis(title="x"), y=Axis(title="y"), curves=(each,))
        assert all("nan" not in part for part in draw(what).split())


def test_bars_are_as_many_as_there_are_intervals() -> None:
    bars = Histogram(name="Paths", edges=(0.0, 1e9, 2e9), counts=(3.0, 0.0))
    what = chart(histogram=bars)
    assert len([e for e in drawn(what).iter(f"{SVG}rect") if e.attrib["class"] == "bar"]) == 2
    assert rows_of(what).rows == (
        ("1970-01-01T00:00:00.000Z", "2001-09-09T01:46:40.000Z", "3.0"),
        ("2001-09-09T01:46:40.000Z", "2033-05-18T03:33:20.000Z", "0.0"),
    )


def test_a_curve_over_bars_is_in_the_rows_as_well() -> None:
    bars = Histogram(name="Paths", edges=(0.0, 3600.0), counts=(3.0,))
    head, (bar, point) = (
        (rows := rows_of(chart(histogram=bars, curves=(curve(1),)))).head,
        rows.rows,
    )
    assert head == ("Hour from", "Hour to", "Paths", "Fee (wei)")
    start = "1970-01-01T00:00:00.000Z"
    assert bar == (start, "1970-01-01T01:00:00.000Z", "3.0", "")
    assert point == (start, "", "", "90000000000.0")


def test_rows_have_all_numbers_exactly() -> None:
    first = Curve(name="A", x=(0.0, 3600.0), y=(0.1, 0.2))
    second = Curve(name="=B", x=(3600.0,), y=(1 / 3,))
    rows = rows_of(chart(curves=(first, second)))
    assert rows.head == ("Hour", "A (wei)", "=B (wei)")
    assert rows.rows == (
        ("1970-01-01T00:00:00.000Z", "0.1", ""),
        ("1970-01-01T01:00:00.000Z", "0.2", repr(1 / 3)),
    )
    read = list(csv.reader(StringIO(rows.csv())))
    assert read[0][2] == "'=B (wei)", "no spreadsheet takes a name for a formula"
    assert tuple(read[1]) == rows.rows[0]


@pytest.mark.parametrize("unit", list(Unit))
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 7e3), (1.6e9, 1.9e9), (0.0, 1e18)])
def test_ticks_lie_within_their_axis_and_rise(unit: Unit, low: float, high: float) -> None:
    found = ticks(low, high, unit, 6)
    values = [tick.value for tick in found]
    assert values == sorted(values)
    assert all(low - (high - low) / 1e6 <= value <= high * 1.000001 for value in values)
    assert len(found) <= 20
    assert value_text(high, unit)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Curve(name="c", x=(0.0,), y=()), "x has 1 values, y 0"),
        (lambda: Curve(name="c", x=(1.0, 0.0), y=(0.0, 0.0)), "must not fall"),
        (lambda: Curve(name="c", x=(0.0,), y=(float("nan"),)), "finite"),
        (lambda: Curve(name="two\nlines", x=(), y=()), "one line"),
        (lambda: Mark(name="m"), "x or y must be given"),
        (lambda: Histogram(name="h", edges=(0.0,), counts=(1.0,)), "one edge more"),
        (lambda: chart(), "nothing to draw"),
        (lambda: chart(curves=(curve(MAX_NUMBERS // 2 + 1),)), "may have"),
        (lambda: chart(curves=(curve(1),) * 13), "12 at the most"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_the_reason(make: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        make()  # type: ignore[operator]
