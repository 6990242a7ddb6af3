"""The estimate: the law of the definition, with an error that is what it says."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from attrs import astuple, evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prover_reserve_price import randomness, simulation
from prover_reserve_price.controls import LogControl, MeanControl
from prover_reserve_price.errors import SimulationError
from prover_reserve_price.jump_model import JumpParameters
from prover_reserve_price.moments import log_moments
from prover_reserve_price.simulation import (
    DISCOUNT,
    MIN_PATHS,
    MIN_PATHS_UNLESS_CALM,
    PathLaw,
    estimate_price,
)
from reserve_price_reference import (
    FloatArray,
    PlainModel,
    golden_fees,
    plain_model,
    plain_payoffs,
    season_columns,
    synthetic_fees,
)

HOURS = 720


def seed_of(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "little")).digest()


def law_of(model: PlainModel, hours: int) -> PathLaw:
    """The same law in the package's terms, by the definition's formulas and not the package's."""
    week = hours - 1 + np.arange(552.0, 720.0)
    trend = model.slope * (hours - 1) + model.intercept
    return PathLaw(
        jumps=JumpParameters(*model.parameters),
        last_residual=float(model.residual[-1]),
        week_level=season_columns(week) @ model.season + trend,
        weekly_volatility=model.volatility,
        strike_wei=model.strike,
        cap_wei=1.3 * model.strike,
    )


MODEL = plain_model(synthetic_fees(HOURS, seed=7))
LAW = law_of(MODEL, HOURS)


def assert_same_law(model: PlainModel, hours: int, paths: int = 20_000) -> None:
    payoffs = plain_payoffs(model, hours, paths, np.random.default_rng(11))
    ours = estimate_price(law_of(model, hours), seed_of(0), 1024)
    plain_error = payoffs.std(ddof=1) / paths**0.5
    combined = (plain_error**2 + ours.standard_error_wei**2) ** 0.5
    assert abs(ours.price_wei - payoffs.mean()) <= 4 * combined


def test_a_path_is_worth_a_hundred_thousand_plain_ones() -> None:
    payoffs = plain_payoffs(MODEL, HOURS, 4_000, np.random.default_rng(3))
    ours = estimate_price(LAW, seed_of(0), 4_000)
    assert ours.standard_error_wei**2 < payoffs.var(ddof=1) / 4_000 / 100_000


# a, phi, mu_j, sigma_sq, sigma_sq_j, lambda; each makes another part of the law matter.
@pytest.mark.parametrize(
    "parameters",
    [
        (-0.02, 0.9, 0.05, 0.014, 0.15, 0.33),
        (0.01, 0.5, 0.8, 0.05, 0.4, 0.1),
        (-0.001, 0.995, 0.02, 0.0005, 0.01, 0.2),
        (0.0, 1.0, 0.0, 0.0004, 0.002, 0.1),
        (0.03, 0.0, 0.0, 0.1, 1e-9, 0.0),
        (-0.1, 0.8, 0.1, 0.02, 0.02, 1.0),
    ],
)
def test_estimate_agrees_with_plain_paths(parameters: tuple[float, ...]) -> None:
    # Where the residual starts far from home, its way back must be simulated too.
    residual = np.append(MODEL.residual[:-1], 0.8)
    model = PlainModel(
        residual, MODEL.slope, MODEL.intercept, MODEL.season, MODEL.strike, 0.2, parameters
    )
    assert_same_law(model, HOURS)


@pytest.mark.parametrize("volatility", [0.01, 0.1, 0.6])
def test_estimate_agrees_with_plain_paths_at_any_volatility(volatility: float) -> None:
    parameters = (-0.01, 0.9, 0.05, 0.01, 0.1, 0.15)
    model = PlainModel(
        MODEL.residual, MODEL.slope, MODEL.intercept, MODEL.season, MODEL.strike, volatility,
        parameters,
    )  # fmt: skip
    assert_same_law(model, HOURS)


def test_estimate_agrees_with_plain_paths_on_golden_fees() -> None:
    fees = golden_fees()
    if fees is None:
        pytest.skip("PROVER_GOLDEN_DIR is not set")
    assert_same_law(plain_model(fees), len(fees))


