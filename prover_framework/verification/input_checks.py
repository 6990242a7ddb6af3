"""The checks that compare what a receipt states of its inputs with what the verifier has."""

from collections.abc import Mapping

import attrs
from attrs import field, frozen

from prover_framework.errors import (
    ComputeError,
    DataNotYet,
    HeaderError,
    JobError,
    NoExactForm,
    PluginError,
    ProofError,
    StoreError,
)
from prover_framework.inputs.trusted import BlockProvenance, Sources
from prover_framework.model.findings import Finding, Outcome
from prover_framework.model.inputs import Need
from prover_framework.model.receipts import Receipt, StatedInput, Statement
from prover_framework.plugins.calls import DataFacts, Judgement, KindHooks
from prover_framework.plugins.registry import Plugins
from prover_framework.proofs.inputs import (
    InputLoader,
    LoadedInput,
    evidence_sha256,
    seed_input_of,
)
from prover_framework.proofs.seed import SeedInput
from prover_framework.serialization.json_text import Json
from prover_framework.text import quote

ANOTHER_BUILD = "another build"


@frozen(kw_only=True)
class CheckedInput:
    """What checking one input came to.

    Args:
        name: Its name.
        finding: Whether it is what is stated of it.
        provenance: Whether it came from where the receipt says; none where nobody can tell.
        data: The data to compute from: the verifier's own, or what the evidence shows.
        seed_input: What of it takes part in the seed; none where its kind is not known here.
        is_shown: Whether evidence shows it, which somebody vouches for.
    """

    name: str
    finding: Finding
    provenance: Finding | None = None
    data: LoadedInput | None = field(default=None, repr=False)
    seed_input: SeedInput | None = None
    is_shown: bool = False


class SentResults:
    """The statements of receipts that came together, for those that rest on each other."""

    def __init__(self, statements: Mapping[str, Statement]) -> None:
        self._statements = statements

    async def statement_of(self, job_id: str) -> Statement:
        """Return what the receipt of a job states."""
        if job_id not in self._statements:
            raise DataNotYet(f"the receipt of {job_id}, which it rests on, did not come with it")
        return self._statements[job_id]


