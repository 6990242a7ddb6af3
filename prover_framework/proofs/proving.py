"""From a stored job to its result with a receipt, signed or not."""

import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from attrs import frozen

from prover_framework.errors import DataChanged, NotInstalled, RequestError
from prover_framework.inputs.trusted import SharedHeaders, Sources
from prover_framework.jobs.records import StoredJob
from prover_framework.jobs.requests import dependencies_of
from prover_framework.jobs.seals import NewSeal
from prover_framework.jobs.store import JobStore
from prover_framework.model.attachments import AttachmentPlace, StatedAttachment
from prover_framework.model.inputs import Need
from prover_framework.model.limits import Limits
from prover_framework.model.proofs import JobRequest
from prover_framework.model.receipts import Provenance, Receipt, Seal, Statement
from prover_framework.model.resources import Resources, shortage
from prover_framework.model.series import TimeRange
from prover_framework.plugins.calls import ProofHooks
from prover_framework.plugins.package_digest import machine
from prover_framework.plugins.registry import Plugins
from prover_framework.proofs.computation import Computation
from prover_framework.proofs.group_results import GroupResults
from prover_framework.proofs.inputs import InputLoader
from prover_framework.proofs.own_settings import OwnSettings, stated_part
from prover_framework.proofs.parameters import parameters_beside_range, range_of, with_range
from prover_framework.proofs.seed import SEED_DERIVATION
from prover_framework.receipts.canonical import digest_of
from prover_framework.receipts.documents import dump_content
from prover_framework.sandbox import calls
from prover_framework.sandbox.calls import Runner
from prover_framework.sandbox.hooks import GivenData, type_path
from prover_framework.seals.making import signature_maker
from prover_framework.serialization.converter import structure
from prover_framework.serialization.json_text import Json, dump_json, parse_json
from prover_framework.settings import Settings
from prover_framework.text import utc_now

log = logging.getLogger(__name__)

NOTHING_ATTACHED: Mapping[str, StatedAttachment] = MappingProxyType({})


@frozen
class Proof:
    """What a job comes to.

    Args:
        result: The plugin's result, as JSON text.
        receipt: The receipt that states it, as JSON text, without its seals.
        seals: The receipt's seals.
        later: Those that are to be made after it.
    """

    result: str
    receipt: str
    seals: tuple[Seal, ...]
    later: tuple[NewSeal, ...] = ()


@frozen(kw_only=True)
class ReadJob:
    """A stored job as its plugin reads it.

    Args:
        group_id: Its group.
        hooks: Those of its proof type.
        limits: Those of its computation.
        rests_on: The jobs of the group whose results it may use.
        hours: Its range, in whole hours; none where it has no range.
        parameters: The parameters beside it, in their JSON form.
    """

    group_id: str
    hooks: ProofHooks
    limits: Limits
    rests_on: tuple[str, ...]
    hours: TimeRange | None
    parameters: dict[str, Json]


@frozen(kw_only=True)
class Loaded:
    """All that a computation takes."""

    computation: Computation
    limits: Limits

    @property
    def is_long(self) -> bool:
        """Whether the plugin says that it computes for long: it asks for `Work`."""
        return calls.is_long(self.computation.hooks)

    @property
    def attaches(self) -> bool:
        """Whether files may be attached to its result."""
        return calls.attaches(self.computation.hooks, self.limits)


