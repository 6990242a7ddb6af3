"""Whether a process can do its work now, part by part."""

from collections.abc import Iterator
from enum import StrEnum

from attrs import frozen

from prover_framework.database.database import Database
from prover_framework.errors import ProverError
from prover_framework.monitoring.sampling import Sample, Sampler
from prover_framework.plugins.registry import Plugins
from prover_framework.seals.making import SignatureMaker
from prover_framework.settings import Settings


class State(StrEnum):
    """How a part is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and somebody should look at it."""
    FAILED = "failed"
    """The service cannot do its work."""


@frozen
class Check:
    """One part of the service.

    Args:
        name: Which.
        state: How it is.
        detail: What is wrong, for who has the log and the settings; empty when nothing is.
    """

    name: str
    state: State = State.OK
    detail: str = ""


@frozen
class Readiness:
    """All checks.

    Args:
        checks: One for each part.
        not_loaded: Names of the plugins that were found and cannot be used.
    """

    checks: tuple[Check, ...]
    not_loaded: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Whether no part has failed."""
        return all(check.state is not State.FAILED for check in self.checks)


def server_check(name: str, sample: Sample) -> Check:
    """Say whether database or queue answered."""
    problem = sample.problems.get(name)
    return Check(name) if problem is None else Check(name, State.FAILED, problem)


async def schema_check(database: Database, sample: Sample) -> Check:
    """Say whether the database has the schema of this version."""
    if sample.at is None:
        return Check("schema", State.FAILED, "the database does not answer")
    try:
        await database.require_schema()
    except ProverError as error:
        return Check("schema", State.FAILED, str(error))
    return Check("schema")


def headers_check(settings: Settings, sample: Sample) -> Check:
    """Say whether the newest header is younger than the settings demand."""
    most = settings.max_headers_lag_seconds
    if most is None or sample.at is None:
        return Check("headers")
    if sample.headers is None:
        return Check("headers", State.WARNING, "there are none")
    lag = sample.at - sample.headers.newest_timestamp
    if lag <= most:
        return Check("headers")
    return Check("headers", State.WARNING, f"the newest is {lag:.0f} s old, above {most:g} s")


class ReadinessChecks:
    """Looks at database, schema, queue, plugins, headers and signing.

    Args:
        settings: They say what is demanded.
        database: The database.
        sampler: What looks at database and queues, and remembers for some seconds.
        plugins: What was found.
        signatures: What signs receipts.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        sampler: Sampler,
        plugins: Plugins,
        signatures: SignatureMaker,
    ) -> None:
        self._settings = settings
        self._database = database
        self._sampler = sampler
        self._plugins = plugins
        self._signatures = signatures

    async def look(self) -> Readiness:
        """Look at all parts."""
        sample = await self._sampler.sample()
        return Readiness(
            (
                server_check("database", sample),
                await schema_check(self._database, sample),
                server_check("queue", sample),
                self._loaded(),
                headers_check(self._settings, sample),
                self._signing(),
            ),
            not_loaded=tuple(_failed(self._plugins)),
        )

    def _loaded(self) -> Check:
        if not self._plugins.hooks:
            return Check("plugins", State.FAILED, "no proof type is installed")
        failed = ", ".join(_failed(self._plugins))
        return (
            Check("plugins", State.WARNING, f"not loaded: {failed}") if failed else Check("plugins")
        )

    def _signing(self) -> Check:
        try:
            signer = self._signatures.signer()
        except ProverError as error:
            return Check("signing", State.FAILED, str(error))
        if signer is None:
            return Check("signing", State.WARNING, "receipts are not signed: there is no key")
        return Check("signing")


def _failed(plugins: Plugins) -> Iterator[str]:
    return (plugin.candidate.name for plugin in plugins.found if plugin.failure is not None)
