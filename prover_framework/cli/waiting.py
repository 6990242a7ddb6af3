"""Waiting for a group: live on a terminal, in lines where standard error is none."""

import asyncio
import sys
from asyncio import FIRST_COMPLETED
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

import click
from rich.live import Live

from prover_framework.cli.common import progress_console
from prover_framework.cli.exit_codes import FAILED, TIMED_OUT
from prover_framework.cli.tables import group_table
from prover_framework.errors import ProverError
from prover_framework.model.actions import Accepted
from prover_framework.model.jobs import FINAL, JobState
from prover_framework.model.views import GroupView, JobView, VerboseJobView
from prover_framework.operations import Reading

# Changes are told of. Who has heard of none for this long looks himself.
SILENCE_SECONDS = 15.0

# A worker that runs takes a job at once. Who waits for longer than this is told why.
PATIENCE_SECONDS = 10.0

# A longer wait than a year is none that somebody meant.
MAX_TIMEOUT_SECONDS = 31_536_000

timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(0, MAX_TIMEOUT_SECONDS),
    metavar="SECONDS",
    help="With --wait: give up after this time, with the exit status 3.",
)


class _Shown:
    """What is shown of a group while somebody waits for it."""

    def __init__(self, view: Live | None) -> None:
        self._view = view
        self._said: dict[str, str] = {}

    def show(self, group: GroupView) -> None:
        if self._view is not None:
            self._view.update(group_table(group), refresh=True)
            return
        for job in group.jobs:
            line = _line(job)
            if self._said.get(job.job_id) != line:
                self._said[job.job_id] = line
                click.echo(line, err=True)

    def say(self, line: str) -> None:
        if self._view is not None:
            self._view.console.print(line)
        else:
            click.echo(line, err=True)


@contextmanager
def _shown(group: GroupView) -> Iterator[_Shown]:
    if not sys.stderr.isatty():
        yield _Shown(None)
        return
    with Live(
        group_table(group), console=progress_console(), transient=True, auto_refresh=False
    ) as view:
        yield _Shown(view)


async def watch(
    reading: Reading,
    group_id: str,
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - it ends in an exit status
    patience_seconds: float = PATIENCE_SECONDS,
    silence_seconds: float = SILENCE_SECONDS,
) -> GroupView:
    """Wait until all jobs have ended, and show meanwhile what they do.

    Args:
        reading: The service.
        group_id: The group.
        timeout: After how many seconds to give up.
        patience_seconds: When to look for the reason why no worker has taken a job.
        silence_seconds: After how long without news to look again.

    Raises:
        Exit: It took longer; the exit status says so.
    """
    loop = asyncio.get_running_loop()
    group = await reading.status(group_id)
    begun, is_explained = loop.time(), False
    async with _news(reading, group_id) as news:
        with _shown(group) as shown:
            while group.status not in FINAL:
                shown.show(group)
                waited = loop.time() - begun
                if timeout is not None and waited >= timeout:
                    states = ", ".join(f"{job.job_id} {job.status}" for job in group.jobs)
                    shown.say(f"not ended after {timeout:g} s: {states}")
                    raise click.exceptions.Exit(TIMED_OUT)
                if not is_explained and waited >= patience_seconds and _is_untouched(group):
                    is_explained = True
                    if why := await _explain(reading, group_id):
                        shown.say(why)
                ends = [silence_seconds]
                if timeout is not None:
                    ends.append(timeout - waited)
                if waited < patience_seconds:
                    ends.append(patience_seconds - waited)
                await news(min(ends))
                group = await reading.status(group_id)
            shown.show(group)
    return group


def require_success(group: GroupView) -> None:
    """End with the exit status of a failure unless all jobs of a group succeeded."""
    if group.status is not JobState.SUCCEEDED:
        raise click.exceptions.Exit(FAILED)


async def followed(
    reading: Reading,
    accepted: Accepted,
    *,
    wait: bool,
    timeout: float | None,  # noqa: ASYNC109 - it ends in an exit status
) -> GroupView:
    """Tell what was not sent; return the group, if so asked when all of its jobs have ended."""
    for reason in accepted.unsent:
        click.echo(f"stored, and not sent yet: {reason}", err=True)
    if wait:
        return await watch(reading, accepted.group_id, timeout=timeout)
    return await reading.status(accepted.group_id)


@asynccontextmanager
async def _news(
    reading: Reading, group_id: str
) -> AsyncIterator[Callable[[float], Coroutine[Any, Any, None]]]:
    """Listen to what happens to a group; what is yielded waits for the next, or for some seconds.

    What happens between two of these waits is one change, and none is missed.
    """
    changed = asyncio.Event()

    async def listen() -> None:
        async with aclosing(reading.changes(group_id)) as changes:
            async for _ in changes:
                changed.set()

    async def wait(seconds: float) -> None:
        waiting = asyncio.create_task(changed.wait())
        await asyncio.wait({waiting, listening}, timeout=seconds, return_when=FIRST_COMPLETED)
        waiting.cancel()
        changed.clear()
        if listening.done():
            listening.result()
            await asyncio.sleep(seconds)

    listening = asyncio.create_task(listen())
    try:
        yield wait
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


def _is_untouched(group: GroupView) -> bool:
    """Tell whether no job has begun, nor says itself what it waits for."""
    return not any(
        job.attempts or job.error or job.status is JobState.WAITING for job in group.jobs
    )


async def _explain(reading: Reading, group_id: str) -> str | None:
    """Say why no worker has taken a job of a group yet, from what the service knows of workers."""
    try:
        group = await reading.status(group_id, verbose=True)
        known = await reading.workers()
    except ProverError:
        return None
    for job in group.jobs:
        if not isinstance(job, VerboseJobView) or job.status in FINAL:
            continue
        for pause in known.paused:
            if pause.queue == job.queue:
                reason = f" ({pause.reason})" if pause.reason else ""
                return f"the queue {job.queue} is paused since {pause.paused_at}{reason}"
        serving = known.serving(job.queue)
        if not serving:
            return (
                f'no worker has taken a job yet, and none serves the queue {job.queue}: is "prover '
                'up" running?'
            )
        busy = sum(one.in_flight for one in serving)
        return f"{len(serving)} workers serve the queue {job.queue}, with {busy} jobs in flight"
    return None


def _line(job: JobView) -> str:
    """Describe a job in one line, for a log."""
    progress = ""
    if job.progress is not None:
        progress = f" {int(job.progress.fraction * 100)} % {job.progress.text}".rstrip()
    error = f": {job.error['message']}" if job.error else ""
    again = f" (again at {job.not_before})" if job.not_before and job.status not in FINAL else ""
    return f"{job.job_id} {job.status}{progress}{error}{again}"
