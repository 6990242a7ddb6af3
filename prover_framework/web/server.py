"""Serve the application in the running event loop, and stop without dropping a request."""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

from attrs import frozen
from sanic import Sanic

from prover_framework.callers.service import Callers
from prover_framework.errors import SettingsError
from prover_framework.hosts import is_loopback
from prover_framework.jobs.feed import EventFeed
from prover_framework.jobs.service import ProvingService
from prover_framework.monitoring.service import Monitored, Monitoring
from prover_framework.proofs.charts import ChartService
from prover_framework.proofs.service import ReceiptService
from prover_framework.verification.service import VerificationService
from prover_framework.web.access import Access, require_guarded
from prover_framework.web.app import make_app, make_monitoring_app
from prover_framework.web.connections import ConnectionLimits, Connections
from prover_framework.web.pages.parts import PageParts

log = logging.getLogger(__name__)

# Requests are short; one that is not answered by then hangs on a database that will not answer.
DRAIN_SECONDS = 10.0

# What serves a connection ends within milliseconds after that is aborted.
ABORT_SECONDS = 1.0

BACKLOG = 1024

# What the system keeps of a connection in each direction. By itself it would keep some MiB for
# a client that sends without end or reads nothing.
SYSTEM_BUFFER_BYTES = 128 * 1024

ANY_IPV6 = "::"


@frozen(kw_only=True)
class Exposure:
    """Who can reach the API, and under which names.

    Args:
        is_open: Whether the operator says that everybody may use it who can reach it.
        allowed_hosts: Names that it has beside those of loopback and the address listened on.
    """

    is_open: bool = False
    allowed_hosts: tuple[str, ...] = ()


LOCAL = Exposure()
USUAL_LIMITS = ConnectionLimits()


async def serve(
    service: ProvingService,
    host: str,
    port: int,
    stopping: asyncio.Event,
    on_ready: Callable[[str], None] | None = None,
    *,
    receipts: ReceiptService,
    verification: VerificationService,
    monitoring: Monitoring,
    charts: ChartService | None = None,
    pages: PageParts | None = None,
    feed: EventFeed | None = None,
    exposure: Exposure = LOCAL,
    callers: Callers,
    limits: ConnectionLimits = USUAL_LIMITS,
    drain_seconds: float = DRAIN_SECONDS,
    access_log: bool = False,
) -> None:
    """Serve the API until ``stopping`` is set, then answer what is under way and close.

    Args:
        service: What the handlers call.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        stopping: Ends the serving.
        on_ready: Told the base URL once requests are answered.
        receipts: What the handlers of receipts call.
        verification: What verifies receipts.
        monitoring: What is seen of this process.
        charts: What illustrates results; none where nothing is to.
        pages: What pages for people show; none where there are to be none.
        feed: Tells of events; it is closed when the serving ends.
        exposure: Who can reach it.
        callers: What recognises callers by their keys.
        limits: What clients may use.
        drain_seconds: How long requests that are under way may take when it stops.
        access_log: Whether each request has a line in the log.

    Raises:
        SettingsError: The address cannot be listened on, or is not to be without a word that it is
            open.
    """
    has_keys = await callers.have_keys()
    listener = _listen(host, port, is_guarded=has_keys or exposure.is_open)
    app = make_app(
        service,
        receipts,
        verification,
        monitoring,
        callers,
        charts=charts,
        pages=pages,
        feed=feed,
        access_log=access_log,
    )
    access = Access(exposure.allowed_hosts, host)
    is_open = exposure.is_open or not has_keys
    serving = _Serving(app, "API", access, limits, drain_seconds, feed, is_open=is_open)
    await serving.run(listener, stopping, on_ready)


async def serve_monitoring(
    monitoring: Monitored,
    host: str,
    port: int,
    stopping: asyncio.Event,
    on_ready: Callable[[str], None] | None = None,
    *,
    exposure: Exposure = LOCAL,
) -> None:
    """Serve the monitoring of a process without an API until ``stopping`` is set; see `serve`."""
    listener = _listen(host, port, is_guarded=exposure.is_open)
    app = make_monitoring_app(monitoring)
    access = Access(exposure.allowed_hosts, host)
    serving = _Serving(app, "monitoring", access, USUAL_LIMITS, DRAIN_SECONDS)
    await serving.run(listener, stopping, on_ready)


@frozen(eq=False)
class _Serving:
    app: "Sanic[Any, Any]"
    what: str
    access: Access
    limits: ConnectionLimits
    drain_seconds: float
    feed: EventFeed | None = None
    is_open: bool = True

    async def run(
        self,
        listener: socket.socket,
        stopping: asyncio.Event,
        on_ready: Callable[[str], None] | None,
    ) -> None:
        try:
            connections = Connections(self.app, self.access, self.limits)
            await connections.startup()
            tasks = [
                asyncio.create_task(work)
                for work in (connections.accept(listener), connections.watch(), _wait(stopping))
            ]
            try:
                self._tell(listener, on_ready)
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    # Only the last of them ends by itself; the others would have failed.
                    task.result()
            finally:
                tasks[0].cancel()
                await asyncio.wait(tasks[:1])
                listener.close()
                if self.feed is not None:
                    # Its streams would go on for as long as their clients like.
                    await self.feed.close()
                await self._close(connections)
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
        finally:
            Sanic.unregister_app(self.app)
            listener.close()
        log.info("%s: stopped", self.what)

    def _tell(self, listener: socket.socket, on_ready: Callable[[str], None] | None) -> None:
        url = _url(listener)
        log.info("%s: listening on %s", self.what, url)
        if self.is_open and not is_loopback(listener.getsockname()[0]):
            log.warning("%s: open: whoever can reach %s may use all of it", self.what, url)
        if on_ready:
            on_ready(url)

    async def _close(self, connections: Connections) -> None:
        try:
            async with asyncio.timeout(self.drain_seconds):
                while connections.open:
                    for connection in list(connections.open):
                        connection.close_if_idle()
                    # Connections report their end to nobody but this set.
                    await asyncio.sleep(0.01)
        except TimeoutError:
            log.warning(
                "%s: requests were still under way after %g s", self.what, self.drain_seconds
            )
        finally:
            for connection in list(connections.open):
                connection.abort()  # type: ignore[no-untyped-call]
            if connections.tasks:
                await asyncio.wait(connections.tasks, timeout=ABORT_SECONDS)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def _listen(host: str, port: int, *, is_guarded: bool) -> socket.socket:
    """Listen on an address; on the unspecified one of IPv6 for IPv4 as well."""
    try:
        family, address = _resolve(host, port)
        require_guarded(address[0], is_guarded=is_guarded)
        listener = socket.create_server(
            address,
            family=family,
            backlog=BACKLOG,
            dualstack_ipv6=address[0] == ANY_IPV6 and socket.has_dualstack_ipv6(),
        )
    except (OSError, UnicodeError) as error:
        # A name that cannot be one is told by a UnicodeError.
        strerror = error.strerror if isinstance(error, OSError) else None
        # asyncio's and our own address are one too many.
        reason = (strerror or str(error)).partition(" (while")[0]
        raise SettingsError(
            f"cannot listen on {host}:{port}: {reason}; "
            "choose another address with PROVER_HOST and PROVER_PORT"
        ) from None
    listener.settimeout(0)
    # Connections have what their listener has.
    for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        listener.setsockopt(socket.SOL_SOCKET, buffer, SYSTEM_BUFFER_BYTES)
    return listener


def _resolve(host: str, port: int) -> tuple[int, tuple[Any, ...]]:
    """Return the family and the address of a host, of IPv4 where it has one of each."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, *_, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, address


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
