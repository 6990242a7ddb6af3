"""Searching job groups: what is asked for, and a page of what is found."""

import base64
import binascii
import hashlib
import re
import time
from collections.abc import Mapping, Sequence

import attrs
from attrs import frozen

from prover_framework.errors import ERROR_CODE, Problem, RequestError
from prover_framework.model.jobs import JobState
from prover_framework.model.moments import parse_moment
from prover_framework.model.names import (
    DEFAULT_NAMESPACE,
    MAX_INT64,
    PROOF_TYPE_NAME,
    is_group_key,
)
from prover_framework.serialization.json_text import Json, dump_json, parse_json
from prover_framework.serialization.objections import capped
from prover_framework.text import iso_utc, quote

DEFAULT_LIMIT = 50

# A page is held in memory as a whole, with all jobs of its groups.
MAX_LIMIT = 200

# Characters that a group id can have; what has others is part of none.
GROUP_ID_PART = re.compile(r"[A-Za-z0-9._:-]{1,128}")

# A cursor holds a time, a group id and a digest.
MAX_CURSOR_LENGTH = 400

CURSOR_VERSION = 1


@frozen
class Position:
    """A place in the order of groups, the newest first.

    Args:
        created_at: Milliseconds since the Unix epoch.
        group_id: Of the groups of one time the place of this one: what it is stored under.
    """

    created_at: int
    group_id: str


# Above all groups.
TOP = Position(MAX_INT64, "")


@frozen(kw_only=True)
class GroupQuery:
    """Which groups are asked for: those with one job that has all of it.

    Args:
        state: State of the job.
        proof_type: Its proof type, with whatever label.
        code: Code of its error.
        since_ms: When it was created at the earliest, in milliseconds since the Unix epoch.
        until_ms: Before when it was created.
        text: What the id of the group begins with or has in it; upper and lower case are the same.
        limit: How many groups a page has at the most.
        after: Where the page before ended.
        namespace: Only groups of it; None for those of all. Who asks decides on it, not the query.
    """

    state: JobState | None = None
    proof_type: str | None = None
    code: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    text: str | None = None
    limit: int = DEFAULT_LIMIT
    after: Position | None = None
    namespace: str | None = None

    @property
    def has_filters(self) -> bool:
        """Whether it asks for anything but all groups."""
        return any(
            value is not None
            for value in (
                *(self.state, self.proof_type, self.code),
                *(self.since_ms, self.until_ms, self.text),
            )
        )

    def is_about(self, *, state: str, code: str | None, proof_type: str) -> bool:
        """Tell whether a job has what is asked for of jobs."""
        return (
            (self.state is None or state == self.state)
            and (self.code is None or code == self.code)
            and (self.proof_type is None or proof_type == self.proof_type)
        )

    def cursor(self, position: Position) -> str:
        """Return the cursor of the page that begins below a position."""
        document: Json = [CURSOR_VERSION, self._digest(), position.created_at, position.group_id]
        return base64.urlsafe_b64encode(dump_json(document).encode()).decode().rstrip("=")

    def from_cursor(self, cursor: str) -> "GroupQuery":
        """Return the query of the page that a cursor is for.

        Raises:
            ValueError: It is none of this query's; the message is the rest of a sentence.
        """
        no_cursor = f"must be what a page of this list gave as next_cursor, got {quote(cursor)}"
        if len(cursor) > MAX_CURSOR_LENGTH:
            raise ValueError(no_cursor)
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            document = parse_json(base64.b64decode(padded, altchars=b"-_", validate=True))
        except (RequestError, binascii.Error, ValueError):
            raise ValueError(no_cursor) from None
        match document:
            case [int(version), str(digest), int(created_at), str(group_id)] if (
                version == CURSOR_VERSION
                and 0 <= created_at <= MAX_INT64
                and (not group_id or is_group_key(group_id))
            ):
                if digest != self._digest():
                    raise ValueError("is of a list with other filters: repeat them with it")
                return attrs.evolve(self, after=Position(created_at, group_id))
        raise ValueError(no_cursor)

    def parameters(self) -> dict[str, str]:
        """Return it as the parameters of a URL, which `parse_query` reads."""
        found: dict[str, str | None] = {
            "state": self.state,
            "proof_type": self.proof_type,
            "code": self.code,
            "since": None if self.since_ms is None else iso_utc(self.since_ms),
            "until": None if self.until_ms is None else iso_utc(self.until_ms),
            "text": self.text,
            "limit": str(self.limit),
            "cursor": None if self.after is None else self.cursor(self.after),
        }
        return {name: str(value) for name, value in found.items() if value is not None}

    def _digest(self) -> str:
        """Tell queries with other filters apart; relative times make them others."""
        filters: Json = [self.state, self.proof_type, self.code, self.text]
        return hashlib.sha256(dump_json(filters).encode()).hexdigest()[:12]


