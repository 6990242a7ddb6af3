"""Make the receipt of a group: bind its proofs' receipts, and what plugins make of them."""

from collections.abc import Sequence
from functools import cached_property
from typing import cast

import attrs
from attrs import frozen

from prover_framework.compute.frames import Artefacts, ComposeTask
from prover_framework.compute.slot import Slot
from prover_framework.errors import ComputeError, PluginError, ProofError
from prover_framework.jobs import JobState
from prover_framework.jsontext import Json
from prover_framework.model import Limits
from prover_framework.plugins import Composer, Plugins
from prover_framework.receipts.documents import digest
from prover_framework.receipts.keys import now
from prover_framework.receipts.model import (
    Artefact,
    Composed,
    ComposedProvenance,
    ComposedReceipt,
    ComposedStatement,
    GroupReceipts,
    Member,
    Receipt,
)
from prover_framework.receipts.packages import software_of
from prover_framework.receipts.seals import Seals, Subject
from prover_framework.settings import Settings
from prover_framework.wire import structure

# What composing may use: it is arithmetic on a few numbers.
COMPOSE_LIMITS = Limits(seconds=30.0, memory_bytes=2 * 2**30)

# The refusal of a plugin that did not refuse but failed.
COMPOSE_FAILED = "compose_failed"


@frozen
class EndedJob:
    """A job of a group that has ended.

    Args:
        proof_type: What it was to prove.
        state: How it ended.
        receipt: Its receipt, if it succeeded.
        digest: The digest of that.
    """

    proof_type: str
    state: JobState
    receipt: Receipt | None
    digest: bytes | None


class Composing:
    """Composes receipts of groups."""

    def __init__(self, settings: Settings, plugins: Plugins, seals: Seals) -> None:
        self._settings = settings
        self._composers = sorted(plugins.composers, key=lambda c: c.candidate.name)
        self._seals = seals

    @cached_property
    def _software(self) -> dict[str, str]:
        # What is installed does not change under a running process, and reading it takes longer
        # than the rest of a small group's receipt.
        software = software_of()
        for composer in self._composers:
            software |= composer.software
        return software

    async def compose(self, slot: Slot, group_id: str, jobs: Sequence[EndedJob]) -> ComposedReceipt:
        """Make the receipt of a group.

        Args:
            slot: Where plugins do their part.
            group_id: The group.
            jobs: All of its jobs, in the order of the request, each of them ended.

        Raises:
            NoExactForm: It has no canonical form.
        """
        receipts = tuple(job.receipt for job in jobs if job.receipt is not None)
        group = GroupReceipts(group_id=group_id, receipts=receipts)
        composed = [await compose_one(c, group, slot, self._settings) for c in self._composers]
        receipt = ComposedReceipt(
            statement=ComposedStatement(
                group_id=group_id,
                members=members_of(jobs),
                # A plugin that has nothing to say of this group is not mentioned.
                composed=tuple(c for c in composed if c.artefacts or c.refusal),
            ),
            provenance=ComposedProvenance(software=self._software, made_at=now()),
            receipts=receipts,
        )
        seals = await self._seals.seal(Subject(receipt, digest(receipt), slot))
        return attrs.evolve(receipt, seals=seals)


async def compose_one(
    composer: Composer, group: GroupReceipts, slot: Slot, settings: Settings
) -> Composed:
    """Have one plugin compose a group, in a compute process; what goes wrong is said in it."""
    limits = settings.limits(COMPOSE_LIMITS)
    refusal: str | None = None
    message = ""
    artefacts: tuple[Artefact, ...] = ()
    try:
        task = ComposeTask(
            plugin=composer.candidate.name,
            module=composer.candidate.module,
            group=group,
            memory_bytes=limits.memory_bytes,
            package_digest=composer.package_digest,
        )
        reply = await slot.run(task, seconds=limits.seconds)
        artefacts = structure(cast(Json, reply), Artefacts).artefacts
    except ProofError as error:
        refusal, message = error.code, str(error)
    except (ComputeError, PluginError) as error:
        refusal, message = COMPOSE_FAILED, str(error)
    return Composed(
        plugin=composer.candidate.name,
        plugin_digest=composer.package_digest,
        artefacts=artefacts,
        refusal=refusal,
        message=message,
    )


def members_of(jobs: Sequence[EndedJob]) -> tuple[Member, ...]:
    """Return what a composed receipt says of the jobs of its group."""
    return tuple(
        Member(
            proof_type=job.proof_type,
            state=job.state,
            digest=job.digest.hex() if job.digest else None,
        )
        for job in jobs
    )
