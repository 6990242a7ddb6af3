"""Check a receipt that somebody has sent: by one who does not trust the sender.

Nothing that a receipt says of itself counts for it. What is read from it is compared with what the
verifier has: keys that he has pinned, plugins that are installed, headers, a block that he trusts.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from itertools import zip_longest
from typing import cast

import attrs
from attrs import field, frozen

from prover_framework.asking import inputs_of, problems_of
from prover_framework.commitments import (
    SEED_DERIVATION,
    derive_seed,
    hash_from_words,
    parameters_beside_range,
    range_of,
    with_range,
)
from prover_framework.compute.slot import Slot
from prover_framework.errors import (
    ComputeError,
    HeaderError,
    HeaderInvalid,
    JobError,
    NoExactForm,
    PluginError,
    ProofError,
    ReceiptError,
    RequestError,
    StoreError,
)
from prover_framework.jobs import JobState
from prover_framework.jsontext import Json, describe, quote
from prover_framework.model import HOUR_SECONDS, BlockRange, HourlySeries, TimeRange, Verdict
from prover_framework.plugins import SIGNATURE, Plugins, ProofHooks
from prover_framework.proving import Question, series_facts
from prover_framework.receipts.canonical import canonical
from prover_framework.receipts.checks import Check, CheckName, Finding, Outcome, Report, accepted
from prover_framework.receipts.composing import COMPOSE_FAILED, compose_one
from prover_framework.receipts.documents import digest, read_receipt
from prover_framework.receipts.model import (
    AnyReceipt,
    Composed,
    ComposedReceipt,
    GroupReceipts,
    Provenance,
    Receipt,
    SeriesFacts,
    Statement,
)
from prover_framework.receipts.seals import Seals, Subject, seals_of
from prover_framework.receipts.strength import strength
from prover_framework.settings import Settings
from prover_framework.store.headers import HeaderStore
from prover_framework.wire import structure, unstructure

# Ethereum has had base fees since August 2021. Twenty years of hours take some seconds to read and
# hash; a range beyond that is no proof's, but an attempt to keep somebody busy.
MAX_HOURS = 175_320

# The checks that need the verifier's headers.
OF_DATA = frozenset({CheckName.SERIES, CheckName.BLOCKS, CheckName.CHAIN, CheckName.RESULT})

# A group asks for each proof type once.
MAX_MEMBERS = 64


@frozen(kw_only=True)
class Verifier:
    """One who checks receipts, and what he has to check them with.

    Args:
        settings: Limits of computations.
        plugins: What is installed.
        headers: The verifier's headers; none when there are none to compare with.
        source: What messages call those headers.
        pinned: Public keys that a signature counts under, 32 bytes each.
        trusted_hash: Hash of a block that the verifier takes for a real one; none when there is
            none.
        processes: How many processes share the work of following a chain.
        seconds: How long all of it may take; none when it does not matter.
    """

    settings: Settings
    plugins: Plugins
    headers: HeaderStore | None
    source: str = "this database"
    pinned: tuple[bytes, ...] = field(default=(), repr=False)
    trusted_hash: str | None = None
    processes: int = 1
    seconds: float | None = None

    def default(self, receipt: AnyReceipt) -> frozenset[CheckName]:
        """Return what is asked for unless something else is said: all that this verifier can do.

        The range of blocks is looked at as well, but not asked for: it says where data came from,
        which the result does not depend on.
        """
        asked = {
            CheckName.FORM,
            CheckName.PLUGIN,
            CheckName.SEED,
            CheckName.SERIES,
            CheckName.RESULT,
        }
        if isinstance(receipt, ComposedReceipt):
            asked.add(CheckName.MEMBERS)
            if receipt.statement.composed:
                asked.add(CheckName.ARTEFACTS)
        if self.pinned:
            asked.add(CheckName.SEAL)
        if self.trusted_hash:
            asked.add(CheckName.CHAIN)
        return frozenset(asked)

    async def verify(
        self, body: bytes, asked: frozenset[CheckName] | None = None, *, slot: Slot | None = None
    ) -> Report:
        """Check a receipt.

        Args:
            body: Its text.
            asked: The checks to make, all of which are to pass, beside the form. When None all are
                made, and those of `default` are to pass.
            slot: Where plugins do their part; a process of its own, which ends with this, when
                None.
        """
        try:
            receipt = _read(body)
        except (ReceiptError, NoExactForm) as error:
            refused = Check(
                check=CheckName.FORM,
                subject="",
                asked=True,
                outcome=Outcome.FAILED,
                reason=str(error),
            )
            return Report(accepted=False, strength=strength([refused]), checks=(refused,))
        own = slot or Slot(trace=self.plugins.trace)
        run = _Run(self, receipt, asked, own)
        try:
            async with asyncio.timeout(self.seconds):
                await run.check()
        except TimeoutError:
            run.note_timeout(self.seconds or 0.0)
        finally:
            if slot is None:
                await own.kill()
        return run.report()


def hours_wanted(body: bytes) -> TimeRange:
    """Return the hours that the receipts in a document are about, from the first to the last.

    Raises:
        ReceiptError: It is no receipt, or asks for too much.
        NoExactForm: It has no canonical form.
    """
    hours = [_hours_of(proof.statement.series) for proof in _proofs(_read(body))]
    if not hours:
        raise ReceiptError("receipts: there is none in it")
    first = min(part.start_timestamp for part in hours)
    end = max(part.end_timestamp for part in hours)
    if (spanned := (end - first) // HOUR_SECONDS) > MAX_HOURS:
        raise ReceiptError(
            f"receipts: they span {spanned:,} hours, more than are fetched ({MAX_HOURS:,})"
        )
    return TimeRange(first, end)


def _proofs(receipt: AnyReceipt) -> Sequence[Receipt]:
    return receipt.receipts if isinstance(receipt, ComposedReceipt) else (receipt,)


def _read(body: bytes) -> AnyReceipt:
    """Read a receipt, and refuse what would be too much work before any is done.

    Raises:
        ReceiptError: It is none, or asks for too much.
        NoExactForm: It has no canonical form.
    """
    receipt = read_receipt(body)
    digest(receipt)
    members = _proofs(receipt)
    if len(members) > MAX_MEMBERS:
        raise ReceiptError(f"receipts: {len(members)} are more than a group has ({MAX_MEMBERS})")
    for member in members:
        digest(member)
    hours = sum(member.statement.series.hours for member in members)
    if hours > MAX_HOURS:
        raise ReceiptError(f"series.hours: {hours:,} are more than are checked ({MAX_HOURS:,})")
    return receipt


class _Run:
    """The checks on one receipt, one after the other, and the table that they make."""

    def __init__(
        self,
        verifier: Verifier,
        receipt: AnyReceipt,
        asked: frozenset[CheckName] | None,
        slot: Slot,
    ) -> None:
        self._verifier = verifier
        self._receipt = receipt
        self._asked = verifier.default(receipt) if asked is None else asked | {CheckName.FORM}
        self._made = frozenset(CheckName) if asked is None else self._asked
        self._slot = slot
        self._seals: Seals = seals_of(verifier.settings, verifier.plugins, verifier.pinned)
        self._checks: list[Check] = []
        self._under_way = (CheckName.FORM, "")
        # Whether any of the verifier's own series is of a simulated chain.
        self._simulated = False
        # The first of the headers that were followed to the trusted block.
        self._followed_from: int | None = None

    async def check(self) -> None:
        """Make all checks."""
        receipt = self._receipt
        if isinstance(receipt, Receipt):
            self._note(
                CheckName.FORM, receipt.statement.proof_type, Finding.passed("a receipt of a proof")
            )
            await self._check_proof(receipt)
            return
        subject = receipt.statement.group_id
        self._note(CheckName.FORM, subject, Finding.passed("a receipt of a group"))
        self._note(CheckName.MEMBERS, subject, _members(receipt))
        await self._check_seals(receipt, subject)
        for member in receipt.receipts:
            await self._check_proof(member)
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
        return Report(
            accepted=accepted(self._checks),
            strength=strength(self._checks, simulated=self._simulated),
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
                    reason=finding.reason,
                )
            )
        return finding.outcome is Outcome.PASSED

    def _begin(self, check: CheckName, subject: str) -> None:
        self._under_way = (check, subject)

    # Seals

    async def _check_seals(self, receipt: AnyReceipt, subject: str) -> None:
        if CheckName.SEAL not in self._made:
            return
        self._begin(CheckName.SEAL, subject)
        for seal in receipt.seals:
            finding = await self._seals.check(Subject(receipt, digest(receipt), self._slot), seal)
            # What is asked for is a signature by a pinned key. Other seals may come beside it.
            wanted = seal.kind == SIGNATURE and CheckName.SEAL in self._asked
            self._note(CheckName.SEAL, subject, finding, detail=seal.kind, asked=wanted)
        if all(seal.kind != SIGNATURE for seal in receipt.seals):
            missing = Finding.not_possible("it has no signature")
            if CheckName.SEAL in self._asked:
                missing = Finding.failed("it has no signature, and one by a pinned key is wanted")
            self._note(CheckName.SEAL, subject, missing, detail=SIGNATURE)

    # One proof

    async def _check_proof(self, receipt: Receipt) -> None:
        statement, subject = receipt.statement, receipt.statement.proof_type
        await self._check_seals(receipt, subject)
        hooks = self._verifier.plugins.hooks.get(statement.proof_type)
        if CheckName.PLUGIN in self._made:
            self._note(CheckName.PLUGIN, subject, self._plugin(receipt, hooks))
        self._note(CheckName.SEED, subject, _seed(statement))
        if self._made.isdisjoint(OF_DATA):
            return
        self._begin(CheckName.SERIES, subject)
        found = await self._load(statement)
        series: HourlySeries | None = None
        if isinstance(found, Finding):
            self._note(CheckName.SERIES, subject, found)
            self._note(CheckName.BLOCKS, subject, found)
        else:
            ours, blocks = found
            if self._note(CheckName.SERIES, subject, self._compare_series(statement, ours)):
                series = ours
                self._simulated |= ours.simulated
            finding = self._compare_blocks(receipt.provenance, ours, blocks)
            self._note(CheckName.BLOCKS, subject, finding)
        if CheckName.CHAIN in self._made:
            self._begin(CheckName.CHAIN, subject)
            self._note(CheckName.CHAIN, subject, await self._chain(series))
        if CheckName.RESULT in self._made:
            self._begin(CheckName.RESULT, subject)
            self._note(CheckName.RESULT, subject, await self._result(statement, hooks, series))

    def _plugin(self, receipt: Receipt, hooks: ProofHooks | None) -> Finding:
        statement = receipt.statement
        if hooks is None:
            return self._not_installed(statement)
        proof_type, candidate = hooks.proof_type, hooks.candidate
        if statement.method_version != proof_type.version:
            return Finding.not_possible(
                f"method_version: it is by version {quote(statement.method_version)} of the "
                f"method, and version {proof_type.version} is installed here"
            )
        if statement.generator != proof_type.generator:
            return Finding.failed(
                f"generator: it is stated as {describe(statement.generator)}, and version "
                f"{proof_type.version} of the method has {describe(proof_type.generator)}"
            )
        if statement.plugin_digest != hooks.package_digest:
            theirs = receipt.provenance.software.get(candidate.distribution)
            if theirs == candidate.version:
                return Finding.failed(
                    f"plugin_digest: it is of {candidate.distribution} {theirs}, and the files "
                    "of that version have another digest here: they were changed there or here"
                )
            return Finding.not_possible(
                f"plugin_digest: it is of {candidate.distribution} {quote(theirs or 'unknown')}, "
                f"and {candidate.version} is installed here"
            )
        return Finding.passed(f"version {proof_type.version}, file for file what is installed here")

    def _not_installed(self, statement: Statement) -> Finding:
        installed = ", ".join(sorted(self._verifier.plugins.hooks)) or "none"
        return Finding.not_possible(
            f"proof_type: {statement.proof_type} is not installed here (installed: {installed})"
        )

    async def _load(self, statement: Statement) -> tuple[HourlySeries, BlockRange] | Finding:
        headers = self._verifier.headers
        if headers is None:
            return Finding.not_possible("there are no headers to compare with")
        try:
            return await headers.series_and_blocks(_hours_of(statement.series))
        except (JobError, StoreError) as error:
            return Finding.not_possible(f"{self._verifier.source} does not have the hours: {error}")

    def _compare_series(self, statement: Statement, series: HourlySeries) -> Finding:
        source = self._verifier.source
        facts = series_facts(series)
        compared: list[tuple[str, object, object]] = [
            ("chain_id", statement.chain_id, series.chain_id),
            ("simulated", statement.simulated, series.simulated),
        ]
        compared += [
            (f"series.{name}", getattr(statement.series, name), getattr(facts, name))
            for name in (attribute.name for attribute in attrs.fields(SeriesFacts))
        ]
        return _compare(compared, source) or Finding.passed(
            f"{len(series):,} hours, as in {source}"
        )

    def _compare_blocks(
        self, provenance: Provenance, series: HourlySeries, blocks: BlockRange
    ) -> Finding:
        source = self._verifier.source
        compared: list[tuple[str, object, object]] = [
            ("first_block", provenance.first_block, series.first_block),
            ("last_block", provenance.last_block, series.last_block),
            ("blocks", provenance.blocks, sum(series.counts)),
        ]
        hashes = (
            ("first_block_hash", provenance.first_block_hash, blocks.first_hash),
            ("last_block_hash", provenance.last_block_hash, blocks.last_hash),
        )
        compared += [(name, theirs, ours) for name, theirs, ours in hashes if theirs and ours]
        if different := _compare(compared, source):
            return different
        if unknown := [name for name, theirs, ours in hashes if theirs and not ours]:
            return Finding.not_possible(f"{source} has no hash to compare {unknown[0]} with")
        return Finding.passed(f"blocks {series.first_block} to {series.last_block}, as in {source}")

    async def _chain(self, series: HourlySeries | None) -> Finding:
        trusted, headers = self._verifier.trusted_hash, self._verifier.headers
        if trusted is None:
            return Finding.not_possible(
                "no block is trusted: anybody can make headers that are linked and obey EIP-1559"
            )
        if series is None or headers is None:
            return Finding.not_possible("there are no headers to follow to a trusted block")
        source = self._verifier.source
        try:
            number = await headers.number_of(trusted)
            if number is None:
                return Finding.not_possible(f"{source} has no block of the trusted hash")
            # The block after the last one shows that the last hour is whole.
            if number <= series.last_block:
                return Finding.not_possible(
                    f"the trusted block is {number}, and the hours end with block "
                    f"{series.last_block}: name one after that"
                )
            begin = await _first_needed(headers, series)
            await self._follow(headers, begin, number, trusted)
            wrong = await headers.wrong_hours(series.first_hour, series.last_hour)
        except HeaderInvalid as error:
            return Finding.failed(f"{source}: {error}")
        except (HeaderError, StoreError) as error:
            return Finding.not_possible(f"{source}: {error}")
        if wrong:
            return Finding.failed(
                f"{source}: the sums of {len(wrong)} hours are not those of their headers, the "
                f"first of them that of {wrong[0]}"
            )
        return Finding.passed(
            f"blocks {begin} to {number} are linked, obey EIP-1559 and end with the trusted one"
        )

    async def _follow(self, headers: HeaderStore, first: int, last: int, trusted: str) -> None:
        """Verify headers up to the trusted block; those of one group only once.

        Raises:
            HeaderInvalid: They are no chain that leads to it.
            HeaderError: Not all of them are stored whole.
            StoreError: The database can not be read.
        """
        # Imported where it is used: few verifiers follow a chain, with RLP and keccak.
        from prover_framework.chain.parallel import verify_pages

        if self._followed_from is not None and self._followed_from <= first:
            return
        async with aclosing(headers.whole_headers(first, last)) as pages:
            span = await verify_pages(
                pages, trusted=trusted, needed=last, processes=self._verifier.processes
            )
        if span is None or span.trusted_block != last:
            raise HeaderError(f"blocks {first} to {last} do not lead to the trusted one")
        self._followed_from = first

    async def _result(
        self, statement: Statement, hooks: ProofHooks | None, series: HourlySeries | None
    ) -> Finding:
        if hooks is None:
            return self._not_installed(statement)
        if statement.method_version != hooks.proof_type.version:
            return Finding.not_possible("another version of the method is installed here")
        if series is None:
            return Finding.not_possible("there are no such hours to compute it from")
        limits = self._verifier.settings.limits(hooks.proof_type.limits)
        try:
            question = await _question(self._slot, statement, hooks, series, limits.memory_bytes)
        except (RequestError, ProofError, NoExactForm) as error:
            return Finding.failed(f"the statement is none of this proof type: {error}")
        except (ComputeError, PluginError) as error:
            return Finding.not_possible(str(error))
        try:
            claimed = cast(dict[str, Json], statement.result)
            task = question.task(limits.memory_bytes, claimed)
            reply = await self._slot.run(task, seconds=limits.seconds)
        except ProofError as error:
            return Finding.failed(f"result: the plugin refuses: {error}")
        except (ComputeError, PluginError) as error:
            return Finding.not_possible(f"the computation did not come to an end: {error}")
        verdict = structure(cast(Json, reply), Verdict)
        if verdict.accepted:
            return Finding.passed(verdict.reason)
        return Finding.failed(f"result: {verdict.reason}")

    # A group

    async def _check_artefacts(self, receipt: ComposedReceipt) -> None:
        if CheckName.ARTEFACTS not in self._made:
            return
        group = GroupReceipts(group_id=receipt.statement.group_id, receipts=receipt.receipts)
        for composed in receipt.statement.composed:
            subject = receipt.statement.group_id
            self._begin(CheckName.ARTEFACTS, subject)
            finding = await self._artefacts(composed, group)
            self._note(CheckName.ARTEFACTS, subject, finding, detail=composed.plugin)

    async def _artefacts(self, composed: Composed, group: GroupReceipts) -> Finding:
        composers = {c.candidate.name: c for c in self._verifier.plugins.composers}
        composer = composers.get(composed.plugin)
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
        again = await compose_one(composer, group, self._slot, self._verifier.settings)
        if canonical(unstructure(again)) == canonical(unstructure(composed)):
            return Finding.passed(f"composed again by {composed.plugin} with the same result")
        return Finding.failed(_other_artefacts(composed, again))


def _hours_of(series: SeriesFacts) -> TimeRange:
    return TimeRange(series.first_hour, series.last_hour + HOUR_SECONDS)


async def _first_needed(headers: HeaderStore, series: HourlySeries) -> int:
    """Return the first block that has to be followed, to show that the first hour is whole."""
    (first,) = await headers.headers(series.first_block, series.first_block)
    begins_with_hour = first.timestamp == series.first_hour or first.number == 0
    return first.number if begins_with_hour else first.number - 1


async def _question(
    slot: Slot, statement: Statement, hooks: ProofHooks, series: HourlySeries, memory_bytes: int
) -> Question:
    """Ask again what a statement answers.

    Raises:
        RequestError: The parameters do not fit the plugin's class.
        ProofError: The plugin refuses them, or they are not in canonical form.
        NoExactForm: They have no canonical form.
        ComputeError: A hook of the plugin failed, or took too long.
        PluginError: The plugin misbehaves.
    """
    form = with_range(statement.parameters, statement.range)
    parameters = structure(cast(Json, form), hooks.proof_type.parameters)
    if problems := await problems_of(slot, hooks, form, memory_bytes):
        raise RequestError(problems)
    if range_of(parameters) != statement.range:
        raise ProofError("range: it is not the one of the parameters")
    beside = parameters_beside_range(parameters)
    if canonical(beside) != canonical(cast(Json, statement.parameters)):
        raise ProofError("parameters: they are not as this proof type writes them")
    hours = (await inputs_of(slot, hooks, form, memory_bytes)).hourly_base_fee.hours
    if hours != range(series.first_hour, series.last_hour + HOUR_SECONDS, HOUR_SECONDS):
        raise ProofError("series: these are not the hours that the proof type takes for the range")
    return Question(hooks=hooks, hours=statement.range, parameters=beside, series=series)


def _seed(statement: Statement) -> Finding:
    if statement.seed_derivation != SEED_DERIVATION:
        return Finding.not_possible(
            f"seed_derivation: {quote(statement.seed_derivation)} is not known here, only "
            f"{SEED_DERIVATION}"
        )
    seed = derive_seed(
        proof_type=statement.proof_type,
        version=statement.method_version,
        chain_id=statement.chain_id,
        first_hour=statement.series.first_hour,
        last_hour=statement.series.last_hour,
        series_hash=hash_from_words(statement.series.fees_hash),
        parameters=cast(dict[str, Json], statement.parameters),
    ).hex()
    if seed != statement.seed:
        return Finding.failed(
            f"seed: it is stated as {statement.seed}, and what follows from "
            f"chain, hours, fees hash and parameters is {seed}"
        )
    return Finding.passed("it follows from the statement, so nobody chose it")


def _members(receipt: ComposedReceipt) -> Finding:
    """Compare the members of a group with the receipts that came with it."""
    members = receipt.statement.members
    names = [member.proof_type for member in members]
    if len(set(names)) != len(names):
        return Finding.failed("members: a proof type is there twice")
    for member in members:
        if (member.state is JobState.SUCCEEDED) is (member.digest is None):
            return Finding.failed(
                f"members: {member.proof_type} is {member.state} and has "
                f"{'no' if member.digest is None else 'a'} receipt"
            )
    bound = [(member.proof_type, member.digest) for member in members if member.digest]
    there = [(r.statement.proof_type, digest(r).hex()) for r in receipt.receipts]
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


def _compare(compared: Sequence[tuple[str, object, object]], source: str) -> Finding | None:
    for name, theirs, ours in compared:
        if theirs != ours:
            return Finding.failed(f"{name}: it is stated as {theirs}, and in {source} it is {ours}")
    return None
