"""Variables of the environment that look like settings and are none: most are misspelt."""

from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches

from attrs import frozen

from prover_framework.settings import (
    FILE_SUFFIX,
    PLUGIN_PREFIX,
    described_settings,
    secret_variables,
)

PREFIX = "PROVER_"

# How alike two names are of which one is taken for the other, from 0 to 1.
NEAR = 0.7

# What is read elsewhere than in the settings: by the client, and by tests.
READ_ELSEWHERE = ("PROVER_URL", "PROVER_API_KEY", "PROVER_GOLDEN_DIR")


@frozen
class Unknown:
    """A variable that nothing reads.

    Args:
        name: Its name.
        nearest: The name that was probably meant, if any is near.
    """

    name: str
    nearest: str | None = None

    def __str__(self) -> str:
        meant = f"; did you mean {self.nearest}?" if self.nearest else ""
        return f"{self.name} is no setting and has no effect{meant}"


def known_variables() -> tuple[str, ...]:
    """Return the names of all variables that are read, but those of plugins."""
    own = [field.metadata["variable"] for field in described_settings()]
    files = [variable + FILE_SUFFIX for variable in secret_variables()]
    return (*own, *files, *READ_ELSEWHERE)


def misspelt(given: Iterable[str]) -> Iterator[Unknown]:
    """Yield the variables of ours that are no setting and look like one, with that."""
    known = {name.removeprefix(PREFIX): name for name in known_variables()}
    for name in _unknown(given):
        if near := get_close_matches(name.removeprefix(PREFIX), known, n=1, cutoff=NEAR):
            yield Unknown(name, known[near[0]])


def unowned(given: Iterable[str], owners: Collection[str]) -> Iterator[Unknown]:
    """Yield the variables that are neither like a setting nor of a plugin that is there.

    Args:
        given: Names of variables.
        owners: Names of the plugins, proof types and kinds that can have settings.
    """
    names = {name.upper().replace("-", "_") for name in owners}
    given = sorted(given)
    told = {each.name for each in misspelt(given)}
    for name in _unknown(given):
        # A plugin may read variables of its own from the environment.
        if name not in told and not name.startswith(tuple(f"{PREFIX}{own}_" for own in names)):
            yield Unknown(name)
    prefixes = {f"{PLUGIN_PREFIX}{own}__" for own in names}
    for name in given:
        if not name.startswith(PLUGIN_PREFIX) or name.startswith(tuple(prefixes)):
            continue
        owner, mark, field = name.removeprefix(PLUGIN_PREFIX).partition("__")
        near = get_close_matches(f"{PLUGIN_PREFIX}{owner}__", prefixes, n=1)
        yield Unknown(name, f"{near[0]}{field}" if near and mark else None)


def _unknown(given: Iterable[str]) -> Iterator[str]:
    known = known_variables()
    for name in sorted(given):
        if name.startswith(PREFIX) and not name.startswith(PLUGIN_PREFIX) and name not in known:
            yield name
