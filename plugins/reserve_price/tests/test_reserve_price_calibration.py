"""The jump model: its derivatives are exact, and a calibration is a minimum worth the name."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prover_reserve_price import calibration, starts
from prover_reserve_price.calibration import (
    GRADIENT_TOLERANCE,
    calibrate,
    check_calibration,
)
from prover_reserve_price.errors import BetterCalibrationError, CalibrationError, FlatSeriesError
from prover_reserve_price.jump_model import PARAMETER_NAMES, JumpLikelihood, JumpParameters
from prover_reserve_price.season import FloatArray, decompose
from prover_reserve_price.starts import likeliest_start
from reserve_price_reference import plain_calibration, plain_likelihood, synthetic_fees

RESIDUAL = decompose(np.log(synthetic_fees(600, seed=5))).residual

# Inside the bounds, where a small difference to both sides stays inside.
points = st.builds(
    lambda *values: np.array(values),
    st.floats(-0.3, 0.3),
    st.floats(0.01, 0.99),
    st.floats(0.01, 1.0),
    st.floats(0.005, 0.5),
    st.floats(0.01, 2.0),
    st.floats(0.01, 0.99),
)


@given(points)
@settings(max_examples=60, deadline=None)
def test_likelihood_is_that_of_the_definition(point: FloatArray) -> None:
    expected = plain_likelihood(point, RESIDUAL)
    assert JumpLikelihood(RESIDUAL).value(point) == pytest.approx(expected, rel=1e-12, abs=1e-9)


@given(points)
@settings(max_examples=60, deadline=None)
def test_gradient_agrees_with_differences_of_the_value(point: FloatArray) -> None:
    likelihood = JumpLikelihood(RESIDUAL)
    _, gradient = likelihood.gradient(point)
    h = 1e-6
    differences = np.array(
        [
            (likelihood.value(point + h * e) - likelihood.value(point - h * e)) / (2 * h)
            for e in np.eye(6)
        ]
    )
    assert gradient == pytest.approx(differences, rel=1e-4, abs=1e-3)


@given(points)
@settings(max_examples=60, deadline=None)
def test_hessian_agrees_with_differences_of_the_gradient(point: FloatArray) -> None:
    likelihood = JumpLikelihood(RESIDUAL)
    hessian = likelihood.hessian(point)
    h = 1e-6
    differences = np.array(
        [
            (likelihood.gradient(point + h * e)[1] - likelihood.gradient(point - h * e)[1])
            / (2 * h)
            for e in np.eye(6)
        ]
    )
    assert hessian == pytest.approx(hessian.T, rel=0, abs=0)
    assert hessian == pytest.approx(differences, rel=1e-4, abs=1e-5 * np.abs(hessian).max())
    # Where value and gradient were asked for before, the Hessian is made of what they left.
    likelihood.gradient(point)
    assert (likelihood.hessian(point) == hessian).all()


@pytest.mark.parametrize("hours", [336, 720, 2160, 5760])
@pytest.mark.parametrize("jump_probability", [0.05, 0.1, 0.2, 0.3])
@pytest.mark.parametrize("phi", [0.8, 0.9, 0.97])
def test_calibration_of_fees_with_jumps_converges_far_below_the_tolerance(
    hours: int, jump_probability: float, phi: float
) -> None:
    for seed in range(4):
        fees = synthetic_fees(
            hours,
            seed,
            phi=phi,
            deviation=(0.1, 0.03)[seed % 2],
            jump_deviation=(0.4, 0.2, 0.8, 1.5)[seed],
            jump_probability=jump_probability,
        )
        found = calibrate(decompose(np.log(fees)).residual)
        assert max(map(abs, found.projected_gradient)) <= 1e-6
        assert found.iterations <= 60


def test_calibration_recovers_the_parameters_that_made_the_fees() -> None:
    fees = synthetic_fees(5760, seed=3, jump_mean=0.2, jump_deviation=0.5, jump_probability=0.2)
    found = calibrate(decompose(np.log(fees)).residual).parameters
    # Margins of about four standard errors of the estimate at 5,760 hours.
    assert found.phi == pytest.approx(0.9, abs=0.02)
    assert found.mu_j == pytest.approx(0.2, abs=0.08)
    assert found.sigma_sq == pytest.approx(0.01, rel=0.15)
    assert found.sigma_sq_j == pytest.approx(0.25, rel=0.25)
    assert found.lambda_ == pytest.approx(0.2, abs=0.04)


@pytest.mark.parametrize("seed", range(12))
def test_no_ordinary_minimiser_finds_a_better_minimum(seed: int) -> None:
    fees = synthetic_fees(720, seed, jump_probability=(0.1, 0.2, 0.3)[seed % 3])
    residual = decompose(np.log(fees)).residual
    other = plain_likelihood(np.array(plain_calibration(residual)), residual)
    assert calibrate(residual).negative_log_likelihood <= other + 1e-6


def test_a_stationary_point_without_jumps_is_not_taken_for_the_minimum() -> None:
    """At lambda = 0 the gradient can vanish although the likelihood is far worse."""
    residual = decompose(np.log(synthetic_fees(720, 1010, jump_probability=0.2))).residual
    found = calibrate(residual)
    step = residual[1:] - found.parameters.phi * residual[:-1]
    without = np.array([step.mean(), found.parameters.phi, 0.0, step.var(), 1e-9, 0.0])
    assert found.negative_log_likelihood < plain_likelihood(without, residual) - 50
    assert found.parameters.lambda_ == pytest.approx(0.2, abs=0.1)


def test_noise_without_jumps_is_accepted_with_parameters_inside_the_bounds() -> None:
    residual = decompose(np.log(synthetic_fees(720, 1, jump_probability=0.0))).residual
    found = calibrate(residual).parameters
    assert 0 <= found.phi <= 1
    assert found.mu_j >= 0
    assert found.sigma_sq > 0
    assert found.sigma_sq_j > 0
    assert 0 <= found.lambda_ <= 1


def test_calibration_is_the_same_twice() -> None:
    assert calibrate(RESIDUAL) == calibrate(RESIDUAL.copy())


@given(st.floats(0.2, 5.0))
@settings(max_examples=20, deadline=None)
def test_calibration_scales_with_the_residual(factor: float) -> None:
    """Twice the deviations: twice the means, four times the variances, the same phi and lambda.

    Only nearly so, since the floor under the density does not scale.
    """
    plain = calibrate(RESIDUAL).parameters
    scaled = calibrate(factor * RESIDUAL).parameters
    assert scaled.phi == pytest.approx(plain.phi, rel=1e-4)
    assert scaled.lambda_ == pytest.approx(plain.lambda_, rel=1e-4)
    assert scaled.sigma_sq == pytest.approx(plain.sigma_sq * factor**2, rel=1e-4)
    assert scaled.sigma_sq_j == pytest.approx(plain.sigma_sq_j * factor**2, rel=1e-4)


def test_check_accepts_the_found_parameters_and_names_the_wrong_one() -> None:
    found = calibrate(RESIDUAL)
    checked = check_calibration(RESIDUAL, found.parameters)
    assert checked.negative_log_likelihood == found.negative_log_likelihood
    assert checked.projected_gradient == found.projected_gradient

    vector = found.parameters.to_vector()
    vector[1] += 0.01
    with pytest.raises(CalibrationError, match="not accepted") as caught:
        check_calibration(RESIDUAL, JumpParameters.from_vector(vector))
    assert caught.value.parameter in PARAMETER_NAMES
    assert abs(caught.value.component) > GRADIENT_TOLERANCE
    assert caught.value.parameter in str(caught.value)


def test_check_refuses_a_stationary_model_without_jumps() -> None:
    """It passes the reference's check: with lambda zero, nothing else depends on the jumps."""
    now, before = RESIDUAL[1:], RESIDUAL[:-1]
    phi, a = np.polyfit(before, now, 1)
    variance = float((now - a - phi * before).var())
    vector = np.array([a, phi, 0.0, variance, 1e-6 * variance, 0.0])
    likelihood = JumpLikelihood(RESIDUAL)
    # The floor under the density moves the minimum a little from that of least squares.
    moving = [0, 1, 3]
    for _ in range(4):
        gradient, hessian = likelihood.gradient(vector)[1], likelihood.hessian(vector)
        vector[moving] -= np.linalg.solve(hessian[np.ix_(moving, moving)], gradient[moving])
    calm = JumpParameters.from_vector(vector)
    _, gradient = likelihood.gradient(vector)
    assert np.abs(gradient).max() <= GRADIENT_TOLERANCE
    with pytest.raises(BetterCalibrationError) as caught:
        check_calibration(RESIDUAL, calm)
    assert caught.value.excess > 50


