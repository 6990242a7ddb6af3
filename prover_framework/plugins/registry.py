"""The plugins of one process: those that were found, and those that are used."""

from collections.abc import Collection, Mapping
from typing import Any

import attrs
from attrs import field, frozen

from prover_framework.errors import NotInstalled
from prover_framework.model.inputs import InputKind
from prover_framework.model.proofs import ProofType, SealType
from prover_framework.plugins.calls import (
    Candidate,
    Composer,
    KindHooks,
    Observer,
    ProofHooks,
    Sealer,
)


@frozen
class Plugin:
    """A plugin that was found, and what became of it.

    Args:
        candidate: Where it comes from.
        proof_type: What it registered; none for a plugin that only observes.
        seal_type: The kind of seal that it registered, if any.
        input_kind: The kind of input data that it registered, if any.
        hooks: Names of the hooks it implements.
        failure: Why it is not used; none when it is.
        disabled: Whether the operator's settings exclude it.
    """

    candidate: Candidate
    proof_type: ProofType[Any, Any] | None = None
    seal_type: SealType | None = None
    input_kind: InputKind[Any, Any, Any, Any] | None = None
    hooks: tuple[str, ...] = ()
    failure: str | None = None
    disabled: bool = False


@frozen
class Plugins:
    """All plugins of one process.

    Args:
        found: The whole list, with those that are not used.
        hooks: Those with a proof type, by its name.
        composers: Those that make artefacts from the receipts of a group.
        observers: Those that are told of changes, with a proof type or without.
        group_observers: Those that are told of the ends of groups, with a proof type or without.
        sealers: Those that make seals, by the kind of seal.
        kinds: The kinds of input data by name, the framework's own among them.
        trace: Whether each call of a hook is logged.
    """

    found: tuple[Plugin, ...]
    hooks: Mapping[str, ProofHooks] = field(repr=False)
    composers: tuple[Composer, ...] = field(default=(), repr=False)
    observers: tuple[Observer, ...] = field(default=(), repr=False)
    group_observers: tuple[Observer, ...] = field(default=(), repr=False)
    sealers: Mapping[str, Sealer] = field(factory=dict, repr=False)
    kinds: Mapping[str, KindHooks] = field(factory=dict, repr=False)
    trace: bool = False

    @property
    def proof_types(self) -> dict[str, ProofType[Any, Any]]:
        """The proof types that can be asked for, by name."""
        return {name: hooks.proof_type for name, hooks in self.hooks.items()}

    @property
    def owners(self) -> frozenset[str]:
        """Names that variables of plugins begin with: of plugins, proof types, kinds and seals."""
        found = (plugin.candidate.name for plugin in self.found)
        return frozenset({*found, *self.hooks, *self.kinds, *self.sealers})

    def requiring(self, names: Collection[str] | None) -> "Plugins":
        """Return the same plugins, with the proof types required that the operator says.

        Args:
            names: Names of proof types; those that are not installed here are of no effect. What
                the plugins say when None.
        """
        if names is None:
            return self
        return attrs.evolve(
            self,
            found=tuple(_requiring(plugin, names) for plugin in self.found),
            hooks={name: hooks.requiring(name in names) for name, hooks in self.hooks.items()},
        )

    def for_type(self, name: str) -> ProofHooks:
        """Return the hooks of a proof type.

        Raises:
            NotInstalled: No plugin in use provides it.
        """
        try:
            return self.hooks[name]
        except KeyError:
            installed = ", ".join(sorted(self.hooks)) or "none"
            raise NotInstalled(
                f"proof type {name!r} is not installed here (installed: {installed})"
            ) from None

    def kind(self, name: str) -> KindHooks:
        """Return a kind of input data.

        Raises:
            NotInstalled: No plugin in use provides it.
        """
        try:
            return self.kinds[name]
        except KeyError:
            installed = ", ".join(sorted(self.kinds))
            raise NotInstalled(
                f"the kind of data {name!r} is not installed here (installed: {installed})"
            ) from None

    def title(self, name: str) -> str:
        """Return what messages to people call a proof type, installed or not."""
        hooks = self.hooks.get(name)
        return hooks.proof_type.title if hooks else name


def _requiring(plugin: Plugin, names: Collection[str]) -> Plugin:
    if plugin.proof_type is None:
        return plugin
    is_required = plugin.proof_type.name in names
    return attrs.evolve(plugin, proof_type=attrs.evolve(plugin.proof_type, required=is_required))


# What reads the database alone waits for no plugin, and works where a plugin hangs.
NO_PLUGINS = Plugins(found=(), hooks={})
