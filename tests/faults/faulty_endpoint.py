"""A proxy before an SQS endpoint that refuses, hangs or sends everything twice when told to."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from enum import StrEnum

import aiohttp
from aiohttp import web

# Longer than the longest poll.
UPSTREAM_SECONDS = 60.0

# What belongs to one connection, or is made anew for the next one.
CONNECTION_HEADERS = frozenset(
    {"connection", "content-encoding", "content-length", "date", "host", "server"}
    | {"transfer-encoding"}
)


class Mode(StrEnum):
    """How the endpoint behaves."""

    SOUND = "sound"
    REFUSING = "refusing"
    """Nobody listens, and connections that were open break at their next request."""
    HANGING = "hanging"
    """Requests are taken and not answered; when it is sound again they are carried out, late."""
    DOUBLING = "doubling"
    """Messages are sent twice, as by a network that repeats what it has carried already."""


class FaultyEndpoint:
    """The proxy; see `faulty_endpoint`.

    Args:
        upstream: URL of the endpoint behind it.
        session: Makes the requests to that.
        runner: Serves the proxy.
    """

    def __init__(
        self, upstream: str, session: aiohttp.ClientSession, runner: web.AppRunner
    ) -> None:
        self._upstream = upstream
        self._session = session
        self._runner = runner
        self._site: web.TCPSite | None = None
        self._port = 0
        self._mode = Mode.SOUND
        self._answering = asyncio.Event()
        self._answering.set()

    @property
    def url(self) -> str:
        """Its own URL."""
        return f"http://127.0.0.1:{self._port}"

    async def listen(self) -> None:
        """Take connections, at the same port as before."""
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await self._site.start()
        self._port = self._runner.addresses[0][1]

    async def behave(self, mode: Mode) -> None:
        """Behave like this from now on."""
        if mode is self._mode:
            return
        if mode is Mode.REFUSING and self._site is not None:
            await self._site.stop()
        elif self._mode is Mode.REFUSING:
            await self.listen()
        self._mode = mode
        if mode is Mode.HANGING:
            self._answering.clear()
        else:
            self._answering.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass on a request, or do not."""
        body = await request.read()
        if self._mode is Mode.REFUSING:
            return _broken_off(request)
        await self._answering.wait()
        sends = request.headers.get("X-Amz-Target", "").endswith(".SendMessageBatch")
        try:
            if self._mode is Mode.DOUBLING and sends:
                await self._pass_on(request, body)
            return await self._pass_on(request, body)
        except aiohttp.ClientError:
            # The endpoint itself has closed the connection in the same moment.
            return _broken_off(request)

    async def _pass_on(self, request: web.Request, body: bytes) -> web.Response:
        async with self._session.request(
            request.method,
            f"{self._upstream}{request.path_qs}",
            data=body,
            headers=_lasting(request.headers.items()),
        ) as answer:
            return web.Response(
                status=answer.status,
                body=await answer.read(),
                headers=_lasting(answer.headers.items()),
            )


@asynccontextmanager
async def faulty_endpoint(upstream: str) -> AsyncIterator[FaultyEndpoint]:
    """Run a proxy before an endpoint, on a free port; it begins sound."""
    timeout = aiohttp.ClientTimeout(total=UPSTREAM_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        app = web.Application(client_max_size=2**22)
        # Polls that are under way at the end are cut off: nobody is left who waits for them.
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        endpoint = FaultyEndpoint(upstream, session, runner)
        app.router.add_route("*", "/{path:.*}", endpoint.handle)
        await runner.setup()
        try:
            await endpoint.listen()
            yield endpoint
        finally:
            await runner.cleanup()


def _broken_off(request: web.Request) -> web.Response:
    """Break the connection; what is returned reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


def _lasting(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() not in CONNECTION_HEADERS}
