"""The settings of a proof type's own: read here, given to its computations, partly stated."""

from typing import Any

import attrs

from prover_framework.errors import Problem, RequestError
from prover_framework.plugins.calls import ProofHooks
from prover_framework.plugins.registry import Plugins
from prover_framework.serialization.converter import structure, unstructure_object
from prover_framework.serialization.json_text import Json
from prover_framework.settings import Settings, plugin_settings

# What the metadata of a field says when receipts state it.
STATED = "stated"


class OwnSettings:
    """Reads the settings of proof types, each its own and no others.

    Args:
        settings: Hold the variables.
        plugins: Bring the classes.
    """

    def __init__(self, settings: Settings, plugins: Plugins) -> None:
        self._variables = settings.plugin_variables
        self._plugins = plugins

    def require_all(self) -> None:
        """Require that the settings of every proof type can be read.

        Raises:
            SettingsError: One is missing, wrong or unknown, and which variable that is.
        """
        for hooks in self._plugins.hooks.values():
            self.of(hooks)

    def of(self, hooks: ProofHooks) -> dict[str, Json] | None:
        """Return the JSON form of a proof type's settings; None where it has none.

        Raises:
            SettingsError: One is missing, wrong or unknown, and which variable that is.
        """
        cls = hooks.proof_type.settings
        if cls is None:
            return None
        return unstructure_object(plugin_settings(hooks.proof_type.name, cls, self._variables))

    def at_verification(self, hooks: ProofHooks, stated: dict[str, Any]) -> dict[str, Json] | None:
        """Return the JSON form of the settings that somebody's statement is judged by.

        What can change the digits is what is stated, or its default where it is not; all else is
        the verifier's own.

        Raises:
            RequestError: What is stated are no settings of this proof type.
            SettingsError: The verifier's own cannot be read.
        """
        cls = hooks.proof_type.settings
        names = stated_names(cls)
        if unknown := sorted(stated.keys() - names):
            raise RequestError([Problem(unknown[0], "is no setting that this proof type states")])
        if cls is None:
            return None
        own = {name: value for name, value in (self.of(hooks) or {}).items() if name not in names}
        return unstructure_object(structure({**own, **stated}, cls))


def stated_names(cls: type[Any] | None) -> frozenset[str]:
    """Return the names in JSON of the settings that receipts state."""
    if cls is None:
        return frozenset()
    return frozenset(
        field.alias or field.name for field in attrs.fields(cls) if field.metadata.get(STATED)
    )


def stated_part(hooks: ProofHooks, form: dict[str, Json] | None) -> dict[str, Json]:
    """Return what of a proof type's settings a receipt states."""
    names = stated_names(hooks.proof_type.settings)
    return {name: value for name, value in (form or {}).items() if name in names}
