"""Exit statuses of the command line; ``docs/reference/commands.md`` lists them."""

from prover_framework.errors import (
    ProverError,
    QueueError,
    SchemaMismatch,
    ServiceUnreachable,
    StoreError,
)

FAILED = 1
"""An error that can be explained, a job that was waited for failed, or a check did not pass."""
WRONG_USE = 2
"""The command line is wrong; click's own."""
TIMED_OUT = 3
"""What was waited for took longer than --timeout."""
UNAVAILABLE = 4
"""The database, the queue or the service cannot be used now."""
INTERRUPTED = 130
"""Ctrl-C: 128 and the number of the signal, as shells have it."""


def exit_code(error: ProverError) -> int:
    """Return the exit status for an error."""
    if isinstance(error, SchemaMismatch):
        return FAILED
    if isinstance(error, StoreError | QueueError | ServiceUnreachable):
        return UNAVAILABLE
    return FAILED
