"""Where receipts are asked for."""

import asyncio
from collections.abc import Sequence
from typing import Any

import attrs

from prover_framework.errors import ReceiptMissing, ReceiptNotYet
from prover_framework.jobs.store import JobStore, StoredJob, StoredSeal
from prover_framework.model.jobs import FINAL
from prover_framework.model.receipts import GroupReceipt, Receipt, RestedOn, Seal
from prover_framework.plugins.registry import Plugins
from prover_framework.proofs.group_receipt import Composing, EndedJob, members_of
from prover_framework.proofs.store import ReceiptStore
from prover_framework.receipts.canonical import canonical, digest_of
from prover_framework.receipts.documents import dump_bound, fits, read_bound, read_content
from prover_framework.sandbox.slot import Slot
from prover_framework.seals.keys import KeyDirectory, PublicKey
from prover_framework.seals.making import sealing_of
from prover_framework.serialization.converter import structure
from prover_framework.serialization.json_text import parse_json
from prover_framework.settings import Settings
from prover_framework.text import quote


class ReceiptService:
    """Hands out receipts, making that of a group if it is not there."""

    def __init__(
        self,
        settings: Settings,
        plugins: Plugins,
        jobs: JobStore,
        receipts: ReceiptStore,
    ) -> None:
        self._jobs = jobs
        self._receipts = receipts
        self._keys = KeyDirectory(settings.key_path)
        self._composing = Composing(settings, plugins, sealing_of(settings, plugins))
        # One process composes for all who ask, one group after the other.
        self._slot = Slot(trace=plugins.trace)
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """End what this has started."""
        await self._receipts.drain()
        await self._slot.kill()

    async def of_proof(self, group_id: str, job_id: str) -> Receipt:
        """Return the receipt of one proof of a group.

        Args:
            group_id: The group.
            job_id: Which of its jobs: a proof type's name, or that and a label.

        Raises:
            GroupNotFound: There is no such group.
            ReceiptMissing: The group has no such job, or it ended without a result.
            ReceiptNotYet: The job has not ended.
        """
        jobs = await self._jobs.group(group_id)
        job = next((job for job in jobs if job.name == job_id), None)
        if job is None:
            there = ", ".join(job.name for job in jobs)
            raise ReceiptMissing(f"job group {group_id} has no {quote(job_id)} (it has: {there})")
        if job.receipt is None:
            if job.state in FINAL:
                raise ReceiptMissing(f"{job_id} of job group {group_id} is {job.state}")
            raise ReceiptNotYet(f"{job_id} of job group {group_id} is {job.state}; wait for it")
        others = await self._rested_on(job, jobs)
        if not others:
            (receipt,) = await self._with_seals([job])
            return receipt
        receipt, *rest = await self._with_seals([job, *others])
        named = zip(others, rest, strict=True)
        carrying = attrs.evolve(
            receipt,
            rests_on=tuple(RestedOn(job_id=o.name, receipt=r) for o, r in named),
        )
        # What is too large together is handed out alone; the others are there to be asked for.
        return carrying if fits(carrying) else receipt

    async def _rested_on(self, job: StoredJob, jobs: Sequence[StoredJob]) -> list[StoredJob]:
        """Return the jobs of its group that a job rests on, and those that these rest on."""
        by_id = {each.id: each for each in jobs}
        found: dict[str, StoredJob] = {}
        asked = [job.id] if len(jobs) > 1 else []
        while asked:
            edges = await self._receipts.rested_on(asked)
            asked = sorted({id_ for id_ in edges if id_ not in found and id_ in by_id})
            found |= {id_: by_id[id_] for id_ in asked}
        return [each for each in found.values() if each.receipt is not None]

    async def of_group(self, group_id: str) -> GroupReceipt:
        """Return the receipt of a group; it is made if it is not there.

        Raises:
            GroupNotFound: There is no such group.
            ReceiptNotYet: Some job of the group has not ended.
        """
        jobs = await self._jobs.group(group_id)
        if running := [job for job in jobs if job.state not in FINAL]:
            raise ReceiptNotYet(
                f"job group {group_id} has not ended: {running[0].name} is {running[0].state}"
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

    async def note_end(self, group_id: str) -> bool:
        """Make the receipt of a group if all of its jobs have ended; return whether they have."""
        if not await self._receipts.has_ended(group_id):
            return False
        await self.of_group(group_id)
        return True

    def public_keys(self) -> tuple[PublicKey, ...]:
        """Return the public keys of this service, the oldest first.

        Raises:
            SettingsError: They cannot be read.
        """
        return self._keys.public_keys()

    async def _ended(self, jobs: Sequence[StoredJob]) -> list[EndedJob]:
        proved = [job for job in jobs if job.receipt is not None]
        receipts = dict(
            zip((job.id for job in proved), await self._with_seals(proved), strict=True)
        )
        return [
            EndedJob(
                job.name,
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


def _kept(text: str, ended: Sequence[EndedJob]) -> GroupReceipt:
    return read_bound(text, tuple(job.receipt for job in ended if job.receipt is not None))
