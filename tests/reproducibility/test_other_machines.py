"""What one machine proves, another accepts, whatever moves the last digits of its arithmetic."""

import copy
import os
import platform
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, product
from math import inf, isclose, nextafter
from pathlib import Path
from typing import Any, TypeVar

import pytest
from another_machine import Machine, Made, processor_features
from receipt_bench import fabricated_series

from prover_framework import HourlySeries, felt_from_float, felt_hex
from prover_framework.model.findings import Outcome
from prover_framework.verification.checks import CheckName, Report

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
PYPROJECT = ROOT / "plugins" / "reserve_price" / "pyproject.toml"

PROOFS = ("max_return", "reserve_price", "twap")

# How far machines may be apart: the price by the tolerance of its verification, the calibration by
# what was once seen to move.
PRICE_TOLERANCE = 1e-9
CALIBRATION_TOLERANCE = 1e-7


@pytest.fixture(scope="module")
def series() -> HourlySeries:
    return fabricated_series()


@pytest.fixture(
    scope="module",
    params=["processors", pytest.param("versions", marks=pytest.mark.versions)],
)
def machines(request: pytest.FixtureRequest) -> dict[str, Machine]:
    """Machines that differ, by name."""
    return processors() if request.param == "processors" else versions()


def processors() -> dict[str, Machine]:
    """Return the same libraries on processors with other instructions."""
    if platform.machine() != "x86_64":
        pytest.skip(f"which processors to play on {platform.machine()} is not known")
    features = processor_features()
    # numpy 1 names features, numpy 2.4 the levels that they make up.
    can = {"Haswell": {"AVX2", "X86_V3"}}
    return {
        "this": Machine(),
        # Every processor of the kind can do what the oldest one could.
        "Prescott": Machine(
            settings={
                "OPENBLAS_CORETYPE": "Prescott",
                "NPY_DISABLE_CPU_FEATURES": " ".join(features),
            }
        ),
        **{
            core: Machine(settings={"OPENBLAS_CORETYPE": core})
            for core, needed in can.items()
            if needed.intersection(features)
        },
    }


def versions() -> dict[str, Machine]:
    """Return the lowest and the newest versions of the numerical libraries."""
    homes = {name: ROOT / f".venv-versions-{name}" for name in ("lowest", "newest")}
    for home in homes.values():
        if not (home / ".ready").exists():
            missing = f"{home} is not there or not complete: make {home.name}/.ready"
            if "CI" in os.environ:
                pytest.fail(missing)
            pytest.skip(missing)
    return {name: Machine(python=home / "bin" / "python") for name, home in homes.items()}


@pytest.fixture(scope="module")
def made(machines: dict[str, Machine], series: HourlySeries) -> dict[str, Made]:
    return at_once(machines, lambda machine: machine.make(series))


@pytest.fixture(scope="module")
def reports(
    machines: dict[str, Machine], made: dict[str, Made], series: HourlySeries
) -> dict[str, dict[str, Report]]:
    claimed = {name: theirs.receipt for name, theirs in made.items()}
    for (maker, theirs), name in product(made.items(), PROOFS):
        claimed[f"{maker}: {name} that is off"] = off(theirs, name)
    return at_once(machines, lambda machine: machine.judge(series, claimed))


def at_once(machines: dict[str, Machine], work: Callable[[Machine], T]) -> dict[str, T]:
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return dict(zip(machines, threads.map(work, machines.values()), strict=True))


def off(made: Made, name: str) -> dict[str, Any]:
    """Return the receipt of one who has moved a number a little, in all its forms."""
    receipt = copy.deepcopy(made.proof(name))
    result = receipt["statement"]["result"]
    # What is exact may not move at all.
    number = result[name] * (1 + 1e-7) if name == "reserve_price" else nextafter(result[name], inf)
    result |= {name: number, f"{name}_felt": felt_hex(felt_from_float(number))}
    return receipt


def test_all_but_the_reserve_price_is_the_same_to_the_last_digit(made: dict[str, Made]) -> None:
    for one, other in pairwise(made.values()):
        assert one.draws == other.draws
        for name in PROOFS:
            ours, theirs = one.proof(name)["statement"], other.proof(name)["statement"]
            if name == "reserve_price":
                ours, theirs = ours | {"result": None}, theirs | {"result": None}
            assert ours == theirs


def test_the_reserve_price_moves_in_late_digits_only(made: dict[str, Made]) -> None:
    for one, other in pairwise(map(price_of, made.values())):
        for name in ("reserve_price", "standard_error", "strike"):
            assert isclose(one[name], other[name], rel_tol=PRICE_TOLERANCE)
        for name in ("a", "phi", "mu_j", "sigma_sq", "sigma_sq_j", "jump_probability"):
            ours, theirs = one["calibration"][name], other["calibration"][name]
            assert isclose(ours, theirs, rel_tol=CALIBRATION_TOLERANCE)


def price_of(made: Made) -> dict[str, Any]:
    result: dict[str, Any] = made.proof("reserve_price")["statement"]["result"]
    return result


def test_the_machines_differ(made: dict[str, Made]) -> None:
    """Else all that is shown here would be that a computation equals itself."""
    libraries = {(each.numpy, each.scipy) for each in made.values()}
    prices_differ = any(one != other for one, other in pairwise(map(price_of, made.values())))
    # Other libraries come to the same digits on some processors; other instructions may not.
    assert len(libraries) > 1 or prices_differ


def test_each_verifies_what_the_others_made(
    made: dict[str, Made], reports: dict[str, dict[str, Report]]
) -> None:
    for judge, maker in product(made, repeat=2):
        report = reports[judge][maker]
        assert report.accepted, f"{judge} refuses what {maker} made: {report.checks}"
        results = [row.subject for row in report.checks if row.check is CheckName.RESULT]
        assert sorted(results) == sorted(PROOFS)


def test_none_accepts_what_is_off_by_more_than_arithmetic(
    made: dict[str, Made], reports: dict[str, dict[str, Report]]
) -> None:
    for judge, maker, name in product(made, made, PROOFS):
        report = reports[judge][f"{maker}: {name} that is off"]
        failed = [row.check for row in report.checks if row.outcome is Outcome.FAILED]
        assert failed == [CheckName.RESULT], f"{judge} on {name} of {maker}: {report.checks}"


@pytest.mark.parametrize("machines", ["processors"], indirect=True)
def test_the_settings_are_in_force(made: dict[str, Made]) -> None:
    assert made["Prescott"].features == []
    assert made["this"].features == processor_features()


@pytest.mark.versions
@pytest.mark.parametrize("machines", ["versions"], indirect=True)
def test_the_lowest_are_what_the_plugin_asks_for(made: dict[str, Made]) -> None:
    asked = dict(re.findall(r'"(numpy|scipy)>=([0-9.]+)"', PYPROJECT.read_text()))
    lowest = made["lowest"]
    assert lowest.numpy.startswith(asked["numpy"])
    assert lowest.scipy.startswith(asked["scipy"])
    newest = made["newest"]
    assert (lowest.numpy, lowest.scipy) != (newest.numpy, newest.scipy)
