"""What one computation is about, in the canonical form that a receipt's statement has."""

from collections.abc import Mapping
from functools import cached_property

from attrs import frozen

from prover_framework.model.receipts import StatedInput
from prover_framework.model.series import TimeRange
from prover_framework.plugins.calls import ProofHooks
from prover_framework.proofs.inputs import LoadedInput
from prover_framework.proofs.parameters import with_range
from prover_framework.proofs.seed import derive_seed
from prover_framework.sandbox.hooks import GivenData
from prover_framework.serialization.json_text import Json


@frozen(kw_only=True, slots=False, eq=False)
class Computation:
    """What one computation is about, in canonical form: equal questions have equal answers.

    Args:
        hooks: The proof type's hooks.
        version: Version of the method that the seed is derived for: the one that is installed, or
            an older one of which a statement is judged.
        hours: The range that was asked for, in whole hours; none where there is no range.
        parameters: The parameters beside it, in their JSON form, without defaults.
        loaded: The data, by name.
        settings: JSON form of the proof type's own settings; None for their defaults.
    """

    hooks: ProofHooks
    version: str
    hours: TimeRange | None
    parameters: dict[str, Json]
    loaded: Mapping[str, LoadedInput]
    settings: dict[str, Json] | None = None

    @cached_property
    def seed(self) -> bytes:
        """The seed of the computation."""
        return derive_seed(
            proof_type=self.hooks.proof_type.name,
            version=self.version,
            hours=self.hours,
            parameters=self.parameters,
            inputs={name: each.seed_input for name, each in self.loaded.items()},
        )

    @property
    def form(self) -> dict[str, Json]:
        """The JSON form of the plugin's parameters, with the range in whole hours.

        Seconds within the outer hours have no part in the statement, so that no plugin may see
        them.
        """
        return with_range(self.parameters, self.hours)

    @property
    def stated(self) -> dict[str, StatedInput]:
        """What a statement says of the data, by name."""
        return {name: each.stated for name, each in self.loaded.items()}

    @cached_property
    def given(self) -> dict[str, GivenData]:
        """The data on its way to the computation, by name."""
        return {name: each.given for name, each in self.loaded.items()}
