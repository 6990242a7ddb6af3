"""From fees to price: the golden figures, and what is said about fees that cannot be priced."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import exceptions
from prover_reserve_price import errors
from prover_reserve_price.pricing import DEFAULT_PATHS, ReservePrice, reserve_price
from prover_reserve_price.season import FloatArray
from reserve_price_reference import golden_fees, plain_model, synthetic_fees

SEED = hashlib.sha256(b"reserve price").digest()


@pytest.fixture(scope="module")
def golden() -> tuple[FloatArray, dict[str, Any]]:
    fees = golden_fees()
    if fees is None:
        pytest.skip("PROVER_GOLDEN_DIR is not set")
    text = (Path(os.environ["PROVER_GOLDEN_DIR"]) / "expected.json").read_text()
    return fees, json.loads(text)["reserve_price over hours 0..2183"]


@pytest.fixture(scope="module")
def golden_price(golden: tuple[FloatArray, dict[str, Any]]) -> ReservePrice:
    return reserve_price(golden[0], SEED)


def value_of(expected: dict[str, Any], beginning: str) -> Any:
    (value,) = [value for key, value in expected.items() if key.startswith(beginning)]
    return value


def test_golden_trend_season_strike_and_volatility(
    golden: tuple[FloatArray, dict[str, Any]], golden_price: ReservePrice
) -> None:
    expected = golden[1]
    for ours, key in (
        (golden_price.trend.slope, "trend slope"),
        (golden_price.trend.intercept, "trend intercept"),
        (golden_price.season.coefficients, "season parameters"),
        (golden_price.strike_wei, "strike"),
        (golden_price.weekly_volatility, "weekly volatility"),
    ):
        assert ours == pytest.approx(value_of(expected, key), rel=1e-10)


def test_golden_calibration(
    golden: tuple[FloatArray, dict[str, Any]], golden_price: ReservePrice
) -> None:
    calibration = golden_price.calibration
    assert calibration.parameters.to_vector() == pytest.approx(
        value_of(golden[1], "calibrated"), rel=1e-6
    )
    expected = value_of(golden[1], "negative log likelihood")
    assert calibration.negative_log_likelihood == pytest.approx(expected, rel=1e-9)
    # The golden parameters are those of a search that stopped a little earlier.
    assert calibration.negative_log_likelihood <= expected
    assert max(map(abs, calibration.projected_gradient)) <= 1e-6


@pytest.mark.parametrize("paths", [DEFAULT_PATHS, 20_000])
def test_golden_price(golden: tuple[FloatArray, dict[str, Any]], paths: int) -> None:
    priced = reserve_price(golden[0], SEED, paths=paths)
    expected = value_of(golden[1], "reserve price")
    error = value_of(golden[1], "standard error")
    combined = (priced.standard_error_wei**2 + error**2) ** 0.5
    assert abs(priced.price_wei - expected) <= 3 * combined
    assert priced.standard_error_wei <= 0.005 * priced.price_wei


def test_default_paths_keep_the_error_below_half_a_percent_for_any_seed(
    golden: tuple[FloatArray, dict[str, Any]],
    golden_price: ReservePrice,
) -> None:
    for number in range(30):
        seed = hashlib.sha256(bytes([number])).digest()
        priced = reserve_price(golden[0], seed, parameters=golden_price.calibration.parameters)
        assert priced.standard_error_wei <= 0.005 * priced.price_wei


@pytest.mark.parametrize("hours", [336, 1000])
def test_everything_before_the_simulation_follows_the_definition(hours: int) -> None:
    fees = synthetic_fees(hours, seed=hours)
    priced = reserve_price(fees, SEED)
    plain = plain_model(fees, parameters=(0.0,) * 6)
    assert priced.hours == hours
    assert priced.strike_wei == pytest.approx(plain.strike, rel=1e-12)
    assert priced.cap_wei == pytest.approx(1.3 * plain.strike, rel=1e-12)
    assert priced.weekly_volatility == pytest.approx(plain.volatility, rel=1e-9)
    assert priced.last_residual == pytest.approx(plain.residual[-1], abs=1e-11)
    assert 0 < priced.price_wei < 0.3 * priced.strike_wei


def test_same_input_same_result_and_the_result_cannot_be_changed() -> None:
    fees = synthetic_fees(400, seed=1)
    priced = reserve_price(fees, SEED)
    assert priced == reserve_price(fees.tolist(), SEED)
    assert priced.paths == DEFAULT_PATHS
    with pytest.raises(exceptions.FrozenInstanceError):
        priced.price_wei = 0.0  # type: ignore[misc]


def test_price_scales_with_the_unit_of_the_fees() -> None:
    fees = synthetic_fees(500, seed=2)
    gwei = reserve_price(fees / 1e9, SEED)
    wei = reserve_price(fees, SEED)
    assert wei.price_wei == pytest.approx(gwei.price_wei * 1e9, rel=1e-6)


def test_parameters_of_a_receipt_give_its_price() -> None:
    fees = synthetic_fees(500, seed=2)
    priced = reserve_price(fees, SEED)
    again = reserve_price(fees, SEED, parameters=priced.calibration.parameters)
    assert again.price_wei == priced.price_wei
    assert again.calibration.iterations == 0
    with pytest.raises(errors.CalibrationError):
        reserve_price(synthetic_fees(500, seed=3), SEED, parameters=priced.calibration.parameters)


@pytest.mark.parametrize("hours", [0, 1, 335])
def test_too_few_hours_are_refused_with_both_numbers(hours: int) -> None:
    with pytest.raises(errors.SeriesTooShortError, match=rf"{hours} hours.* 336 ") as caught:
        reserve_price(np.full(hours, 1e9), SEED)
    assert (caught.value.hours, caught.value.minimum) == (hours, 336)


@pytest.mark.parametrize("fee", [0.0, -1.0, np.nan, np.inf])
def test_a_fee_without_a_logarithm_is_named(fee: float) -> None:
    fees = synthetic_fees(400, seed=1)
    fees[123] = fee
    with pytest.raises(errors.InvalidFeeError, match="hour 123 "):
        reserve_price(fees, SEED)


def test_a_table_is_not_a_series() -> None:
    with pytest.raises(errors.InvalidFeeError, match="2 dimensions"):
        reserve_price(np.ones((400, 2)), SEED)


@pytest.mark.parametrize("fee", [1.0, 7.0, 15e9, 1e18])
def test_a_constant_series_is_refused(fee: float) -> None:
    with pytest.raises(errors.FlatSeriesError, match="volatility is zero"):
        reserve_price(np.full(720, fee), SEED)


def test_a_series_that_only_follows_a_line_is_refused() -> None:
    with pytest.raises(errors.FlatSeriesError, match="without any deviation"):
        reserve_price(np.exp(20 + 1e-3 * np.arange(720)), SEED)


def test_every_error_is_a_value_error_with_a_code_of_its_own() -> None:
    kinds = errors.ReservePriceError.__subclasses__()
    assert len({kind.code for kind in kinds} | {errors.ReservePriceError.code}) == len(kinds) + 1
    assert all(issubclass(kind, ValueError) for kind in kinds)
