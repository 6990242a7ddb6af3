"""Where receipts are asked for, and where those of strangers are verified."""

import asyncio
from collections.abc import Sequence
from typing import Any

import attrs

from prover_framework.compute.slot import Slot
from prover_framework.errors import ReceiptMissing, ReceiptNotYet, VerifierBusy
from prover_framework.jobs import FINAL
from prover_framework.jsontext import parse_json, quote
from prover_framework.plugins import Plugins
from prover_framework.receipts.canonical import canonical, digest_of
from prover_framework.receipts.checks import Report
from prover_framework.receipts.composing import Composing, EndedJob, members_of
from prover_framework.receipts.documents import dump_bound, read_bound, read_content
from prover_framework.receipts.keys import KeyDirectory, PublicKey, pinned_key
from prover_framework.receipts.model import ComposedReceipt, Receipt, Seal
from prover_framework.receipts.seals import seals_of
from prover_framework.receipts.verification import Verifier
from prover_framework.settings import Settings
from prover_framework.store.headers import HeaderStore
from prover_framework.store.jobs import JobStore, StoredJob, StoredSeal
from prover_framework.store.receipts import ReceiptStore
from prover_framework.wire import structure

# What verifying a stranger's receipt may take. The slowest of ours takes two seconds.
VERIFY_SECONDS = 60.0


class ReceiptDesk:
    """Hands out receipts, making that of a group if it is not there; verifies others'."""

    def __init__(
        self,
        settings: Settings,
        plugins: Plugins,
        jobs: JobStore,
        receipts: ReceiptStore,
        headers: HeaderStore,
    ) -> None:
        self._jobs = jobs
        self._receipts = receipts
        self._keys = KeyDirectory(settings.key_path)
        self._verifier = Verifier(
            settings=settings,
            plugins=plugins,
            headers=headers,
            source="this service's database",
            pinned=tuple(pinned_key(text) for text in settings.trusted_keys),
            seconds=VERIFY_SECONDS,
        )
        self._verifying = asyncio.Lock()
        self._composing = Composing(settings, plugins, seals_of(settings, plugins))
        # One process composes for all who ask, one group after the other.
        self._slot = Slot(trace=plugins.trace)
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """End what this has started."""
        await self._receipts.drain()
        await self._slot.kill()

    async def of_proof(self, group_id: str, proof_type: str) -> Receipt:
        """Return the receipt of one proof of a group.

        Raises:
            GroupNotFound: There is no such group.
            ReceiptMissing: The group has no such job, or it ended without a result.
            ReceiptNotYet: The job has not ended.
        """
        jobs = await self._jobs.group(group_id)
        job = next((job for job in jobs if job.proof_type == proof_type), None)
        if job is None:
            there = ", ".join(job.proof_type for job in jobs)
            raise ReceiptMissing(
                f"job group {group_id} has no {quote(proof_type)} (it has: {there})"
            )
        if job.receipt is None:
            if job.state in FINAL:
                raise ReceiptMissing(f"{proof_type} of job group {group_id} is {job.state}")
            raise ReceiptNotYet(f"{proof_type} of job group {group_id} is {job.state}; wait for it")
        (receipt,) = await self._with_seals([job])
        return receipt

    async def of_group(self, group_id: str) -> ComposedReceipt:
        """Return the receipt of a group; it is made if it is not there.

        Raises:
            GroupNotFound: There is no such group.
            ReceiptNotYet: Some job of the group has not ended.
        """
        jobs = await self._jobs.group(group_id)
        if running := [job for job in jobs if job.state not in FINAL]:
            raise ReceiptNotYet(
                f"job group {group_id} has not ended: {running[0].proof_type} is {running[0].state}"
            )
        ended = await self._ended(jobs)
        text = await self._receipts.composed(group_id)
        if text is not None:
            kept = _kept(text, ended)
            # Jobs of a group can be given a new life, and end in another way.
            if kept.statement.members == members_of(ended):
                return kept
        async with self._turn:
            made = await self._composing.compose(self._slot, group_id, ended)
        if await self._receipts.keep(group_id, dump_bound(made), instead_of=text):
            return made
        # Somebody else was faster; there is one receipt for all who ask.
        now_kept = await self._receipts.composed(group_id)
        return made if now_kept is None else _kept(now_kept, ended)

    async def note_end(self, group_id: str) -> None:
        """Make the receipt of a group if all of its jobs have ended."""
        if await self._receipts.has_ended(group_id):
            await self.of_group(group_id)

    def public_keys(self) -> tuple[PublicKey, ...]:
        """Return the public keys of this service, the oldest first.

        Raises:
            SettingsError: They can not be read.
        """
        return self._keys.public_keys()

    def require_free(self) -> None:
        """Require that nobody's receipt is being verified.

        Raises:
            VerifierBusy: One is.
        """
        if self._verifying.locked():
            raise VerifierBusy("another receipt is being verified; try again in some seconds")

    async def verify(self, body: bytes, trusted_hash: str | None = None) -> Report:
        """Check somebody's receipt with what this service has, and nothing that he names.

        Args:
            body: The receipt.
            trusted_hash: Hash of a block that whoever asks trusts.

        Raises:
            VerifierBusy: Another one is being verified.
        """
        self.require_free()
        async with self._verifying:
            return await attrs.evolve(self._verifier, trusted_hash=trusted_hash).verify(body)

    async def _ended(self, jobs: Sequence[StoredJob]) -> list[EndedJob]:
        proved = [job for job in jobs if job.receipt is not None]
        receipts = dict(
            zip((job.id for job in proved), await self._with_seals(proved), strict=True)
        )
        return [
            EndedJob(
                job.proof_type,
                job.state,
                receipts.get(job.id),
                # What is stored is the canonical form already.
                None if job.receipt is None else digest_of(job.receipt.encode()),
            )
            for job in jobs
        ]

    async def _with_seals(self, jobs: Sequence[StoredJob]) -> list[Receipt]:
        seals = await self._receipts.seals([job.id for job in jobs])
        return [read_content(job.receipt or "", tuple(map(_seal, seals[job.id]))) for job in jobs]


def stored_seals(seals: Sequence[Seal]) -> list[StoredSeal]:
    """Return seals as rows of the database hold them."""
    return [StoredSeal(seal.kind, canonical(seal.document).decode()) for seal in seals]


def _seal(stored: StoredSeal) -> Seal:
    return Seal(stored.kind, structure(parse_json(stored.document.encode()), dict[str, Any]))


def _kept(text: str, ended: Sequence[EndedJob]) -> ComposedReceipt:
    return read_bound(text, tuple(job.receipt for job in ended if job.receipt is not None))