def test_check_draws_the_line_at_the_tolerance_of_the_reference() -> None:
    found = calibrate(RESIDUAL)
    vector = found.parameters.to_vector()
    hessian = JumpLikelihood(RESIDUAL).hessian(vector)
    for size, accepted in ((0.9, True), (1.1, False)):
        # A shift that gives exactly one component of the gradient, to first order.
        wanted = np.zeros(6)
        wanted[0] = size * GRADIENT_TOLERANCE
        moved = JumpParameters.from_vector(vector + np.linalg.solve(hessian, wanted))
        if accepted:
            check_calibration(RESIDUAL, moved)
        else:
            with pytest.raises(CalibrationError):
                check_calibration(RESIDUAL, moved)


@pytest.mark.parametrize(
    ("index", "value"), [(1, 1.01), (2, -0.01), (3, 0.0), (4, -1.0), (5, 1.5), (0, math.nan)]
)
def test_check_refuses_parameters_outside_the_bounds(index: int, value: float) -> None:
    vector = calibrate(RESIDUAL).parameters.to_vector()
    vector[index] = value
    with pytest.raises(CalibrationError, match=PARAMETER_NAMES[index]):
        check_calibration(RESIDUAL, JumpParameters.from_vector(vector))


def test_at_a_bound_only_the_part_that_points_inward_counts() -> None:
    """A residual whose jumps only go down: the best mean of a jump is its bound, zero."""
    fees = synthetic_fees(2000, seed=2, jump_mean=-0.3, jump_deviation=0.2)
    residual = decompose(np.log(fees)).residual
    found = calibrate(residual)
    index = PARAMETER_NAMES.index("mu_j")
    _, gradient = JumpLikelihood(residual).gradient(found.parameters.to_vector())
    assert found.parameters.mu_j == 0
    assert gradient[index] > GRADIENT_TOLERANCE
    assert found.projected_gradient[index] == 0


