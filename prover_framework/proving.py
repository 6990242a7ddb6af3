"""From a stored job to its result with a receipt, unsealed or sealed."""

from typing import Any, cast

from attrs import frozen

from prover_framework.asking import inputs_of
from prover_framework.commitments import (
    SEED_DERIVATION,
    derive_seed,
    fees_hash,
    hash_words,
    parameters_beside_range,
    range_of,
    with_range,
)
from prover_framework.compute.frames import Task
from prover_framework.compute.slot import Slot
from prover_framework.jsontext import Json, dump_json, parse_json
from prover_framework.model import BlockRange, HourlySeries, Inputs, TimeRange
from prover_framework.plugins import Plugins, ProofHooks
from prover_framework.receipts.canonical import digest_of
from prover_framework.receipts.documents import dump_content
from prover_framework.receipts.keys import now
from prover_framework.receipts.model import Provenance, Receipt, Seal, SeriesFacts, Statement
from prover_framework.receipts.packages import machine
from prover_framework.receipts.seals import Subject, seals_of
from prover_framework.settings import Settings
from prover_framework.store.headers import HeaderStore
from prover_framework.store.jobs import StoredJob
from prover_framework.wire import structure


@frozen
class Proof:
    """What a job comes to.

    Args:
        result: The plugin's result, as JSON text.
        receipt: The receipt that states it, as JSON text, without its seals.
        seals: The receipt's seals.
    """

    result: str
    receipt: str
    seals: tuple[Seal, ...]


@frozen(kw_only=True)
class Question:
    """What one computation is about, in canonical form: equal questions have equal answers.

    Args:
        hooks: The proof type's hooks.
        hours: The range that was asked for, in whole hours; none where there is no range.
        parameters: The parameters beside it, in their JSON form.
        series: The hourly base fees.
    """

    hooks: ProofHooks
    hours: TimeRange | None
    parameters: dict[str, Json]
    series: HourlySeries

    @property
    def seed(self) -> bytes:
        """The seed of the computation."""
        return derive_seed(
            proof_type=self.hooks.proof_type.name,
            version=self.hooks.proof_type.version,
            chain_id=self.series.chain_id,
            first_hour=self.series.first_hour,
            last_hour=self.series.last_hour,
            series_hash=fees_hash(self.series.felts()),
            parameters=self.parameters,
        )

    def task(self, memory_bytes: int, claimed: dict[str, Json] | None = None) -> Task:
        """Return what a compute process is asked: for an answer, or whether one is right."""
        return Task(
            plugin=self.hooks.candidate.name,
            module=self.hooks.candidate.module,
            # Seconds within the outer hours have no part in the statement, so that no plugin may
            # see them.
            parameters=with_range(self.parameters, self.hours),
            inputs=Inputs(hourly_base_fee=self.series),
            seed=self.seed.hex(),
            memory_bytes=memory_bytes,
            claimed=claimed,
            package_digest=self.hooks.package_digest,
        )


class Proving:
    """Loads what a job needs, has it computed in a slot, and writes the receipt."""

    def __init__(self, settings: Settings, plugins: Plugins, headers: HeaderStore) -> None:
        self._settings = settings
        self._plugins = plugins
        self._headers = headers
        self._seals = seals_of(settings, plugins)

    async def prove(self, slot: Slot, job: StoredJob) -> Proof:
        """Compute a job's result; return it with its receipt, sealed by all that can.

        Raises:
            DataNotYet: The chain has not reached the end of the job's range.
            ProofError: The proof cannot be made, now or ever.
            ComputeError: The computation failed in a way that another attempt may not.
            PluginError: The proof type is not installed, or one of its hooks misbehaves.
            RequestError: The stored parameters do not fit the plugin's class.
        """
        hooks = self._plugins.for_type(job.proof_type)
        limits = self._settings.limits(hooks.proof_type.limits)
        parameters = structure(parse_json(job.parameters.encode()), hooks.proof_type.parameters)
        hours, beside = range_of(parameters), parameters_beside_range(parameters)
        form = with_range(beside, hours)
        needs = await inputs_of(slot, hooks, form, limits.memory_bytes)
        series, blocks = await self._headers.series_and_blocks(needs.hourly_base_fee)
        question = Question(hooks=hooks, hours=hours, parameters=beside, series=series)
        task = question.task(limits.memory_bytes)
        result = cast(dict[str, Json], await slot.run(task, seconds=limits.seconds))
        receipt = Receipt(
            statement=statement_of(question, result),
            provenance=_provenance(question, blocks),
        )
        content = dump_content(receipt)
        subject = Subject(receipt, digest_of(content.encode()), slot, task.inputs)
        seals = await self._seals.seal(subject)
        return Proof(dump_json(result), content, seals)


def statement_of(question: Question, result: dict[str, Json]) -> Statement:
    """Return what is claimed by answering a question with a result."""
    proof_type = question.hooks.proof_type
    return Statement(
        proof_type=proof_type.name,
        method_version=proof_type.version,
        plugin_digest=question.hooks.package_digest,
        chain_id=question.series.chain_id,
        simulated=question.series.simulated,
        range=question.hours,
        parameters=cast(dict[str, Any], question.parameters),
        series=series_facts(question.series),
        seed=question.seed.hex(),
        seed_derivation=SEED_DERIVATION,
        generator=proof_type.generator,
        result=cast(dict[str, Any], result),
    )


def series_facts(series: HourlySeries) -> SeriesFacts:
    """Return what a statement says of the hourly base fees."""
    felts = series.felts()
    return SeriesFacts(
        kind=series.kind,
        first_hour=series.first_hour,
        last_hour=series.last_hour,
        hours=len(series),
        fees_hash=hash_words(fees_hash(felts)),
        felts_sum=hex(sum(felts)),
    )


def _provenance(question: Question, blocks: BlockRange) -> Provenance:
    series = question.series
    return Provenance(
        first_block=blocks.first_block,
        last_block=blocks.last_block,
        blocks=sum(series.counts),
        first_block_hash=blocks.first_hash,
        last_block_hash=blocks.last_hash,
        verified=blocks.verified,
        source=blocks.source,
        software=question.hooks.software,
        machine=machine(),
        made_at=now(),
    )
