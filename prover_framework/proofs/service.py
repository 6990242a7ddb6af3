"""Where receipts are asked for."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, TypeVar

import attrs
from attrs import frozen

from prover_framework.errors import Problem, ReceiptMissing, ReceiptNotYet, RequestError
from prover_framework.jobs.records import StoredJob
from prover_framework.jobs.seals import MadeSeal, StoredSeal
from prover_framework.jobs.store import JobStore
from prover_framework.jobs.views import view
from prover_framework.model.attachments import StatedAttachment
from prover_framework.model.jobs import FINAL
from prover_framework.model.names import group_id_of
from prover_framework.model.receipts import SIGNATURE, GroupReceipt, Receipt, RestedOn, Seal
from prover_framework.model.seals import OF_GROUP
from prover_framework.model.views import GroupView
from prover_framework.plugins.registry import Plugins
from prover_framework.proofs.group_receipt import Composing, EndedJob, members_of
from prover_framework.proofs.store import ReceiptStore, WantedSeals
from prover_framework.receipts.canonical import canonical, digest_of
from prover_framework.receipts.documents import digest, dump_bound, fits, read_bound, read_content
from prover_framework.sandbox.slot import Slot
from prover_framework.seals.keys import KeyDirectory, PublicKey
from prover_framework.seals.making import signature_maker
from prover_framework.serialization.converter import structure
from prover_framework.serialization.json_text import parse_json
from prover_framework.settings import Settings
from prover_framework.text import quote

R = TypeVar("R", Receipt, GroupReceipt)


@frozen
class RequestedSeals:
    """What came of asking for seals.

    Args:
        queued: How many are to be made because of it; the others are made or on their way.
        group: The group with its seals.
    """

    queued: int
    group: GroupView


@frozen(kw_only=True)
class OpenAttachment:
    """What is attached to a result, ready to be read once.

    Args:
        name: Its name.
        stated: What the job's receipt states of it.
        chunks: Its bytes, read as they are asked for.
    """

    name: str
    stated: StatedAttachment
    chunks: AsyncIterator[bytes]


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
        self._plugins = plugins
        self._composing = Composing(settings, plugins, signature_maker(settings))
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
        job = _proved(jobs, job_id)
        others = await self._rested_on(job, jobs)
        if not others:
            (receipt,) = await self._with_seals(group_id, [job])
            return receipt
        receipt, *rest = await self._with_seals(group_id, [job, *others])
        named = zip(others, rest, strict=True)
        carrying = attrs.evolve(
            receipt,
            rests_on=tuple(RestedOn(job_id=o.name, receipt=r) for o, r in named),
        )
        # What is too large together is handed out alone; the others are there to be asked for.
        return carrying if fits(carrying) else receipt

    async def attachment(self, group_id: str, job_id: str, name: str) -> OpenAttachment:
        """Open an attachment of a job; see `of_proof`.

        Raises:
            GroupNotFound: There is no such group.
            ReceiptMissing: The group has no such job, it ended without a result, or nothing of this
                name is attached to that.
            ReceiptNotYet: The job has not ended.
            StoreError: The database cannot be read.
        """
        job = _proved(await self._jobs.group(group_id), job_id)
        stated = read_content(job.receipt or "", ()).statement.attachments
        found = await self._receipts.attachments.find(job.id, name) if name in stated else None
        if found is None:
            whose, there = f"{job_id} of job group {job.job_group_id}", ", ".join(stated) or "none"
            raise ReceiptMissing(f"{whose} has no attachment {quote(name)} (it has: {there})")
        chunks = self._receipts.attachments.chunks(found)
        return OpenAttachment(name=name, stated=stated[name], chunks=chunks)

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
        receipt = await self._composed(group_id, jobs)
        return _sealed(receipt, await self._seals(group_id, jobs))

    async def group_as_made(self, group_id: str) -> GroupReceipt:
        """Return the receipt of a group as `of_group` does, without the seals made after it.

        Those that it binds are without them, too.
        """
        jobs = await self._jobs.group(group_id)
        receipt = await self._composed(group_id, jobs)
        seals = attrs.evolve(await self._seals(group_id, jobs), later=())
        return _sealed(receipt, seals)

    async def ask_for_seals(
        self, group_id: str, kind: str, job_id: str | None = None
    ) -> RequestedSeals:
        """Ask for seals of a kind on the receipts of a group that has ended, or on that of a job.

        What is made or on its way stays so; what has failed is tried again.

        Args:
            group_id: The group.
            kind: The kind.
            job_id: The job; None for the receipt of the group and those of all its jobs.

        Raises:
            RequestError: There is no such kind here, or its seals are made with the receipt.
            GroupNotFound: There is no such group.
            ReceiptMissing: The group has no such job, or it ended without a result.
            ReceiptNotYet: The job, or some job of the group, has not ended.
        """
        self._require_kind(group_id_of(group_id), kind)
        if job_id is None:
            digests = await self._digests(group_id)
        else:
            digests = {job_id: digest(await self.of_proof(group_id, job_id))}
        queued = await self._jobs.seals.ask(group_id, digests, kind)
        jobs = await self._jobs.group(group_id)
        return RequestedSeals(queued, view(jobs, await self._jobs.seals.of_groups([group_id])))

    def _require_kind(self, group_id: str, kind: str) -> None:
        if kind in self._plugins.sealers:
            return
        installed = ", ".join(sorted(self._plugins.sealers)) or "none"
        what = f"is no kind of seal that is installed here (installed: {installed})"
        if kind == SIGNATURE:
            what = "is made with the receipt, and cannot be asked for later"
        raise RequestError([Problem(quote(kind), what)], group_id)

    async def _digests(self, group_id: str) -> dict[str, bytes]:
        """Return the digests of the receipts of a group by the job's id, "" for its own.

        Raises:
            GroupNotFound: There is no such group.
            ReceiptNotYet: Some job of the group has not ended.
        """
        jobs = await self._jobs.group(group_id)
        composed = await self._composed(group_id, jobs)
        return {
            OF_GROUP: digest(composed),
            **{
                job.name: digest_of(job.receipt.encode()) for job in jobs if job.receipt is not None
            },
        }

    async def as_made(self, job: StoredJob) -> Receipt:
        """Return the receipt of a job that has one, without the seals made after it."""
        first = await self._receipts.seals([job.id])
        return read_content(job.receipt or "", tuple(map(as_seal, first[job.id])))

    async def _composed(self, group_id: str, jobs: Sequence[StoredJob]) -> GroupReceipt:
        """Return the receipt of a group with the seals that it was made with.

        Raises:
            ReceiptNotYet: Some job of the group has not ended.
        """
        if running := [job for job in jobs if job.state not in FINAL]:
            raise ReceiptNotYet(
                f"job group {running[0].job_group_id} has not ended: "
                f"{running[0].name} is {running[0].state}"
            )
        ended = _ended(jobs)
        text = await self._receipts.composed(group_id)
        if text is not None:
            kept = _kept(text, ended)
            # Jobs of a group can be given a new life, and end in another way.
            if kept.statement.members == members_of(ended):
                return kept
        async with self._turn:
            made = await self._composing.compose(self._slot, jobs[0].job_group_id, ended)
        wanted = self._wanted_seals(made, is_first=text is None)
        if await self._receipts.keep(group_id, dump_bound(made), instead_of=text, wanted=wanted):
            return made
        # Somebody else was faster; there is one receipt for all who ask.
        now_kept = await self._receipts.composed(group_id)
        return made if now_kept is None else _kept(now_kept, ended)

    def _wanted_seals(self, made: GroupReceipt, *, is_first: bool) -> WantedSeals | None:
        """Return the seals that a new receipt is to have; there may be some of the one before."""
        kinds = tuple(self._plugins.sealers)
        return None if is_first and not kinds else WantedSeals(digest(made), kinds)

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

    async def _seals(self, group_id: str, jobs: Sequence[StoredJob]) -> "_Seals":
        """Return the seals of a group and its jobs that are made so far."""
        first = await self._receipts.seals([job.id for job in jobs if job.receipt is not None])
        by_name = {job.name: first.get(job.id, ()) for job in jobs}
        return _Seals(by_name, await self._jobs.seals.made_of(group_id))

    async def _with_seals(self, group_id: str, jobs: Sequence[StoredJob]) -> list[Receipt]:
        seals = await self._seals(group_id, jobs)
        receipts = [(job.name, read_content(job.receipt or "", ())) for job in jobs]
        return [seals.on(receipt, name) for name, receipt in receipts]


@frozen
class _Seals:
    """The seals of a group: those that were made with a job's receipt, and those made later."""

    first: Mapping[str, Sequence[StoredSeal]]
    later: Sequence[MadeSeal]

    def on(self, receipt: R, name: str, *, late: bool = True) -> R:
        """Return a receipt with its seals.

        Args:
            receipt: The receipt, with none but what it was stored with.
            name: Id of its job in the group; empty for that of the group.
            late: Whether those are wanted that were made after it.
        """
        seals = [*receipt.seals, *map(as_seal, self.first.get(name, ()))]
        made = [each for each in self.later if each.job_name == name] if late else []
        if made:
            stands_for = digest(receipt).hex()
            seals += [as_seal(each.seal) for each in made if each.receipt_digest == stands_for]
        return attrs.evolve(receipt, seals=tuple(seals))


