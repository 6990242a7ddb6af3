"""Time the reserve price against the definition followed literally, in one run.

    python bench_reserve_price.py [--rounds 5]

Both sides do everything from hourly fees to price and error. The literal side calibrates by
differences and simulates 15,000 plain paths; ours runs with its default number of paths and with
the fewest whose standard error is no larger than that of the literal side. Rounds alternate, so
that a machine that slows down slows both. Fees: mainnet where PROVER_GOLDEN_DIR names the golden
data, else a synthetic series with jumps.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "src"), str(HERE / "tests")]

from prover_reserve_price.calibration import calibrate  # noqa: E402
from prover_reserve_price.pricing import DEFAULT_PATHS, reserve_price  # noqa: E402
from prover_reserve_price.simulation import MIN_PATHS  # noqa: E402
from reserve_price_reference import (  # noqa: E402
    golden_fees,
    plain_calibration,
    plain_model,
    plain_reserve_price,
    synthetic_fees,
)

PLAIN_PATHS = 15_000
SEED = hashlib.sha256(b"benchmark").digest()


def timed(run: Callable[[], object], repeats: int = 1) -> float:
    """Milliseconds of one run, the mean of `repeats`."""
    start = perf_counter()
    for _ in range(repeats):
        run()
    return (perf_counter() - start) * 1000 / repeats


def main() -> None:
    """Run both sides in turn and print times, errors and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds

    fees = golden_fees()
    source = "golden mainnet fees" if fees is not None else "synthetic fees"
    if fees is None:
        fees = synthetic_fees(2160, seed=1)
    series = fees
    rng = np.random.default_rng(1)

    plain_price, plain_error = plain_reserve_price(series, rng, PLAIN_PATHS)
    matched = MIN_PATHS
    while reserve_price(series, SEED, paths=matched).standard_error_wei > plain_error:
        matched *= 2

    residual = plain_model(series).residual
    plain_ms, default_ms, matched_ms, plain_fit_ms, fit_ms = [], [], [], [], []
    for _ in range(rounds):
        plain_ms.append(timed(lambda: plain_reserve_price(series, rng, PLAIN_PATHS)))
        default_ms.append(timed(lambda: reserve_price(series, SEED), repeats=10))
        matched_ms.append(timed(lambda: reserve_price(series, SEED, paths=matched), repeats=10))
        plain_fit_ms.append(timed(lambda: plain_calibration(residual)))
        fit_ms.append(timed(lambda: calibrate(residual), repeats=10))

    def line(name: str, price: float, error: float, paths: int, times: list[float]) -> None:
        print(
            f"{name:<34}{paths:>7} paths  {price / 1e9:.5f} gwei +- {error / price:7.3%}  "
            f"median {median(times):8.2f} ms  best {min(times):8.2f} ms  "
            f"ratio {median(plain_ms) / median(times):6.1f}"
        )

    print(f"{source}, {series.size} hours, {rounds} rounds")
    line("definition followed literally", plain_price, plain_error, PLAIN_PATHS, plain_ms)
    for name, paths, times in (
        ("ours, at its accuracy or better", matched, matched_ms),
        ("ours, default", DEFAULT_PATHS, default_ms),
    ):
        ours = reserve_price(series, SEED, paths=paths)
        line(name, ours.price_wei, ours.standard_error_wei, ours.paths, times)
    print(
        f"calibration alone: by differences {median(plain_fit_ms):.2f} ms, "
        f"ours {median(fit_ms):.2f} ms"
    )


if __name__ == "__main__":
    main()
