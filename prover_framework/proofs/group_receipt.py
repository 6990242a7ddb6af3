"""Make the receipt of a group: bind its proofs' receipts, and what plugins make of them."""

from collections.abc import Sequence
from functools import cached_property

import attrs
from attrs import frozen

from prover_framework.model.jobs import JobState
from prover_framework.model.receipts import (
    Composed,
    GroupProvenance,
    GroupReceipt,
    GroupReceipts,
    GroupStatement,
    Member,
    Receipt,
)
from prover_framework.plugins.package_digest import software_of
from prover_framework.plugins.registry import Plugins
from prover_framework.proofs.artefacts import compose_one
from prover_framework.receipts.documents import digest
from prover_framework.sandbox.slot import Slot
from prover_framework.seals.making import SignatureMaker
from prover_framework.settings import Settings
from prover_framework.text import utc_now


@frozen
class EndedJob:
    """A job of a group that has ended.

    Args:
        job_id: Its id in the group.
        state: How it ended.
        receipt: Its receipt, if it succeeded; plugins that compose look into it.
        digest: The digest of that.
    """

    job_id: str
    state: JobState
    receipt: Receipt | None
    digest: bytes | None


class Composing:
    """Composes receipts of groups."""

    def __init__(self, settings: Settings, plugins: Plugins, signatures: SignatureMaker) -> None:
        self._settings = settings
        self._composers = sorted(plugins.composers, key=lambda c: c.candidate.name)
        self._signatures = signatures

    @cached_property
    def _software(self) -> dict[str, str]:
        # What is installed does not change under a running process, and reading it takes longer
        # than the rest of a small group's receipt.
        software = software_of()
        for composer in self._composers:
            software |= composer.software
        return software

    @property
    def asks_plugins(self) -> bool:
        """Whether there are plugins that compose."""
        return bool(self._composers)

    def bind(self, group_id: str, jobs: Sequence[EndedJob]) -> GroupReceipt:
        """Make the receipt of a group where no plugin composes, without those that it binds.

        Args:
            group_id: The group, as its sender has called it.
            jobs: All of its jobs, in the order of the request, each of them ended.

        Raises:
            NoExactForm: It has no canonical form.
            NotSigned: It has to be signed, and cannot.
        """
        return self._signed(group_id, jobs, ())

    async def compose(self, slot: Slot, group_id: str, jobs: Sequence[EndedJob]) -> GroupReceipt:
        """Make the receipt of a group.

        Args:
            slot: Where plugins do their part.
            group_id: The group, as its sender has called it.
            jobs: All of its jobs, in the order of the request, each of them ended.

        Raises:
            NoExactForm: It has no canonical form.
            NotSigned: It has to be signed, and cannot.
        """
        proved = [(job.job_id, job.receipt) for job in jobs if job.receipt is not None]
        receipts = tuple(receipt for _, receipt in proved)
        job_ids = tuple(job_id for job_id, _ in proved)
        group = GroupReceipts(group_id=group_id, receipts=receipts, job_ids=job_ids)
        composed = [await compose_one(c, group, slot, self._settings) for c in self._composers]
        return attrs.evolve(self._signed(group_id, jobs, composed), receipts=receipts)

    def _signed(
        self, group_id: str, jobs: Sequence[EndedJob], composed: Sequence[Composed]
    ) -> GroupReceipt:
        receipt = GroupReceipt(
            statement=GroupStatement(
                group_id=group_id,
                members=members_of(jobs),
                # A plugin that has nothing to say of this group is not mentioned.
                composed=tuple(c for c in composed if c.artefacts or c.refusal),
            ),
            provenance=GroupProvenance(software=self._software, made_at=utc_now()),
            receipts=(),
        )
        if self._signatures.signer() is None:
            # The digest is that of the whole receipt, once more in its canonical form.
            return receipt
        return attrs.evolve(receipt, seals=self._signatures.seal(digest(receipt)))


def members_of(jobs: Sequence[EndedJob]) -> tuple[Member, ...]:
    """Return what a composed receipt says of the jobs of its group."""
    return tuple(
        Member(
            job_id=job.job_id,
            state=job.state,
            digest=job.digest.hex() if job.digest else None,
        )
        for job in jobs
    )
