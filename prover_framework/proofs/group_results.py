"""What other jobs of a group have proved, for one that rests on them."""

from prover_framework.errors import DependencyFailed, DependencyNotYet, ResultInvalid
from prover_framework.jobs.records import StoredJob
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import FINAL
from prover_framework.model.receipts import Statement
from prover_framework.receipts.documents import read_content


class GroupResults:
    """The results of a group's jobs, as they are when one is asked for first.

    Args:
        jobs: Where they are.
        group_id: The group.
        rests_on: The jobs that may be looked at: what the proof type declares.
        proof_type: Name of the proof type that looks, for messages.
    """

    def __init__(
        self, jobs: JobStore, group_id: str, rests_on: tuple[str, ...], proof_type: str
    ) -> None:
        self._jobs = jobs
        self._group_id = group_id
        self._rests_on = rests_on
        self._proof_type = proof_type
        self._found: dict[str, StoredJob] | None = None

    async def statement_of(self, job_id: str) -> Statement:
        """Return what a job states.

        Raises:
            DependencyNotYet: It has not ended, or has not come to the group yet.
            DependencyFailed: It has ended without a result, and why.
            ResultInvalid: The proof type does not say that it rests on such a job.
            StoreError: The database cannot be read.
        """
        if job_id not in self._rests_on:
            raise ResultInvalid(
                f"the proof type {self._proof_type} asks for the result of {job_id}, which is not "
                "among what it depends on"
            )
        if self._found is None:
            self._found = {job.name: job for job in await self._jobs.group(self._group_id)}
        job = self._found.get(job_id)
        if job is None:
            raise DependencyNotYet(f"it rests on {job_id}, which has not come to the group yet")
        if job.receipt is not None:
            return read_content(job.receipt, ()).statement
        if job.state not in FINAL:
            raise DependencyNotYet(f"it rests on {job_id}, which is {job.state}")
        why = f": {job.error_message}" if job.error_message else ""
        raise DependencyFailed(f"it rests on {job_id}, which is {job.state}{why}")
