"""Hook calls: each hook that runs in a sandbox process is a function here, with types.

Hooks about parameters answer at once, or should. They are a plugin's code all the same, so they
are called where computations run: in a process that can be ended. What a plugin does not implement
has its default without any process.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeVar

import attrs

from prover_framework.errors import (
    ComputeError,
    PluginError,
    Problem,
    RequestError,
    ResultInvalid,
)
from prover_framework.model.attachments import AttachmentPlace
from prover_framework.model.charts import Chart
from prover_framework.model.inputs import Need
from prover_framework.model.limits import Limits
from prover_framework.model.proofs import USUAL_DISPATCH, Dispatch, JobRequest
from prover_framework.model.receipts import AnyReceipt, Artefact, GroupReceipts
from prover_framework.model.verdict import Verdict
from prover_framework.plugins.calls import (
    Composer,
    DataFacts,
    Judgement,
    KindHooks,
    ProofHooks,
    Sealer,
)
from prover_framework.plugins.registry import Plugins
from prover_framework.sandbox.hooks import (
    CHARTS,
    CHECK_SEAL,
    COMPOSE,
    COMPUTE,
    DATA_NEEDS,
    DISPATCH,
    JUDGE,
    LOAD,
    MAKE_SEAL,
    STATE,
    VALIDATE,
    VERIFY,
    GivenData,
    Hook,
    LoadedForm,
)
from prover_framework.sandbox.protocol import HookCall
from prover_framework.sandbox.slot import Slot
from prover_framework.serialization.converter import structure, unstructure_object
from prover_framework.serialization.json_text import Json, dump_json

A = TypeVar("A")

# The argument of ``compute`` by which a plugin asks for `prover_framework.model.work.Work`.
WORK = "work"

# The argument of ``make_seal`` by which a plugin asks for the data of the result.
INPUTS_ARGUMENT = "inputs"

# Long enough to start an interpreter and import a plugin on a busy machine. Whoever waits for the
# answer to a request waits no longer than this for a plugin that does not come to an end, nor
# longer than the plugin says that it takes to compute.
ASK_SECONDS = 10.0

# Somebody waits for a chart before a page.
CHART_SECONDS = 20.0


class Runner(Protocol):
    """Has hooks called: a `Slot`, or what shares one."""

    async def run(self, call: HookCall, *, seconds: float) -> dict[str, Any]:
        """Call a hook; return the JSON form of its answer. See `Slot.run`."""
        ...


async def validate(
    runner: Runner, hooks: ProofHooks, parameters: dict[str, Json], memory_bytes: int
) -> list[Problem]:
    """Return what is wrong with parameters; see `hookspecs.validate`.

    Args:
        runner: Where the hook is called.
        hooks: Those of the proof type.
        parameters: JSON form of the parameters.
        memory_bytes: Limit of the process's memory.

    Raises:
        ComputeError: The hook failed, or took too long.
    """
    if not hooks.implements(VALIDATE.name):
        return []
    limits = _to_answer(hooks, memory_bytes)
    return list((await _answer(runner, VALIDATE, hooks, limits, parameters=parameters)).problems)


async def inputs(
    runner: Runner, hooks: ProofHooks, parameters: dict[str, Json], memory_bytes: int
) -> dict[str, Need]:
    """Return what data a computation needs; see `hookspecs.inputs`.

    Args:
        runner: Where the hook is called; at the best the slot that computes afterwards.
        hooks: Those of the proof type.
        parameters: JSON form of the parameters.
        memory_bytes: Limit of the process's memory.

    Raises:
        ProofError: The plugin refuses the job.
        ComputeError: The hook failed, or took too long.
        PluginError: There is no such hook, and no default for these parameters.
    """
    if not hooks.implements(DATA_NEEDS.name):
        return hooks.inputs(structure(parameters, hooks.proof_type.parameters))
    limits = _to_answer(hooks, memory_bytes)
    return (await _answer(runner, DATA_NEEDS, hooks, limits, parameters=parameters)).needs


async def dispatch(
    runner: Runner, hooks: ProofHooks, parameters: dict[str, Json], memory_bytes: int
) -> Dispatch:
    """Return where a job's message goes; see `hookspecs.dispatch`.

    Args:
        runner: Where the hook is called.
        hooks: Those of the proof type.
        parameters: JSON form of the job's parameters.
        memory_bytes: Limit of the process's memory.

    Raises:
        ProofError: The plugin refuses the job.
        ComputeError: The hook failed, or took too long.
    """
    if not hooks.implements(DISPATCH.name):
        return USUAL_DISPATCH
    limits = _to_answer(hooks, memory_bytes)
    return await _answer(runner, DISPATCH, hooks, limits, job=parameters)


def _to_answer(hooks: ProofHooks, memory_bytes: int) -> Limits:
    return Limits(min(ASK_SECONDS, hooks.proof_type.limits.seconds), memory_bytes)


async def compute(
    runner: Runner,
    hooks: ProofHooks,
    limits: Limits,
    *,
    parameters: dict[str, Json],
    inputs: Mapping[str, GivenData],
    seed: bytes,
    settings: dict[str, Json] | None = None,
    directory: Path | None = None,
    place: AttachmentPlace | None = None,
) -> dict[str, Json]:
    """Compute a result; return its JSON form. See `hookspecs.compute`.

    Args:
        runner: Where the hook is called.
        hooks: Those of the proof type.
        limits: What the computation may use.
        parameters: JSON form of the parameters.
        inputs: The data.
        seed: The derived seed.
        settings: JSON form of the proof type's own settings; None for their defaults.
        directory: Where attempts at the job keep checkpoints, if anywhere. What is kept there is
            kept for the same arguments and files of the plugin only.
        place: Where attachments are put, for `prover_framework.sandbox.attachments.take_in`; None
            where none may be made.

    Raises:
        ProofError: The plugin refuses the job.
        ComputeError: The computation failed or overran its limits.
    """
    call = hook_call(
        COMPUTE,
        hooks,
        limits.memory_bytes,
        parameters=parameters,
        inputs=inputs,
        seed=seed,
        settings=settings,
    )
    if is_long(hooks):
        kept = None if directory is None else str(directory / _kept_for(call))
        call = attrs.evolve(call, works=True, directory=kept, place=place)
    return await _answer_to(runner, COMPUTE, call, limits)


def is_long(hooks: ProofHooks) -> bool:
    """Tell whether a plugin's computation asks for `Work`: others have no use for a directory."""
    return hooks.asks_for(WORK, COMPUTE.name)


