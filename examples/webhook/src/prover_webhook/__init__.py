"""Webhook: posts each final state of a job to a URL. An observer, without a proof type."""

import os

from prover_framework import JobChange, JobState, hookimpl
from prover_webhook.delivery import deliver, read_settings
from prover_webhook.message import message_for

# The version of the hooks that this is written for.
PROVER_API = 1

FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


@hookimpl
def job_changed(change: JobChange) -> None:
    """Post a final state.

    The service calls this from a thread that it keeps for this plugin, with a queue of bounded
    length before it, so that waiting here delays no job.

    Raises:
        ValueError: The settings are missing or wrong; the service logs it.
    """
    if change.new_state in FINAL:
        deliver(message_for(change), read_settings(os.environ))
