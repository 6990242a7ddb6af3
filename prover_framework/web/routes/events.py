"""Events over HTTP: as a stream that browsers read by themselves (server-sent events)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sanic import Request, Sanic
from sanic.response import HTTPResponse

from prover_framework.errors import Problem, RequestError
from prover_framework.jobs.feed import (
    MAX_FOLLOWED,
    Accepted,
    EventFeed,
    GroupStanding,
    Interest,
    News,
)
from prover_framework.jobs.outbox import Event, EventKind
from prover_framework.jobs.service import ProvingService
from prover_framework.model.names import GROUP_ID, MAX_INT64, group_id_of, namespace_of
from prover_framework.serialization.json_text import Json, dump_json
from prover_framework.serialization.objections import capped
from prover_framework.text import iso_utc, quote
from prover_framework.web.auth import NAMESPACE_KEY, group_of, namespace_listed

STREAM = "text/event-stream"

# A word now and then: what stands in between would take a silent connection for a dead one.
HEARTBEAT_SECONDS = 15.0

# How long a browser waits before it comes back.
RETRY = b"retry: 2000\n\n"

HEARTBEAT = b": still here\n\n"

# Proxies hand it on as it comes.
STREAM_HEADERS = {"X-Accel-Buffering": "no"}

AFTER, GROUP, KIND, FOLLOW = "after", "group", "kind", "follow"


def add_event_routes(app: "Sanic[Any, Any]", feed: EventFeed) -> None:
    """Add the streams of events."""
    app.ctx.feed = feed
    read = ("GET", "HEAD")
    app.add_route(_all, "/api/events", methods=read, name="events")
    app.add_route(
        _of_group, "/api/job/<group_id>/events", methods=read, name="group_events", unquote=True
    )


async def _all(request: Request) -> HTTPResponse | None:
    _require_known(request, (AFTER, GROUP, KIND, FOLLOW, NAMESPACE_KEY))
    groups = _groups(request, GROUP)
    namespace = None if groups else namespace_listed(request)
    interest = Interest(
        groups=groups,
        kinds=frozenset(_kind(text) for text in request.args.getlist(KIND, [])),
        follows=_groups(request, FOLLOW) | groups,
        arrivals=not groups,
        namespace=namespace,
    )
    return await _stream(request, interest)


async def _of_group(request: Request, group_id: str) -> HTTPResponse | None:
    _require_known(request, (AFTER, NAMESPACE_KEY))
    key = group_of(request, group_id)
    service: ProvingService = request.app.ctx.service
    await service.status(key)
    one = frozenset({key})
    return await _stream(request, Interest(groups=one, follows=one))


async def _stream(request: Request, interest: Interest) -> HTTPResponse | None:
    after = _after(request)
    if request.method == "HEAD":
        return HTTPResponse(headers=STREAM_HEADERS, content_type=STREAM)
    feed: EventFeed = request.app.ctx.feed
    async with feed.listen(interest, after=after) as news:
        answer: Any = await request.respond(content_type=STREAM, headers=STREAM_HEADERS)
        await answer.send(RETRY)
        async for part in _parts(news):
            await answer.send(part)
        await answer.eof()
    return None


async def _parts(news: AsyncIterator[News]) -> AsyncIterator[bytes]:
    """Yield news as they come, and a word now and then while there are none."""
    coming = asyncio.ensure_future(anext(news, None))
    try:
        while True:
            await asyncio.wait({coming}, timeout=HEARTBEAT_SECONDS)
            if not coming.done():
                yield HEARTBEAT
                continue
            each = coming.result()
            if each is None:
                return
            coming = asyncio.ensure_future(anext(news, None))
            yield _part(each)
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


def _part(news: News) -> bytes:
    match news:
        case Event():
            data: dict[str, Json] = {
                "number": news.number,
                **_named(news.group_id),
                "seal_kind": news.seal_kind,
                "at": iso_utc(news.at_ms),
            }
            head = f"id: {news.number}\nevent: {news.kind}"
        case GroupStanding():
            data = {
                **_named(news.group_id),
                "status": news.status,
                "jobs": [
                    {
                        "job_id": job.job_id,
                        "status": job.status,
                        "attempts": job.attempts,
                        "fraction": job.fraction,
                    }
                    for job in news.jobs
                ],
            }
            head = "event: job_changed"
        case Accepted():
            data, head = _named(news.group_id), "event: group_accepted"
    return f"{head}\ndata: {dump_json(data)}\n\n".encode()


def _named(key: str) -> dict[str, Json]:
    """Return what a group is called, and the namespace that its id is unique in."""
    return {"job_group_id": group_id_of(key), "namespace": namespace_of(key)}


def _require_known(request: Request, known: Sequence[str]) -> None:
    if unknown := [name for name in request.args if name not in known]:
        text = ", ".join(known)
        problems = [Problem(quote(name), f"is unknown (known: {text})") for name in unknown]
        raise RequestError(capped(problems))


def _groups(request: Request, name: str) -> frozenset[str]:
    texts = request.args.getlist(name, [])
    if len(texts) > MAX_FOLLOWED:
        raise RequestError([Problem(name, f"may be given {MAX_FOLLOWED} times, not {len(texts)}")])
    if wrong := [text for text in texts if not GROUP_ID.fullmatch(text)]:
        raise RequestError([Problem(name, f"{quote(wrong[0])} is no id of a group")])
    return frozenset(group_of(request, text) for text in texts)


def _kind(text: str) -> EventKind:
    try:
        return EventKind(text)
    except ValueError:
        what = f"must be one of {', '.join(EventKind)}, got {quote(text)}"
        raise RequestError([Problem(KIND, what)]) from None


def _after(request: Request) -> int | None:
    """Return the number of the last event that the client has had."""
    text = request.headers.get("last-event-id") or request.args.get(AFTER)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= MAX_INT64):
        what = f"must be the number of an event, got {quote(text)}"
        raise RequestError([Problem(AFTER, what)])
    return int(text)
