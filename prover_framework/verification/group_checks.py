"""The checks on the receipt of a group: its members, and what plugins made of them."""

from itertools import zip_longest

import attrs

from prover_framework.model.findings import Finding
from prover_framework.model.jobs import JobState
from prover_framework.model.proofs import split_job_id
from prover_framework.model.receipts import Composed, GroupReceipt, GroupReceipts
from prover_framework.plugins.registry import Plugins
from prover_framework.proofs.artefacts import COMPOSE_FAILED, compose_one
from prover_framework.receipts.canonical import canonical
from prover_framework.sandbox.slot import Slot
from prover_framework.serialization.converter import unstructure
from prover_framework.settings import Settings
from prover_framework.text import quote
from prover_framework.verification.reading import SentProof


class GroupChecks:
    """Composes a group again, with the plugins that are installed here.

    Args:
        settings: Limits of computations.
        plugins: What is installed.
        slot: Where plugins do their part.
    """

    def __init__(self, settings: Settings, plugins: Plugins, slot: Slot) -> None:
        self._settings = settings
        self._composers = {c.candidate.name: c for c in plugins.composers}
        self._slot = slot

    async def artefacts(self, composed: Composed, group: GroupReceipts) -> Finding:
        """Compare what one plugin made of a group with what it makes of it here."""
        composer = self._composers.get(composed.plugin)
        if composer is None:
            return Finding.not_possible(f"the plugin {composed.plugin} is not installed here")
        if composer.package_digest != composed.plugin_digest:
            return Finding.not_possible(
                f"plugin_digest: other files of the plugin {composed.plugin} are installed here"
            )
        if composed.refusal == COMPOSE_FAILED:
            return Finding.not_possible(
                f"the plugin failed to compose it: {quote(composed.message)}"
            )
        again = await compose_one(composer, group, self._slot, self._settings)
        if canonical(unstructure(again)) == canonical(unstructure(composed)):
            return Finding.passed(f"composed again by {composed.plugin} with the same result")
        return Finding.failed(_other_artefacts(composed, again))


def members_bound(receipt: GroupReceipt, proofs: tuple[SentProof, ...]) -> Finding:
    """Compare the members of a group with the receipts that came with it."""
    members = receipt.statement.members
    names = [member.job_id for member in members]
    if len(set(names)) != len(names):
        return Finding.failed("members: a job is there twice")
    for member in members:
        if (member.state is JobState.SUCCEEDED) is (member.digest is None):
            return Finding.failed(
                f"members: {member.job_id} is {member.state} and has "
                f"{'no' if member.digest is None else 'a'} receipt"
            )
    bound = [(member.job_id, member.digest) for member in members if member.digest]
    there = [
        (_job_id(name, sent.receipt.statement.proof_type), sent.digest.hex())
        for (name, _), sent in zip_longest(bound, proofs, fillvalue=("", ""))
        if isinstance(sent, SentProof)
    ]
    if bound == there:
        return Finding.passed(f"{len(there)} receipts, bound by their digests")
    for (name, wanted), (other, found) in zip_longest(bound, there, fillvalue=("none", "none")):
        if name != other:
            return Finding.failed(f"receipts: {other} is where the group has {name}")
        if wanted != found:
            return Finding.failed(
                f"receipts: that of {name} has the digest {found}, and the group binds {wanted}"
            )
    return Finding.failed("receipts: they are not those that the group binds")


def _other_artefacts(theirs: Composed, ours: Composed) -> str:
    for attribute in attrs.fields(Composed):
        claimed, here = getattr(theirs, attribute.name), getattr(ours, attribute.name)
        if claimed != here:
            return (
                f"{attribute.name}: it is stated as {quote(str(claimed))}, and composed here as "
                f"{quote(str(here))}"
            )
    return "artefacts: they come out in another form here"


def _job_id(name: str, proof_type: str) -> str:
    """Return what a receipt is of, if it can be that of a job: a receipt knows no labels."""
    return name if split_job_id(name)[0] == proof_type else proof_type
