"""The method as it is defined, written down step by step without any shortcut, and fees to try it.

Tests compare the package with it and the benchmark measures against it. Numpy only, and nothing
from the package.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PlainModel:
    """Everything the simulation needs, in the letters of the definition."""

    residual: FloatArray
    slope: float
    intercept: float
    season: FloatArray
    strike: float
    volatility: float
    # a, phi, mu_j, sigma_sq, sigma_sq_j, lambda
    parameters: tuple[float, ...]


def golden_fees() -> FloatArray | None:
    """Hourly base fees of Ethereum mainnet, where PROVER_GOLDEN_DIR says they are."""
    folder = os.environ.get("PROVER_GOLDEN_DIR")
    if not folder:
        return None
    with (Path(folder) / "mainnet_hourly_base_fee.csv").open(newline="") as file:
        return np.array([float(row["base_fee_wei"]) for row in csv.DictReader(file)])


def synthetic_fees(
    hours: int,
    seed: int,
    *,
    phi: float = 0.9,
    deviation: float = 0.1,
    jump_mean: float = 0.05,
    jump_deviation: float = 0.4,
    jump_probability: float = 0.15,
) -> FloatArray:
    """Hourly fees of about 15 gwei with a daily and weekly wave, mean reversion and jumps."""
    rng = np.random.default_rng(seed)
    step = deviation * rng.standard_normal(hours)
    jump = jump_mean + jump_deviation * rng.standard_normal(hours)
    step += (rng.random(hours) < jump_probability) * jump
    residual = np.zeros(hours)
    for i in range(1, hours):
        residual[i] = phi * residual[i - 1] + step[i]
    t = np.arange(hours)
    wave = 0.3 * np.sin(2 * np.pi * t / 24) + 0.15 * np.cos(2 * np.pi * t / 168)
    fees: FloatArray = np.exp(np.log(15e9) + 2e-4 * t + wave + residual)
    return fees


def season_columns(t: FloatArray) -> FloatArray:
    columns = []
    for period in (24, 168):
        for j in (2, 4, 8):
            columns.append(np.sin(j * np.pi * t / period))
            columns.append(np.cos(j * np.pi * t / period))
    return np.column_stack(columns)


def plain_model(fees: FloatArray, parameters: tuple[float, ...] | None = None) -> PlainModel:
    """Steps 1 to 4; given parameters are taken for those of step 4."""
    n = len(fees)
    rolling = np.array([fees[max(0, i - 167) : i + 1].mean() for i in range(n)])
    t = np.arange(n, dtype=np.float64)
    slope, intercept = np.polyfit(t, np.log(fees), 1)
    detrended = np.log(fees) - (slope * t + intercept)
    season = np.linalg.lstsq(season_columns(t), detrended, rcond=None)[0]
    residual = detrended - season_columns(t) @ season
    volatility = np.diff(np.log(rolling)).std(ddof=1) * np.sqrt(168)
    return PlainModel(
        residual,
        float(slope),
        float(intercept),
        season,
        float(rolling[-1]),
        float(volatility),
        parameters or plain_calibration(residual),
    )


def plain_likelihood(parameters: FloatArray, residual: FloatArray) -> float:
    """Negative log likelihood of step 4."""
    a, phi, mu_j, sigma_sq, sigma_sq_j, lam = parameters
    e = residual[1:] - a - phi * residual[:-1]
    v = sigma_sq + sigma_sq_j
    jump = np.exp(-((e - mu_j) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v)
    calm = np.exp(-(e**2) / (2 * sigma_sq)) / np.sqrt(2 * np.pi * sigma_sq)
    return -float(np.log(lam * jump + (1 - lam) * calm + 1e-10).sum())


def plain_calibration(residual: FloatArray) -> tuple[float, ...]:
    """Step 4 with a library's minimiser and gradients by differences."""
    variance = float(residual[1:].var())
    found = minimize(
        plain_likelihood,
        np.array([-0.03928, 0.0002873, 0.04617, variance, variance, 0.2]),
        args=(residual,),
        method="L-BFGS-B",
        bounds=[(None, None), (0, 1), (0, None), (1e-6, None), (1e-6, None), (0, 1)],
    )
    return tuple(found.x.tolist())


def plain_payoffs(
    model: PlainModel, hours_of_data: int, paths: int, rng: np.random.Generator
) -> FloatArray:
    """Steps 5 and 6: the discounted payoff of each path, every hour with its own three draws."""
    a, phi, mu_j, sigma_sq, sigma_sq_j, lam = model.parameters
    n, s = hours_of_data, model.volatility
    mu, dt = 0.05 / 52, 1 / 24
    season = season_columns(n - 1 + np.arange(720.0)) @ model.season
    residual = np.full(paths, model.residual[-1])
    walk = np.zeros(paths)
    total = np.zeros(paths)
    for i in range(720):
        if i > 0:
            jumps = rng.random(paths) < lam
            size = mu_j + np.sqrt(sigma_sq_j) * rng.standard_normal(paths)
            calm = np.sqrt(sigma_sq) * rng.standard_normal(paths)
            residual = a + phi * residual + calm + jumps * size
        walk += (mu - s**2 / 2) * dt + s * np.sqrt(dt) * rng.standard_normal(paths)
        if i >= 720 - 168:
            trend = model.slope * (n - 1) + model.intercept
            total += np.exp(residual + season[i] + trend + walk)
    price = total / 168
    payoff = np.maximum(np.minimum(1.3 * model.strike, price) - model.strike, 0)
    return np.asarray(np.exp(-0.05) * payoff)


def plain_reserve_price(
    fees: FloatArray, rng: np.random.Generator, paths: int
) -> tuple[float, float]:
    """All steps: the reserve price in wei and its standard error."""
    payoffs = plain_payoffs(plain_model(fees), len(fees), paths, rng)
    return float(payoffs.mean()), float(payoffs.std(ddof=1) / np.sqrt(paths))
