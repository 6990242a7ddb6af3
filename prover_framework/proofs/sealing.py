"""From a stored receipt to a seal on it: a job of its own, after the result."""

from collections.abc import Mapping, Sequence

import attrs
from attrs import frozen

from prover_framework.errors import (
    NotInstalled,
    ReceiptChanged,
    ReceiptNotYet,
    RequestError,
)
from prover_framework.jobs.records import StoredJob
from prover_framework.jobs.seals import StoredSeal, StoredSealJob
from prover_framework.jobs.store import JobStore
from prover_framework.model.receipts import AnyReceipt, Receipt
from prover_framework.model.seals import OF_GROUP
from prover_framework.plugins.calls import Sealer
from prover_framework.plugins.registry import Plugins
from prover_framework.proofs.proving import Proving, unfit
from prover_framework.proofs.service import ReceiptService, as_seal
from prover_framework.receipts.documents import digest
from prover_framework.sandbox.calls import INPUTS_ARGUMENT, Runner
from prover_framework.sandbox.hooks import MAKE_SEAL, GivenData
from prover_framework.seals.base import Subject
from prover_framework.seals.making import make_by_plugin, refusal_of
from prover_framework.settings import Settings


@frozen
class Made:
    """A seal that was made.

    Args:
        kind: Its kind.
        document: The seal, as canonical JSON text.
        receipt: The receipt that it is for, with the seals that this was made with.
    """

    kind: str
    document: str
    receipt: AnyReceipt

    def refusal(self, others: Sequence[StoredSeal]) -> str | None:
        """Say why it does not go onto the receipt beside others that were made later."""
        seals = [as_seal(each) for each in (*others, StoredSeal(self.kind, self.document))]
        return refusal_of(attrs.evolve(self.receipt, seals=(*self.receipt.seals, *seals)))


class Sealing:
    """Makes seals of the kinds that are installed.

    Args:
        settings: Say where plugins keep what they use again.
        plugins: Bring the kinds.
        jobs: Where the jobs are.
        receipts: The receipts.
        proving: Loads the data of a result.
    """

    def __init__(
        self,
        settings: Settings,
        plugins: Plugins,
        jobs: JobStore,
        receipts: ReceiptService,
        proving: Proving,
    ) -> None:
        self._settings = settings
        self._sealers = plugins.sealers
        self._jobs = jobs
        self._receipts = receipts
        self._proving = proving

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of seals that can be made here."""
        return tuple(self._sealers)

    async def make(self, runner: Runner, wanted: StoredSealJob) -> Made | None:
        """Make a seal; None where its kind does not apply.

        Args:
            runner: Where plugins do their part.
            wanted: The seal.

        Raises:
            ReceiptNotYet: The receipt is not there: the group was given a new life.
            ReceiptChanged: It is another one.
            NotInstalled: The proof type of the job is not installed here.
            DataNotYet: The data of the result is not to be had for now.
            ProofError: The seal cannot be made, for good.
            ComputeError: A hook failed or overran its limits.
            PluginError: A plugin misbehaved.
            StoreError: The database cannot be read.
            OSError: This machine has no room for another process.
        """
        sealer = self._sealers[wanted.kind]
        receipt, job = await self._subject(wanted)
        stands_for = digest(receipt)
        if stands_for.hex() != wanted.receipt_digest:
            raise ReceiptChanged(f"{wanted.subject} is for another receipt than there is now")
        inputs = await self._inputs(runner, sealer, receipt, job)
        subject = Subject(attrs.evolve(receipt, seals=()), stands_for, runner, inputs)
        cache = self._settings.cache_path(wanted.kind)
        document = await make_by_plugin(sealer, subject, cache)
        return None if document is None else Made(wanted.kind, document.decode(), receipt)

    async def _subject(self, wanted: StoredSealJob) -> tuple[AnyReceipt, StoredJob | None]:
        """Return a receipt with the seals that it was made with, and the job that it is of."""
        if wanted.job_name == OF_GROUP:
            return await self._receipts.group_as_made(wanted.group_id), None
        jobs = await self._jobs.group(wanted.group_id)
        for job in jobs:
            if job.name == wanted.job_name and job.receipt is not None:
                return await self._receipts.as_made(job), job
        raise ReceiptNotYet(f"{wanted.subject}: there is no receipt")

    async def _inputs(
        self, runner: Runner, sealer: Sealer, receipt: AnyReceipt, job: StoredJob | None
    ) -> Mapping[str, GivenData] | None:
        """Return what a result was computed from, for a plugin that asks for it."""
        if job is None or not isinstance(receipt, Receipt):
            return None
        if not sealer.asks_for(INPUTS_ARGUMENT, MAKE_SEAL.name):
            return None
        try:
            read = self._proving.read(job)
        except RequestError as error:
            raise NotInstalled(unfit(job.proof_type, error)) from None
        needs = await self._proving.needs(runner, read)
        return await self._proving.data_of(read, needs, receipt)
