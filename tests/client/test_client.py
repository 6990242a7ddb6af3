"""The client: what it sends again, what it says of refusals, and that it is the API's own."""

import json
from collections.abc import Callable

import httpx
import pytest

from prover_framework.client import AsyncClient, Client
from prover_framework.client import retries as client_retries
from prover_framework.errors import (
    GroupNotFound,
    RequestError,
    ServiceRefused,
    ServiceUnreachable,
    WorkerNotFound,
)
from prover_framework.model.actions import Action
from prover_framework.model.jobs import JobState
from prover_framework.model.listing import GroupQuery

GROUP = {"job_group_id": "g", "status": "queued", "jobs": [], "seals": [], "of_a_newer_one": 1}

Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler, key: str | None = None) -> Client:
    return Client(
        "http://prover.test", key, transport=httpx.MockTransport(handler), first_wait_seconds=0.0
    )


def refused(status: int, message: str, group_id: str | None = None) -> httpx.Response:
    document = {"status": "error", "message": message, "job_group_id": group_id}
    return httpx.Response(status, json=document)


def failing(times: int, answer: httpx.Response | None = None) -> tuple[Handler, list[str]]:
    """Return what fails some times and then answers, and what it was sent."""
    seen: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(f"{request.method} {request.url.path}")
        if len(seen) <= times:
            if answer is not None:
                return answer
            raise httpx.ReadTimeout("silence", request=request)
        return httpx.Response(200, json=GROUP)

    return handle, seen


def test_what_does_no_harm_twice_is_sent_again() -> None:
    handle, seen = failing(3)
    with client(handle) as service:
        assert service.status("g").status is JobState.QUEUED
        assert seen == ["GET /api/job/g"] * 4
    handle, seen = failing(2)
    with client(handle) as service:
        service.submit(b'{"job_group_id": "g"}')
    assert seen == ["POST /api/job"] * 3


def test_it_gives_up_after_some_tries_and_names_the_service() -> None:
    handle, seen = failing(100)
    with (
        client(handle) as service,
        pytest.raises(ServiceUnreachable, match=r"prover\.test.*silence"),
    ):
        service.status("g")
    assert len(seen) == client_retries.TRIES


def test_what_may_have_been_done_is_not_done_again() -> None:
    handle, seen = failing(1)
    with client(handle) as service, pytest.raises(ServiceUnreachable):
        service.act(Action.REDRIVE, "g")
    assert len(seen) == 1


def test_what_was_put_off_is_sent_again_after_the_time_that_was_named() -> None:
    later = httpx.Response(503, headers={"Retry-After": "0"}, json={})
    handle, seen = failing(2, later)
    with client(handle) as service:
        service.status("g")
    assert len(seen) == 3


def test_the_key_goes_with_each_request_and_into_no_error() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer secret-1"
        return refused(401, "no such key")

    with client(handle, "secret-1") as service, pytest.raises(ServiceRefused) as caught:
        service.find(GroupQuery())
    assert "secret-1" not in str(caught.value)
    assert "PROVER_API_KEY" in str(caught.value)


def test_a_redirect_does_not_take_the_key_elsewhere() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "prover.test"
        return httpx.Response(302, headers={"Location": "http://elsewhere.test/"})

    with client(handle, "secret-1") as service, pytest.raises(ServiceRefused):
        service.workers()


def test_refusals_are_the_errors_that_the_service_raises() -> None:
    for status, message, group_id, cls in (
        (400, "twap: is required", "g", RequestError),
        (404, "there is no job group 'g'", "g", GroupNotFound),
        (404, "there is no worker 'w'", None, WorkerNotFound),
        (409, "exists already", "g", ServiceRefused),
        (507, "the disk is nearly full", "g", ServiceRefused),
    ):
        with (
            client(lambda _, a=(status, message, group_id): refused(*a)) as service,  # type: ignore[misc]
            pytest.raises(cls),
        ):
            service.status("g")


def test_stored_and_not_sent_is_no_failure() -> None:
    message = "TWAP job failed: the queue is away"
    with client(lambda _: refused(500, message, "g")) as service:
        assert service.submit(b"{}").unsent == (message,)
    with (
        client(lambda _: refused(500, "internal error; the log has more")) as service,
        pytest.raises(ServiceRefused),
    ):
        service.submit(b"{}")


def test_a_page_of_something_else_is_told() -> None:
    for answer in (httpx.Response(200, text="<html>"), httpx.Response(200, json=[1])):
        with client(lambda _, a=answer: a) as service, pytest.raises(ServiceRefused, match="URL"):  # type: ignore[misc]
            service.status("g")


async def test_the_asynchronous_client_sends_the_same() -> None:
    handle, seen = failing(1)
    async with AsyncClient(
        "http://prover.test", transport=httpx.MockTransport(handle), first_wait_seconds=0.0
    ) as service:
        assert (await service.status("g")).job_group_id == "g"
    assert seen == ["GET /api/job/g"] * 2


def test_the_body_of_an_action_is_what_it_says() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content) == {"job_id": "twap", "dry_run": True, "force": False}
        report = {"action": "redrive", "dry_run": True, "groups": [], "next_cursor": None}
        return httpx.Response(200, json=report)

    with client(handle) as service:
        assert service.act(Action.REDRIVE, "g", "twap", dry_run=True).dry_run


def test_it_waits_by_answers_that_wait_and_asks_again_until_the_end() -> None:
    states = iter(("queued", "running", "succeeded"))
    waits: list[str | None] = []

    def handle(request: httpx.Request) -> httpx.Response:
        waits.append(request.url.params.get("wait"))
        return httpx.Response(200, json={**GROUP, "status": next(states)})

    with client(handle) as service:
        assert service.wait("g").status is JobState.SUCCEEDED
    assert waits == ["50"] * 3


def test_waiting_may_be_given_up() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert int(request.url.params.get("wait", "0")) <= 1
        return httpx.Response(200, json=GROUP)

    with client(handle) as service:
        assert service.wait("g", timeout=0.01).status is JobState.QUEUED


async def test_changes_are_the_events_of_a_stream_and_each_of_its_ends() -> None:
    streams = iter(
        (
            httpx.Response(200, text="retry: 1\n\n: hello\n\nevent: job_changed\ndata: {}\n\n"),
            httpx.Response(503, json={}),
        )
    )
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return next(streams)

    transport = httpx.MockTransport(handle)
    async with AsyncClient(
        "http://prover.test", transport=transport, stream_wait_seconds=0.0
    ) as service:
        changes = service.changes("g")
        # What was told, the end of that stream, and the one that was refused.
        for _ in range(3):
            await anext(changes)
        await changes.aclose()
    assert asked == ["/api/job/g/events"] * 2