def attaches(hooks: ProofHooks, limits: Limits) -> bool:
    """Tell whether a plugin's computation may attach files to its result."""
    return limits.attachments > 0 and is_long(hooks)


async def verify(
    runner: Runner,
    hooks: ProofHooks,
    limits: Limits,
    *,
    parameters: dict[str, Json],
    inputs: Mapping[str, GivenData],
    seed: bytes,
    claimed: dict[str, Json],
    settings: dict[str, Json] | None = None,
    place: AttachmentPlace | None = None,
) -> Verdict:
    """Judge a claimed result; see `hookspecs.verify`.

    Args:
        runner: Where the hook is called.
        hooks: Those of the proof type.
        limits: What the check may use.
        parameters: JSON form of the parameters.
        inputs: The data.
        seed: The derived seed.
        claimed: JSON form of the result; one that cannot be read is not accepted.
        settings: JSON form of the proof type's own settings; None for their defaults.
        place: Where attachments are put that are computed again, and the claimed ones found.

    Raises:
        ProofError: The plugin refuses.
        AttachmentMissing: The plugin wants to read a claimed attachment that is not there.
        ComputeError: The check failed or overran its limits.
    """
    call = hook_call(
        VERIFY,
        hooks,
        limits.memory_bytes,
        parameters=parameters,
        inputs=inputs,
        seed=seed,
        claimed=claimed,
        settings=settings,
    )
    works = hooks.asks_for(WORK, COMPUTE.name, VERIFY.name)
    call = attrs.evolve(call, works=works, place=place)
    return await _answer_to(runner, VERIFY, call, limits)


async def charts(
    runner: Runner,
    hooks: ProofHooks,
    memory_bytes: int,
    *,
    parameters: dict[str, Json],
    inputs: Mapping[str, GivenData],
    seed: bytes,
    result: dict[str, Json],
    settings: dict[str, Json] | None = None,
) -> tuple[Chart, ...]:
    """Return the charts that illustrate a result, if any; see `hookspecs.charts`.

    Args:
        runner: Where the hook is called.
        hooks: Those of the proof type.
        memory_bytes: Limit of the process's memory.
        parameters: JSON form of the parameters.
        inputs: The data that the result was computed from.
        seed: The derived seed.
        result: JSON form of the result.
        settings: JSON form of the proof type's own settings; None for their defaults.

    Raises:
        ProofError: The plugin refuses.
        ComputeError: The hook failed or overran its limits.
    """
    if not hooks.implements(CHARTS.name):
        return ()
    answer = await _answer(
        runner,
        CHARTS,
        hooks,
        Limits(CHART_SECONDS, memory_bytes),
        parameters=parameters,
        inputs=inputs,
        seed=seed,
        result=result,
        settings=settings,
    )
    return answer.charts


