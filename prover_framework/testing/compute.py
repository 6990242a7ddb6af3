"""A compute process of the service, for tests that are not asynchronous."""

import asyncio
from types import TracebackType
from typing import Self, cast

import attrs

from prover_framework.commitments import parameters_beside_range, range_of
from prover_framework.compute.frames import Task
from prover_framework.compute.slot import Slot
from prover_framework.jsontext import Json
from prover_framework.model import HourlySeries, Verdict
from prover_framework.plugins import ProofHooks
from prover_framework.proving import Question
from prover_framework.wire import structure


def task_for(proof: ProofHooks, parameters: object, series: HourlySeries) -> Task:
    """Make what a worker would ask a compute process to do, with the seed that it would derive."""
    question = Question(
        hooks=proof,
        hours=range_of(parameters),
        parameters=parameters_beside_range(parameters),
        series=series,
    )
    return question.task(proof.proof_type.limits.memory_bytes)


class ComputeProcess:
    """Computes and judges in a process like a worker's, under the proof type's own limits.

    Use it as a context manager; its process ends with the body.
    """

    def __init__(self) -> None:
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

    def compute(
        self, proof: ProofHooks, parameters: object, series: HourlySeries
    ) -> dict[str, Json]:
        """Compute a result; return its JSON form.

        Raises:
            ProofError: The plugin refused.
            ComputeError: The computation failed or overran its limits.
        """
        return cast(dict[str, Json], self._run(proof, task_for(proof, parameters, series)))

    def verify(
        self,
        proof: ProofHooks,
        parameters: object,
        series: HourlySeries,
        claimed: dict[str, Json],
    ) -> Verdict:
        """Judge a result that is given in its JSON form.

        Raises:
            ProofError: The plugin refused.
            ComputeError: The check failed or overran its limits.
        """
        task = attrs.evolve(task_for(proof, parameters, series), claimed=claimed)
        return structure(cast(Json, self._run(proof, task)), Verdict)

    def _run(self, proof: ProofHooks, task: Task) -> dict[str, object]:
        return self._runner.run(self._slot.run(task, seconds=proof.proof_type.limits.seconds))
