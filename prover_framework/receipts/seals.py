"""Seals: what stands for a receipt. They are made when it is, and checked by whoever doubts it.

The Ed25519 signature is the framework's own kind of seal. All others come from plugins, and run
where computations run: in a process with limits, away from the keys.
"""

import logging
from collections.abc import Mapping
from typing import Any, Protocol, cast

import attrs
from attrs import field, frozen
from attrs.validators import matches_re

from prover_framework.compute.frames import Sealed, SealTask
from prover_framework.compute.slot import Slot
from prover_framework.errors import ComputeError, NoExactForm, ProofError, ProverError, RequestError
from prover_framework.jsontext import Json
from prover_framework.model import Inputs, Verdict
from prover_framework.plugins import SIGNATURE, Plugins, Sealer
from prover_framework.receipts.canonical import canonical
from prover_framework.receipts.checks import Finding
from prover_framework.receipts.documents import KIND, MAX_RECEIPT_BYTES, document_of
from prover_framework.receipts.keys import KeyDirectory
from prover_framework.receipts.model import AnyReceipt, Seal
from prover_framework.settings import Settings
from prover_framework.wire import structure, unstructure

# Content and a seal of the largest size fit into one receipt.
MAX_SEAL_BYTES = MAX_RECEIPT_BYTES // 2

log = logging.getLogger(__name__)


@frozen
class Subject:
    """What a seal is made for or checked against.

    Args:
        receipt: The receipt; its own seals do not matter.
        digest: What the seal stands for.
        slot: Where a plugin's work is done.
        inputs: What the result was computed from, where it was computed just now.
    """

    receipt: AnyReceipt
    digest: bytes
    slot: Slot
    inputs: Inputs | None = None


class SealKind(Protocol):
    """A kind of seal."""

    async def make(self, subject: Subject) -> dict[str, Any] | None:
        """Return a seal's document; None where this kind does not apply.

        Raises:
            ProverError: It can not be made, and why.
        """
        ...

    async def check(self, subject: Subject, document: dict[str, Any]) -> Finding:
        """Judge somebody's seal."""
        ...


class Seals:
    """Makes seals of all kinds that are there, and checks them."""

    def __init__(self, kinds: Mapping[str, SealKind]) -> None:
        self._kinds = kinds

    async def seal(self, subject: Subject) -> tuple[Seal, ...]:
        """Make the seals of a new receipt. A kind that fails is left out, and the log says why."""
        seals: list[Seal] = []
        for kind, maker in self._kinds.items():
            try:
                document = await maker.make(subject)
                if document is not None:
                    _require_form(document)
                    seals.append(Seal(kind, document))
            except ProverError as error:
                log.error("a receipt goes without its seal %s: %s", kind, error)
        return tuple(seals)

    async def check(self, subject: Subject, seal: Seal) -> Finding:
        """Judge a seal; one of a kind that is not known here is never good."""
        kind = self._kinds.get(seal.kind)
        if kind is None:
            known = ", ".join(sorted(self._kinds))
            return Finding.not_possible(f"seals of this kind are not known here (known: {known})")
        return await kind.check(subject, seal.document)


def _require_form(document: dict[str, Any]) -> None:
    """Require that a seal can be written beside others, and read again.

    Raises:
        NoExactForm: It can not.
    """
    if KIND in document:
        raise NoExactForm(f"it has a member {KIND}, where its kind goes")
    size = len(canonical(document))
    if size > MAX_SEAL_BYTES:
        raise NoExactForm(f"it has {size:,} bytes, more than {MAX_SEAL_BYTES:,}")


def seals_of(settings: Settings, plugins: Plugins, pinned: tuple[bytes, ...] = ()) -> Seals:
    """Return the kinds of seals of an installation.

    Args:
        settings: Say where the keys are, and limits.
        plugins: Bring further kinds.
        pinned: Public keys that a signature counts under.
    """
    kinds: dict[str, SealKind] = {SIGNATURE: Signatures(KeyDirectory(settings.key_path), pinned)}
    for kind, sealer in plugins.sealers.items():
        kinds[kind] = PluginSeals(sealer, settings)
    return Seals(kinds)


@frozen(kw_only=True)
class SignatureDocument:
    """What an Ed25519 signature consists of.

    Args:
        key_id: Which key signed; it helps to find the key and proves nothing.
        signature: 64 bytes in hex.
    """

    key_id: str = field(validator=matches_re(r"[0-9a-f]{32}"))
    signature: str = field(validator=matches_re(r"[0-9a-f]{128}"))


class Signatures:
    """The framework's own kind of seal: a signature by the key in the key directory."""

    def __init__(self, keys: KeyDirectory, pinned: tuple[bytes, ...]) -> None:
        self._keys = keys
        self._pinned = pinned

    async def make(self, subject: Subject) -> dict[str, Any] | None:
        """Sign, if there is a key."""
        signer = self._keys.signer()
        if signer is None:
            return None
        signature = signer.key.sign(subject.digest).hex()
        return attrs.asdict(SignatureDocument(key_id=signer.key_id, signature=signature))

    async def check(self, subject: Subject, document: dict[str, Any]) -> Finding:
        """Judge a signature under the pinned keys, and no others."""
        from prover_framework.receipts.ed25519 import is_signed, key_id

        try:
            seal = structure(document, SignatureDocument)
        except RequestError as error:
            return Finding.failed(f"it is no signature: {error}")
        if not self._pinned:
            return Finding.not_possible(
                f"it is signed by key {seal.key_id}, and no key is pinned to check it against"
            )
        keys = {key_id(key): key for key in self._pinned}
        key = keys.get(seal.key_id)
        if key is None:
            return Finding.not_possible(
                f"it is signed by key {seal.key_id}, which is not among the pinned keys"
            )
        if not is_signed(key, subject.digest, bytes.fromhex(seal.signature)):
            return Finding.failed(
                f"the signature is not that of key {seal.key_id} on this statement and provenance: "
                "one of the three was changed"
            )
        return Finding.passed(f"signed by the pinned key {seal.key_id}")


class PluginSeals:
    """A kind of seal that a plugin makes and checks, in a compute process."""

    def __init__(self, sealer: Sealer, settings: Settings) -> None:
        self._sealer = sealer
        self._limits = settings.limits(sealer.seal_type.limits)

    async def make(self, subject: Subject) -> dict[str, Any] | None:
        """Have the plugin make a seal."""
        reply = await subject.slot.run(self._task(subject), seconds=self._limits.seconds)
        return structure(cast(Json, reply), Sealed).seal

    async def check(self, subject: Subject, document: dict[str, Any]) -> Finding:
        """Have the plugin judge a seal; it counts only if the plugin says so."""
        task = attrs.evolve(self._task(subject), claimed=document)
        try:
            reply = await subject.slot.run(task, seconds=self._limits.seconds)
            verdict = structure(cast(Json, reply), Verdict)
        except ProofError as error:
            return Finding.failed(str(error))
        except (ComputeError, RequestError) as error:
            return Finding.not_possible(f"the check did not come to an end: {error}")
        return (Finding.passed if verdict.accepted else Finding.failed)(verdict.reason)

    def _task(self, subject: Subject) -> SealTask:
        return SealTask(
            plugin=self._sealer.candidate.name,
            module=self._sealer.candidate.module,
            receipt=cast(dict[str, Any], unstructure(document_of(subject.receipt))),
            digest=subject.digest.hex(),
            memory_bytes=self._limits.memory_bytes,
            inputs=subject.inputs,
            package_digest=self._sealer.package_digest,
        )
