"""The reserve price as a plugin: what it registers, computes, refuses and accepts."""

from typing import Any

import attrs
import prover_reserve_price as plugin
import pytest

from prover_framework import (
    HourlySeries,
    Inputs,
    ProofError,
    RangeParameters,
    RangeTooShort,
    TimeRange,
    felt_from_float,
    felt_hex,
    hourly_base_fees,
)
from prover_framework.testing import ProofTypeConformance, simulated_series

JUMPS = ("a", "phi", "mu_j", "sigma_sq", "sigma_sq_j", "jump_probability")

FIRST_HOUR = 1_700_000_000 - 1_700_000_000 % 3600
SEED = bytes(range(32))


def simulated(hours: int, seed: int = 1559) -> HourlySeries:
    return simulated_series(TimeRange(FIRST_HOUR, FIRST_HOUR + hours * 3600), seed=seed)


class TestConformance(ProofTypeConformance):
    plugin = plugin
    samples = (
        RangeParameters(start_timestamp=FIRST_HOUR, end_timestamp=FIRST_HOUR + 336 * 3600),
        RangeParameters(start_timestamp=FIRST_HOUR + 1, end_timestamp=FIRST_HOUR + 720 * 3600),
    )


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return Inputs({"hourly_base_fee": simulated(24 * 30)})


@pytest.fixture(scope="module")
def result(inputs: Inputs) -> plugin.ReservePriceResult:
    return plugin.compute(inputs, SEED)


def parameters(hours: int) -> RangeParameters:
    return RangeParameters(start_timestamp=FIRST_HOUR, end_timestamp=FIRST_HOUR + hours * 3600)


def test_it_registers_under_the_name_of_its_result() -> None:
    proof_type = plugin.proof_type()
    assert (proof_type.name, proof_type.title) == ("reserve_price", "Reserve Price")
    assert proof_type.required
    assert proof_type.generator == "philox4x64-10/ndtri-1"
    assert proof_type.name in {field.name for field in attrs.fields(proof_type.result)}


def test_it_asks_for_the_fees_of_its_range() -> None:
    needs = plugin.inputs(parameters(336))
    hours = TimeRange(FIRST_HOUR, FIRST_HOUR + 336 * 3600)
    assert needs == {"hourly_base_fee": hourly_base_fees(hours)}


def test_fewer_than_336_hours_are_refused_before_data_is_loaded() -> None:
    with pytest.raises(RangeTooShort, match=r"at least 336 hours and the range has 335"):
        plugin.inputs(parameters(335))


@pytest.mark.parametrize("days", [14, 30, 90])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_simulated_chain_can_be_priced(days: int, seed: int) -> None:
    price = plugin.compute(Inputs({"hourly_base_fee": simulated(24 * days, seed)}), SEED)
    assert price.reserve_price > 0
    assert price.standard_error <= plugin.MAX_RELATIVE_ERROR * price.reserve_price
    assert max(map(abs, price.calibration.projected_gradient)) <= 0.05


def test_more_paths_are_taken_until_the_standard_error_is_small(
    inputs: Inputs, result: plugin.ReservePriceResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin, "MAX_RELATIVE_ERROR", 0.00005)
    finer = plugin.compute(inputs, SEED)
    assert finer.paths > result.paths
    assert finer.standard_error <= 0.00005 * finer.reserve_price


def test_fees_that_do_not_move_are_refused_for_good() -> None:
    flat = attrs.evolve(simulated(336), sums_wei=(300 * 10**9,) * 336)
    with pytest.raises(ProofError, match="volatility is zero") as refused:
        plugin.compute(Inputs({"hourly_base_fee": flat}), SEED)
    assert refused.value.code == "reserve_price.flat_series"


def test_the_same_seed_gives_the_same_digits(
    inputs: Inputs, result: plugin.ReservePriceResult
) -> None:
    assert plugin.compute(inputs, SEED) == result


def test_its_own_result_is_accepted(inputs: Inputs, result: plugin.ReservePriceResult) -> None:
    assert plugin.verify(inputs, SEED, result).accepted


def with_calibration(
    inputs: Inputs, result: plugin.ReservePriceResult, **changes: Any
) -> plugin.ReservePriceResult:
    """Return what an honest computation gives from a calibration that was not searched."""
    moved = attrs.evolve(result.calibration, **changes)
    jumps = tuple(getattr(moved, name) for name in JUMPS)
    own = plugin._price(inputs["hourly_base_fee"], SEED)
    return plugin._result(plugin._price(inputs["hourly_base_fee"], SEED, own, jumps))


def test_a_calibration_that_is_off_in_its_last_digits_is_accepted(
    inputs: Inputs, result: plugin.ReservePriceResult
) -> None:
    elsewhere = with_calibration(inputs, result, a=result.calibration.a * (1 + 1e-9))
    assert elsewhere.reserve_price != result.reserve_price
    assert plugin.verify(inputs, SEED, elsewhere).accepted


