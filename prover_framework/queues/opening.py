"""Open the dead letters that the settings name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prover_framework.errors import SettingsError
from prover_framework.queues.base import DeadLetters
from prover_framework.settings import Settings


@asynccontextmanager
async def open_dead_letters(settings: Settings) -> AsyncIterator[DeadLetters]:
    """Open the dead letters of the queues.

    Raises:
        SettingsError: There are no messages, since the table of jobs is the queue.
    """
    if not settings.queue_urls:
        raise SettingsError(
            "no dead letters: the queue is the table of jobs, which has no messages; "
            '"prover list --state failed" lists jobs that failed, "prover redrive" runs them again'
        )
    # Imported where it is used: AWS's library takes long.
    from prover_framework.queues.sqs import dead_letters as sqs_dead

    async with sqs_dead.open_dead_letters(settings.queue_urls) as letters:
        yield letters
