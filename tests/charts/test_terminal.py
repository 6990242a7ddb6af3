"""Charts in a terminal: whole without colour, within their width, true to the numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prover_framework import Axis, Band, Chart, Curve, Histogram, Mark, Span, Unit
from prover_framework.charts.terminal import ROWS, draw_text
from prover_framework.charts.words import ILLUSTRATION
from prover_framework.model.charts import MAX_PARTS

TIME = Axis(title="Hour", unit=Unit.TIME)
FEES = Axis(title="Base fee", unit=Unit.WEI)
WIDTH = 100

numbers = st.floats(-1e18, 1e18)


def chart(**parts: object) -> Chart:
    return Chart(name="fees", title="Fees", x=TIME, y=FEES, **parts)  # type: ignore[arg-type]


def lines(what: Chart, width: int = WIDTH) -> list[str]:
    return draw_text(what, width).plain.split("\n")


def drawing(what: Chart, width: int = WIDTH) -> list[str]:
    """Return the cells of the drawing alone, from the top down."""
    whole = lines(what, width)
    axis = next(place for place, line in enumerate(whole) if line.strip().startswith("└"))
    margin = whole[axis].index("└") + 1
    return [line[margin:] for line in whole[axis - ROWS : axis]]


def hours(*values: float) -> Curve:
    return Curve(name="Fee", x=tuple(3600.0 * n for n in range(len(values))), y=values)


def test_every_part_has_a_sign_that_is_explained() -> None:
    what = chart(
        curves=(hours(1e10, 9e10, 2e10), hours(2e10, 3e10, 3e10)),
        bands=(Band(name="Half", x=(0.0, 7200.0), low=(1e10, 1e10), high=(2e10, 3e10)),),
        spans=(Span(name="Range", start=0.0, end=3600.0),),
        marks=(Mark(name="Level", y=5e10), Mark(name="Peak", x=3600.0, y=9e10)),
        note="Made up.",
    )
    shown = "\n".join(drawing(what))
    text = "\n".join(lines(what))
    for sign, meaning in (
        ("o", "o Fee"),
        ("░", "░ Half"),
        ("1", "1 Level: 50 gwei"),
        ("2", "2 Peak: 90 gwei at 1970-01-01 01:00"),
    ):
        assert sign in shown
        assert meaning in text
    assert any("\u2800" < cell <= "\u28ff" for cell in shown), "the first curve is in dots"
    assert "├" in text
    assert "Range" in text
    assert text.endswith(f"{ILLUSTRATION} Made up.")


def test_a_peak_of_one_hour_among_thousands_is_drawn() -> None:
    values = [2e10] * 5000
    values[3333] = 9e10
    for curves in ((hours(*values),), (hours(2e10, 2e10), hours(*values))):
        above = drawing(chart(curves=curves))[: ROWS // 2]
        column = {place for row in above for place, cell in enumerate(row) if cell != " "}
        assert len(column) == 1, "in one column alone"


def test_bars_stand_as_high_as_they_count() -> None:
    bars = Histogram(name="Paths", edges=(0.0, 1.0, 2.0, 3.0, 4.0), counts=(8.0, 4.0, 0.0, 1e-9))
    axes = {"x": Axis(title="x"), "y": Axis(title="Paths", unit=Unit.COUNT)}
    shown = drawing(Chart(name="c", title="t", histogram=bars, **axes))  # type: ignore[arg-type]
    full = [sum(cell != " " for cell in column) for column in zip(*shown, strict=True)]
    eighth = len(full) // 8
    first, second, third, fourth = (full[eighth * odd] for odd in (1, 3, 5, 7))
    assert first in (2 * second, 2 * second - 1)
    assert third == 0
    assert fourth == 1, "what is there is shown, however low"


@given(
    st.lists(st.tuples(numbers, numbers), min_size=1, max_size=40),
    st.lists(numbers, max_size=MAX_PARTS),
    st.sampled_from(Unit),
    st.integers(1, 200),
    st.text(alphabet=st.characters(categories=["L", "N", "P", "Zs"]), max_size=300),
)
def test_whatever_is_drawn_fits_its_width(
    points: list[tuple[float, float]], levels: list[float], unit: Unit, width: int, name: str
) -> None:
    xs, ys = zip(*sorted(points), strict=True)
    shown = name if name.isprintable() else "name"
    what = Chart(
        name="c",
        title=shown,
        x=Axis(title=shown, unit=unit),
        y=Axis(title=shown, unit=unit),
        curves=(Curve(name=shown, x=xs, y=ys), Curve(name=shown, x=xs, y=ys[::-1])),
        bands=(Band(name=shown, x=xs, low=ys, high=ys),),
        spans=(Span(name=shown, start=xs[0], end=xs[-1]),),
        marks=tuple(Mark(name=shown, y=level) for level in levels),
        note=shown,
    )
    room = max(width, 40)
    assert max(map(len, lines(what, width))) <= room
    assert len(drawing(what, width)) == ROWS


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e18])
def test_one_point_is_a_chart(value: float) -> None:
    assert any(cell > "\u2800" for row in drawing(chart(curves=(hours(value),))) for cell in row)
