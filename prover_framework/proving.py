"""From a stored job to its result, and from a stored result to a verdict.

The worker and whoever checks results prepare a computation in the same way: parameters, inputs,
seed. What differs is what the compute process is asked.
"""

from typing import Any, cast

import attrs
from attrs import frozen

from prover_framework.commitments import derive_seed, fees_hash
from prover_framework.compute.frames import Task
from prover_framework.compute.slot import Slot
from prover_framework.errors import RequestError
from prover_framework.jsontext import Json, parse_json
from prover_framework.model import HourlySeries, Inputs, Limits, Verdict
from prover_framework.plugins import Plugins, ProofHooks
from prover_framework.settings import Settings
from prover_framework.store.headers import HeaderStore
from prover_framework.store.jobs import StoredJob
from prover_framework.wire import structure, unstructure

EVIDENCE = "evidence"


@frozen(kw_only=True)
class Evidence:
    """What a result was made from, so that others can check it; stored with the result.

    Args:
        version: Version of the proof type's method.
        chain_id: Id of the chain.
        simulated: Whether the chain is a simulation; such a number settles nothing.
        series_kind: ``blocks``, or ``hourly`` for a fee file with one row for each hour.
        first_hour: Unix timestamp at which the first hour used begins.
        last_hour: Unix timestamp at which the last hour used begins.
        hours: How many hours were used.
        first_block: Number of the first block used.
        last_block: Number of the last block used.
        blocks: How many blocks were used.
        fees_hash: The on-chain store's hash of the hourly fees, eight big-endian u32.
        seed: The derived seed, in hex.
    """

    version: str
    chain_id: int
    simulated: bool
    series_kind: str
    first_hour: int
    last_hour: int
    hours: int
    first_block: int
    last_block: int
    blocks: int
    fees_hash: tuple[int, ...]
    seed: str


class Proving:
    """Loads what a job needs and has it computed, or a result of it checked, in a slot."""

    def __init__(self, settings: Settings, plugins: Plugins, headers: HeaderStore) -> None:
        self._settings = settings
        self._plugins = plugins
        self._headers = headers

    async def prove(self, slot: Slot, job: StoredJob) -> Json:
        """Compute a job's result; return its JSON form, with the evidence.

        Raises:
            DataNotYet: The chain has not reached the end of the job's range.
            ProofError: The proof cannot be made, now or ever.
            ComputeError: The computation failed in a way that another attempt may not.
            PluginError: The proof type is not installed, or one of its hooks misbehaves.
            RequestError: The stored parameters do not fit the plugin's class.
        """
        task, evidence, seconds = await self._prepare(job)
        result = await slot.run(task, seconds=seconds)
        return cast(Json, {**result, EVIDENCE: unstructure(evidence)})

    async def check(self, slot: Slot, job: StoredJob) -> Verdict:
        """Check a job's stored result against this database's headers and a new computation.

        Raises:
            DataNotYet: The chain that is here has not reached the end of the job's range.
            ProofError: The headers that are here do not allow the proof.
            ComputeError: The check failed to run to its end.
            PluginError: The proof type is not installed, or one of its hooks misbehaves.
            RequestError: The stored parameters do not fit the plugin's class.
        """
        if job.result is None:
            return Verdict(accepted=False, reason=f"there is no result: the job is {job.state}")
        stored = parse_json(job.result.encode())
        if not isinstance(stored, dict):
            return Verdict(accepted=False, reason="the stored result is not an object")
        task, evidence, seconds = await self._prepare(job)
        if different := _differences(stored.pop(EVIDENCE, None), evidence):
            return Verdict(accepted=False, reason=different)
        verdict = await slot.run(attrs.evolve(task, claimed=stored), seconds=seconds)
        return structure(cast(Json, verdict), Verdict)

    async def _prepare(self, job: StoredJob) -> tuple[Task, Evidence, float]:
        hooks = self._plugins.for_type(job.proof_type)
        proof_type = hooks.proof_type
        form = cast(dict[str, Any], parse_json(job.parameters.encode()))
        parameters = structure(form, proof_type.parameters)
        series = await self._headers.hourly_series(hooks.inputs(parameters).hourly_base_fee)
        series_hash = fees_hash(series.felts())
        seed = derive_seed(proof_type.name, proof_type.version, parameters, series, series_hash)
        limits = self._limits(hooks)
        task = Task(
            module=hooks.candidate.module,
            parameters=form,
            inputs=Inputs(hourly_base_fee=series),
            seed=seed.hex(),
            memory_bytes=limits.memory_bytes,
        )
        return task, _evidence(proof_type.version, series, series_hash, seed), limits.seconds

    def _limits(self, hooks: ProofHooks) -> Limits:
        own = hooks.proof_type.limits
        memory = self._settings.compute_memory_mb
        return Limits(
            seconds=self._settings.compute_seconds or own.seconds,
            memory_bytes=own.memory_bytes if memory is None else memory * 2**20,
        )


def _evidence(version: str, series: HourlySeries, series_hash: bytes, seed: bytes) -> Evidence:
    return Evidence(
        version=version,
        chain_id=series.chain_id,
        simulated=series.simulated,
        series_kind=series.kind.value,
        first_hour=series.first_hour,
        last_hour=series.last_hour,
        hours=len(series),
        first_block=series.first_block,
        last_block=series.last_block,
        blocks=sum(series.counts),
        fees_hash=tuple(int.from_bytes(series_hash[i : i + 4]) for i in range(0, 32, 4)),
        seed=seed.hex(),
    )


def _differences(stored: Json, ours: Evidence) -> str | None:
    try:
        theirs = structure(stored, Evidence, EVIDENCE)
    except RequestError as error:
        return f"the stored evidence can not be read: {error}"
    for field in attrs.fields(Evidence):
        claimed, here = getattr(theirs, field.name), getattr(ours, field.name)
        if claimed != here:
            return f"its {EVIDENCE} says {field.name} {claimed}, and here it is {here}"
    return None
