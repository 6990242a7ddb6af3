"""What lines of the log are about: fields that go with a request, or a job, through all code below.

They are kept in a context variable, so that a task has those of the task that has started it, and
nothing has to be handed down for them.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import attrs
from attrs import frozen

# What is taken for an id of a request from a client or a message: nothing that disturbs a log.
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@frozen(kw_only=True)
class LogContext:
    """What a line is about; None where it is about no such thing.

    Args:
        request_id: Id of the request that it began with.
        group: Id of the job group.
        job: Name of the job in its group.
        plugin: Name of the plugin.
        worker: Name of the worker.
    """

    request_id: str | None = None
    group: str | None = None
    job: str | None = None
    plugin: str | None = None
    worker: str | None = None


NOTHING = LogContext()

_current: ContextVar[LogContext] = ContextVar("prover_log_context", default=NOTHING)


def log_context() -> LogContext:
    """Return what lines are about that are written here."""
    return _current.get()


def log_about(context: LogContext) -> None:
    """Say what lines are about from here on, in this task and in those that it starts."""
    _current.set(context)


@contextmanager
def logging_about(
    *,
    request_id: str | None = None,
    group: str | None = None,
    job: str | None = None,
    plugin: str | None = None,
    worker: str | None = None,
) -> Iterator[None]:
    """Say what lines are about in a block, beside what they are about already."""
    context = _current.get()
    changed = attrs.evolve(
        context,
        request_id=request_id or context.request_id,
        group=group or context.group,
        job=job or context.job,
        plugin=plugin or context.plugin,
        worker=worker or context.worker,
    )
    token = _current.set(changed)
    try:
        yield
    finally:
        _current.reset(token)