# Laws, each with the mean payoff of a million plain paths, and the error of that, in strikes. The
# strike is 1e10, the log level that of the strike, with the season below. `plain_payoffs` drew them
# with the generator of seed 2026.
PLAIN_SEASON = np.array([0.2, 0.1, 0.05, 0, 0, 0.05, 0.1, 0, 0, 0, 0.05, 0])
PLAIN = [
    # a, phi, mu_j, sigma_sq, sigma_sq_j, lambda; last residual, volatility, mean, error
    ((-0.02, 0.89, 0.05, 0.014, 0.15, 0.33), 0.3, 0.16, 0.1010591, 0.0001305),
    ((0.005, 0.97, 0.02, 0.002, 0.01, 0.2), -0.5, 0.08, 0.1805147, 0.0001259),
    ((0.01, 0.5, 0.8, 0.05, 0.4, 0.1), 0.0, 0.1, 0.1614706, 0.0001315),
    ((0.01, 0.5, 0.8, 0.05, 2.0, 0.02), 0.0, 0.1, 0.1297575, 0.0001323),
    ((-0.02, 0.89, 0.05, 0.014, 0.15, 0.33), 0.3, 0.6, 0.0188713, 0.0000698),
]


@pytest.mark.parametrize(("parameters", "residual", "volatility", "mean", "error"), PLAIN)
def test_estimate_agrees_with_a_million_plain_paths(
    parameters: tuple[float, ...], residual: float, volatility: float, mean: float, error: float
) -> None:
    model = PlainModel(
        np.array([residual]), 0.0, float(np.log(1e10)), PLAIN_SEASON, 1e10, volatility, parameters
    )
    ours = estimate_price(law_of(model, HOURS), seed_of(0), 1024)
    combined = (error**2 + (ours.standard_error_wei / 1e10) ** 2) ** 0.5
    assert abs(ours.price_wei / 1e10 - mean) <= 4 * combined


def test_without_noise_of_its_own_the_price_is_that_of_a_closed_form() -> None:
    """No residual noise and a tiny walk: the payoff is that of the known fee."""
    still = JumpParameters(0.0, 0.0, 0.0, 1e-18, 1e-18, 0.0)
    level = np.log(1.1e9)
    law = PathLaw(still, 0.0, np.full(168, level), 1e-6, 1e9, 1.3e9)
    estimate = estimate_price(law, seed_of(1), 64)
    drift = np.exp(0.05 / 52 / 24 * np.arange(553, 721)).mean()
    assert estimate.price_wei == pytest.approx(DISCOUNT * (1.1e9 * drift - 1e9), rel=1e-6)
    above = evolve(law, week_level=np.full(168, np.log(5e9)))
    assert estimate_price(above, seed_of(1), 64).price_wei == pytest.approx(DISCOUNT * 0.3e9)
    below = evolve(law, week_level=np.full(168, np.log(0.5e9)))
    assert estimate_price(below, seed_of(1), 64).price_wei == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(("kind", "part"), [(MeanControl, 0.05), (LogControl, 0.7)])
