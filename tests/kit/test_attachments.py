"""The kit holds what is attached to a result to the same rules as the result."""

from pathlib import Path

import pytest
from attaching_plugin import ATTACHING_PLUGIN, READING_PLUGIN
from kit_runs import install_module, outcomes

TESTS = """
import prover_{name}
from prover_framework.testing import ProofTypeConformance

class TestIt(ProofTypeConformance):
    plugin = prover_{name}
    samples = (prover_{name}.Parameters(sizes={{"one.csv": 5000, "two.csv": 0}}{more}),)
"""

SAME = "test_it_computes_the_same_digits_again"
PURE = "test_it_computes_from_its_arguments_alone"
SERVICE = "test_a_service_proves_it_and_checks_it"
OWN = "test_its_own_result_is_accepted"
OTHER = "test_an_altered_result_is_refused"


def run(directory: Path, name: str, source: str, more: str = "") -> dict[str, tuple[str, str]]:
    # The kit asks for a description of each parameter.
    install_module(directory, name, source)
    (directory / "test_it.py").write_text(TESTS.format(name=name, more=more))
    selected = (f"test_it.py::TestIt::{test}" for test in (SAME, PURE, SERVICE, OWN, OTHER))
    found = outcomes(directory, *selected)
    return {key.partition("::")[2]: outcome for key, outcome in found.items()}


@pytest.mark.parametrize(
    ("name", "source"), [("attaching", ATTACHING_PLUGIN), ("reading", READING_PLUGIN)]
)
def test_a_plugin_that_attaches_passes(tmp_path: Path, name: str, source: str) -> None:
    found = run(tmp_path, name, source)
    assert set(found.values()) == {("passed", "")}, found


def test_bytes_that_are_others_each_time_are_found(tmp_path: Path) -> None:
    found = run(tmp_path, "attaching", ATTACHING_PLUGIN, ', trick="random"')
    assert "what is attached is another one a second time in the same process" in found[SAME][1]
    assert "what is attached is another one in another process" in found[PURE][1]
    assert "the service refuses its own receipt: sha256 is stated as" in found[SERVICE][1]