def test_a_residual_that_does_not_move_is_refused() -> None:
    with pytest.raises(FlatSeriesError, match="without any deviation"):
        calibrate(np.zeros(400))


@pytest.mark.parametrize(
    ("seed", "hours", "law"),
    [
        # Jumps in more than half of the hours, so that the middle half of the steps has them too.
        (31, 720, {"phi": 0.9, "deviation": 0.1, "jump_mean": 1.0, "jump_probability": 0.6}),
        # Nearly all hours have one: the model with calm hours and those with a jump exchanged is a
        # minimum, too.
        (16, 720, {"phi": 0.3, "deviation": 0.05, "jump_mean": 0.3, "jump_probability": 0.9}),
        # A handful of jumps, that the variance of all steps hardly shows.
        (32, 720, {"phi": 0.3, "deviation": 0.05, "jump_mean": 0.3, "jump_probability": 0.01}),
    ],
)
def test_the_likeliest_minimum_is_found_where_jumps_are_the_rule_or_rare(
    seed: int, hours: int, law: dict[str, float]
) -> None:
    residual = decompose(np.log(synthetic_fees(hours, seed, jump_deviation=0.2, **law))).residual
    true = np.array(
        [
            0.0, law["phi"], law["jump_mean"], law["deviation"] ** 2, 0.2**2,
            law["jump_probability"],
        ]
    )  # fmt: skip
    # What is likeliest is at least as likely as where a search from the true parameters ends.
    search = calibration._Search(JumpLikelihood(residual), calibration._Box.of(residual), true)
    search.run(100)
    assert calibrate(residual).negative_log_likelihood <= search.value + 1e-6


def test_a_start_is_no_less_likely_than_the_grid_it_climbs_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    better = 0
    for seed in range(20):
        residual = decompose(np.log(synthetic_fees(500, seed, jump_probability=0.2))).residual
        value = JumpLikelihood(residual).value
        climbed = value(likeliest_start(residual))
        with monkeypatch.context() as patch:
            patch.setattr(starts, "_CLIMBED", 0)
            better += climbed < value(likeliest_start(residual))
    assert better >= 18


def test_a_lone_point_makes_no_variance_of_zero() -> None:
    """A jump that only one step shows: its variance would be the least that there is."""
    point = np.append(np.linspace(-2, 2, 41), 50.0)
    powers = np.stack((point**2, point, np.ones_like(point)))
    model = (0.05, 0.0, 50.0, 1.0, 1.5)
    for _ in range(50):
        model = starts._likelier(powers, np.ones_like(point), model)
        lam, mean, jump_mean, variance, wide = model
        assert 0 < lam < 1
        assert jump_mean >= mean
        assert wide > variance > 0


def test_a_search_ends_where_only_rounding_is_left() -> None:
    """Of a residual that all but walks, with rare jumps down, the gradient stays above its aim."""
    law = {"phi": 0.995, "jump_mean": -0.3, "jump_probability": 0.005}
    for seed in range(30):
        fees = synthetic_fees(1000, seed, deviation=0.004, jump_deviation=0.03, **law)
        assert calibrate(decompose(np.log(fees)).residual).iterations < 100
