"""A seed that whoever runs a job can choose is none."""

import pytest
import receipt_samples
from attrs import evolve

from prover_framework.model.findings import Finding, Outcome
from prover_framework.proofs.seed import SeedInput, derive_seed
from prover_framework.verification.input_checks import CheckedInput
from prover_framework.verification.proof_checks import seed


@pytest.mark.parametrize(
    ("generator", "part", "outcome"),
    [
        ("dice", {"fees": 1}, Outcome.PASSED),
        (None, None, Outcome.PASSED),
        ("dice", None, Outcome.FAILED),
    ],
)
def test_data_that_can_be_chosen_is_no_seed_of_what_is_drawn(
    generator: str | None, part: dict[str, object] | None, outcome: Outcome
) -> None:
    statement = receipt_samples.statement(generator=generator)
    inputs = {receipt_samples.HOURS: SeedInput("quotes", "1", None, part)}  # type: ignore[arg-type]
    derived = derive_seed(
        proof_type=statement.proof_type,
        version=statement.method_version,
        hours=statement.range,
        parameters=statement.parameters,
        inputs=inputs,
    )
    checked = [
        CheckedInput(name=name, finding=Finding.passed(""), seed_input=each)
        for name, each in inputs.items()
    ]
    assert seed(evolve(statement, seed=derived.hex()), checked).outcome is outcome
