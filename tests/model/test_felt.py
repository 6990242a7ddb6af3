"""Felts are exact: they are compared with fractions, bit by bit."""

import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prover_framework.model.felt import (
    MAX_FELT,
    felt_from_float,
    felt_from_ratio,
    felt_hex,
    float_from_felt,
)

LIMIT = 2**123


@given(st.integers(0, 2**140), st.integers(1, 2**40))
def test_a_ratio_becomes_the_felt_below_it(numerator: int, denominator: int) -> None:
    exact = Fraction(numerator, denominator)
    if exact >= LIMIT:
        with pytest.raises(ValueError, match=r"from 0 up to 2\*\*123"):
            felt_from_ratio(numerator, denominator)
    else:
        felt = felt_from_ratio(numerator, denominator)
        assert Fraction(felt, 2**128) <= exact < Fraction(felt + 1, 2**128)


@given(st.floats(0, float(LIMIT), exclude_max=True))
@example(0.0)
@example(5e-324)
@example(2.0**-128)
@example(math.nextafter(2.0**-128, 0))
@example(math.nextafter(float(LIMIT), 0))
def test_a_double_becomes_the_felt_below_it(value: float) -> None:
    assert felt_from_float(value) == math.floor(Fraction(value) * 2**128)


@given(st.floats(2.0**-75, float(LIMIT), exclude_max=True))
def test_a_double_that_fits_survives_the_way_there_and_back(value: float) -> None:
    # Above 2**-75 all 53 bits of a double lie within the 128 bits of fraction.
    assert float_from_felt(felt_from_float(value)) == value


@given(st.integers(0, MAX_FELT))
def test_a_felt_becomes_the_double_nearest_to_it(felt: int) -> None:
    exact = Fraction(felt, 2**128)
    value = float_from_felt(felt)
    distance = abs(Fraction(value) - exact)
    for neighbour in (math.nextafter(value, 0), math.nextafter(value, math.inf)):
        assert distance <= abs(Fraction(neighbour) - exact)


@pytest.mark.parametrize("value", [-5e-324, -1.0, float(LIMIT), math.inf, -math.inf, math.nan])
def test_a_number_without_a_felt_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"felt|fixed-point|NaN"):
        felt_from_float(value)


def test_a_ratio_over_zero_is_refused() -> None:
    with pytest.raises(ZeroDivisionError):
        felt_from_ratio(1, 0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0x" + "0" * 64),
        (1.0, "0x" + "0" * 31 + "1" + "0" * 32),
        (1.25, "0x" + "0" * 31 + "14" + "0" * 31),
        (0.5, "0x" + "0" * 32 + "8" + "0" * 31),
        (1e10, "0x" + "0" * 23 + "2540be400" + "0" * 32),
    ],
)
def test_hex_has_64_lower_case_digits(value: float, text: str) -> None:
    assert felt_hex(felt_from_float(value)) == text


@pytest.mark.parametrize("felt", [-1, MAX_FELT + 1])
def test_hex_of_what_is_no_felt_is_refused(felt: int) -> None:
    with pytest.raises(ValueError, match="felt"):
        felt_hex(felt)
