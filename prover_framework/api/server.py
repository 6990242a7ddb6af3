"""Serve the application in the running event loop, and stop without dropping a request."""

import asyncio
import logging
import socket
from collections.abc import Callable

from sanic import Sanic
from sanic.server import AsyncioServer

from prover_framework.api.app import make_app
from prover_framework.errors import SettingsError
from prover_framework.receipts.desk import ReceiptDesk
from prover_framework.service import ProvingService

log = logging.getLogger(__name__)

# Requests are short; one that is not answered by then hangs on a database that will not answer.
DRAIN_SECONDS = 10.0

BACKLOG = 1024


async def serve(
    service: ProvingService,
    host: str,
    port: int,
    stopping: asyncio.Event,
    on_ready: Callable[[str], None] | None = None,
    *,
    receipts: ReceiptDesk | None = None,
) -> None:
    """Serve until ``stopping`` is set, then answer what is under way and close.

    Args:
        service: What the handlers call.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        stopping: Ends the serving.
        on_ready: Told the base URL once requests are answered.
        receipts: What the handlers of receipts call; without it there are none of these.

    Raises:
        SettingsError: The address can not be listened on.
    """
    listener = _listen(host, port)
    app = make_app(service, receipts)
    try:
        server = await app.create_server(sock=listener, return_asyncio_server=True)
        if server is None:
            raise RuntimeError("Sanic made no server")
        try:
            await server.startup()  # type: ignore[no-untyped-call]
            url = _url(listener)
            log.info("API: listening on %s", url)
            if on_ready:
                on_ready(url)
            await stopping.wait()
        finally:
            await _close(server)
    finally:
        Sanic.unregister_app(app)
        listener.close()
    log.info("API: stopped")


async def _close(server: AsyncioServer) -> None:
    # This waits for the connections, too (from Python 3.12 on), so they are seen to first.
    closing = server.close()  # type: ignore[no-untyped-call]
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while server.connections:
                for connection in list(server.connections):
                    connection.close_if_idle()
                # Connections report their end to nobody but this set.
                await asyncio.sleep(0.01)
    except TimeoutError:
        log.warning("API: requests were still under way after %g s", DRAIN_SECONDS)
    finally:
        for connection in list(server.connections):
            connection.abort()
    if closing is not None:
        await closing


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        # asyncio's and our own address are one too many.
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise SettingsError(
            f"can not listen on {host}:{port}: {reason}; "
            "choose another address with PROVER_HOST and PROVER_PORT"
        ) from None


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
