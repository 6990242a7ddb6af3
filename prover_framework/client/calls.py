"""The calls of the HTTP API: what is sent, and what its answer means."""

from collections.abc import Callable, Mapping
from math import ceil
from typing import Generic, TypeVar
from urllib.parse import quote

from attrs import field, frozen

from prover_framework.client.answers import read
from prover_framework.model.actions import Accepted, Action, ActionReport
from prover_framework.model.charts import GroupCharts
from prover_framework.model.listing import GroupPage, GroupQuery
from prover_framework.model.priorities import PRIORITY_KEY, USUAL_PRIORITY
from prover_framework.model.views import GroupView, VerboseGroupView
from prover_framework.model.workers import WorkersView
from prover_framework.operations import OfferedType
from prover_framework.serialization.json_text import Json, dump_json
from prover_framework.verification.checks import Report

T = TypeVar("T")

# Answered when all jobs are stored and some messages are not sent.
STORED_NOT_SENT = 500


# How long a service lets an answer wait for the end of a group, in seconds.
LONGEST_WAIT = 50.0

EVENT_STREAM = "text/event-stream"


@frozen
class _Catalogue:
    proof_types: tuple[OfferedType, ...]


@frozen
class Call(Generic[T]):
    """A request, and how its answer is read.

    Args:
        method: Of HTTP.
        path: With everything escaped.
        read: Turns the body of the answer into what the caller gets.
        parameters: Of the URL.
        body: JSON, if there is one.
        is_repeatable: Whether it does no harm to be done twice, so that it is sent again when it is
            not known whether it arrived.
        refused: Reads an answer that is no success, where that has a meaning; None raises.
    """

    method: str
    path: str
    read: Callable[[bytes], T]
    parameters: Mapping[str, str] = field(factory=dict)
    body: bytes | None = None
    is_repeatable: bool = True
    refused: Callable[[int, str, str | None], T | None] | None = None


def submit(body: bytes, *, priority: int) -> Call[Accepted]:
    """Submit a group: the group id makes it safe to repeat."""

    def accepted(answer: bytes) -> Accepted:
        return Accepted(str(read(answer, dict)["job_group_id"]))

    def unsent(status: int, message: str, group_id: str | None) -> Accepted | None:
        if status == STORED_NOT_SENT and group_id is not None and " job failed: " in message:
            return Accepted(group_id, (message,))
        return None

    parameters = {} if priority == USUAL_PRIORITY else {PRIORITY_KEY: str(priority)}
    return Call("POST", "/api/job", accepted, parameters, body, refused=unsent)


def status(group_id: str, *, verbose: bool = False, wait_seconds: float = 0.0) -> Call[GroupView]:
    """Ask for a group, and have the answer wait until it has ended, or for some seconds."""
    cls = VerboseGroupView if verbose else GroupView
    parameters = {"verbose": "1"} if verbose else {}
    if wait_seconds > 0:
        parameters["wait"] = str(ceil(min(wait_seconds, LONGEST_WAIT)))
    return Call("GET", _group(group_id), lambda body: read(body, cls), parameters)


def charts(group_id: str) -> Call[GroupCharts]:
    """Ask for what illustrates the results of a group."""
    return Call("GET", f"{_group(group_id)}/charts", lambda body: read(body, GroupCharts))


def events(group_id: str) -> str:
    """Return where a stream tells what happens to a group."""
    return f"{_group(group_id)}/events"


def find(query: GroupQuery) -> Call[GroupPage]:
    """Ask for a page of groups."""
    return Call("GET", "/api/job", lambda body: read(body, GroupPage), query.parameters())


def act(
    action: Action, group_id: str, job_id: str | None, *, dry_run: bool, force: bool
) -> Call[ActionReport]:
    """Act on a group. Who removes twice is told the second time that there is none."""
    body: Json = {"job_id": job_id, "dry_run": dry_run, "force": force}
    return Call(
        "POST",
        f"{_group(group_id)}/{action}",
        lambda answer: read(answer, ActionReport),
        body=dump_json(body).encode(),
        is_repeatable=dry_run or action is Action.CANCEL,
    )


def act_on_found(
    action: Action, query: GroupQuery, *, dry_run: bool, force: bool
) -> Call[ActionReport]:
    """Act on a page of what a query finds."""
    parameters: dict[str, Json] = {**query.parameters()}
    body: Json = {**parameters, "limit": query.limit, "dry_run": dry_run, "force": force}
    return Call(
        "POST",
        f"/api/jobs/{action}",
        lambda answer: read(answer, ActionReport),
        body=dump_json(body).encode(),
        is_repeatable=dry_run or action is Action.CANCEL,
    )


def receipt(group_id: str, job_id: str | None) -> Call[bytes]:
    """Ask for a receipt."""
    tail = "" if job_id is None else f"/{quote(job_id, safe='@')}"
    return Call("GET", f"{_group(group_id)}/receipt{tail}", bytes)


def attachment(group_id: str, job_id: str, name: str) -> Call[bytes]:
    """Ask for what is attached to a result."""
    place = f"{quote(job_id, safe='@')}/{quote(name, safe='')}"
    return Call("GET", f"{_group(group_id)}/attachment/{place}", bytes)


def verify(body: bytes, trusted_hash: str | None) -> Call[Report]:
    """Have the service verify a receipt."""
    parameters = {} if trusted_hash is None else {"trusted_hash": trusted_hash}
    return Call("POST", "/api/verify", lambda answer: read(answer, Report), parameters, body)


def proof_types() -> Call[tuple[OfferedType, ...]]:
    """Ask which proof types there are, with the JSON Schema of their parameters."""
    return Call("GET", "/api/proof-types", lambda body: read(body, _Catalogue).proof_types)


def workers() -> Call[WorkersView]:
    """Ask for the workers."""
    return Call("GET", "/api/workers", lambda body: read(body, WorkersView))


def pause(queue: str, reason: str) -> Call[None]:
    """Pause a queue."""
    body = dump_json({"reason": reason}).encode()
    return Call("POST", f"/api/queues/{quote(queue, safe='')}/pause", lambda _: None, body=body)


def resume(queue: str) -> Call[bool]:
    """Resume a queue."""

    def was_paused(body: bytes) -> bool:
        return bool(read(body, dict)["was_paused"])

    return Call("POST", f"/api/queues/{quote(queue, safe='')}/resume", was_paused, body=b"{}")


def drain(worker: str) -> Call[None]:
    """Drain a worker."""
    path = f"/api/workers/{quote(worker, safe=':')}/drain"
    return Call("POST", path, lambda _: None, body=b"{}")


def _group(group_id: str) -> str:
    return f"/api/job/{quote(group_id, safe=':')}"
