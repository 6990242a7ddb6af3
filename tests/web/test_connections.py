"""Slow, silent and greedy clients: each is ended, and nobody else waits for them."""

import asyncio
import json
import logging
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import attrs
import pytest
from api_server import Running, StubVerification, running, status_of
from sanic.exceptions import SanicException

from prover_framework.web.connections import TURNS_AT_ONCE, ConnectionLimits, Turns

SOON = 20.0

HOST = b"Host: localhost\r\n"
GET = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
CLOSING = b"GET /health HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
POST = b"POST /api/job HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"

# Nothing ends by time but what a test makes shorter.
PATIENT = ConnectionLimits(head_seconds=600, body_seconds=600, answer_seconds=600, idle_seconds=600)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def message_of(answer: bytes, status: int) -> str:
    """Require the error object and return what it says."""
    assert status_of(answer) == status, answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"x-content-type-options: nosniff" in head.lower()
    error = json.loads(body)
    assert error.keys() == {"status", "message", "job_group_id"}
    assert error["status"] == "error"
    message: str = error["message"]
    return message


async def drip(connection: Connection, text: bytes) -> bytes:
    """Send a byte now and then, until an answer comes; return it."""
    reader, writer = connection
    answer = asyncio.create_task(reader.read())
    for byte in text:
        if answer.done():
            break
        writer.write(bytes([byte]))
        await asyncio.wait([answer], timeout=0.02)
    try:
        return await answer
    finally:
        writer.close()


# Time


@pytest.mark.parametrize(
    ("started", "dripped", "limits", "said"),
    [
        (
            b"",
            b"GET /" + b"x" * 10_000,
            attrs.evolve(PATIENT, head_seconds=0.3),
            "the request's head was not compl",
        ),
        (
            GET,
            b"GET /" + b"x" * 10_000,
            attrs.evolve(PATIENT, head_seconds=0.3),
            "the request's head was not compl",
        ),
        (
            POST + b"Content-Length: 60000\r\n\r\n",
            b" " * 10_000,
            attrs.evolve(PATIENT, body_seconds=0.3),
            "the body was not complete within 0.3 s",
        ),
        (
            POST + b"Transfer-Encoding: chunked\r\n\r\n",
            b"1\r\n \r\n" * 2000,
            attrs.evolve(PATIENT, body_seconds=0.3),
            "the body was not complete within 0.3 s",
        ),
    ],
)
async def test_a_byte_now_and_then_does_not_give_more_time(
    started: bytes, dripped: bytes, limits: ConnectionLimits, said: str
) -> None:
    async def ask() -> bytes:
        async with running(limits=limits) as api, asyncio.timeout(SOON):
            reader, writer = await api.connect()
            writer.write(started)
            if started == GET:
                await reader.readuntil(b'"ok"}')
            return await drip((reader, writer), dripped)

    assert message_of(await ask(), 408).startswith(said)


@pytest.mark.parametrize(
    ("started", "limits"),
    [
        (b"", attrs.evolve(PATIENT, head_seconds=0.2)),
        (GET, attrs.evolve(PATIENT, idle_seconds=0.2)),
    ],
)
async def test_silent_and_idle_connections_are_dropped_without_a_word(
    started: bytes, limits: ConnectionLimits
) -> None:
    async with running(limits=limits) as api, asyncio.timeout(SOON):
        reader, writer = await api.connect()
        writer.write(started)
        if started:
            await reader.readuntil(b'"ok"}')
        rest = await reader.read()
        writer.close()
        assert rest == b""


async def test_an_answer_that_does_not_come_is_the_error_object() -> None:
    async def stuck() -> None:
        await asyncio.Event().wait()

    async def ask() -> bytes:
        limits = attrs.evolve(PATIENT, answer_seconds=0.2)
        async with running(stuck, limits=limits) as api, asyncio.timeout(SOON):
            return await api.exchange(POST + b"Content-Length: 2\r\n\r\n{}")

    assert message_of(await ask(), 503) == "no answer within 0.2 s"


VERIFY = b"POST /api/verify HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"


