"""What can be asked of the API: a row for each method of an address."""

from typing import Any

from attrs import frozen

from prover_framework.errors import ERROR_CODE
from prover_framework.jobs.feed import MAX_FOLLOWED
from prover_framework.jobs.outbox import EventKind
from prover_framework.model.actions import ActionReport, ManyGroups, OneGroup
from prover_framework.model.charts import GroupCharts
from prover_framework.model.jobs import JobState
from prover_framework.model.listing import DEFAULT_LIMIT, MAX_LIMIT, GroupPage
from prover_framework.model.names import JOB_ID, KIND_NAME, PROOF_TYPE_NAME, QUEUE_NAME
from prover_framework.model.priorities import (
    HIGHEST_PRIORITY,
    LOWEST_PRIORITY,
    PRIORITY_KEY,
    USUAL_PRIORITY,
)
from prover_framework.model.receipts import BLOCK_HASH
from prover_framework.model.views import GroupView, VerboseGroupView
from prover_framework.model.workers import PauseRequest, WorkersView
from prover_framework.plugins.catalogue import Catalogue
from prover_framework.receipts.documents import GroupDocument, ReceiptDocument
from prover_framework.seals.keys import PublicKey
from prover_framework.serialization.json_text import Json
from prover_framework.verification.checks import Report

JSON_TYPE = "application/json"

GROUP_ID_PATTERN = "^[A-Za-z0-9._:-]{1,128}$"

# The request for a group, whose schema is made of what is installed.
GROUP_REQUEST = "GroupRequest"


@frozen(kw_only=True)
class ErrorAnswer:
    """The error object, the same everywhere.

    Args:
        status: Always ``error``.
        message: What is wrong, where, and what to do, for people.
        job_group_id: The group that the request is about, where that is known.
    """

    status: str
    message: str
    job_group_id: str | None