def _ended(jobs: Sequence[StoredJob]) -> list[EndedJob]:
    return [
        EndedJob(
            job.name,
            job.state,
            None if job.receipt is None else read_content(job.receipt, ()),
            # What is stored is the canonical form already.
            None if job.receipt is None else digest_of(job.receipt.encode()),
        )
        for job in jobs
    ]


def _sealed(receipt: GroupReceipt, seals: _Seals) -> GroupReceipt:
    """Put their seals on the receipt of a group and on those in it.

    What is too large together goes without the later seals of its members, whose own receipts have
    them.
    """
    proved = [each.job_id for each in receipt.statement.members if each.digest is not None]

    def members(*, late: bool) -> tuple[Receipt, ...]:
        named = zip(proved, receipt.receipts, strict=True)
        return tuple(seals.on(each, name, late=late) for name, each in named)

    whole = seals.on(attrs.evolve(receipt, receipts=members(late=True)), OF_GROUP)
    if not seals.later or fits(whole):
        return whole
    return attrs.evolve(whole, receipts=members(late=False))


def _proved(jobs: Sequence[StoredJob], job_id: str) -> StoredJob:
    """Return the job of a group that has this id and a receipt.

    Raises:
        ReceiptMissing: There is none, or it ended without a result.
        ReceiptNotYet: It has not ended.
    """
    group_id = jobs[0].job_group_id
    job = next((job for job in jobs if job.name == job_id), None)
    if job is None:
        there = ", ".join(job.name for job in jobs)
        raise ReceiptMissing(f"job group {group_id} has no {quote(job_id)} (it has: {there})")
    if job.receipt is None:
        if job.state in FINAL:
            raise ReceiptMissing(f"{job_id} of job group {group_id} is {job.state}")
        raise ReceiptNotYet(f"{job_id} of job group {group_id} is {job.state}; wait for it")
    return job


def stored_seals(seals: Sequence[Seal]) -> list[StoredSeal]:
    """Return seals as rows of the database hold them."""
    return [StoredSeal(seal.kind, canonical(seal.document).decode()) for seal in seals]


def as_seal(stored: StoredSeal) -> Seal:
    """Return a seal from the row that the database has."""
    return Seal(stored.kind, structure(parse_json(stored.document.encode()), dict[str, Any]))


def _kept(text: str, ended: Sequence[EndedJob]) -> GroupReceipt:
    return read_bound(text, tuple(job.receipt for job in ended if job.receipt is not None))