async def test_a_verification_may_take_longer_than_other_answers() -> None:
    go_on = asyncio.Event()

    async def stuck() -> None:
        await asyncio.Event().wait()

    async def verify() -> None:
        await go_on.wait()

    limits = attrs.evolve(PATIENT, answer_seconds=0.2)
    slow = StubVerification(verify, longest_seconds=600)
    async with running(stuck, limits=limits, verification=slow) as api, asyncio.timeout(SOON):
        verifying = asyncio.create_task(
            api.exchange(VERIFY + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}")
        )
        other = await api.exchange(POST + b"Content-Length: 2\r\n\r\n{}")
        assert message_of(other, 503) == "no answer within 0.2 s"
        assert not verifying.done()
        go_on.set()
        assert status_of(await verifying) == 200


async def test_a_verification_ends_at_its_own_limit() -> None:
    async def stuck() -> None:
        await asyncio.Event().wait()

    limits = attrs.evolve(PATIENT, answer_seconds=0.2)
    endless = StubVerification(stuck, longest_seconds=0.5)
    async with running(limits=limits, verification=endless) as api, asyncio.timeout(SOON):
        answer = await api.exchange(VERIFY + b"Content-Length: 2\r\n\r\n{}")
    assert message_of(answer, 503) == "no answer within 0.5 s"


async def test_a_client_that_reads_nothing_is_ended() -> None:
    """It asks on and on, and its answers fill what the system and the server keep for it."""

    limits = attrs.evolve(PATIENT, answer_seconds=0.2)
    async with running(limits=limits) as api, asyncio.timeout(SOON):
        with await opened(api) as client, suppress(ConnectionError):
            while True:
                await asyncio.get_running_loop().sock_sendall(client, GET * 100)


# Number


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Let this process open both ends of many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip(f"this machine allows {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
async def test_idle_connections_do_not_keep_others_out() -> None:
    await _many_idle_connections()


async def _many_idle_connections() -> None:
    async with running(limits=PATIENT) as api, asyncio.timeout(60):
        with ExitStack() as closing:
            idle = [closing.enter_context(await opened(api)) for _ in range(1100)]
            for number in range(50):
                assert status_of(await api.exchange(CLOSING)) == 200, number
            # Those that have waited the longest had to go, and no more than had to.
            ended = [is_closed(connection) for connection in idle]
            assert 100 <= sum(ended) <= 200
            assert ended == sorted(ended, reverse=True)


async def test_connections_with_a_request_under_way_are_kept_and_others_told() -> None:
    await _busy_connections()


async def _busy_connections() -> None:
    release, begun = asyncio.Event(), asyncio.Semaphore(0)

    async def act() -> None:
        begun.release()
        await release.wait()

    limits = attrs.evolve(PATIENT, connections=3)
    async with running(act, limits=limits) as api, asyncio.timeout(SOON):
        request = POST + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}"
        under_way = [asyncio.create_task(api.exchange(request)) for _ in range(3)]
        for _ in under_way:
            await begun.acquire()
        reader, writer = await api.connect()
        said = message_of(await reader.read(), 503)
        assert said == "too many requests are under way; try again in some seconds"
        writer.close()
        release.set()
        assert [status_of(answer) for answer in await asyncio.gather(*under_way)] == [200] * 3
        assert status_of(await api.exchange(CLOSING)) == 200


# Memory


async def test_memory_of_bodies_is_bounded_and_the_slowest_gives_way() -> None:
    await _bodies_in_flight()


async def _bodies_in_flight() -> None:
    limits = attrs.evolve(PATIENT, body_bytes=100_000)
    part = POST + b"Content-Length: 60000\r\n\r\n" + b" " * 40_000
    async with running(limits=limits) as api, asyncio.timeout(SOON):
        slow = [await api.connect() for _ in range(2)]
        for reader, writer in slow:
            writer.write(part)
            await writer.drain()
            await api.client.get("/health")
            assert not reader.at_eof()
        # One whose body is there at once takes the place of the one that came first.
        whole = POST + b"Connection: close\r\nContent-Length: 60000\r\n\r\n" + b" " * 60_000
        assert status_of(await api.exchange(whole)) == 200
        said = message_of(await slow[0][0].read(), 503)
        assert said == "too many large requests are under way; try again in some seconds"
        # The memory is free again when the bodies are gone.
        for _, writer in slow:
            writer.close()
        for _ in range(5):
            assert status_of(await api.exchange(whole)) == 200