async def compose(
    runner: Runner, composer: Composer, limits: Limits, group: GroupReceipts
) -> tuple[Artefact, ...]:
    """Return what a plugin makes of a group; see `hookspecs.compose`.

    Raises:
        ProofError: The plugin refuses.
        ComputeError: The hook failed or overran its limits.
    """
    return (await _answer(runner, COMPOSE, composer, limits, group=group)).artefacts


async def make_seal(
    runner: Runner,
    sealer: Sealer,
    limits: Limits,
    *,
    receipt: AnyReceipt,
    digest: bytes,
    inputs: Mapping[str, GivenData] | None,
    cache: Path | None = None,
) -> dict[str, Any] | None:
    """Return a seal's document, None where the kind does not apply; see `hookspecs.make_seal`.

    Args:
        runner: Where the hook is called.
        sealer: The plugin.
        limits: What it may use.
        receipt: The receipt.
        digest: The digest of the receipt, 32 bytes.
        inputs: What the result was computed from; None for a group's receipt.
        cache: The plugin's own directory on this machine, if it has one.

    Raises:
        ProofError: The plugin refuses.
        ComputeError: The hook failed or overran its limits.
    """
    call = hook_call(
        MAKE_SEAL,
        sealer,
        limits.memory_bytes,
        receipt=receipt,
        digest=digest,
        inputs=inputs,
    )
    call = _with_cache(call, sealer, cache)
    return (await _answer_to(runner, MAKE_SEAL, call, limits)).seal


def _with_cache(call: HookCall, sealer: Sealer, cache: Path | None) -> HookCall:
    """Give a call what it asks for by `Work`: others are ended at once, and have no directories."""
    works = sealer.asks_for(WORK, call.hook)
    return attrs.evolve(call, works=works, cache=None if cache is None else str(cache))


async def check_seal(
    runner: Runner,
    sealer: Sealer,
    limits: Limits,
    *,
    receipt: AnyReceipt,
    digest: bytes,
    seal: dict[str, Any],
    inputs: Mapping[str, GivenData] | None,
    cache: Path | None = None,
) -> Verdict:
    """Judge a seal; see `hookspecs.check_seal`.

    Args:
        runner: Where the hook is called.
        sealer: The plugin.
        limits: What it may use.
        receipt: The receipt.
        digest: The digest of the receipt, 32 bytes.
        seal: The seal's document.
        inputs: The verifier's own data of the result; None where he has none.
        cache: The plugin's own directory on this machine, if it has one.

    Raises:
        ProofError: The plugin refuses.
        ComputeError: The hook failed or overran its limits.
    """
    call = hook_call(
        CHECK_SEAL,
        sealer,
        limits.memory_bytes,
        receipt=receipt,
        digest=digest,
        seal=seal,
        inputs=inputs,
    )
    return await _answer_to(runner, CHECK_SEAL, _with_cache(call, sealer, cache), limits)


async def load(runner: Runner, kind: KindHooks, need: dict[str, Any], settings: Json) -> LoadedForm:
    """Load data; see `InputKind.load`.

    Args:
        runner: Where it is loaded: a process of its own, since it has the network.
        kind: The kind of data.
        need: JSON form of what is asked for.
        settings: JSON form of the kind's settings; None where it has none.

    Raises:
        ProofError: It will never be there.
        DataNotYet: It is not there yet.
        ComputeError: Loading failed or overran its limits.
    """
    return await _answer(runner, LOAD, kind, kind.kind.limits, need=need, settings=settings)


async def state(runner: Runner, kind: KindHooks, data: Json) -> DataFacts:
    """Return what a statement says of data.

    Args:
        runner: Where that is worked out.
        kind: The kind of data.
        data: JSON form of the data.

    Raises:
        ProofError: The kind refuses the data.
        ComputeError: It failed or overran its limits.
    """
    return await _answer(runner, STATE, kind, kind.kind.limits, data=data)


async def judge(
    runner: Runner,
    kind: KindHooks,
    *,
    facts: Json,
    query: Json,
    own: Json,
    evidence: Json,
    settings: Json,
) -> Judgement:
    """Judge what somebody has stated of data; see `KindHooks.judge`.

    Args:
        runner: Where that is worked out.
        kind: The kind of data.
        facts: JSON form of the stated facts.
        query: JSON form of what was asked for; None where that is not known.
        own: JSON form of the verifier's own data; None where he has none.
        evidence: JSON form of the evidence; None where none came.
        settings: JSON form of the verifier's settings of the kind; None where it has none.

    Raises:
        ProofError: The kind refuses.
        ComputeError: It failed or overran its limits.
    """
    return await _answer(
        runner,
        JUDGE,
        kind,
        kind.kind.limits,
        facts=facts,
        query=query,
        own=own,
        evidence=evidence,
        settings=settings,
    )