class InputChecks:
    """Checks inputs, each by its kind.

    Args:
        loader: Loads and judges data.
        plugins: What is installed.
        sources: What the verifier has.
        source: What messages call that.
    """

    def __init__(
        self, loader: InputLoader, plugins: Plugins, sources: Sources, source: str
    ) -> None:
        self._loader = loader
        self._plugins = plugins
        self._sources = sources
        self._source = source

    async def check(
        self, receipt: Receipt, needs: Mapping[str, Need] | Finding
    ) -> list[CheckedInput]:
        """Check all inputs of a receipt.

        Args:
            receipt: The receipt.
            needs: What its proof type asks for, for the stated parameters; or why that is not
                known.
        """
        stated = receipt.statement.inputs
        if not isinstance(needs, Finding):
            asked = {name: need.kind for name, need in needs.items()}
            there = {name: each.kind for name, each in stated.items()}
            if asked != there:
                wrong = Finding.failed(
                    f"inputs: they are {_listed(there)}, and the proof type takes {_listed(asked)}"
                )
                return [CheckedInput(name="", finding=wrong)]
        return [
            await self._check(name, receipt, needs if isinstance(needs, Finding) else needs[name])
            for name in stated
        ]

    async def _check(self, name: str, receipt: Receipt, need: Need | Finding) -> CheckedInput:
        stated = receipt.statement.inputs[name]
        hooks = self._plugins.kinds.get(stated.kind)
        if hooks is None or hooks.kind.version != stated.kind_version:
            return CheckedInput(name=name, finding=self._unknown(stated, hooks))
        own, missing = await self._own(receipt.statement.proof_type, hooks, need)
        evidence: Json = receipt.evidence.get(name)
        try:
            if evidence_sha256(evidence) != stated.evidence_sha256:
                wrong = Finding.failed("evidence: it is not the one that the statement binds")
                return CheckedInput(name=name, finding=wrong)
            asked = None if isinstance(need, Finding) else need
            judgement = await self._loader.judge(hooks, stated, asked, own, evidence)
        except (ProofError, NoExactForm) as error:
            return CheckedInput(name=name, finding=Finding.failed(str(error)))
        except (ComputeError, PluginError) as error:
            missing = f"the check did not come to an end: {error}"
            return CheckedInput(name=name, finding=Finding.not_possible(missing))
        if judgement.unreadable is not None:
            wrong = Finding.failed(f"facts: {judgement.unreadable}")
            return CheckedInput(name=name, finding=wrong)
        finding = self._finding(stated, judgement, own, missing)
        if own is None and isinstance(need, Finding) and finding.outcome is Outcome.PASSED:
            # It is vouched for; whether it is what the proof is about nobody can tell.
            finding = need
        if hooks.package_digest != stated.kind_digest and finding.outcome is Outcome.PASSED:
            finding = Finding.passed(f"{finding.reason} (by {ANOTHER_BUILD} of the kind)")
        passed = finding.outcome is Outcome.PASSED
        return CheckedInput(
            name=name,
            finding=finding,
            provenance=self._provenance(receipt.provenance.inputs.get(name), own, missing),
            data=_data(hooks, judgement, own, evidence) if passed else None,
            seed_input=seed_input_of(stated, judgement.seed_part),
            is_shown=passed and own is None,
        )

    def _unknown(self, stated: StatedInput, hooks: KindHooks | None) -> Finding:
        if hooks is None:
            return Finding.not_possible(
                f"kind: {stated.kind} is not installed here (installed: "
                f"{', '.join(sorted(self._plugins.kinds))})"
            )
        return Finding.not_possible(
            f"kind_version: it is by version {quote(stated.kind_version)} of {stated.kind}, and "
            f"version {hooks.kind.version} is installed here"
        )

    async def _own(
        self, proof_type: str, hooks: KindHooks, need: Need | Finding
    ) -> tuple[LoadedInput | None, str]:
        """Return the verifier's own data, or why there is none."""
        if hooks.kind.evidence_type is not None:
            # What was chosen then is in the evidence; what is to be had now is something else.
            return None, "there is no evidence"
        if isinstance(need, Finding):
            return None, need.reason
        proof = self._plugins.for_type(proof_type)
        try:
            return await self._loader.load(proof, need, self._sources), ""
        except (HeaderError, JobError, StoreError, PluginError) as error:
            return None, f"{self._source} does not have it: {error}"

    def _finding(
        self, stated: StatedInput, judgement: Judgement, own: LoadedInput | None, missing: str
    ) -> Finding:
        for verdict, facts in (
            (judgement.compared, None if own is None else own.facts),
            (judgement.checked, judgement.of_data),
        ):
            if verdict is None:
                continue
            if not verdict.accepted:
                return Finding.failed(f"{verdict.reason} (compared with {self._source})")
            if facts is None:
                continue
            if wrong := _difference(stated, facts, self._source):
                return Finding.failed(wrong)
            return Finding.passed(f"as in {self._source}: {verdict.reason}")
        return Finding.not_possible(missing)

    def _provenance(
        self, theirs: Mapping[str, Json] | None, own: LoadedInput | None, missing: str
    ) -> Finding | None:
        """Compare where data is said to come from with where the verifier's came from."""
        if own is None:
            return Finding.not_possible(missing)
        if not own.provenance:
            return None
        if theirs is None:
            return Finding.failed("provenance: it says nothing of this input")
        unknown = []
        for name in (attribute.name for attribute in attrs.fields(BlockProvenance)):
            if name in ("verified", "source", "fee_rule"):
                continue
            stated, here = theirs.get(name), own.provenance.get(name)
            if stated is None or (here is None and name.endswith("_hash")):
                unknown += [name] if stated is not None else []
            elif stated != here:
                return Finding.failed(
                    f"{name}: it is stated as {stated}, and in {self._source} it is {here}"
                )
        if unknown:
            return Finding.not_possible(f"{self._source} has no hash to compare {unknown[0]} with")
        first, last = own.provenance.get("first_block"), own.provenance.get("last_block")
        return Finding.passed(f"blocks {first} to {last}, as in {self._source}")


def without_inputs(needs: Mapping[str, Need] | Finding) -> Finding:
    """Return what it is worth that a receipt states no inputs, where that is no contradiction.

    Args:
        needs: What its proof type asks for; or why that is not known.
    """
    if isinstance(needs, Finding):
        return needs
    return Finding.passed("it is computed from its parameters alone")


def _difference(stated: StatedInput, facts: DataFacts, source: str) -> str | None:
    """Say where data is other than stated, beyond what its kind looks at."""
    chain = facts.chain
    compared: tuple[tuple[str, object, object], ...] = (
        ("chain_id", stated.chain_id, None if chain is None else chain.chain_id),
        ("simulated", stated.simulated, chain is not None and chain.simulated),
        ("data_sha256", stated.data_sha256, facts.data_sha256),
    )
    for name, theirs, ours in compared:
        if theirs != ours:
            return f"{name}: it is stated as {theirs}, and in {source} it is {ours}"
    return None


def _data(
    hooks: KindHooks, judgement: Judgement, own: LoadedInput | None, evidence: Json
) -> LoadedInput | None:
    if own is not None:
        return own
    if judgement.of_data is None:
        return None
    return LoadedInput(kind=hooks, facts=judgement.of_data, form=judgement.data, evidence=evidence)


def _listed(kinds: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in sorted(kinds.items())) or "none"