def test_the_control_of_a_law_has_no_expectation(
    kind: type, part: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A control with a wrong expectation would shift every price without a larger error."""
    if kind is LogControl:
        monkeypatch.setattr(simulation, "_LARGEST_LOG_EXCESS", -1.0)
    path = simulation._PathSimulator(LAW)
    assert isinstance(path._control, kind)
    key = randomness.key_from_seed(seed_of(2))
    weeks, at = path._weeks(randomness.words(key, 0, 8000, simulation._WORDS_PER_PATH))
    drawn = path._control.over_normal(weeks)
    assert abs(drawn.mean()) <= 4 * drawn.std(ddof=1) / 8000**0.5
    # And it is much of the payoff, up to what is constant.
    payoff = path._expected_payoff(weeks, at)
    assert (payoff - drawn).std() < part * payoff.std()


def test_a_week_and_its_normal_are_those_of_the_law() -> None:
    """Mean and covariance of the log prices, however they are split into a normal and the rest."""
    jumps = JumpParameters(-0.02, 0.7, 0.2, 0.014, 0.03, 0.33)
    path = simulation._PathSimulator(evolve(LAW, jumps=jumps))
    key = randomness.key_from_seed(seed_of(3))
    weeks, _ = path._weeks(randomness.words(key, 0, 8000, simulation._WORDS_PER_PATH))
    logs = weeks.centre + weeks.slope * np.random.default_rng(1).standard_normal((8000, 1))
    walk = LAW.weekly_volatility**2 / 24
    expected = log_moments(jumps, LAW.last_residual, path._powers, path._level, walk)
    mean, spread = logs.mean(axis=1), logs.var(axis=1)
    assert abs(mean.mean() - expected.mean) <= 4 * mean.std() / 8000**0.5
    assert mean.var() == pytest.approx(expected.variance, rel=0.07)
    assert abs(spread.mean() - expected.spread) <= 4 * spread.std() / 8000**0.5
    # A jump's square, on average, minus the square of the average; and all hours before.
    step = 0.014 + 0.33 * (0.03 + 0.2**2) - (0.33 * 0.2) ** 2
    for hour in (0, 167):
        variance = step / (1 - 0.7**2) + walk * (hour + 1)
        assert logs[:, hour].var() == pytest.approx(variance, rel=0.08)


# A rare jump of a factor of seven, and a walk of the residual far from where it began.
EXTREME = [(0.01, 0.5, 0.8, 0.05, 2.0, 0.02), (-0.004, 1.0, 0.02, 0.0004, 0.0006, 0.2)]


@pytest.mark.parametrize("parameters", EXTREME)
def test_moments_that_no_sample_shows_are_no_control(parameters: tuple[float, ...]) -> None:
    law = evolve(LAW, jumps=JumpParameters(*parameters))
    assert isinstance(simulation._PathSimulator(law)._control, LogControl)


@pytest.mark.parametrize(
    "law",
    [
        *(evolve(LAW, jumps=JumpParameters(*parameters)) for parameters in EXTREME),
        # A jump in an hour of a hundred, of a factor of 1.5 and more.
        evolve(LAW, jumps=JumpParameters(0.0, 0.978, 0.28, 0.0007, 0.356, 0.01)),
        # A walk that leaves the edges of the payoff sharp.
        evolve(LAW, weekly_volatility=0.02),
    ],
)
def test_what_is_rare_has_to_be_seen_before_few_paths_are_believed(law: PathLaw) -> None:
    assert estimate_price(law, seed_of(0), MIN_PATHS).paths == MIN_PATHS_UNLESS_CALM
    assert estimate_price(law, seed_of(0), 2000).paths == 2000
    assert estimate_price(LAW, seed_of(0), MIN_PATHS).paths == MIN_PATHS


@pytest.mark.parametrize("shift", [-600.0, -300.0, 300.0])
def test_prices_whose_square_is_no_float_have_a_price_all_the_same(shift: float) -> None:
    law = evolve(LAW, week_level=LAW.week_level + shift)
    assert isinstance(simulation._PathSimulator(law)._control, LogControl)
    expected = 0.0 if shift < 0 else DISCOUNT * (law.cap_wei - law.strike_wei)
    assert estimate_price(law, seed_of(1), 64).price_wei == pytest.approx(expected, abs=1e-3)


# How often the price is within 2.131 standard errors, by Student's t with 15 degrees of freedom.
WITHIN = 2.131
COVERED = 0.95


@pytest.mark.parametrize(
    "parameters", [astuple(LAW.jumps), (-0.001, 0.95, 0.02, 0.005, 0.01, 0.2), *EXTREME]
)
def test_the_error_of_the_fewest_paths_is_honest(parameters: tuple[float, ...]) -> None:
    law = evolve(LAW, jumps=JumpParameters(*parameters))
    seeds = 300 if estimate_price(law, seed_of(0), MIN_PATHS).paths == MIN_PATHS else 25
    precise = estimate_price(law, seed_of(10_000), 8_000)
    estimates = [estimate_price(law, seed_of(number), MIN_PATHS) for number in range(seeds)]
    missed = np.array(
        [abs(one.price_wei - precise.price_wei) / one.standard_error_wei for one in estimates]
    )
    chance = (COVERED * (1 - COVERED) / seeds) ** 0.5
    assert (missed <= WITHIN).mean() >= COVERED - 4 * chance
    assert missed.max() <= 8


def test_reported_error_is_the_spread_between_seeds() -> None:
    estimates = [estimate_price(LAW, seed_of(number), MIN_PATHS) for number in range(300)]
    spread = np.std([estimate.price_wei for estimate in estimates], ddof=1)
    reported = np.mean([estimate.standard_error_wei**2 for estimate in estimates]) ** 0.5
    # The spread of 300 values is itself known to 4 %.
    assert reported == pytest.approx(spread, rel=0.2)


def test_estimates_centre_on_the_precise_price() -> None:
    """Nothing is estimated from the paths but their mean, so few of them are not off."""
    precise = estimate_price(LAW, seed_of(10_000), 8_000)
    prices = np.array([estimate_price(LAW, seed_of(i), MIN_PATHS).price_wei for i in range(300)])
    error = (prices.var(ddof=1) / prices.size + precise.standard_error_wei**2) ** 0.5
    assert abs(prices.mean() - precise.price_wei) <= 4 * error


def test_error_falls_with_the_root_of_the_paths() -> None:
    few = estimate_price(LAW, seed_of(3), 1_000)
    many = estimate_price(LAW, seed_of(3), 16_000)
    assert many.standard_error_wei == pytest.approx(few.standard_error_wei / 4, rel=0.3)


@given(st.binary(min_size=32, max_size=32), st.integers(16, 350))
# One path more than whole chunks of either size.
@example(bytes(32), 257)
@example(bytes(32), 38)
@settings(max_examples=15, deadline=None)
def test_price_does_not_depend_on_how_the_work_is_cut(seed: bytes, paths: int) -> None:
    whole = estimate_price(LAW, seed, paths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation, "_PATHS_AT_ONCE", 37)
        assert estimate_price(LAW, seed, paths) == whole


def test_a_path_is_the_same_whatever_the_number_of_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    simulate = simulation._PathSimulator.__call__

    def record(self: simulation._PathSimulator, raw: randomness.Words) -> FloatArray:
        payoff = simulate(self, raw)
        seen.extend(payoff.tolist())
        return payoff

    monkeypatch.setattr(simulation._PathSimulator, "__call__", record)
    estimate_price(LAW, seed_of(4), 50)
    estimate_price(LAW, seed_of(4), 450)
    assert seen[:50] == seen[50:100]
    assert len(set(seen)) == 450


def test_same_seed_same_digits_in_another_process() -> None:
    program = (
        "import numpy as np\n"
        "from prover_reserve_price.simulation import PathLaw, estimate_price\n"
        "from prover_reserve_price.jump_model import JumpParameters\n"
        "law = PathLaw(JumpParameters(-0.02, 0.9, 0.05, 0.014, 0.15, 0.33), 0.1,"
        " np.linspace(23.0, 23.2, 168), 0.15, 1e10, 1.3e10)\n"
        "print(repr(estimate_price(law, bytes(range(32)), 500)))\n"
    )
    path = repr(sys.path)
    runs = {
        subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path[:] = {path}\n{program}"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for _ in range(2)
    }
    assert len(runs) == 1
    jumps = JumpParameters(-0.02, 0.9, 0.05, 0.014, 0.15, 0.33)
    law = PathLaw(jumps, 0.1, np.linspace(23.0, 23.2, 168), 0.15, 1e10, 1.3e10)
    assert runs == {repr(estimate_price(law, bytes(range(32)), 500)) + "\n"}


def test_another_seed_gives_another_price() -> None:
    assert estimate_price(LAW, seed_of(5), 64) != estimate_price(LAW, seed_of(6), 64)


@given(
    st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(1e-6, 1.0), st.floats(1e-3, 1.0),
    st.floats(-3, 3),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_a_price_lies_between_zero_and_the_largest_payoff(
    phi: float, lam: float, variance: float, volatility: float, shift: float
) -> None:
    """Within its error, which regression can leave on the other side of a bound."""
    law = PathLaw(
        JumpParameters(0.0, phi, 0.1, variance, variance, lam),
        0.0, np.full(168, np.log(1e10) + shift), volatility, 1e10, 1.3e10,
    )  # fmt: skip
    estimate = estimate_price(law, seed_of(9), 128)
    margin = 5 * estimate.standard_error_wei + 1e-6 * 1e10
    assert -margin <= estimate.price_wei <= DISCOUNT * 0.3e10 + margin


@pytest.mark.parametrize("paths", [0, -1, 15, 4_000_001])
def test_a_number_of_paths_out_of_range_is_refused(paths: int) -> None:
    with pytest.raises(SimulationError, match=f"{paths} paths"):
        estimate_price(LAW, seed_of(0), paths)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_prices_beyond_floating_point_are_an_error_not_a_number() -> None:
    law = evolve(LAW, week_level=np.full(168, 800.0))
    with pytest.raises(SimulationError, match="too large"):
        estimate_price(law, seed_of(0), 64)