PARAMETERS = ("state", "proof_type", "since", "until", "text", "code", "limit", "cursor")


def parse_query(parameters: Mapping[str, Sequence[str]], now_ms: int | None = None) -> GroupQuery:
    """Read a query from the parameters of a URL.

    Args:
        parameters: For each name its values.
        now_ms: The time now, for times that are told by how long ago they were.

    Raises:
        RequestError: Every problem of it.
    """
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    problems = [
        Problem(quote(name), f"is unknown (known: {', '.join(PARAMETERS)})")
        for name in parameters
        if name not in PARAMETERS
    ]
    problems += [
        Problem(name, "is given more than once")
        for name in PARAMETERS
        if len(parameters.get(name, ())) > 1
    ]
    given = {name: values[0] for name in PARAMETERS if (values := parameters.get(name))}
    query = GroupQuery()
    for name, text in given.items():
        try:
            query = _with(query, name, text, now)
        except ValueError as error:
            problems.append(Problem(name, str(error)))
    if None not in (query.since_ms, query.until_ms) and query.since_ms >= query.until_ms:  # type: ignore[operator]
        problems.append(Problem("until", "must be after since"))
    if problems:
        raise RequestError(capped(problems))
    return query


def _with(query: GroupQuery, name: str, text: str, now: int) -> GroupQuery:
    """Return a query with one parameter more; a cursor comes last, when the others are known."""
    match name:
        case "state":
            if text not in list(JobState):
                states = ", ".join(JobState)
                raise ValueError(f"must be one of {states}; got {quote(text)}")
            return attrs.evolve(query, state=JobState(text))
        case "proof_type":
            _require(PROOF_TYPE_NAME, text, "the name of a proof type")
            return attrs.evolve(query, proof_type=text)
        case "code":
            _require(ERROR_CODE, text, "the code of an error, such as range_too_short")
            return attrs.evolve(query, code=text)
        case "text":
            if not GROUP_ID_PART.fullmatch(text):
                raise ValueError(
                    "must be a part of a group id (1 to 128 letters, digits, '.', '_', ':' or '-')"
                    f", got {quote(text)}"
                )
            return attrs.evolve(query, text=text)
        case "since":
            return attrs.evolve(query, since_ms=parse_moment(text, now))
        case "until":
            return attrs.evolve(query, until_ms=parse_moment(text, now))
        case "limit":
            if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= MAX_LIMIT:
                raise ValueError(f"must be 1 to {MAX_LIMIT}, got {quote(text)}")
            return attrs.evolve(query, limit=int(text))
        case _:
            return query.from_cursor(text)


def _require(form: str, text: str, what: str) -> None:
    if not re.fullmatch(form, text):
        raise ValueError(f"must be {what}, got {quote(text)}")


@frozen(kw_only=True)
class ListedJob:
    """A job in a list, without what may be large; times in ISO 8601, UTC."""

    job_id: str
    status: JobState
    attempts: int
    queue: str
    worker: str | None
    method_version: str | None
    created_at: str
    queued_at: str | None
    started_at: str | None
    finished_at: str | None
    error: dict[str, str] | None


@frozen(kw_only=True)
class ListedGroup:
    """A group in a list."""

    job_group_id: str
    status: JobState
    created_at: str
    jobs: tuple[ListedJob, ...]
    namespace: str = DEFAULT_NAMESPACE


@frozen(kw_only=True)
class GroupPage:
    """Some of the groups that were asked for, the newest first.

    Args:
        groups: They; all of their jobs are there, also those that were not asked for.
        next_cursor: What the next page is asked for with; None where there is none.
        searched_back_to: Where the page ends because it looked through as many jobs as one does,
            the time of the last that it looked at. There may be more below it.
    """

    groups: tuple[ListedGroup, ...]
    next_cursor: str | None
    searched_back_to: str | None = None