async def test_a_body_that_no_memory_is_left_for_is_told_so() -> None:
    async def ask() -> bytes:
        limits = attrs.evolve(PATIENT, body_bytes=10_000)
        async with running(limits=limits) as api, asyncio.timeout(SOON):
            return await api.exchange(POST + b"Content-Length: 60000\r\n\r\n" + b" " * 60_000)

    assert "too many large requests" in message_of(await ask(), 503)


async def test_requests_that_follow_each_other_are_answered_in_turn_and_held_in_bounds() -> None:
    await _pipelined()


async def _pipelined() -> None:
    async with running(limits=PATIENT) as api, asyncio.timeout(SOON):
        body = POST + b"Content-Length: 2\r\n\r\n{}"
        chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        answer = await api.exchange((GET + body + chunked) * 20 + CLOSING)
        assert answer.count(b"HTTP/1.1 200 OK") == 61


async def test_who_sends_many_requests_at_once_waits_for_others_in_between() -> None:
    async with running(limits=PATIENT) as api, asyncio.timeout(SOON):
        loop = asyncio.get_running_loop()
        turns = 0

        def count() -> None:
            nonlocal turns
            turns += 1
            again.append(loop.call_soon(count))

        again = [loop.call_soon(count)]
        begun = turns
        answer = await api.exchange(GET * 100 + CLOSING)
        again[-1].cancel()
        assert answer.count(b"HTTP/1.1 200 OK") == 101
        assert turns - begun > 100


async def test_turns_are_given_some_at_a_time_in_the_order_in_which_they_were_asked_for() -> None:
    turns = Turns()
    passes = asyncio.get_running_loop()
    given: list[int] = []

    async def ask(number: int) -> None:
        await turns.take()
        given.append(number)

    wanted = 3 * TURNS_AT_ONCE
    asked = [asyncio.create_task(ask(number)) for number in range(wanted)]
    asked[1].cancel()
    seen = []
    while len(given) < wanted - 1:
        before = len(given)
        next_pass = passes.create_future()
        passes.call_soon(next_pass.set_result, None)
        await next_pass
        seen.append(len(given) - before)
    assert given == [number for number in range(wanted) if number != 1]
    assert 0 < max(seen) <= 2 * TURNS_AT_ONCE
    # There is no turn left over for somebody who comes later.
    await asyncio.wait_for(ask(wanted), SOON)


async def test_a_crowd_is_accepted_together() -> None:
    async with running(limits=PATIENT) as api, asyncio.timeout(SOON):
        crowd = await asyncio.gather(*(api.connect() for _ in range(100)))
        for _, writer in crowd:
            writer.write(CLOSING)
        answers = await asyncio.gather(*(reader.read() for reader, _ in crowd))
        assert {status_of(answer) for answer in answers} == {200}
        for _, writer in crowd:
            writer.close()


async def test_a_client_can_not_send_ahead_without_end() -> None:
    await _sending_ahead()


async def _sending_ahead() -> None:
    release, begun = asyncio.Event(), asyncio.Event()

    async def act() -> None:
        begun.set()
        await release.wait()

    async with running(act, limits=PATIENT) as api, asyncio.timeout(SOON):
        with await opened(api) as client:
            client.send(POST + b"Content-Length: 2\r\n\r\n{}")
            await begun.wait()
            sent = stalled = 0
            # What the system takes on both sides is a few MiB; the server takes one read.
            while stalled < 20 and sent < 64 * 2**20:
                try:
                    sent += client.send(GET * 1000)
                    stalled = 0
                except BlockingIOError:
                    stalled += 1
                    await api.client.get("/health")
            assert stalled == 20
        release.set()


