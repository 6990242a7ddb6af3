"""A proving service as a plugin framework. What plugins need is here."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prover_framework.public import *  # noqa: F403 - it has a list of its own
    from prover_framework.public import __all__ as __all__


def __getattr__(name: str) -> object:
    """Return what `prover_framework.public` has, imported when the first of it is asked for.

    Every import of a part of this package comes through here. Most need a few modules; all that
    plugins need takes a command a sixth of a second.
    """
    if name != "__all__" and name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("prover_framework.public"), name)
