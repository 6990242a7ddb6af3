"""Make the seals of new receipts.

The Ed25519 signature is the framework's own kind of seal. All others come from plugins, and are
made where computations run: in a process with limits, away from the keys.
"""

import logging
from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from prover_framework.errors import NoExactForm, NotSigned, ProverError, SettingsError
from prover_framework.model.limits import Limits
from prover_framework.model.receipts import SIGNATURE, Seal, SignatureDocument
from prover_framework.plugins.calls import Sealer
from prover_framework.plugins.registry import Plugins
from prover_framework.receipts.canonical import require_stated
from prover_framework.receipts.documents import KIND, MAX_RECEIPT_BYTES
from prover_framework.sandbox import calls
from prover_framework.seals.base import Subject
from prover_framework.seals.keys import KeyDirectory, Signer
from prover_framework.settings import Settings

# Content and a seal of the largest size fit into one receipt.
MAX_SEAL_BYTES = MAX_RECEIPT_BYTES // 2

log = logging.getLogger(__name__)


class SealMaker(Protocol):
    """Makes seals of one kind."""

    async def make(self, subject: Subject) -> dict[str, Any] | None:
        """Return a seal's document; None where this kind does not apply.

        Raises:
            NotSigned: It cannot be made, and a receipt without it must not be.
            ProverError: It cannot be made, and why.
        """
        ...


class Sealing:
    """Makes seals of all kinds that are there."""

    def __init__(self, makers: Mapping[str, SealMaker]) -> None:
        self._makers = makers

    async def seal(self, subject: Subject) -> tuple[Seal, ...]:
        """Make the seals of a new receipt. A kind that fails is left out, and the log says why.

        Raises:
            NotSigned: There is a key, or must be one, and it cannot be used: a receipt that nobody
                can tell from one of a service without keys is not made.
        """
        seals: list[Seal] = []
        for kind, maker in self._makers.items():
            try:
                document = await maker.make(subject)
                if document is not None:
                    _require_form(document)
                    seals.append(Seal(kind, document))
            except NotSigned:
                raise
            except ProverError as error:
                log.error("a receipt goes without its seal %s: %s", kind, error)
        return tuple(seals)


def sealing_of(settings: Settings, plugins: Plugins) -> Sealing:
    """Return what makes the kinds of seals of an installation.

    Args:
        settings: Say where the keys are, and limits.
        plugins: Bring further kinds.
    """
    makers: dict[str, SealMaker] = {
        SIGNATURE: SignatureMaker(
            KeyDirectory(settings.key_path), required=settings.require_signature
        )
    }
    for kind, sealer in plugins.sealers.items():
        makers[kind] = PluginSealMaker(sealer, settings.limits(sealer.seal_type.limits))
    return Sealing(makers)


class SignatureMaker:
    """Signs with the key in the key directory.

    Args:
        keys: The directory.
        required: Whether there has to be a key.
    """

    def __init__(self, keys: KeyDirectory, *, required: bool = False) -> None:
        self._keys = keys
        self._required = required

    async def make(self, subject: Subject) -> dict[str, Any] | None:
        """Sign, if there is a key.

        Raises:
            NotSigned: The key cannot be read, or has to be there and is not.
        """
        signer = self.signer()
        if signer is None:
            return None
        signature = signer.key.sign(subject.digest).hex()
        return attrs.asdict(SignatureDocument(key_id=signer.key_id, signature=signature))

    def signer(self) -> Signer | None:
        """Return the key that signs; None where there is none and none is required.

        Raises:
            NotSigned: The key cannot be read, or has to be there and is not.
        """
        try:
            signer = self._keys.signer()
        except SettingsError as error:
            raise NotSigned(f"receipts cannot be signed: {error}") from None
        if signer is None and self._required:
            raise NotSigned(
                f"receipts have to be signed (PROVER_REQUIRE_SIGNATURE), and there is no key in "
                f'{self._keys.path}: "prover key create" makes one'
            )
        return signer


class PluginSealMaker:
    """Has a plugin make its kind of seal, in a sandbox process."""

    def __init__(self, sealer: Sealer, limits: Limits) -> None:
        self._sealer = sealer
        self._limits = limits

    async def make(self, subject: Subject) -> dict[str, Any] | None:
        """Have the plugin make a seal."""
        return await calls.make_seal(
            subject.slot,
            self._sealer,
            self._limits,
            receipt=subject.receipt,
            digest=subject.digest,
            inputs=subject.inputs,
        )


def _require_form(document: dict[str, Any]) -> None:
    """Require that a seal can be written beside others, and read again.

    Raises:
        NoExactForm: It cannot.
    """
    if KIND in document:
        raise NoExactForm(f"it has a member {KIND}, where its kind goes")
    size = len(require_stated(document, "the seal"))
    if size > MAX_SEAL_BYTES:
        raise NoExactForm(f"it has {size:,} bytes, more than {MAX_SEAL_BYTES:,}")
