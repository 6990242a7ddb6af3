"""What is installed here, as it is shown to people and programs."""

from enum import StrEnum
from typing import Any

from attrs import frozen

from prover_framework.model.limits import Limits
from prover_framework.model.proofs import API_VERSION, ProofType
from prover_framework.plugins.registry import Plugin, Plugins
from prover_framework.serialization.json_schema import schema_of
from prover_framework.serialization.json_text import Json


class PluginState(StrEnum):
    """Whether a plugin is used."""

    IN_USE = "in_use"
    FAILED = "failed"
    DISABLED = "disabled"


@frozen(kw_only=True)
class ProofTypeView:
    """A proof type that can be asked for.

    Args:
        name: The key in requests, messages and results.
        title: What messages to people call it.
        version: Version of its method.
        required: Whether each job group must ask for it.
        limits: What one computation may use, unless the settings of a worker say otherwise.
        plugin: Name of the plugin that provides it.
        distribution: Name of the distribution that the plugin came with.
        distribution_version: Version of that distribution.
        hooks: Names of the hooks that the plugin implements.
        parameters: JSON Schema of its parameters.
        result: JSON Schema of what it computes.
    """

    name: str
    title: str
    version: str
    required: bool
    limits: Limits
    plugin: str
    distribution: str
    distribution_version: str
    hooks: tuple[str, ...]
    parameters: Json
    result: Json


@frozen(kw_only=True)
class PluginView:
    """A plugin that was found.

    Args:
        name: Name of its entry point.
        distribution: Name of the distribution it came with.
        distribution_version: Version of that distribution.
        state: Whether it is used.
        failure: Why it cannot be used.
        proof_type: Name of the proof type that it registered; none where it only observes.
        hooks: Names of the hooks that it implements, as far as it was loaded.
    """

    name: str
    distribution: str
    distribution_version: str
    state: PluginState
    failure: str | None
    proof_type: str | None
    hooks: tuple[str, ...]


@frozen(kw_only=True)
class Catalogue:
    """All that is installed.

    Args:
        api_version: The API version that plugins have to be written for.
        proof_types: Those that can be asked for, by name.
        plugins: All that were found, with those that are not used.
    """

    api_version: int
    proof_types: tuple[ProofTypeView, ...]
    plugins: tuple[PluginView, ...]


def catalogue(plugins: Plugins) -> Catalogue:
    """List what is installed."""
    return Catalogue(
        api_version=API_VERSION,
        proof_types=tuple(
            sorted(
                (
                    _proof_type_view(plugin, plugin.proof_type)
                    for plugin in plugins.found
                    if plugin.proof_type and state_of(plugin) is PluginState.IN_USE
                ),
                key=lambda view: view.name,
            )
        ),
        plugins=tuple(map(_plugin_view, plugins.found)),
    )


def state_of(plugin: Plugin) -> PluginState:
    """Say whether a plugin is used."""
    if plugin.failure:
        return PluginState.FAILED
    return PluginState.DISABLED if plugin.disabled else PluginState.IN_USE


def _proof_type_view(plugin: Plugin, proof_type: ProofType[Any, Any]) -> ProofTypeView:
    return ProofTypeView(
        name=proof_type.name,
        title=proof_type.title,
        version=proof_type.version,
        required=proof_type.required,
        limits=proof_type.limits,
        plugin=plugin.candidate.name,
        distribution=plugin.candidate.distribution,
        distribution_version=plugin.candidate.version,
        hooks=plugin.hooks,
        parameters=schema_of(proof_type.parameters),
        result=schema_of(proof_type.result),
    )


def _plugin_view(plugin: Plugin) -> PluginView:
    return PluginView(
        name=plugin.candidate.name,
        distribution=plugin.candidate.distribution,
        distribution_version=plugin.candidate.version,
        state=state_of(plugin),
        failure=plugin.failure,
        proof_type=plugin.proof_type.name if plugin.proof_type else None,
        hooks=plugin.hooks,
    )