# Answers


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (CLOSING, 200),
        (CLOSING.replace(b"GET", b"HEAD"), 200),
        (CLOSING.replace(b"/health", b"/nowhere"), 404),
        (CLOSING.replace(b"GET", b"PUT"), 405),
        (POST + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}", 200),
        (POST.replace(b"json", b"xml") + b"Connection: close\r\n\r\n", 415),
        (CLOSING.replace(b"/health", b"/api/job/x").replace(b"localhost", b"x"), 421),
        (
            CLOSING.replace(b"GET", b"HEAD").replace(b"localhost", b"x").replace(b"health", b"x"),
            421,
        ),
        (b"nonsense\r\n\r\n", 400),
    ],
)
async def test_no_answer_is_guessed_at_or_kept_and_no_header_is_empty(
    request_bytes: bytes, status: int
) -> None:
    async with running() as api, asyncio.timeout(SOON):
        answer = await api.exchange(request_bytes)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status_of(answer) == status
    fields = [line.split(b":", 1) for line in head.lower().split(b"\r\n")[1:]]
    values = {name: value.strip() for name, value in fields}
    assert len(values) == len(fields)
    assert all(values.values())
    assert values[b"x-content-type-options"] == b"nosniff"
    assert values[b"cache-control"] == b"no-store"
    assert values[b"content-type"] == b"application/json"
    assert int(values[b"content-length"]) == len(body) or request_bytes.startswith(b"HEAD")
    assert bool(body) != request_bytes.startswith(b"HEAD")


async def test_a_header_of_an_answer_does_not_become_two() -> None:
    async def act() -> None:
        raise SanicException("no", status_code=418, headers={"X-Odd": "a\r\nX-More: b"})

    async with running(act) as api, asyncio.timeout(SOON):
        answer = await api.exchange(POST + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status_of(answer) == 418
    assert b"x-odd: a" in head.lower()
    assert b"\r\nx-more" not in head.lower()
    assert json.loads(body)["message"] == "no"


async def test_a_client_that_waits_to_be_asked_for_its_body_is() -> None:
    async def ask() -> bytes:
        async with running(limits=PATIENT) as api, asyncio.timeout(SOON):
            reader, writer = await api.connect()
            writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"{}")
            answer = await reader.readuntil(b"}")
            writer.close()
            return answer

    assert status_of(await ask()) == 200


# Hanging up


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"GET /health HTTP/1.1\r\nHos",
        POST + b"Content-Length: 10\r\n\r\n{",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1",
        POST + b"Content-Length: 2\r\n\r\n{}",
    ],
)
@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_hangs_up_is_no_error(
    request_bytes: bytes, caplog: pytest.LogCaptureFixture, *, reset: bool
) -> None:
    await _hang_up(request_bytes, reset=reset)
    # Whoever serves has waited for what served the connections.
    assert [task for task in asyncio.all_tasks() if "connection_task" in repr(task)] == []
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def _hang_up(request_bytes: bytes, *, reset: bool) -> None:
    ended = asyncio.Event()

    async def act() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with running(act, limits=PATIENT) as api, asyncio.timeout(SOON):
        client = socket.create_connection(address_of(api))
        client.sendall(request_bytes)
        await api.client.get("/health")
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        client.close()
        if request_bytes.endswith(b"{}"):
            await ended.wait()
        assert (await api.client.get("/health")).status_code == 200


# Descriptors


async def test_without_descriptors_the_log_is_short_and_all_is_well_afterwards(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        await _without_descriptors()
    lines = [record.getMessage() for record in caplog.records if "accepting" in record.message]
    # A busy machine takes longer, and there are some lines for each second.
    assert 2 <= len(lines) <= 30
    assert lines[0] == "accepting connections failed: [Errno 24] Too many open files"
    assert lines[-1].startswith("accepting connections works again, after ")


async def _without_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with running(limits=PATIENT) as api, asyncio.timeout(SOON):
        waiting = [await opened(api) for _ in range(5)]
        await api.client.get("/health")
        clients = [socket.socket() for _ in range(20)]
        used = clients[-1].fileno() + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
        try:
            for client in clients:
                client.settimeout(0)
                await asyncio.get_running_loop().sock_connect(client, address_of(api))
            await asyncio.sleep(0.5)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert status_of(await api.exchange(CLOSING)) == 200
        for connection in (*waiting, *clients):
            connection.close()


async def opened(api: Running) -> socket.socket:
    """Open a connection that reads nothing by itself, and has little room for what comes."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(0)
    await asyncio.get_running_loop().sock_connect(client, address_of(api))
    return client


def address_of(api: Running) -> tuple[str, int]:
    host, _, port = api.url.removeprefix("http://").rpartition(":")
    return host, int(port)


def is_closed(connection: socket.socket) -> bool:
    """Return whether the other side has ended a connection on which nothing was sent."""
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
