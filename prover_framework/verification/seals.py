"""Judge the seals of a receipt that somebody has sent."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from prover_framework.errors import ComputeError, PluginError, ProofError, RequestError
from prover_framework.model.findings import Finding
from prover_framework.model.limits import Limits
from prover_framework.model.receipts import SIGNATURE, Seal, SignatureDocument
from prover_framework.plugins.calls import Sealer
from prover_framework.plugins.registry import Plugins
from prover_framework.sandbox import calls
from prover_framework.seals.base import Subject
from prover_framework.seals.keys import PinnedKey
from prover_framework.serialization.converter import structure
from prover_framework.settings import Settings


class SealJudge(Protocol):
    """Judges seals of one kind."""

    async def check(self, subject: Subject, document: dict[str, Any]) -> Finding:
        """Judge somebody's seal."""
        ...


class Seals:
    """Judges seals of all kinds that are known here."""

    def __init__(self, judges: Mapping[str, SealJudge]) -> None:
        self._judges = judges

    async def check(self, subject: Subject, seal: Seal) -> Finding:
        """Judge a seal; one of a kind that is not known here is never good."""
        judge = self._judges.get(seal.kind)
        if judge is None:
            known = ", ".join(sorted(self._judges))
            return Finding.not_possible(f"seals of this kind are not known here (known: {known})")
        return await judge.check(subject, seal.document)


def seals_of(settings: Settings, plugins: Plugins, pinned: tuple[PinnedKey, ...]) -> Seals:
    """Return what judges the kinds of seals of an installation.

    Args:
        settings: Say limits.
        plugins: Bring further kinds.
        pinned: Public keys that a signature counts under.
    """
    judges: dict[str, SealJudge] = {SIGNATURE: SignatureJudge(pinned)}
    for kind, sealer in plugins.sealers.items():
        judges[kind] = PluginSealJudge(
            sealer, settings.limits(sealer.seal_type.limits), settings.cache_path(kind)
        )
    return Seals(judges)


class SignatureJudge:
    """Judges signatures under the pinned keys, and no others."""

    def __init__(self, pinned: tuple[PinnedKey, ...]) -> None:
        self._pinned = pinned

    async def check(self, subject: Subject, document: dict[str, Any]) -> Finding:
        """Judge a signature; the key that is named inside it proves nothing."""
        from prover_framework.seals.ed25519 import is_signed, key_id

        try:
            seal = structure(document, SignatureDocument)
        except RequestError as error:
            return Finding.failed(f"it is no signature: {error}")
        if not self._pinned:
            return Finding.not_possible(
                f"it is signed by key {seal.key_id}, and no key is pinned to check it against"
            )
        keys = {key_id(key.raw): key for key in self._pinned}
        key = keys.get(seal.key_id)
        if key is None:
            return Finding.not_possible(
                f"it is signed by key {seal.key_id}, which is not among the pinned keys"
            )
        if not is_signed(key.raw, subject.digest, bytes.fromhex(seal.signature)):
            return Finding.failed(
                f"the signature is not that of key {seal.key_id} on this statement and provenance: "
                "one of the three was changed"
            )
        retirement = key.retirement(subject.receipt.provenance.made_at)
        return Finding.passed(f"signed by the pinned key {seal.key_id}{retirement}")


class PluginSealJudge:
    """Has a plugin judge its kind of seal, in a sandbox process."""

    def __init__(self, sealer: Sealer, limits: Limits, cache: Path) -> None:
        self._sealer = sealer
        self._limits = limits
        self._cache = cache

    async def check(self, subject: Subject, document: dict[str, Any]) -> Finding:
        """Have the plugin judge a seal; it counts only if the plugin says so."""
        try:
            verdict = await calls.check_seal(
                subject.slot,
                self._sealer,
                self._limits,
                receipt=subject.receipt,
                digest=subject.digest,
                seal=document,
                inputs=subject.inputs,
                cache=self._cache,
            )
        except ProofError as error:
            return Finding.failed(str(error))
        except (ComputeError, PluginError) as error:
            return Finding.not_possible(f"the check did not come to an end: {error}")
        return (Finding.passed if verdict.accepted else Finding.failed)(verdict.reason)
