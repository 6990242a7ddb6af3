"""Webhook: posts ends of groups and final states of jobs to a URL. It has no proof type."""

import os

from prover_framework import GroupEnd, JobChange, JobState, hookimpl
from prover_webhook.delivery import deliver, post, read_settings
from prover_webhook.message import message_for, message_of_end

# The version of the hooks that this is written for.
PROVER_API = 1

FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


@hookimpl
def group_ended(group: GroupEnd) -> None:
    """Post the end of a group with its receipt.

    The service calls this until it returns, for days, from whichever worker is there, so that one
    try is enough here.

    Raises:
        NotPosted: The receiver did not take it; the service calls again.
        ValueError: The settings are missing or wrong; the service logs it and calls again.
    """
    post(message_of_end(group), read_settings(os.environ))


@hookimpl
def job_changed(change: JobChange) -> None:
    """Post a final state.

    The service calls this once, from a thread that it keeps for this plugin, with a queue of
    bounded length before it, so that waiting here delays no job.

    Raises:
        ValueError: The settings are missing or wrong; the service logs it.
    """
    if change.new_state in FINAL:
        deliver(message_for(change), read_settings(os.environ))