@frozen(kw_only=True)
class ProblemAnswer:
    """The same error for programs that ask for it, by RFC 9457.

    Args:
        type: Where the codes are described.
        title: The code in words.
        status: The status of the answer.
        detail: What is wrong, where, and what to do, for people.
        code: A stable code.
        job_group_id: The group that the request is about, where that is known.
        problems: Each problem of a request with its place, where it has some.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    job_group_id: str | None
    problems: "tuple[ProblemPlace, ...]" = ()


@frozen(kw_only=True)
class ProblemPlace:
    """One problem of a request.

    Args:
        where: Its place in the body or the name of a parameter; empty for all of it.
        what: What is wrong there, as the rest of a sentence.
    """

    where: str
    what: str


@frozen(kw_only=True)
class SubmittedAnswer:
    """All jobs of a group are stored and their messages sent.

    Args:
        status: Always ``success``.
        message: The same in words.
        job_group_id: The group.
    """

    status: str
    message: str
    job_group_id: str


@frozen(kw_only=True)
class SealRequestBody:
    """Which receipt seals are asked for.

    Args:
        job_id: The job on whose receipt one is wanted; none for the group and all of its jobs.
    """

    job_id: str | None = None


@frozen(kw_only=True)
class Draining:
    """A worker takes no more jobs.

    Args:
        worker: Its name.
        status: Always ``draining``.
    """

    worker: str
    status: str


@frozen(kw_only=True)
class Paused:
    """No worker takes jobs of a queue.

    Args:
        queue: Its name.
        status: Always ``paused``.
    """

    queue: str
    status: str


@frozen(kw_only=True)
class Resumed:
    """Workers take jobs of a queue.

    Args:
        queue: Its name.
        status: Always ``running``.
        was_paused: Whether it was paused before.
    """

    queue: str
    status: str
    was_paused: bool


@frozen(kw_only=True)
class PublicKeys:
    """The public keys of a service."""

    keys: tuple[PublicKey, ...]


@frozen(kw_only=True)
class Health:
    """That the process answers.

    Args:
        status: Always ``ok``.
    """

    status: str


@frozen(kw_only=True)
class ReadinessAnswer:
    """Whether the process can do its work.

    Args:
        status: ``ready`` or ``not ready``.
        checks: The state of each part: ``ok``, ``warning`` or ``failed``.
        plugins_not_loaded: Names of the plugins that were found and cannot be used.
    """

    status: str
    checks: dict[str, str]
    plugins_not_loaded: tuple[str, ...] = ()


@frozen(kw_only=True)
class Parameter:
    """A parameter of an operation.

    Args:
        name: Its name.
        place: Where it stands: ``path``, ``query`` or ``header``.
        meaning: What it says.
        schema: JSON Schema of its value.
    """

    name: str
    place: str
    meaning: str
    schema: dict[str, Json]


@frozen(kw_only=True)
class Answer:
    """An answer of an operation.

    Args:
        meaning: What it says.
        shape: The class of its JSON; several where it is one of them; None where it has none.
        media_type: What it is, where it is no JSON.
    """

    meaning: str
    shape: type[Any] | tuple[type[Any], ...] | None = None
    media_type: str = JSON_TYPE


@frozen(kw_only=True)
class Operation:
    """What one method of one address does.

    Args:
        method: The method, in lower case.
        path: The address.
        id: Its name for generated clients.
        tag: The subject.
        summary: What it does, in a line.
        description: What else has to be said.
        parameters: Beside those that its path has.
        body: The class of its body, or the name of a schema; None where it has none.
        body_required: Whether there has to be one.
        answers: By status, without the errors that every operation has.
        errors: Statuses of the errors of its own.
    """

    method: str
    path: str
    id: str
    tag: str
    summary: str
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: type[Any] | str | None = None
    body_required: bool = True
    answers: dict[int, Answer]
    errors: tuple[int, ...] = ()


def _text(pattern: str) -> dict[str, Json]:
    return {"type": "string", "pattern": pattern}


def _choice(values: type[JobState] | type[EventKind]) -> dict[str, Json]:
    return {"type": "string", "enum": [each.value for each in values]}


def _query(name: str, meaning: str, schema: dict[str, Json]) -> Parameter:
    return Parameter(name=name, place="query", meaning=meaning, schema=schema)


PATH_PARAMETERS = {
    "group_id": Parameter(
        name="group_id", place="path", meaning="The group.", schema=_text(GROUP_ID_PATTERN)
    ),
    "job_id": Parameter(
        name="job_id",
        place="path",
        meaning="The job: a proof type's name, and behind an @ its label if it has one.",
        schema=_text(f"^(?:{JOB_ID})$"),
    ),
    "kind": Parameter(
        name="kind", place="path", meaning="The kind of seal.", schema=_text(f"^(?:{KIND_NAME})$")
    ),
    "worker": Parameter(
        name="worker",
        place="path",
        meaning="The worker's name.",
        schema={"type": "string", "minLength": 1, "maxLength": 80},
    ),
    "queue": Parameter(
        name="queue",
        place="path",
        meaning="The queue's name.",
        schema=_text(f"^(?:{QUEUE_NAME})$"),
    ),
    "name": Parameter(
        name="name",
        place="path",
        meaning="The name of the attachment.",
        schema={"type": "string", "minLength": 1, "maxLength": 64},
    ),
}

NAMESPACE_OF_GROUP = _query(
    "namespace",
    "Namespace of the group. Default: that of the caller's key. Another takes the scope operate.",
    _text("^[a-z0-9][a-z0-9-]{0,31}$"),
)

PRIORITY = _query(
    PRIORITY_KEY,
    "Of the groups that wait for a worker, those of the highest priority come first. A key says "
    "how high it may be.",
    {
        "type": "integer",
        "minimum": LOWEST_PRIORITY,
        "maximum": HIGHEST_PRIORITY,
        "default": USUAL_PRIORITY,
    },
)

MOMENT = "Unix seconds, a UTC time such as 2024-05-01T12:00, or how long ago, such as 24h."

SEARCH = (
    _query("state", "Groups with a job in this state.", _choice(JobState)),
    _query("proof_type", "Groups with a job of this proof type.", _text(f"^{PROOF_TYPE_NAME}$")),
    _query("code", "Groups with a job that has this error.", _text(f"^(?:{ERROR_CODE})$")),
    _query("since", f"Jobs from this time on. {MOMENT}", {"type": "string"}),
    _query("until", f"Jobs before this time. {MOMENT}", {"type": "string"}),
    _query("text", "What the id of the group has in it.", _text(GROUP_ID_PATTERN)),
    _query(
        "limit",
        "How many groups a page has at the most.",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
    _query("cursor", "The next_cursor of the page before.", {"type": "string"}),
)

AFTER = _query(
    "after",
    "The number of the last event that is known; the header Last-Event-ID says the same.",
    {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
)

ACTIONS = {
    "cancel": "Call off what has not ended",
    "redrive": "Try failed and cancelled jobs again",
    "delete": "Remove what has ended, with results and receipts",
}

STREAM = Answer(
    meaning="Server-sent events: group_ended and seal_made with their number as id, and without "
    "one job_changed and group_accepted.",
    media_type="text/event-stream",
)

NOT_MODIFIED = Answer(meaning="The client has it already, as its If-None-Match says.")

OPERATIONS = (
    Operation(
        method="post",
        path="/api/job",
        id="submit",
        tag="Job groups",
        summary="Submit a job group.",
        description="The group id makes the request safe to repeat: the same body again sends only "
        "what is not yet sent. With 500 all jobs are stored and the messages of some are not sent "
        "yet; the service sends them by itself, and so does the same request again.",
        parameters=(PRIORITY,),
        body=GROUP_REQUEST,
        answers={200: Answer(meaning="All jobs are dispatched.", shape=SubmittedAnswer)},
        errors=(409, 500),
    ),
    Operation(
        method="get",
        path="/api/job",
        id="search",
        tag="Job groups",
        summary="Search job groups, the newest first.",
        parameters=(*SEARCH, NAMESPACE_OF_GROUP),
        answers={200: Answer(meaning="A page of groups.", shape=GroupPage)},
    ),
    Operation(
        method="get",
        path="/api/job/{group_id}",
        id="status",
        tag="Job groups",
        summary="The states and results of a group.",
        parameters=(
            NAMESPACE_OF_GROUP,
            _query("verbose", "1 for the attempts at each job as well.", {"type": "string"}),
            _query(
                "wait",
                "Seconds to wait for the end of the group before it is answered as it is.",
                {"type": "integer", "minimum": 0, "maximum": 50},
            ),
        ),
        answers={
            200: Answer(meaning="The group.", shape=(GroupView, VerboseGroupView)),
            304: NOT_MODIFIED,
        },
        errors=(404,),
    ),
    Operation(
        method="get",
        path="/api/job/{group_id}/charts",
        id="charts",
        tag="Job groups",
        summary="What illustrates the results of a group.",
        description="As the plugins of the proof types describe it: an illustration, no part of a "
        "statement. Charts that nobody has looked at yet are waited for; those that take longer "
        "than 45 seconds are left out, with the reason, and are there later.",
        parameters=(NAMESPACE_OF_GROUP,),
        answers={
            200: Answer(meaning="The charts of each result.", shape=GroupCharts),
            304: NOT_MODIFIED,
        },
        errors=(404,),
    ),
    Operation(
        method="get",
        path="/api/job/{group_id}/events",
        id="group_events",
        tag="Events",
        summary="What happens to a group, as it happens.",
        parameters=(AFTER, NAMESPACE_OF_GROUP),
        answers={200: STREAM},
        errors=(404,),
    ),
    Operation(
        method="get",
        path="/api/events",
        id="events",
        tag="Events",
        summary="What happens to all groups, or to some, as it happens.",
        parameters=(
            AFTER,
            NAMESPACE_OF_GROUP,
            _query(
                "group",
                f"Of these groups only; up to {MAX_FOLLOWED} times.",
                {"type": "array", "items": _text(GROUP_ID_PATTERN), "maxItems": MAX_FOLLOWED},
            ),
            _query(
                "follow",
                f"Tell how the jobs of these groups stand, too; up to {MAX_FOLLOWED} times.",
                {"type": "array", "items": _text(GROUP_ID_PATTERN), "maxItems": MAX_FOLLOWED},
            ),
            _query("kind", "Of these kinds only.", {"type": "array", "items": _choice(EventKind)}),
        ),
        answers={200: STREAM},
    ),
    *(
        Operation(
            method="post",
            path=f"/api/job/{{group_id}}/{action}",
            id=f"{action}_group",
            tag="Operating",
            summary=f"{meaning}: a group, or one of its jobs.",
            parameters=(NAMESPACE_OF_GROUP,),
            body=OneGroup,
            body_required=False,
            answers={200: Answer(meaning="What was done, or would be.", shape=ActionReport)},
            errors=(404,),
        )
        for action, meaning in ACTIONS.items()
    ),
    *(
        Operation(
            method="post",
            path=f"/api/jobs/{action}",
            id=f"{action}_groups",
            tag="Operating",
            summary=f"{meaning}: all that a filter finds, a page at a time.",
            parameters=(NAMESPACE_OF_GROUP,),
            body=ManyGroups,
            answers={200: Answer(meaning="What was done, or would be.", shape=ActionReport)},
        )
        for action, meaning in ACTIONS.items()
    ),
    Operation(
        method="get",
        path="/api/workers",
        id="workers",
        tag="Operating",
        summary="The workers, and the queues that are paused.",
        answers={200: Answer(meaning="They.", shape=WorkersView)},
    ),
    Operation(
        method="post",
        path="/api/workers/{worker}/drain",
        id="drain",
        tag="Operating",
        summary="Have a worker finish what it has, and end.",
        answers={200: Answer(meaning="It will.", shape=Draining)},
        errors=(404,),
    ),
    Operation(
        method="post",
        path="/api/queues/{queue}/pause",
        id="pause",
        tag="Operating",
        summary="Have no worker take jobs of a queue.",
        body=PauseRequest,
        body_required=False,
        answers={200: Answer(meaning="It is paused.", shape=Paused)},
    ),
    Operation(
        method="post",
        path="/api/queues/{queue}/resume",
        id="resume",
        tag="Operating",
        summary="Have workers take jobs of a queue again.",
        answers={200: Answer(meaning="They do.", shape=Resumed)},
    ),
    Operation(
        method="get",
        path="/api/job/{group_id}/receipt",
        id="group_receipt",
        tag="Receipts",
        summary="The receipt of a group that has ended.",
        parameters=(NAMESPACE_OF_GROUP,),
        answers={200: Answer(meaning="It.", shape=GroupDocument), 304: NOT_MODIFIED},
        errors=(404, 409),
    ),
    Operation(
        method="get",
        path="/api/job/{group_id}/receipt/{job_id}",
        id="receipt",
        tag="Receipts",
        summary="The receipt of one result.",
        parameters=(NAMESPACE_OF_GROUP,),
        answers={200: Answer(meaning="It.", shape=ReceiptDocument), 304: NOT_MODIFIED},
        errors=(404, 409),
    ),
    Operation(
        method="post",
        path="/api/job/{group_id}/seal/{kind}",
        id="seal",
        tag="Receipts",
        summary="Ask for seals on the receipts of a group.",
        parameters=(NAMESPACE_OF_GROUP,),
        body=SealRequestBody,
        body_required=False,
        answers={
            200: Answer(meaning="All are made or on their way.", shape=GroupView),
            202: Answer(meaning="Some are to be made.", shape=GroupView),
        },
        errors=(404, 409),
    ),
    Operation(
        method="get",
        path="/api/job/{group_id}/attachment/{job_id}/{name}",
        id="attachment",
        tag="Receipts",
        summary="A file that is attached to a result.",
        parameters=(NAMESPACE_OF_GROUP,),
        answers={
            200: Answer(meaning="The file, of the media type that it states.", media_type="*/*"),
            304: NOT_MODIFIED,
        },
        errors=(404, 409),
    ),
    Operation(
        method="get",
        path="/api/keys",
        id="keys",
        tag="Receipts",
        summary="The public keys of this service.",
        answers={200: Answer(meaning="They, the oldest first.", shape=PublicKeys)},
        errors=(500,),
    ),
    Operation(
        method="post",
        path="/api/verify",
        id="verify",
        tag="Receipts",
        summary="Verify a receipt with what this service has.",
        parameters=(
            _query("trusted_hash", "Hash of a trusted block.", _text(f"^(?:{BLOCK_HASH})$")),
        ),
        body="AnyReceipt",
        answers={200: Answer(meaning="What the checks came to.", shape=Report)},
        errors=(422,),
    ),
    Operation(
        method="get",
        path="/api/proof-types",
        id="proof_types",
        tag="What is installed",
        summary="The proof types that can be asked for, and all plugins.",
        answers={200: Answer(meaning="They.", shape=Catalogue), 304: NOT_MODIFIED},
    ),
    Operation(
        method="get",
        path="/openapi.json",
        id="openapi",
        tag="What is installed",
        summary="This description.",
        answers={200: Answer(meaning="It.", media_type=JSON_TYPE), 304: NOT_MODIFIED},
    ),
    *(
        Operation(
            method="get",
            path=path,
            id=id_,
            tag="Health",
            summary="Whether this process answers.",
            answers={200: Answer(meaning="It does.", shape=Health)},
        )
        for path, id_ in (("/health", "health"), ("/health/live", "live"))
    ),
    Operation(
        method="get",
        path="/health/ready",
        id="ready",
        tag="Health",
        summary="Whether the service can do its work, part by part.",
        answers={
            200: Answer(meaning="It can.", shape=ReadinessAnswer),
            503: Answer(meaning="It cannot.", shape=ReadinessAnswer),
        },
    ),
    Operation(
        method="get",
        path="/metrics",
        id="metrics",
        tag="Health",
        summary="Numbers, for Prometheus.",
        answers={200: Answer(meaning="They.", media_type="text/plain")},
    ),
)
