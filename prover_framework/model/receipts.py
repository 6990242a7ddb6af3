"""What a receipt says.

A receipt of one proof has three parts. The **statement** is what is claimed: the same headers,
parameters and method give the same statement, whatever computed it and wherever the headers came
from. The **provenance** says how this one came about. **Seals** stand for both, by the digest of
`prover_framework.receipts.canonical`; a receipt can gain one without its digest changing.

A finished group has a **composed receipt**, which binds the receipts of its proofs by their
digests.

Everything here is frozen; the JSON forms follow from the field names.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from attrs import Attribute, field, frozen
from attrs.validators import matches_re, optional

from prover_framework.model.attachments import StatedAttachment, attachment_names
from prover_framework.model.inputs import input_names
from prover_framework.model.jobs import JobState, group_state
from prover_framework.model.names import (
    DEFAULT_NAMESPACE,
    GROUP_ID,
    JOB_ID,
    KIND_NAME,
    PROOF_TYPE_NAME,
)
from prover_framework.model.series import TimeRange
from prover_framework.serialization.converter import structure
from prover_framework.serialization.json_text import Json

F = TypeVar("F")

# What names an entry point, and can be shown.
PLUGIN_NAME = r"[A-Za-z0-9_.-]{1,128}"

HEX_32_BYTES = r"[0-9a-f]{64}"
BLOCK_HASH = f"0x{HEX_32_BYTES}"

# The kind of seal that the framework makes itself.
SIGNATURE = "ed25519"


def _whole_hours(_: object, __: "Attribute[TimeRange | None]", value: TimeRange | None) -> None:
    if value is not None and not (
        value.start_timestamp == value.first_hour >= 0
        and value.end_timestamp == value.end_hour
        and value.hours
    ):
        raise ValueError(f"must be whole hours, got {value.start_timestamp}..{value.end_timestamp}")


@frozen(kw_only=True)
class StatedInput:
    """What a statement says of one input: enough to tell its data from any other.

    Args:
        kind: Name of the kind of data.
        kind_version: Version of what that kind's facts and digests mean.
        kind_digest: Digest of the files of the package that registered the kind, in hex.
        chain_id: Id of the chain that the data is of (EIP-155); none where it is of none.
        simulated: Whether that chain is a simulation, or the data rests on one.
        facts: What the kind says of the data.
        data_sha256: SHA-256 of the data's canonical bytes, in hex.
        evidence_sha256: SHA-256 of the canonical JSON of the evidence beside the statement, in hex;
            none where there is none.
    """

    kind: str = field(validator=matches_re(KIND_NAME))
    kind_version: str
    kind_digest: str = field(validator=matches_re(HEX_32_BYTES))
    chain_id: int | None
    simulated: bool
    facts: dict[str, Any]
    data_sha256: str = field(validator=matches_re(HEX_32_BYTES))
    evidence_sha256: str | None = field(validator=optional(matches_re(HEX_32_BYTES)))

    def facts_as(self, facts_type: type[F]) -> F:
        """Return the facts as an instance of the kind's class of facts.

        Raises:
            RequestError: They are none.
        """
        return structure(self.facts, facts_type)


@frozen(kw_only=True)
class Statement:
    """What is claimed.

    Args:
        proof_type: Name of the proof type.
        method_version: Version of its method.
        plugin_digest: Digest of the files of the plugin's package, in hex.
        range: The time range that was asked for, both ends rounded down to the hour; none where
            the parameters have no range.
        parameters: All other parameters, in their JSON form, without those that have their
            defaults.
        inputs: The data that was used, by the names that the computation has for it.
        settings: Those of the operator's settings that can change the digits, in their JSON form.
            They have no part in the seed: whoever runs the job has chosen them.
        seed: The derived seed, in hex.
        seed_derivation: Domain tag of the way it is derived, see
            `prover_framework.proofs.seed.derive_seed`.
        generator: Name of the random number generator that the seed goes into; none where
            nothing is drawn.
        result: The plugin's result, in its JSON form; a member named like the proof type is the
            number.
        attachments: The files that are attached to the result, by name. The JSON form has no such
            member where there are none.
    """

    proof_type: str = field(validator=matches_re(PROOF_TYPE_NAME))
    method_version: str
    plugin_digest: str = field(validator=matches_re(HEX_32_BYTES))
    range: TimeRange | None = field(validator=_whole_hours)
    parameters: dict[str, Any]
    inputs: dict[str, StatedInput] = field(validator=input_names)
    settings: dict[str, Any]
    seed: str = field(validator=matches_re(HEX_32_BYTES))
    seed_derivation: str
    generator: str | None
    result: dict[str, Any]
    attachments: dict[str, StatedAttachment] = field(factory=dict, validator=attachment_names)

    @property
    def simulated(self) -> bool:
        """Whether any of the data is of a simulated chain; such a number settles nothing."""
        return any(stated.simulated for stated in self.inputs.values())


@frozen(kw_only=True)
class Provenance:
    """How a receipt came about. Nobody who checks it relies on this.

    Args:
        inputs: Where the data of each input came from, by the names of the inputs.
        software: Versions of what computed the result, by name.
        machine: Kind of the machine that computed it.
        made_at: When, in ISO 8601, UTC.
    """

    inputs: dict[str, dict[str, Any]] = field(validator=input_names)
    software: dict[str, str]
    machine: str
    made_at: str


@frozen
class Seal:
    """Something that stands for a receipt.

    Args:
        kind: Says who can check it.
        document: What that kind of seal consists of, in its JSON form.
    """

    kind: str = field(validator=matches_re(KIND_NAME))
    document: dict[str, Any]


@frozen(kw_only=True)
class Receipt:
    """The receipt of one proof.

    Args:
        statement: What is claimed.
        provenance: How it came about.
        evidence: What shows others that inputs are what is stated of them, by the names of those
            inputs; the statement binds each by its digest.
        seals: What stands for all of that.
        rests_on: The receipts of the jobs that it rests on, and of those that these rest on, where
            it is handed out alone. They are part of no digest: the statement binds each by its own.
    """

    statement: Statement
    provenance: Provenance
    evidence: dict[str, Any] = field(factory=dict, validator=input_names)
    seals: tuple[Seal, ...] = ()
    rests_on: "tuple[RestedOn, ...]" = ()


@frozen(kw_only=True)
class RestedOn:
    """A receipt that another one rests on.

    Args:
        job_id: The id of its job in the group.
        receipt: The receipt, which carries no others.
    """

    job_id: str
    receipt: Receipt


@frozen(kw_only=True)
class Member:
    """One job of a group.

    Args:
        job_id: Its id in the group: what it was to prove, and a label if it has one.
        state: How it ended.
        digest: Digest of its receipt, in hex; none when it did not succeed.
    """

    job_id: str = field(validator=matches_re(JOB_ID))
    state: JobState
    digest: str | None = field(validator=optional(matches_re(HEX_32_BYTES)))


@frozen(kw_only=True)
class GroupReceipts:
    """The receipts of a group of which every job has ended; jobs that failed have none.

    Args:
        group_id: The group.
        receipts: One for each job that succeeded, in the order of the request.
        job_ids: The ids of these jobs in the group: a proof type's name, or that and a label.
    """

    group_id: str
    receipts: Sequence[Receipt]
    job_ids: Sequence[str] = field()

    @job_ids.default
    def _unlabelled(self) -> tuple[str, ...]:
        return tuple(receipt.statement.proof_type for receipt in self.receipts)

    def of(self, job_id: str) -> Receipt | None:
        """Return the receipt of a job, if there is one; of a proof type, that without a label."""
        found = zip(self.job_ids, self.receipts, strict=True)
        return next((receipt for own_id, receipt in found if own_id == job_id), None)


@frozen
class Artefact:
    """Something that is made from the receipts of a group, for others to read.

    Args:
        kind: Name of its layout.
        version: Version of its layout.
        content: What it says, decoded.
        data: The same as bytes, in lower-case hex.
    """

    kind: str = field(validator=matches_re(KIND_NAME))
    version: str
    content: dict[str, Any]
    data: str = field(validator=matches_re(r"(?:[0-9a-f]{2})*"))


@frozen(kw_only=True)
class Composed:
    """What one plugin made of a group's receipts.

    Args:
        plugin: Name of the plugin.
        plugin_digest: Digest of the files of its package, in hex.
        artefacts: What it made.
        refusal: Code of the reason why it made nothing; none when it did not refuse.
        message: The reason, for people; empty when it did not refuse.
    """

    plugin: str = field(validator=matches_re(PLUGIN_NAME))
    plugin_digest: str = field(validator=matches_re(HEX_32_BYTES))
    artefacts: tuple[Artefact, ...]
    refusal: str | None
    message: str


@frozen(kw_only=True)
class GroupStatement:
    """What is claimed of a group.

    Args:
        group_id: The group.
        members: Its jobs, in the order of the request.
        composed: What each plugin that composes made of their receipts, in the order of names.
    """

    group_id: str = field(validator=matches_re(GROUP_ID))
    members: tuple[Member, ...]
    composed: tuple[Composed, ...]


@frozen(kw_only=True)
class GroupProvenance:
    """How a composed receipt came about.

    Args:
        software: Versions of what composed it, by name.
        made_at: When, in ISO 8601, UTC.
    """

    software: dict[str, str]
    made_at: str


@frozen(kw_only=True)
class GroupReceipt:
    """The receipt of a group, with those that it binds."""

    statement: GroupStatement
    provenance: GroupProvenance
    receipts: tuple[Receipt, ...]
    seals: tuple[Seal, ...] = ()


AnyReceipt: TypeAlias = Receipt | GroupReceipt


@frozen(kw_only=True)
class GroupEnd:
    """The end of a group, as observers are told it: stored, and its last job with it.

    Args:
        event: Number of the event: the same each time this end is told, and no other's.
        group_id: The group; unique in its namespace.
        ended_at_ms: When, in milliseconds since the Unix epoch by the database's clock.
        receipt: The group's receipt. It binds those of the jobs that succeeded; the others have
            none, and if no job has succeeded it binds none.
        document: The receipt in JSON, as it is served and verified.
        namespace: The namespace of the group. No receipt states it.
    """

    event: int
    group_id: str
    ended_at_ms: int
    receipt: GroupReceipt = field(repr=False)
    document: Json = field(repr=False)
    namespace: str = DEFAULT_NAMESPACE

    @property
    def states(self) -> Mapping[str, JobState]:
        """How each job ended, by its id in the group, in the order of the request."""
        return {member.job_id: member.state for member in self.receipt.statement.members}

    @property
    def state(self) -> JobState:
        """How the group ended: failed or cancelled if one of its jobs has."""
        return group_state(self.states.values())


@frozen(kw_only=True)
class SignatureDocument:
    """What an Ed25519 signature consists of.

    Args:
        key_id: Which key signed; it helps to find the key and proves nothing.
        signature: 64 bytes in hex.
    """

    key_id: str = field(validator=matches_re(r"[0-9a-f]{32}"))
    signature: str = field(validator=matches_re(r"[0-9a-f]{128}"))