@pytest.mark.parametrize("name", JUMPS)
def test_a_calibration_leaves_no_room_to_choose_a_price(
    inputs: Inputs, result: plugin.ReservePriceResult, name: str
) -> None:
    """The reference accepts any gradient up to 0.05; what follows from it is consistent."""
    value = getattr(result.calibration, name)
    step = 1e-3 * abs(value)
    while True:
        try:
            picked = with_calibration(inputs, result, **{name: value + step})
        except ProofError:
            step /= 2
        else:
            break
    assert max(map(abs, picked.calibration.projected_gradient)) <= 0.05
    verdict = plugin.verify(inputs, SEED, picked)
    assert not verdict.accepted
    assert "projected_gradient" in verdict.reason
    # Nor would a shorter step help: as far as it is accepted, the price is the same.
    while not plugin.verify(inputs, SEED, picked).accepted:
        step /= 10
        picked = with_calibration(inputs, result, **{name: value + step})
    assert picked.reserve_price == pytest.approx(result.reserve_price, rel=plugin.SEARCH_TOLERANCE)


def test_a_price_that_another_search_does_not_come_to_is_refused(
    inputs: Inputs, result: plugin.ReservePriceResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the gradient vanishes for all that can be seen."""
    picked = with_calibration(inputs, result, a=result.calibration.a + 2e-8)
    assert abs(picked.reserve_price / result.reserve_price - 1) > plugin.SEARCH_TOLERANCE
    monkeypatch.setattr(plugin, "SEARCH_GRADIENT", 0.05)
    verdict = plugin.verify(inputs, SEED, picked)
    assert not verdict.accepted
    assert "by that of a search here it is" in verdict.reason


@pytest.mark.parametrize(
    "name",
    [
        "reserve_price",
        "standard_error",
        "strike",
        "cap",
        "trend_slope",
        "trend_intercept",
        "weekly_volatility",
        "paths",
        "hours",
    ],
)
def test_a_changed_number_is_refused_by_name(
    inputs: Inputs, result: plugin.ReservePriceResult, name: str
) -> None:
    value = getattr(result, name)
    changes: dict[str, Any] = {name: value + 2 if isinstance(value, int) else value * 1.001 + 1e-6}
    if name == "reserve_price":
        changes["reserve_price_felt"] = felt_hex(felt_from_float(changes["reserve_price"]))
    verdict = plugin.verify(inputs, SEED, attrs.evolve(result, **changes))
    assert not verdict.accepted
    assert name in verdict.reason


def test_another_felt_season_or_calibration_is_refused(
    inputs: Inputs, result: plugin.ReservePriceResult
) -> None:
    calibration = attrs.evolve(result.calibration, phi=result.calibration.phi * 0.99)
    flatter = attrs.evolve(result.calibration, projected_gradient=(0.001,) * 6)
    shorter = attrs.evolve(result.calibration, projected_gradient=())
    for forged, named in (
        (attrs.evolve(result, reserve_price_felt="0x" + "0" * 64), "reserve_price_felt"),
        (attrs.evolve(result, season=(*result.season[:-1], 9.0)), "season[11]"),
        (attrs.evolve(result, season=result.season[:-1]), "number of season coefficients"),
        (attrs.evolve(result, calibration=calibration), "gradient"),
        (attrs.evolve(result, calibration=flatter), "projected_gradient"),
        (attrs.evolve(result, calibration=shorter), "projected_gradient"),
    ):
        verdict = plugin.verify(inputs, SEED, forged)
        assert not verdict.accepted
        assert named in verdict.reason


def test_another_seed_is_refused(inputs: Inputs, result: plugin.ReservePriceResult) -> None:
    verdict = plugin.verify(inputs, SEED[::-1], result)
    assert not verdict.accepted
    assert "reserve_price" in verdict.reason


def test_its_charts_are_of_its_numbers_and_the_same_each_time(
    inputs: Inputs, result: plugin.ReservePriceResult
) -> None:
    fan, payoffs, season = plugin.charts(inputs, SEED, result)
    assert [mark.y for mark in fan.marks] == [result.strike, result.cap]
    assert all(
        low <= quarter <= three <= high
        for low, quarter, three, high in zip(
            fan.bands[0].low, fan.bands[1].low, fan.bands[1].high, fan.bands[0].high, strict=True
        )
    )
    bars = payoffs.histogram
    assert bars is not None
    # Plain paths of the same law come to the same price, as far as some thousands of them can.
    middles = [(low + high) / 2 for low, high in zip(bars.edges, bars.edges[1:], strict=False)]
    mean = sum(middle * count for middle, count in zip(middles, bars.counts, strict=True))
    assert mean / sum(bars.counts) == pytest.approx(result.reserve_price, rel=0.15)
    fitted, seen = (curve.y for curve in season.curves)
    apart = sum(abs(one - other) for one, other in zip(fitted, seen, strict=True)) / len(fitted)
    assert apart < 0.2 * (max(seen) - min(seen))
    assert plugin.charts(inputs, SEED, result) == [fan, payoffs, season]
