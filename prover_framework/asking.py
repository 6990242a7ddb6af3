"""Ask plugins about parameters: whether they are sound, what data they need, where a job goes.

These hooks answer at once, or should. They are a plugin's code all the same, so they are called
where computations run: in a process that can be ended. What a plugin does not implement has its
default without any process.
"""

import asyncio
from typing import Any, cast

from prover_framework.compute.frames import Asked, AskTask, Problems
from prover_framework.compute.slot import Slot
from prover_framework.errors import ComputeError, PluginError, Problem
from prover_framework.jsontext import Json
from prover_framework.model import DataNeeds, Dispatch, JobRequest
from prover_framework.plugins import Plugins, ProofHooks
from prover_framework.wire import structure, unstructure

# Long enough to start an interpreter and import a plugin on a busy machine. Whoever waits for the
# answer to a request waits no longer than this for a plugin that does not come to an end.
ASK_SECONDS = 10.0


async def problems_of(
    slot: Slot, hooks: ProofHooks, parameters: dict[str, Json], memory_bytes: int
) -> list[Problem]:
    """Ask what is wrong with parameters; see `hookspecs.validate`.

    Args:
        slot: Where the hook is called.
        hooks: Those of the proof type.
        parameters: JSON form of the parameters.
        memory_bytes: Limit of the process's address space.

    Raises:
        ComputeError: The hook failed, or took too long.
    """
    if not hooks.implements(Asked.VALIDATE):
        return []
    task = _task(hooks, Asked.VALIDATE, parameters, memory_bytes)
    return list(structure(await _answer(slot, task), Problems).problems)


async def inputs_of(
    slot: Slot, hooks: ProofHooks, parameters: dict[str, Json], memory_bytes: int
) -> DataNeeds:
    """Ask what data a computation needs; see `hookspecs.inputs`.

    Args:
        slot: Where the hook is called; at the best the one that computes afterwards.
        hooks: Those of the proof type.
        parameters: JSON form of the parameters.
        memory_bytes: Limit of the process's address space.

    Raises:
        ProofError: The plugin refuses the job.
        ComputeError: The hook failed, or took too long.
        PluginError: There is no such hook, and no default for these parameters.
    """
    if not hooks.implements(Asked.INPUTS):
        return hooks.inputs(structure(parameters, hooks.proof_type.parameters))
    task = _task(hooks, Asked.INPUTS, parameters, memory_bytes)
    return structure(await _answer(slot, task), DataNeeds)


class Asking:
    """Asks plugins about requests, each of them in a process of its own."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins
        self._desks: dict[str, _Desk] = {}

    async def close(self) -> None:
        """End the processes."""
        for desk in self._desks.values():
            await desk.close()
        self._desks.clear()

    async def validate(self, job: JobRequest) -> list[Problem]:
        """Return what is wrong with a job's parameters; see `hookspecs.validate`.

        Raises:
            PluginError: The hook misbehaved, and how.
        """
        hooks = self._plugins.for_type(job.proof_type)
        if not hooks.implements(Asked.VALIDATE):
            return []
        return list(structure(await self._ask(hooks, Asked.VALIDATE, job), Problems).problems)

    async def dispatch(self, job: JobRequest) -> Dispatch:
        """Return where a job's message goes; see `hookspecs.dispatch`.

        Raises:
            ProofError: The plugin refuses the job.
            PluginError: The hook misbehaved, and how.
        """
        hooks = self._plugins.for_type(job.proof_type)
        if not hooks.implements(Asked.DISPATCH):
            return Dispatch()
        return structure(await self._ask(hooks, Asked.DISPATCH, job), Dispatch)

    async def _ask(self, hooks: ProofHooks, asked: Asked, job: JobRequest) -> Json:
        form = cast(dict[str, Json], unstructure(job.parameters))
        task = _task(hooks, asked, form, hooks.proof_type.limits.memory_bytes)
        if (desk := self._desks.get(task.module)) is None:
            desk = self._desks[task.module] = _Desk(Slot(trace=self._plugins.trace))
        return await desk.ask(task)


class _Desk:
    """The process of one plugin, which is asked one thing after the other."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._turn = asyncio.Lock()
        self._calls: set[asyncio.Task[Json]] = set()

    async def ask(self, task: AskTask) -> Json:
        call = asyncio.create_task(self._ask(task))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        # Who gives up waiting does not end the process that others wait for.
        return await asyncio.shield(call)

    async def close(self) -> None:
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self._slot.kill()

    async def _ask(self, task: AskTask) -> Json:
        try:
            # The wait for a turn counts: otherwise each would wait for all that hang before it.
            async with asyncio.timeout(ASK_SECONDS), self._turn:
                return await _answer(self._slot, task)
        except TimeoutError:
            raise PluginError(
                f"plugin {task.plugin}: its hook {task.hook} did not answer within the limit of "
                f"{ASK_SECONDS:g} s"
            ) from None
        except ComputeError as error:
            raise PluginError(str(error)) from None


async def _answer(slot: Slot, task: AskTask) -> Json:
    return cast(Json, await slot.run(task, seconds=ASK_SECONDS))


def _task(
    hooks: ProofHooks, asked: Asked, parameters: dict[str, Json], memory_bytes: int
) -> AskTask:
    return AskTask(
        plugin=hooks.candidate.name,
        module=hooks.candidate.module,
        question=asked,
        parameters=cast(dict[str, Any], parameters),
        memory_bytes=memory_bytes,
        package_digest=hooks.package_digest,
    )
