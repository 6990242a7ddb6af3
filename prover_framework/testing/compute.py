"""A sandbox process of the service, for tests that are not asynchronous."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from types import TracebackType
from typing import Any, Self

from prover_framework.model.attachments import AttachmentPlace
from prover_framework.model.charts import Chart
from prover_framework.model.limits import Limits
from prover_framework.model.receipts import Artefact, GroupReceipts
from prover_framework.model.verdict import Verdict
from prover_framework.plugins.calls import Composer, KindHooks, ProofHooks, Sealer
from prover_framework.plugins.loading import load
from prover_framework.proofs.artefacts import COMPOSE_LIMITS
from prover_framework.proofs.computation import Computation
from prover_framework.proofs.parameters import parameters_beside_range, range_of
from prover_framework.sandbox import calls
from prover_framework.sandbox.attachments import Attached, take_in
from prover_framework.sandbox.hooks import GivenData, type_path
from prover_framework.sandbox.slot import Slot
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import Json
from prover_framework.testing.receipts import SealSample, loaded_input


def computation_of(
    proof: ProofHooks,
    parameters: object,
    data: Mapping[str, Any],
    kinds: Mapping[str, KindHooks] | None = None,
) -> Computation:
    """Return what a worker would have computed, with the seed that it would derive.

    Args:
        proof: The hooks of the proof type.
        parameters: An instance of its parameter class.
        data: The data of each input, by its name.
        kinds: The kinds of data by name; the framework's own when None.
    """
    needs = proof.inputs(parameters)
    known = load(()).kinds if kinds is None else kinds
    return Computation(
        hooks=proof,
        version=proof.proof_type.version,
        hours=range_of(parameters),
        parameters=parameters_beside_range(parameters),
        loaded={name: loaded_input(known[need.kind], data[name]) for name, need in needs.items()},
    )


class ComputeProcess:
    """Computes and judges in a process like a worker's, under the proof type's own limits.

    Use it as a context manager; its process ends with the body, and what was attached is removed.

    Args:
        kinds: The kinds of data that there are, by name; the framework's own when None.

    Attributes:
        attached: What the last computation has attached to its result, by name.
    """

    def __init__(self, kinds: Mapping[str, KindHooks] | None = None) -> None:
        self.attached: Mapping[str, Attached] = {}
        self._places = TemporaryDirectory(prefix="prover-attachments-", ignore_cleanup_errors=True)
        self._kinds = kinds
        self._runner = asyncio.Runner()
        self._slot = Slot()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._runner.run(self._slot.kill())
        finally:
            self._runner.close()
            self._places.cleanup()

    def compute(
        self, proof: ProofHooks, parameters: object, data: Mapping[str, Any]
    ) -> dict[str, Json]:
        """Compute a result from the data of each input, by name; return its JSON form.

        What is attached to it is in `attached` afterwards.

        Raises:
            ProofError: The plugin refused.
            ComputeError: The computation failed or overran its limits.
        """
        computation = computation_of(proof, parameters, data, self._kinds)
        place = self._place(proof.proof_type.limits)
        result = self._runner.run(
            calls.compute(
                self._slot,
                proof,
                proof.proof_type.limits,
                parameters=computation.form,
                inputs=computation.given,
                seed=computation.seed,
                place=place,
            )
        )
        if calls.attaches(proof, proof.proof_type.limits):
            taken = self._runner.run(take_in(place, proof.candidate.name))
            self.attached = {each.name: each for each in taken.attached}
        return result

    def verify(
        self,
        proof: ProofHooks,
        parameters: object,
        data: Mapping[str, Any],
        claimed: dict[str, Json],
        attachments: Mapping[str, Path] | None = None,
    ) -> Verdict:
        """Judge a result that is given in its JSON form.

        Args:
            proof: The hooks of the proof type.
            parameters: An instance of its parameter class.
            data: The data of each input, by its name.
            claimed: The result.
            attachments: The files of what is attached to it that there are, by name.

        Raises:
            ProofError: The plugin refused.
            ComputeError: The check failed or overran its limits.
        """
        computation = computation_of(proof, parameters, data, self._kinds)
        return self._runner.run(
            calls.verify(
                self._slot,
                proof,
                proof.proof_type.limits,
                parameters=computation.form,
                inputs=computation.given,
                seed=computation.seed,
                claimed=claimed,
                place=self._place(proof.proof_type.limits, attachments),
            )
        )

    def charts(
        self,
        proof: ProofHooks,
        parameters: object,
        data: Mapping[str, Any],
        result: dict[str, Json],
    ) -> tuple[Chart, ...]:
        """Describe what illustrates a result that is given in its JSON form.

        Raises:
            ProofError: The plugin refused.
            ComputeError: It failed or overran its limits.
        """
        computation = computation_of(proof, parameters, data, self._kinds)
        return self._runner.run(
            calls.charts(
                self._slot,
                proof,
                proof.proof_type.limits.memory_bytes,
                parameters=computation.form,
                inputs=computation.given,
                seed=computation.seed,
                result=result,
                settings=computation.settings,
            )
        )

    def make_seal(self, sealer: Sealer, sample: SealSample) -> dict[str, Any] | None:
        """Make a seal; None where the kind does not apply.

        Raises:
            ProofError: The plugin refused.
            ComputeError: It failed or overran its limits.
        """
        return self._runner.run(
            calls.make_seal(
                self._slot,
                sealer,
                sealer.seal_type.limits,
                receipt=sample.receipt,
                digest=sample.digest,
                inputs=given(sample.data),
            )
        )

    def check_seal(self, sealer: Sealer, sample: SealSample, seal: dict[str, Any]) -> Verdict:
        """Judge a seal as if it came with a receipt.

        Raises:
            ProofError: The plugin refused.
            ComputeError: It failed or overran its limits.
        """
        return self._runner.run(
            calls.check_seal(
                self._slot,
                sealer,
                sealer.seal_type.limits,
                receipt=sample.receipt,
                digest=sample.digest,
                seal=seal,
                inputs=given(sample.data),
            )
        )

    def compose(self, composer: Composer, group: GroupReceipts) -> tuple[Artefact, ...]:
        """Make what a plugin makes of a group.

        Raises:
            ProofError: The plugin refused.
            ComputeError: It failed or overran its limits.
        """
        return self._runner.run(calls.compose(self._slot, composer, COMPOSE_LIMITS, group))

    def _place(self, limits: Limits, claimed: Mapping[str, Path] | None = None) -> AttachmentPlace:
        return limits.attachment_place(Path(mkdtemp(dir=self._places.name)), claimed)


def given(data: Mapping[str, Any] | None) -> dict[str, GivenData] | None:
    """Return data as it goes to a hook; None where there is none."""
    if data is None:
        return None
    return {
        name: GivenData(type_path(type(each)), unstructure(each)) for name, each in data.items()
    }
