"""Make seals: the signature with the receipt, those of plugins after it.

The Ed25519 signature is the framework's own kind of seal: it takes no time, and a receipt that has
to be signed is never there without it. All others come from plugins, are made after the result, and
where computations run: in a process with limits, away from the keys.
"""

from pathlib import Path
from typing import Any

import attrs

from prover_framework.errors import NoExactForm, NotSigned, SettingsError
from prover_framework.model.receipts import SIGNATURE, AnyReceipt, Seal, SignatureDocument
from prover_framework.plugins.calls import Sealer
from prover_framework.receipts.canonical import require_stated
from prover_framework.receipts.documents import KIND, MAX_RECEIPT_BYTES, MAX_SEALS, fits
from prover_framework.sandbox import calls
from prover_framework.seals.base import Subject
from prover_framework.seals.keys import KeyDirectory, Signer
from prover_framework.settings import Settings

# Content and a seal of the largest size fit into one receipt.
MAX_SEAL_BYTES = MAX_RECEIPT_BYTES // 2


def signature_maker(settings: Settings) -> "SignatureMaker":
    """Return what signs the receipts of an installation."""
    return SignatureMaker(KeyDirectory(settings.key_path), required=settings.require_signature)


class SignatureMaker:
    """Signs with the key in the key directory.

    Args:
        keys: The directory.
        required: Whether there has to be a key.
    """

    def __init__(self, keys: KeyDirectory, *, required: bool = False) -> None:
        self._keys = keys
        self._required = required

    def seal(self, digest: bytes) -> tuple[Seal, ...]:
        """Sign the digest of a new receipt, if there is a key.

        Raises:
            NotSigned: There is a key, or must be one, and it cannot be used: a receipt that nobody
                can tell from one of a service without keys is not made.
        """
        signer = self.signer()
        if signer is None:
            return ()
        signed = SignatureDocument(key_id=signer.key_id, signature=signer.key.sign(digest).hex())
        return (Seal(SIGNATURE, attrs.asdict(signed)),)

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


async def make_by_plugin(
    sealer: Sealer, subject: Subject, cache: Path | None = None
) -> bytes | None:
    """Have a plugin make its kind of seal, in a sandbox process.

    Args:
        sealer: The plugin.
        subject: What is sealed.
        cache: The plugin's own directory on this machine, if it has one.

    Returns:
        The seal's document in its canonical form; None where the kind does not apply.

    Raises:
        ProofError: The plugin refuses, or what it made cannot be written beside other seals.
        ComputeError: Its hook failed or overran its limits.
        PluginError: Its files cannot be read.
        OSError: This machine has no room for another process.
    """
    document = await calls.make_seal(
        subject.slot,
        sealer,
        sealer.seal_type.making,
        receipt=subject.receipt,
        digest=subject.digest,
        inputs=subject.inputs,
        cache=cache,
    )
    return None if document is None else _written(document)


def _written(document: dict[str, Any]) -> bytes:
    """Write a seal, as it can stand beside others and be read again.

    Raises:
        NoExactForm: It cannot.
    """
    if KIND in document:
        raise NoExactForm(f"the seal has a member {KIND}, where its kind goes")
    written = require_stated(document, "the seal")
    if len(written) > MAX_SEAL_BYTES:
        raise NoExactForm(f"the seal has {len(written):,} bytes, more than {MAX_SEAL_BYTES:,}")
    return written


def refusal_of(receipt: AnyReceipt) -> str | None:
    """Say why a receipt could not be read again with all the seals that it has; None if it can."""
    if len(receipt.seals) > MAX_SEALS:
        return f"the receipt would have more than {MAX_SEALS} seals"
    if not fits(receipt):
        return (
            f"the receipt with all of its seals would have more than {MAX_RECEIPT_BYTES:,} bytes, "
            "or more values than any receipt"
        )
    return None
