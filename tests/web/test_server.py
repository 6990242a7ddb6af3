"""Starting and stopping the server, and what it answers when something inside goes wrong."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from api_server import (
    NO_MONITORING,
    NO_RECEIPTS,
    StubService,
    no_keys,
    no_verification,
    nothing,
    running,
)

from prover_framework.errors import PluginError, ProofError, SettingsError, StoreError
from prover_framework.web import server

# Generous for a loaded machine; what is tested takes milliseconds.
SOON = 5.0


def raising(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def act() -> None:
        raise error

    return act


def test_a_request_under_way_is_answered_before_the_server_ends() -> None:
    asyncio.run(_stop_during_a_request())


async def _stop_during_a_request() -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def act() -> None:
        begun.set()
        await release.wait()

    async with running(act) as api:
        request = asyncio.create_task(api.client.post("/api/job", headers=JSON, content=b"{}"))
        await begun.wait()
        api.stopping.set()
        async with asyncio.timeout(SOON):
            while await _accepts(api.url):
                pass
        assert not api.task.done()
        release.set()
        answer = await request
        assert (answer.status_code, answer.json()["status"]) == (200, "success")
        async with asyncio.timeout(SOON):
            await api.task


def test_idle_connections_do_not_delay_the_stop() -> None:
    asyncio.run(_stop_with_idle_connections())


async def _stop_with_idle_connections() -> None:
    async with running(nothing) as api:
        host, port = _address(api.url)
        silent = [await asyncio.open_connection(host, port) for _ in range(3)]
        used, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await used.readline()).startswith(b"HTTP/1.1 200 ")
        await api.client.get("/health")

        api.stopping.set()
        async with asyncio.timeout(SOON):
            await api.task
            await used.read()
            for reader, _ in silent:
                assert await reader.read() == b""
        for other in (writer, *(writer for _, writer in silent)):
            other.close()


async def test_a_request_that_never_ends_does_not_hold_the_stop_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun = asyncio.Event()

    async def act() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with running(act, drain_seconds=0.1) as api:
        request = asyncio.create_task(api.client.post("/api/job", headers=JSON, content=b"{}"))
        await begun.wait()
        api.stopping.set()
        async with asyncio.timeout(SOON):
            await api.task
            with pytest.raises(httpx.TransportError):
                await request
    assert "requests were still under way after 0.1 s" in caplog.text


def test_a_cancelled_server_lets_go_of_its_address() -> None:
    asyncio.run(_cancel())


async def _cancel() -> None:
    async with running(nothing) as api:
        assert (await api.client.get("/health")).status_code == 200
        api.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await api.task
        assert not await _accepts(api.url)


def test_an_address_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SettingsError) as caught:
            asyncio.run(
                server.serve(
                    StubService(nothing),
                    "127.0.0.1",
                    port,
                    asyncio.Event(),
                    receipts=NO_RECEIPTS,
                    callers=no_keys(),
                    verification=no_verification(),
                    monitoring=NO_MONITORING,
                )
            )
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use; "
        "choose another address with PROVER_HOST and PROVER_PORT"
    )


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 300, "[::1]", "127.0.0.1:80"])
def test_a_host_that_is_none_is_named(host: str) -> None:
    with pytest.raises(SettingsError, match=r"^cannot listen on .*choose another address"):
        asyncio.run(
            server.serve(
                StubService(nothing),
                host,
                0,
                asyncio.Event(),
                receipts=NO_RECEIPTS,
                callers=no_keys(),
                verification=no_verification(),
                monitoring=NO_MONITORING,
            )
        )


def test_servers_can_follow_each_other_in_one_process() -> None:
    for _ in range(3):
        assert asyncio.run(_ask(nothing, "GET", "/health")).status_code == 200


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (StoreError("the disk is full"), 503, "the disk is full"),
        (PluginError("plugin twap: its hook dispatch raised"), 500, "plugin twap: its hook dis"),
        (ProofError("not this one"), 400, "not this one"),
    ],
)
def test_what_the_framework_can_explain_keeps_its_words(
    error: Exception, status: int, message: str
) -> None:
    for method, path in (("POST", "/api/job"), ("GET", "/api/job/job_123")):
        answer = asyncio.run(_ask(raising(error), method, path))
        assert answer.status_code == status
        document: dict[str, Any] = answer.json()
        assert document.pop("message").startswith(message)
        assert document == {"status": "error", "job_group_id": "job_123"}


@pytest.mark.parametrize("error", [RuntimeError("secret"), ZeroDivisionError(), KeyError("secret")])
def test_what_nobody_foresaw_is_told_to_the_log_only(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    answer = asyncio.run(_ask(raising(error), "POST", "/api/job"))
    assert answer.status_code == 500
    assert answer.json() == {
        "status": "error",
        "message": "internal error; the log has more",
        "job_group_id": None,
    }
    [record] = [record for record in caplog.records if record.exc_info]
    assert (record.name, record.levelno) == ("prover_framework.web.app", logging.ERROR)
    assert record.exc_info is not None
    assert record.exc_info[1] is error


JSON = {"Content-Type": "application/json"}


async def _ask(act: Callable[[], Awaitable[None]], method: str, path: str) -> httpx.Response:
    async with running(act) as api:
        return await api.client.request(method, path, headers=JSON, content=b"{}")


async def _accepts(url: str) -> bool:
    try:
        _, writer = await asyncio.open_connection(*_address(url))
    except OSError:
        return False
    writer.close()
    return True


def _address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)