def hook_call(
    hook: Hook[Any],
    plugin: ProofHooks | Sealer | Composer | KindHooks,
    memory_bytes: int,
    **arguments: object,
) -> HookCall:
    """Return the call of a hook, as it is sent.

    Args:
        hook: Which hook.
        plugin: The plugin.
        memory_bytes: Limit of the process's memory.
        arguments: The hook's arguments, as the functions above take them.

    Raises:
        PluginError: The files of the plugin cannot be read.
    """
    return HookCall(
        plugin=plugin.candidate.name,
        module=plugin.candidate.module,
        package_digest=plugin.package_digest,
        memory_bytes=memory_bytes,
        hook=hook.name,
        arguments=hook.write(arguments),
    )


async def _answer(
    runner: Runner,
    hook: Hook[A],
    plugin: ProofHooks | Sealer | Composer | KindHooks,
    limits: Limits,
    **arguments: object,
) -> A:
    call = hook_call(hook, plugin, limits.memory_bytes, **arguments)
    return await _answer_to(runner, hook, call, limits)


async def _answer_to(runner: Runner, hook: Hook[A], call: HookCall, limits: Limits) -> A:
    reply = await runner.run(call, seconds=limits.seconds)
    try:
        return hook.answer(reply)
    except RequestError as error:
        # A plugin's code can write to the connection, too.
        raise ResultInvalid(call.sentence(f"spoiled its process's reply: {error}")) from None


def _kept_for(call: HookCall) -> str:
    """Return a name for all that a result depends on: the plugin's files, and the arguments."""
    arguments = dump_json(call.arguments)
    return sha256(f"{call.package_digest} {arguments}".encode()).hexdigest()


class HookCalls:
    """Calls hooks about requests, those of each plugin in a process of its own."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins
        self._call_queues: dict[str, _CallQueue] = {}

    async def close(self) -> None:
        """End the processes."""
        for queue in self._call_queues.values():
            await queue.close()
        self._call_queues.clear()

    async def validate(self, job: JobRequest) -> list[Problem]:
        """Return what is wrong with a job's parameters; see `hookspecs.validate`.

        Raises:
            PluginError: The hook misbehaved, and how.
        """
        hooks = self._plugins.for_type(job.proof_type)
        if not hooks.implements(VALIDATE.name):
            return []
        memory_bytes = hooks.proof_type.limits.memory_bytes
        with _as_plugin_errors():
            form = unstructure_object(job.parameters)
            return await validate(self._call_queue(hooks), hooks, form, memory_bytes)

    async def dispatch(self, job: JobRequest) -> Dispatch:
        """Return where a job's message goes; see `hookspecs.dispatch`.

        Raises:
            ProofError: The plugin refuses the job.
            PluginError: The hook misbehaved, and how.
        """
        hooks = self._plugins.for_type(job.proof_type)
        if not hooks.implements(DISPATCH.name):
            return USUAL_DISPATCH
        memory_bytes = hooks.proof_type.limits.memory_bytes
        with _as_plugin_errors():
            form = unstructure_object(job.parameters)
            return await dispatch(self._call_queue(hooks), hooks, form, memory_bytes)

    def _call_queue(self, hooks: ProofHooks) -> "_CallQueue":
        module = hooks.candidate.module
        if (queue := self._call_queues.get(module)) is None:
            queue = self._call_queues[module] = _CallQueue(Slot(trace=self._plugins.trace))
        return queue


@contextmanager
def _as_plugin_errors() -> Iterator[None]:
    """Make a computation's failure the plugin's: whoever sends a request has no computation."""
    try:
        yield
    except ComputeError as error:
        raise PluginError(str(error)) from None


class _CallQueue:
    """The process of one plugin, which makes one call after the other."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._turn = asyncio.Lock()
        self._calls: set[asyncio.Task[dict[str, Any]]] = set()

    async def run(self, call: HookCall, *, seconds: float) -> dict[str, Any]:
        running = asyncio.create_task(self._run(call, seconds))
        self._calls.add(running)
        running.add_done_callback(self._calls.discard)
        # Who gives up waiting does not end the process that others wait for.
        return await asyncio.shield(running)

    async def close(self) -> None:
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self._slot.kill()

    async def _run(self, call: HookCall, seconds: float) -> dict[str, Any]:
        try:
            # The wait for a turn counts: otherwise each would wait for all that hang before it.
            async with asyncio.timeout(seconds), self._turn:
                return await self._slot.run(call, seconds=seconds)
        except TimeoutError:
            raise PluginError(
                call.sentence(f"did not answer within the limit of {seconds:g} s")
            ) from None
