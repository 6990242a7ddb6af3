"""A TCP proxy before PostgreSQL that tests make silent, make refuse and point somewhere else.

It runs in a thread with an event loop of its own: what a test asks of it is done when the call
returns, whatever the test's own loop does.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from threading import Thread
from urllib.parse import urlsplit, urlunsplit

from attrs import define, field

CHUNK = 65536

# What is asked of the proxy is done in a moment.
PATIENCE_SECONDS = 30.0


@define(eq=False)
class _Link:
    """A client's connection and the one that it is forwarded to."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    forwards: asyncio.Event = field(factory=asyncio.Event)

    def cut(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()
        self.forwards.set()


class PostgresProxy:
    """The proxy; see `postgres_proxy`. Its methods are called from other threads."""

    def __init__(self, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._target = _address(url)
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[object]] = set()
        self._silent = False
        self._server: asyncio.Server | None = None
        self._port = 0
        self.accepted = 0
        """How many connections were taken so far."""
        self._run(self._listen())

    def url(self, url: str) -> str:
        """Return the URL of a database through the proxy."""
        parts = urlsplit(url)
        user = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{self._port}"))

    def _run(self, coroutine: Coroutine[object, object, None]) -> None:
        """Run something in the proxy's loop."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_SECONDS)

    def freeze(self) -> None:
        """Stop forwarding the connections that are open; they stay open. New ones work."""

        def freeze() -> None:
            for link in self._links:
                link.forwards.clear()

        self._do(freeze)

    def silence(self) -> None:
        """Go fully silent: nothing is forwarded, and new connections are taken and left alone."""

        def silence() -> None:
            self._silent = True
            for link in self._links:
                link.forwards.clear()

        self._do(silence)

    def refuse(self) -> None:
        """Refuse new connections. Those that are open work."""

        def refuse() -> None:
            if self._server is not None:
                self._server.close()
                self._server = None

        self._do(refuse)

    def cut(self) -> None:
        """Break all open connections."""

        def cut() -> None:
            for link in self._links:
                link.cut()

        self._do(cut)

    def point_to(self, url: str) -> None:
        """Forward new connections to another server; those that are open stay where they are."""

        def point() -> None:
            self._target = _address(url)

        self._do(point)

    def mend(self) -> None:
        """Forward everything again."""

        async def mend() -> None:
            self._silent = False
            for link in self._links:
                link.forwards.set()
            if self._server is None:
                await self._listen()

        self._run(mend())

    def close(self) -> None:
        """Stop listening and break all connections."""
        self.refuse()

        async def close() -> None:
            for link in self._links:
                link.cut()
            if self._tasks:
                await asyncio.wait(self._tasks)

        self._run(close())

    def _do(self, action: Callable[[], object]) -> None:
        async def do() -> None:
            action()

        self._run(do())

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            there, out = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, out)
        if not self._silent:
            link.forwards.set()
        self._links.add(link)
        try:
            await asyncio.gather(
                self._forward(link, reader, out), self._forward(link, there, writer)
            )
        finally:
            self._links.discard(link)
            link.cut()

    async def _forward(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(CHUNK):
                await link.forwards.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        # An end is forwarded like everything else: a frozen connection does not end.
        await link.forwards.wait()
        link.cut()


@contextmanager
def postgres_proxy(url: str) -> Iterator[PostgresProxy]:
    """Run a proxy before the server of a database; it begins sound."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="proxy")
    thread.start()
    try:
        proxy = PostgresProxy(url, loop)
        try:
            yield proxy
        finally:
            proxy.close()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 5432