class Proving:
    """Loads what a job needs, has it computed in a slot, and writes the receipt.

    These are steps of their own, in this order: `read`, `needs`, `load`, `compute` and `receipt`.
    What an error means depends on the step that it comes from.
    """

    def __init__(
        self, settings: Settings, plugins: Plugins, headers: SharedHeaders, jobs: JobStore
    ) -> None:
        self._settings = settings
        self._plugins = plugins
        self._headers = headers
        self._jobs = jobs
        self._inputs = InputLoader(settings, plugins)
        self._signatures = signature_maker(settings)
        self._own_settings = OwnSettings(settings, plugins)
        # A wrong one is told when the service starts.
        self._own_settings.require_all()

    @property
    def proof_types(self) -> tuple[str, ...]:
        """Names of the proof types that can be computed here."""
        return tuple(name for name in self._plugins.hooks if self._too_little(name) is None)

    def resources(self, proof_type: str) -> Resources:
        """Return what a computation of a proof type needs of a machine.

        Raises:
            NotInstalled: The proof type is not installed.
        """
        return self._plugins.for_type(proof_type).proof_type.resources

    def _too_little(self, proof_type: str) -> str | None:
        missing = shortage(self.resources(proof_type), self._settings.worker_resources)
        if missing is None:
            return None
        return f"proof type {proof_type!r}: {missing} (PROVER_WORKER_RESOURCES)"

    def read(self, job: StoredJob) -> ReadJob:
        """Read the parameters of a stored job.

        Raises:
            NotInstalled: The proof type is not installed.
            RequestError: The stored parameters do not fit the plugin's class.
            EmptyRange: Their range holds no whole hour.
        """
        hooks = self._plugins.for_type(job.proof_type)
        parameters = structure(parse_json(job.parameters.encode()), hooks.proof_type.parameters)
        wanted = JobRequest(job.proof_type, parameters)
        return ReadJob(
            group_id=job.group_id,
            rests_on=dependencies_of(wanted, self._plugins.proof_types),
            hooks=hooks,
            limits=self._settings.limits(hooks.proof_type.limits),
            hours=range_of(parameters),
            parameters=parameters_beside_range(parameters),
        )

    def lacks(self, proof_type: str, parameters: Json) -> str | None:
        """Say what is missing here for a job, as a message tells of it; None where nothing is.

        Args:
            proof_type: Name of the job's proof type.
            parameters: JSON form of its parameters; None where the message has none.
        """
        try:
            hooks = self._plugins.for_type(proof_type)
            if missing := self._too_little(proof_type):
                return missing
            if parameters is not None:
                structure(parameters, hooks.proof_type.parameters)
        except NotInstalled as error:
            return str(error)
        except RequestError as error:
            return unfit(proof_type, error)
        except Exception:
            # A class of the plugin's that goes wrong is told of when the job is read.
            log.debug("proof type %s: a message's parameters were not read", proof_type)
        return None

    def settings_of(self, job: ReadJob) -> dict[str, Json] | None:
        """Return the JSON form of the settings of a job's proof type; None where it has none."""
        return self._own_settings.of(job.hooks)

    async def needs(self, runner: Runner, job: ReadJob) -> dict[str, Need]:
        """Ask the plugin what data the computation needs.

        Raises:
            ProofError: The plugin refuses the job.
            ComputeError: Its hook failed in a way that another attempt may not.
            PluginError: There is no such hook, and no default for these parameters.
            OSError: This machine has no room for another process.
        """
        form = with_range(job.parameters, job.hours)
        return await calls.inputs(runner, job.hooks, form, job.limits.memory_bytes)

    async def load(
        self, job: ReadJob, needs: Mapping[str, Need], since: float | None = None
    ) -> Loaded:
        """Load the data.

        Args:
            job: The job.
            needs: What it needs.
            since: When it was taken, by the event loop's clock, if the headers may be looked at
                together with jobs that have begun a moment before; None: they are looked at now.

        Raises:
            DataNotYet: Some of it is not there yet: the chain has not reached the end of the range.
            ProofError: Data is missing that will not come, or the range holds no whole hour.
            ComputeError: The plugin of a kind of data failed.
            PluginError: A kind of data is not installed, or misbehaves.
            StoreError: The database cannot be read.
        """
        proof_type = job.hooks.proof_type
        sources = self._sources(job, since)
        computation = Computation(
            hooks=job.hooks,
            version=proof_type.version,
            hours=job.hours,
            parameters=job.parameters,
            loaded=await self._inputs.load_all(job.hooks, needs, sources),
            settings=self._own_settings.of(job.hooks),
        )
        return Loaded(computation=computation, limits=job.limits)

    def _sources(self, job: ReadJob, since: float | None = None) -> Sources:
        name = job.hooks.proof_type.name
        return Sources(
            headers=self._headers if since is None else self._headers.since(since),
            results=GroupResults(self._jobs, job.group_id, job.rests_on, name),
        )

    async def data_of(
        self, job: ReadJob, needs: Mapping[str, Need], receipt: Receipt
    ) -> dict[str, GivenData]:
        """Return the data that a receipt states, from its evidence or loaded anew.

        Raises:
            DataChanged: Some of it is not to be had any more.
            ProofError, DataNotYet, ComputeError, PluginError, StoreError: As of `load`.
        """
        return {
            name: await self._stated_data(job, needs.get(name), receipt, name)
            for name in receipt.statement.inputs
        }

    async def _stated_data(
        self, job: ReadJob, need: Need | None, receipt: Receipt, name: str
    ) -> GivenData:
        stated = receipt.statement.inputs[name]
        kind = self._plugins.kind(stated.kind)
        if name in receipt.evidence:
            # What a feed says differs from hour to hour; what it has signed is kept.
            shown = await self._inputs.judge(kind, stated, need, None, receipt.evidence[name])
            if shown.of_data is not None and shown.of_data.data_sha256 == stated.data_sha256:
                return GivenData(type_path(kind.kind.data_type), shown.data)
        if need is not None and need.kind == stated.kind:
            loaded = await self._inputs.load(job.hooks, need, self._sources(job))
            # The same data, whoever's build of the kind has loaded it.
            if loaded.stated.data_sha256 == stated.data_sha256:
                return loaded.given
        raise DataChanged(f"the input {name} is not to be had any more as the receipt states it")

    async def compute(
        self,
        runner: Runner,
        loaded: Loaded,
        directory: Path | None = None,
        place: AttachmentPlace | None = None,
    ) -> dict[str, Json]:
        """Have the plugin compute; return the JSON form of its result.

        Args:
            runner: Where.
            loaded: What it takes.
            directory: Where attempts at this job keep checkpoints on this machine, if anywhere.
            place: Where it puts attachments; None where it may make none.

        Raises:
            ProofError: The plugin refused, for good.
            ComputeError: The computation failed, overran its limits or took its process down.
            OSError: This machine has no room for another process.
        """
        computation = loaded.computation
        return await calls.compute(
            runner,
            computation.hooks,
            loaded.limits,
            parameters=computation.form,
            inputs=computation.given,
            seed=computation.seed,
            settings=computation.settings,
            directory=directory,
            place=place,
        )

    def receipt(
        self,
        loaded: Loaded,
        result: dict[str, Json],
        attachments: Mapping[str, StatedAttachment] = NOTHING_ATTACHED,
    ) -> Proof:
        """Write the receipt of a result, signed if there is a key.

        Args:
            loaded: What the result was computed from.
            result: Its JSON form.
            attachments: What is attached to it, by name.

        Raises:
            NoExactForm: A value of it cannot be written.
            NotSigned: It has to be signed, and cannot.
        """
        computation = loaded.computation
        receipt = Receipt(
            statement=statement_of(computation, result, attachments),
            provenance=_provenance(computation),
            evidence={
                name: each.evidence
                for name, each in computation.loaded.items()
                if each.evidence is not None
            },
        )
        content = dump_content(receipt)
        digest = digest_of(content.encode())
        return Proof(
            dump_json(result),
            content,
            self._signatures.seal(digest),
            tuple(NewSeal(kind, digest.hex()) for kind in self._plugins.sealers),
        )


def unfit(proof_type: str, error: RequestError) -> str:
    """Say that a job's parameters are not those of the proof type that is installed here."""
    return (
        f"proof type {proof_type!r} as it is installed here does not take the parameters: {error}"
    )


def statement_of(
    computation: Computation,
    result: dict[str, Json],
    attachments: Mapping[str, StatedAttachment] = NOTHING_ATTACHED,
) -> Statement:
    """Return what is claimed by a computation and its result, with what is attached to it."""
    proof_type = computation.hooks.proof_type
    return Statement(
        proof_type=proof_type.name,
        method_version=computation.version,
        plugin_digest=computation.hooks.package_digest,
        range=computation.hours,
        parameters=computation.parameters,
        inputs=computation.stated,
        settings=stated_part(computation.hooks, computation.settings),
        seed=computation.seed.hex(),
        seed_derivation=SEED_DERIVATION,
        generator=proof_type.generator,
        result=result,
        attachments=dict(attachments),
    )


def _provenance(computation: Computation) -> Provenance:
    return Provenance(
        inputs={name: each.provenance for name, each in computation.loaded.items()},
        software=computation.hooks.software,
        machine=machine(),
        made_at=utc_now(),
    )
