"""Check a receipt that somebody has sent: by one who does not trust the sender.

Nothing that a receipt says of itself counts for it. What is read from it is compared with what the
verifier has: keys that he has pinned, plugins that are installed, headers, a block that he trusts.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from prover_framework.errors import NoExactForm, ReceiptError
from prover_framework.inputs.trusted import Sources
from prover_framework.model.findings import Finding, Outcome
from prover_framework.model.inputs import Need
from prover_framework.model.receipts import (
    SIGNATURE,
    AnyReceipt,
    GroupReceipt,
    GroupReceipts,
    Receipt,
)
from prover_framework.plugins.registry import Plugins
from prover_framework.proofs.inputs import InputLoader
from prover_framework.sandbox.slot import Slot
from prover_framework.seals.base import Subject
from prover_framework.seals.keys import PinnedKey
from prover_framework.settings import Settings
from prover_framework.text import shorten
from prover_framework.verification.assurance import strength
from prover_framework.verification.attachments import Files, given_files
from prover_framework.verification.chain_check import ChainCheck, FollowedHeaders
from prover_framework.verification.checks import (
    MAX_REASON_LENGTH,
    Check,
    CheckName,
    Report,
    accepted,
)
from prover_framework.verification.expectations import ANYTHING, Expected
from prover_framework.verification.group_checks import GroupChecks, members_bound
from prover_framework.verification.input_checks import (
    CheckedInput,
    InputChecks,
    SentResults,
    without_inputs,
)
from prover_framework.verification.proof_checks import ProofChecks, seed
from prover_framework.verification.reading import SentProof, SentReceipt, read_sent
from prover_framework.verification.seals import Seals, seals_of

# The checks that look at the verifier's own data, and those that look at what is stated of data.
OF_RESULT = frozenset({CheckName.RESULT, CheckName.ATTACHMENTS})
OF_OWN_DATA = OF_RESULT | {CheckName.INPUT, CheckName.PROVENANCE, CheckName.CHAIN}
OF_DATA = OF_OWN_DATA | {CheckName.SEAL, CheckName.SEED}

# Why there is no data where no check wants any.
NOT_LOOKED_AT = Finding.not_possible("no check that is made looks at data")


@frozen(kw_only=True)
class Verifier:
    """One who checks receipts, and what he has to check them with.

    Args:
        settings: Limits of computations.
        plugins: What is installed.
        headers: The verifier's headers; none when there are none to compare with.
        source: What messages call those headers.
        pinned: Public keys that a signature counts under.
        trusted_hash: Hash of a block that the verifier takes for a real one; none when there is
            none.
        processes: How many processes share the work of following a chain.
        seconds: How long all of it may take; none when it does not matter.
        expected: What the receipt has to be of.
        attachments: Files that the verifier has of what is attached to results, by name; with the
            job's id and a slash before it where several results have one of this name.
    """

    settings: Settings
    plugins: Plugins
    headers: FollowedHeaders | None
    source: str = "this database"
    pinned: tuple[PinnedKey, ...] = field(default=(), repr=False)
    trusted_hash: str | None = None
    processes: int = 1
    seconds: float | None = None
    expected: Expected = ANYTHING
    attachments: Mapping[str, Path] = field(factory=dict)

    def default(self, receipt: AnyReceipt) -> frozenset[CheckName]:
        """Return what is asked for unless something else is said: all that this verifier can do.

        The range of blocks is looked at as well, but not asked for: it says where data came from,
        which the result does not depend on.
        """
        asked = {
            CheckName.FORM,
            CheckName.PLUGIN,
            CheckName.SEED,
            CheckName.INPUT,
            CheckName.RESULT,
        }
        if isinstance(receipt, GroupReceipt):
            asked.add(CheckName.MEMBERS)
            if receipt.statement.composed:
                asked.add(CheckName.ARTEFACTS)
        if self.pinned:
            asked.add(CheckName.SEAL)
        if self.trusted_hash:
            asked.add(CheckName.CHAIN)
        if self.attachments or _has_attachments(receipt):
            asked.add(CheckName.ATTACHMENTS)
        return frozenset(asked)

    async def verify(
        self,
        body: bytes,
        requested: frozenset[CheckName] | None = None,
        *,
        slot: Slot | None = None,
    ) -> Report:
        """Check a receipt.

        Args:
            body: Its text.
            requested: The checks to make, all of which are to pass, beside the form. When None all
                are made, and those of `default` are to pass.
            slot: Where plugins do their part; a process of its own, which ends with this, when
                None.
        """
        try:
            sent = read_sent(body)
        except (ReceiptError, NoExactForm) as error:
            refused = Check(
                check=CheckName.FORM,
                subject="",
                asked=True,
                outcome=Outcome.FAILED,
                reason=shorten(str(error), MAX_REASON_LENGTH),
            )
            return Report(accepted=False, strength=strength([refused]), checks=(refused,))
        own = slot or Slot(trace=self.plugins.trace)
        run = _Run(self, sent, requested, own)
        try:
            async with asyncio.timeout(self.seconds):
                await run.check()
        except TimeoutError:
            run.note_timeout(self.seconds or 0.0)
        finally:
            if slot is None:
                await own.kill()
        return run.report()


class _Run:
    """The checks on one receipt, one after the other, and the table that they make."""

    def __init__(
        self,
        verifier: Verifier,
        sent: SentReceipt,
        asked: frozenset[CheckName] | None,
        slot: Slot,
    ) -> None:
        self._sent = sent
        self._asked = verifier.default(sent.receipt) if asked is None else asked | {CheckName.FORM}
        if verifier.expected.is_something:
            self._asked |= {CheckName.EXPECTED}
        self._made = frozenset(CheckName) if asked is None else self._asked
        if verifier.expected.seals:
            # A seal that is demanded is judged, whatever else is asked for.
            self._made |= {CheckName.SEAL}
        self._expected = verifier.expected
        self._files = Files(verifier.attachments)
        self._slot = slot
        self._inputs = InputChecks(
            InputLoader(verifier.settings, verifier.plugins),
            verifier.plugins,
            Sources(headers=verifier.headers, results=_results(sent)),
            verifier.source,
        )
        self._chain = ChainCheck(
            verifier.headers, verifier.source, verifier.trusted_hash, verifier.processes
        )
        self._proofs = ProofChecks(verifier.settings, verifier.plugins, slot)
        self._groups = GroupChecks(verifier.settings, verifier.plugins, slot)
        self._seals: Seals = seals_of(verifier.settings, verifier.plugins, verifier.pinned)
        self._checks: list[Check] = []
        self._under_way = (CheckName.FORM, "")
        # Whether any of the data is of a simulated chain, and which of it somebody vouches for.
        self._simulated = False
        self._vouched: list[str] = []
        # The kinds of seals that hold, on the receipt itself and on each of a group's proofs.
        self._sealed: set[str] = set()
        self._sealed_proofs: list[tuple[str, set[str]]] = []
        self._shows = {
            kind: sealer.seal_type.shows for kind, sealer in verifier.plugins.sealers.items()
        }

    async def check(self) -> None:
        """Make all checks."""
        sent, receipt = self._sent, self._sent.receipt
        if isinstance(receipt, Receipt):
            self._note(
                CheckName.FORM, receipt.statement.proof_type, Finding.passed("a receipt of a proof")
            )
            self._check_expected(receipt.statement.proof_type)
            subject = receipt.statement.proof_type
            self._sealed = await self._check_proof(SentProof(receipt, sent.digest), subject)
            self._check_expected_seals(subject)
            for job_id, proof in sent.rests_on:
                await self._check_proof(proof, job_id)
            self._note_unused_files(subject)
            return
        subject = receipt.statement.group_id
        self._note(CheckName.FORM, subject, Finding.passed("a receipt of a group"))
        self._note(CheckName.MEMBERS, subject, members_bound(receipt, sent.proofs))
        self._check_expected(subject)
        self._sealed = await self._check_seals(receipt, sent.digest, subject)
        for job_id, proof in zip(_job_ids(sent), sent.proofs, strict=True):
            self._sealed_proofs.append((job_id, await self._check_proof(proof, job_id)))
        self._note_unused_files(subject)
        self._check_expected_seals(subject)
        await self._check_artefacts(receipt)

    def note_timeout(self, seconds: float) -> None:
        """Say that there was no time for the check that was under way, nor for any after it."""
        check, subject = self._under_way
        self._checks.append(
            Check(
                check=check,
                subject=subject,
                asked=True,
                outcome=Outcome.NOT_POSSIBLE,
                reason=f"the time allowed for all checks, {seconds:g} s, was over",
            )
        )

    def report(self) -> Report:
        """Return what all came to."""
        made = {check.check for check in self._checks}
        for check in CheckName:
            if check in self._asked and check not in made:
                self._note(check, "", Finding.not_possible("this receipt has nothing of the kind"))
        receipt = self._sent.receipt
        group = receipt.statement.group_id if isinstance(receipt, GroupReceipt) else None
        return Report(
            accepted=accepted(self._checks),
            strength=strength(
                self._checks,
                simulated=self._simulated,
                vouched=tuple(self._vouched),
                group=group,
                shows=self._shows,
            ),
            checks=tuple(self._checks),
        )

    def _note(
        self,
        check: CheckName,
        subject: str,
        finding: Finding,
        *,
        detail: str = "",
        asked: bool | None = None,
    ) -> bool:
        """Write down a row of the table, if it is wanted; return whether the check passed."""
        if check in self._made:
            self._checks.append(
                Check(
                    check=check,
                    subject=subject,
                    detail=detail,
                    asked=check in self._asked if asked is None else asked,
                    outcome=finding.outcome,
                    reason=shorten(finding.reason, MAX_REASON_LENGTH),
                )
            )
        return finding.outcome is Outcome.PASSED

    def _begin(self, check: CheckName, subject: str) -> None:
        self._under_way = (check, subject)

    def _check_expected(self, subject: str) -> None:
        for detail, finding in self._expected.compare(self._sent.receipt):
            self._note(CheckName.EXPECTED, subject, finding, detail=detail)

    def _check_expected_seals(self, subject: str) -> None:
        for detail, finding in self._expected.compare_seals(self._sealed, self._sealed_proofs):
            self._note(CheckName.EXPECTED, subject, finding, detail=detail)

    async def _check_seals(
        self,
        receipt: AnyReceipt,
        digest: bytes,
        subject: str,
        inputs: Sequence[CheckedInput] = (),
    ) -> set[str]:
        """Judge all seals of a receipt; return the kinds of those that hold."""
        holding: set[str] = set()
        if CheckName.SEAL not in self._made:
            return holding
        self._begin(CheckName.SEAL, subject)
        given = {each.name: each.data.given for each in inputs if each.data is not None}
        whole = len(given) == len(inputs) and isinstance(receipt, Receipt)
        sealed = Subject(receipt, digest, self._slot, given if whole else None)
        for seal in receipt.seals:
            finding = await self._seals.check(sealed, seal)
            # What is asked for is a signature by a pinned key. Other seals may come beside it.
            wanted = seal.kind == SIGNATURE and CheckName.SEAL in self._asked
            if self._note(CheckName.SEAL, subject, finding, detail=seal.kind, asked=wanted):
                holding.add(seal.kind)
        if all(seal.kind != SIGNATURE for seal in receipt.seals):
            missing = Finding.not_possible("it has no signature")
            if CheckName.SEAL in self._asked:
                missing = Finding.failed("it has no signature, and one by a pinned key is wanted")
            self._note(CheckName.SEAL, subject, missing, detail=SIGNATURE)
        return holding

    async def _check_proof(self, proof: SentProof, subject: str) -> set[str]:
        """Make the checks on the receipt of a proof; return the kinds of seals that hold on it."""
        receipt = proof.receipt
        statement = receipt.statement
        self._begin(CheckName.INPUT, subject)
        if self._made.isdisjoint(OF_DATA):
            self._note(CheckName.PLUGIN, subject, self._proofs.plugin(receipt))
            return set()
        needs: Mapping[str, Need] | Finding = NOT_LOOKED_AT
        if not self._made.isdisjoint(OF_OWN_DATA) or self._asks_plugins_of(receipt):
            needs = await self._proofs.needs(statement)
        checked = await self._inputs.check(receipt, needs)
        holding = await self._check_seals(receipt, proof.digest, subject, checked)
        if CheckName.PLUGIN in self._made:
            self._note(CheckName.PLUGIN, subject, self._proofs.plugin(receipt))
        self._note(CheckName.SEED, subject, seed(statement, checked))
        for each in checked:
            self._note_input(subject, each)
        if not checked:
            self._note(CheckName.INPUT, subject, without_inputs(needs))
        if CheckName.CHAIN in self._made:
            await self._check_chain(subject, checked)
        if not self._made.isdisjoint(OF_RESULT):
            self._begin(CheckName.RESULT, subject)
            given = await given_files(statement, self._files.of(subject, statement))
            judged = await self._proofs.result(statement, needs, checked, given)
            self._note(CheckName.RESULT, subject, judged.result)
            for name, finding in judged.attachments.items():
                self._note(CheckName.ATTACHMENTS, subject, finding, detail=name)
        return holding

    def _note_unused_files(self, subject: str) -> None:
        """Refuse a receipt that has no attachment of a file that was given for one."""
        for name in self._files.unused if CheckName.ATTACHMENTS in self._made else ():
            finding = Finding.failed("a file of it is given, and nothing of the kind is stated")
            self._note(CheckName.ATTACHMENTS, subject, finding, detail=name)

    def _asks_plugins_of(self, receipt: Receipt) -> bool:
        """Tell whether a plugin is to judge a seal, for which it is given the data."""
        return CheckName.SEAL in self._made and any(s.kind != SIGNATURE for s in receipt.seals)

    def _note_input(self, subject: str, checked: CheckedInput) -> None:
        passed = self._note(CheckName.INPUT, subject, checked.finding, detail=checked.name)
        if checked.provenance is not None:
            self._note(CheckName.PROVENANCE, subject, checked.provenance, detail=checked.name)
        if not passed or checked.data is None:
            return
        chain = checked.data.facts.chain
        self._simulated |= chain is not None and chain.simulated
        if checked.is_shown and checked.name not in self._vouched:
            self._vouched.append(checked.name)

    async def _check_chain(self, subject: str, checked: Sequence[CheckedInput]) -> None:
        self._begin(CheckName.CHAIN, subject)
        for each in checked:
            finding = await self._chain.follow(each.data)
            if finding is not None:
                self._note(CheckName.CHAIN, subject, finding, detail=each.name)

    async def _check_artefacts(self, receipt: GroupReceipt) -> None:
        if CheckName.ARTEFACTS not in self._made:
            return
        group = GroupReceipts(
            group_id=receipt.statement.group_id,
            receipts=receipt.receipts,
            job_ids=_job_ids(self._sent),
        )
        for composed in receipt.statement.composed:
            subject = receipt.statement.group_id
            self._begin(CheckName.ARTEFACTS, subject)
            finding = await self._groups.artefacts(composed, group)
            self._note(CheckName.ARTEFACTS, subject, finding, detail=composed.plugin)


def _has_attachments(receipt: AnyReceipt) -> bool:
    if isinstance(receipt, GroupReceipt):
        return any(member.statement.attachments for member in receipt.receipts)
    others = (other.receipt for other in receipt.rests_on)
    return any(one.statement.attachments for one in (receipt, *others))


def _job_ids(sent: SentReceipt) -> tuple[str, ...]:
    """Return the ids, in their group, of the jobs that receipts are of, in their order."""
    names = [proof.receipt.statement.proof_type for proof in sent.proofs]
    if isinstance(sent.receipt, GroupReceipt):
        bound = [member for member in sent.receipt.statement.members if member.digest is not None]
        for place, (member, proof) in enumerate(zip(bound, sent.proofs, strict=False)):
            if member.digest == proof.digest.hex():
                names[place] = member.job_id
    return tuple(names)


def _results(sent: SentReceipt) -> SentResults:
    """Return what the receipts state that came together, by the ids of their jobs."""
    named = [*zip(_job_ids(sent), sent.proofs, strict=True), *sent.rests_on]
    return SentResults({job_id: proof.receipt.statement for job_id, proof in named})
