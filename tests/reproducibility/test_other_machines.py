"""What one machine proves, another accepts, whatever moves the last digits of its arithmetic."""

import os
import platform
import re
from itertools import pairwise, permutations
from math import inf, isclose, nextafter
from pathlib import Path

import attrs
import pytest
from another_machine import Machine, Made, Verdicts, processor_features

from prover_framework import HourlySeries, TimeRange, felt_from_float, felt_hex
from prover_framework.testing import simulated_series

ROOT = Path(__file__).parents[2]
PYPROJECT = ROOT / "plugins" / "reserve_price" / "pyproject.toml"

HOUR = 3600
END = 1_704_067_200

# Twice the window of the max return, the least that all three proofs can be made from.
HOURS = 1440

# How far machines may be apart: the price by the tolerance of its verification, the calibration by
# what was once seen to move.
PRICE_TOLERANCE = 1e-9
CALIBRATION_TOLERANCE = 1e-7


@pytest.fixture(scope="module")
def series() -> HourlySeries:
    return simulated_series(TimeRange(END - HOURS * HOUR, END))


# Marks what was moved on purpose.
OFF = "off: "


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
    cores = {"Haswell": {"AVX2", "X86_V3"}, "SkylakeX": {"AVX512_SKX", "X86_V4"}}
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
            for core, needed in cores.items()
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
    return {name: machine.make(series) for name, machine in machines.items()}


@pytest.fixture(scope="module")
def verdicts(
    machines: dict[str, Machine], made: dict[str, Made], series: HourlySeries
) -> dict[str, Verdicts]:
    claimed = made | {OFF + name: off(theirs) for name, theirs in made.items()}
    return {name: machine.judge(series, claimed) for name, machine in machines.items()}


def test_the_seed_and_its_draws_are_the_same(made: dict[str, Made]) -> None:
    for one, other in pairwise(made.values()):
        assert one.draws == other.draws
        assert one.proofs.keys() == {"max_return", "reserve_price", "twap"}
        for name, proof in one.proofs.items():
            assert proof.seed == other.proofs[name].seed


def test_exact_results_are_the_same_to_the_last_digit(made: dict[str, Made]) -> None:
    for one, other in pairwise(made.values()):
        assert one.proofs["twap"] == other.proofs["twap"]
        assert one.proofs["max_return"] == other.proofs["max_return"]


def test_the_reserve_price_moves_in_late_digits_only(made: dict[str, Made]) -> None:
    results = [machine.proofs["reserve_price"].result for machine in made.values()]
    for one, other in pairwise(results):
        for name in ("reserve_price", "standard_error", "strike"):
            assert isclose(one[name], other[name], rel_tol=PRICE_TOLERANCE)
        for name in ("a", "phi", "mu_j", "sigma_sq", "sigma_sq_j", "jump_probability"):
            assert isclose(
                one["calibration"][name],
                other["calibration"][name],
                rel_tol=CALIBRATION_TOLERANCE,
            )


def test_the_machines_differ(made: dict[str, Made]) -> None:
    """Else all that is shown here would be that a computation equals itself."""
    results = [machine.proofs["reserve_price"].result for machine in made.values()]
    assert any(one != other for one, other in pairwise(results))


def test_each_accepts_what_the_others_made(
    made: dict[str, Made], verdicts: dict[str, Verdicts]
) -> None:
    for judge, maker in permutations(made, 2):
        assert verdicts[judge][maker].keys() == made[maker].proofs.keys()
        for name, verdict in verdicts[judge][maker].items():
            assert verdict.accepted, f"{name} of {maker} on {judge}: {verdict.reason}"


def test_none_accepts_what_is_off_by_more_than_arithmetic(
    made: dict[str, Made], verdicts: dict[str, Verdicts]
) -> None:
    for judge, maker in permutations(made, 2):
        for name, verdict in verdicts[judge][OFF + maker].items():
            assert not verdict.accepted, f"{name} of {maker} on {judge}"


def off(made: Made) -> Made:
    """Return what somebody would claim who has moved each number a little, in all its forms."""
    return attrs.evolve(
        made,
        proofs={
            name: attrs.evolve(proof, result=proof.result | moved(name, proof.result[name]))
            for name, proof in made.proofs.items()
        },
    )


def moved(name: str, number: float) -> dict[str, object]:
    # What is exact may not move at all.
    number = number * (1 + 1e-7) if name == "reserve_price" else nextafter(number, inf)
    felt = felt_hex(felt_from_float(number)) if number >= 0 else None
    return {name: number, f"{name}_felt": felt}


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
