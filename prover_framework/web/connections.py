"""The connections of the API: how many, for how long, with how much memory.

Each is read by the server library's protocol, with a gate in front: `framing` says which bytes
belong to the request, `access` whether it is handled, and only then does the library see them. A
request that follows another one on its connection stays outside until that one is answered.

Time is counted for the whole of a head, of a body, of an answer: a byte now and then does not give
a client more of it. Where connections or memory run out, the client that has kept this service
waiting the longest goes first.
"""

import asyncio
import json
import logging
import re
import socket
from collections import deque
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from attrs import field, frozen
from attrs.validators import gt
from sanic import Sanic
from sanic.compat import Header
from sanic.exceptions import BadRequest, RequestTimeout, SanicException, ServiceUnavailable
from sanic.headers import format_http1_response
from sanic.helpers import has_message_body
from sanic.http import Http, Stage
from sanic.models.server_types import Signal
from sanic.response import BaseHTTPResponse
from sanic.server import AsyncioServer, HttpProtocol

from prover_framework.logs import Trouble
from prover_framework.web.access import Access, Refused
from prover_framework.web.framing import HEAD_END, LINE_END, Framing, Head, Malformed

log = logging.getLogger(__name__)

# How far a body is read ahead of its handler.
READ_BUFFER_BYTES = 64 * 1024

# What a piece of a body costs in memory beside its bytes.
PIECE_BYTES = 64

# How long a client that was refused may go on sending before its connection is reset: closed at
# once, the answer could be lost on its way.
LINGER_SECONDS = 2.0

# How often the time limits are looked at.
LOOK_SECONDS = 0.25

# How much of what it sends is read meanwhile.
LINGER_BYTES = 4 * 2**20

# How long an answer about a time limit may take, before the connection is reset.
LAST_WORDS_SECONDS = 5.0

# Connections that are accepted together.
ACCEPTED_AT_ONCE = 32

# Further requests that are let in together: some milliseconds of work.
TURNS_AT_ONCE = 8

# Descriptors may be free again soon; until then each attempt is in vain.
ACCEPT_WAIT_SECONDS = 0.1
MAX_ACCEPT_WAIT_SECONDS = 2.0

ANSWER_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}

# What a header of an answer must not have: it could end the head before its end.
CONTROL = re.compile(r"[\x00-\x1f\x7f]")

NO_MEMORY = "too many large requests are under way; try again in some seconds"
NO_CONNECTION = "too many requests are under way; try again in some seconds"


@frozen(kw_only=True)
class ConnectionLimits:
    """What all clients together, and each of them, may use of the API.

    Args:
        connections: How many may be open.
        head_seconds: From a connection's begin, or the first byte of a further request, to the
            end of the request's head.
        body_seconds: From there to the end of its body.
        answer_seconds: From there to the first byte of the answer, and from each part of it to the
            next.
        idle_seconds: Between an answer and the first byte of the next request.
        body_bytes: Memory of all requests that are received and not answered yet.
    """

    # Many times what pollers and pages keep open, and each costs some kilobytes.
    connections: int = field(default=1000, validator=gt(0))
    # A head is one packet. Phones on bad lines need some seconds for it.
    head_seconds: float = field(default=10.0, validator=gt(0))
    # The largest receipt at 70 KB a second.
    body_seconds: float = field(default=30.0, validator=gt(0))
    answer_seconds: float = field(default=60.0, validator=gt(0))
    # Longer than the pollers' usual pace, so that they do not connect each time.
    idle_seconds: float = field(default=60.0, validator=gt(0))
    # Thirty of the largest receipts, or a thousand of the largest requests.
    body_bytes: int = field(default=64 * 2**20, validator=gt(0))


class Turns:
    """Lets further requests of connections in, some in each pass of the event loop.

    A connection's first request does not wait. So however many clients ask again as soon as they
    are answered, a pass is short, and somebody new waits for a few of them, not for all.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait for a turn."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        if len(self._waiting) == 1:
            loop.call_soon(self._give, loop)
        await turn

    def _give(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(min(TURNS_AT_ONCE, len(self._waiting))):
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
        if self._waiting:
            loop.call_soon(self._give, loop)


class Connections:
    """All connections of a server: accepts them, counts them and ends those that take too long.

    Args:
        app: The application that answers.
        access: Who is let in.
        limits: What they may use.
    """

    def __init__(self, app: "Sanic[Any, Any]", access: Access, limits: ConnectionLimits) -> None:
        self.access = access
        self.limits = limits
        self.open: set[GuardedProtocol] = set()
        # What serves a connection takes a moment to end after that is lost.
        self.tasks: set[asyncio.Task[None]] = set()
        # Those that wait for their clients, and those that receive a body, the longest first.
        self.waiting: dict[GuardedProtocol, None] = {}
        self.receiving: dict[GuardedProtocol, None] = {}
        self.held_bytes = 0
        self.turns = Turns()
        self._app = app
        self._signal = Signal()
        self._trouble = Trouble(
            "accepting connections",
            log,
            first_seconds=ACCEPT_WAIT_SECONDS,
            longest_seconds=MAX_ACCEPT_WAIT_SECONDS,
        )

    async def startup(self) -> None:
        """Make the application ready to answer."""
        server = AsyncioServer(self._app, asyncio.get_running_loop(), None, self.open)
        await server.startup()  # type: ignore[no-untyped-call]

    async def accept(self, listener: socket.socket) -> None:
        """Accept connections until cancelled.

        asyncio's own server tries again a hundred times a second, with a stack trace each time,
        when the process is out of descriptors.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except ConnectionError:
                # The client was gone before it was accepted.
                continue
            except OSError as error:
                self.make_room()
                await asyncio.sleep(self._trouble.failed(error))
                continue
            self._trouble.passed()
            # Each takes some passes of the event loop: one after the other, the last of a crowd
            # would wait for seconds.
            beginning = {
                asyncio.create_task(self._begin(each)) for each in (connection, *_more(listener))
            }
            try:
                await asyncio.wait(beginning)
            except asyncio.CancelledError:
                # What was accepted is closed with the others.
                await asyncio.wait(beginning)
                raise

    async def _begin(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(self._protocol, connection)
        except OSError:
            connection.close()

    async def watch(self) -> None:
        """End what takes too long, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for connection in list(self.open):
                connection.check_time(loop.time())

    def make_room(self, wanted_by: "GuardedProtocol | None" = None) -> bool:
        """End the connection that has waited for its client the longest; False if none waits."""
        longest = next(iter(self.waiting), wanted_by)
        if longest is None or longest is wanted_by:
            return False
        longest.end()
        return True

    def hold(self, count: int, wanted_by: "GuardedProtocol") -> bool:
        """Count memory of a request; False if there is none left for it.

        Before it is refused, bodies that have been coming in for longer are ended.
        """
        while self.held_bytes + count > self.limits.body_bytes:
            oldest = next(iter(self.receiving), wanted_by)
            if oldest is wanted_by:
                return False
            oldest.fail(ServiceUnavailable(NO_MEMORY))
        self.held_bytes += count
        return True

    def _protocol(self) -> "GuardedProtocol":
        return GuardedProtocol(self, self._app, self._signal)


def _more(listener: socket.socket) -> list[socket.socket]:
    """Accept what else is there, up to a number; what goes wrong is told by the next attempt."""
    found: list[socket.socket] = []
    with suppress(OSError):
        while len(found) < ACCEPTED_AT_ONCE - 1:
            connection, _ = listener.accept()
            connection.settimeout(0)
            found.append(connection)
    return found


class _Headers(Header):
    """Headers without empty ones: the library announces no other service by an empty header."""

    def __setitem__(self, name: str, value: Any) -> None:
        if value != "":
            super().__setitem__(name, value)


class GuardedHttp(Http):
    """Adds to each answer what keeps browsers from guessing its type and from keeping it."""

    async def http1_response_header(self, data: bytes, end_stream: bool) -> None:  # noqa: FBT001 - Sanic's
        """Send the head of an answer, and its body where that is there as a whole."""
        response = self.response
        for name, value in ANSWER_HEADERS.items():
            response.headers.setdefault(name, value)
        if (whole := None if data else self._whole_answer(response)) is None:
            response.headers = _Headers(response.headers)
            await super().http1_response_header(data, end_stream)
            return
        self.response_func = None  # type: ignore[assignment]
        await self._send(whole)
        self.stage = Stage.IDLE

    def _whole_answer(self, response: BaseHTTPResponse) -> bytes | None:
        """Return an answer, head and body; None for one that the library had better write.

        Most are whole, and the library takes as long for such a head as for reading the request.
        """
        body = response.body
        if not body or self.head_only or self.expecting_continue:
            return None
        if not has_message_body(response.status):  # type: ignore[no-untyped-call]
            return None
        headers = response.headers
        headers["content-length"] = str(len(body))
        headers["connection"] = "keep-alive" if self.keep_alive else "close"
        headers.setdefault("content-type", response.content_type)
        lines = [f"{name}: {value}" for name, value in headers.items()]
        if CONTROL.search("".join(lines)):
            return None
        status = format_http1_response(response.status, ()).removesuffix(LINE_END)
        return b"%b%b%b%b" % (status, "\r\n".join(lines).encode(), HEAD_END, body)


class GuardedProtocol(HttpProtocol):
    """One connection: the library's protocol behind the gate."""

    HTTP_CLASS = GuardedHttp

    __slots__ = (
        "_all",
        "_answered",
        "_ending",
        "_framing",
        "_held",
        "_limits",
        "_lingering",
        "_outside",
        "_thrown_away",
        "_until",
    )

    def __init__(self, connections: Connections, app: "Sanic[Any, Any]", signal: Signal) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(loop=loop, app=app, signal=signal, connections=connections.open)
        self._all = connections
        self._limits = connections.limits
        self._framing = Framing()
        # Received, and not the library's yet: an incomplete head, or the next request.
        self._outside = bytearray()
        # Memory that is counted for it.
        self._held = 0
        # Whether it has had an answer.
        self._answered = False
        # When the client's time is up; None while it waits for us.
        self._until: float | None = None
        # Nothing more is taken from it. It may still get an answer.
        self._ending = False
        # Nothing more is sent to it either; what it sends is thrown away for a moment.
        self._lingering = False
        self._thrown_away = 0

    # What the transport calls

    def connection_made(self, transport: Any) -> None:
        """Begin, and make room if there are too many."""
        super().connection_made(transport)  # type: ignore[no-untyped-call]
        if self._task is not None:
            self._all.tasks.add(self._task)
            self._task.add_done_callback(self._all.tasks.discard)
        self._wait_for_client(self._limits.head_seconds)
        if len(self._all.open) > self._limits.connections and not self._all.make_room(self):
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, NO_CONNECTION)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of all that was held for it."""
        self._ending = True
        self._let_go()
        super().connection_lost(exc)  # type: ignore[no-untyped-call]

    def data_received(self, data: bytes) -> None:
        """Take what belongs to the request under way, and keep the rest outside."""
        if self._ending:
            self._throw_away(data)
            return
        if self._is_idle:
            self._wait_for_client(self._limits.head_seconds)
        self._outside += data
        self._take(len(data))

    # What the library calls

    async def receive_more(self) -> None:
        """Wait until there is more to read of this request, or the head of the next."""
        if self._ending:
            # The library wants to read to the end of a request that was answered with an error.
            raise BadRequest
        self._data_received.clear()
        begins = self.http is not None and self.http.stage is Stage.IDLE
        if self._framing.ended and begins:
            self._next()
        if not self._data_received.is_set() and self.transport is not None:
            self.transport.resume_reading()
        await self._data_received.wait()
        if begins and self._answered:
            await self._all.turns.take()

    async def send(self, data: bytes) -> None:
        """Send, or drop what nobody is there for any more: a client that hangs up is no error."""
        await self._can_write.wait()
        if self.transport is None or self.transport.is_closing() or self._lingering:
            return
        self.transport.write(data)
        self._time = self.loop.time()

    def close(self, timeout: float | None = None) -> None:
        """Close, or linger if the client is still sending."""
        if self._lingering:
            return
        if self._framing.head is not None and not self._framing.ended:
            self._linger()
        else:
            super().close(timeout)

    def close_if_idle(self) -> bool:
        """Close if no request is under way; return whether it was so."""
        if self._lingering:
            self._reset()
            return True
        closed: bool = super().close_if_idle()
        return closed

    def check_timeouts(self) -> None:
        """Leave the time limits to `check_time`: those of the library begin anew with each byte."""

    # What ends it

    def check_time(self, now: float) -> None:
        """End what takes longer than its limit."""
        limits = self._limits
        if self._until is None:
            seconds = self._answer_seconds
            if now - self._time > seconds:
                self.fail(ServiceUnavailable(f"no answer within {seconds:g} s"))
        elif now < self._until:
            return
        elif self._ending:
            self._reset()
        elif self._framing.head is not None:
            self.fail(RequestTimeout(f"the body was not complete within {limits.body_seconds:g} s"))
        elif self._outside:
            self.refuse(
                HTTPStatus.REQUEST_TIMEOUT,
                f"the request's head was not complete within {limits.head_seconds:g} s",
            )
        else:
            self.end()

    @property
    def _answer_seconds(self) -> float:
        """How long the answer may take: a route can have more time than others have."""
        request = self.http.request if self.http is not None else None
        route = request.route if request is not None else None
        own: float = getattr(route.ctx, "answer_seconds", 0.0) if route is not None else 0.0
        return max(self._limits.answer_seconds, own)

    def end(self) -> None:
        """Close without a word."""
        self._ending = True
        self._let_go()
        super().close()

    def refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer with the error object what the library has not seen, then close."""
        if self._library_is_at_work:
            self.fail(SanicException(message, status_code=status))
            return
        self._ending = True
        self._let_go()
        head = self._framing.head
        without_body = head is not None and head.method == "HEAD"
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(_answer(status, message, without_body=without_body))
        self._linger()
        self._cancel()

    def fail(self, error: SanicException) -> None:
        """Have the library answer the request under way with an error, then close."""
        if not self._library_is_at_work:
            self.refuse(HTTPStatus(error.status_code), str(error))
            return
        if self._ending:
            return
        if not self._can_write.is_set():
            # It reads nothing, so it would not read the error either.
            self._reset()
            return
        self._ending = True
        self._let_go()
        self._until = self.loop.time() + LAST_WORDS_SECONDS
        self.http.exception = error
        self._cancel()

    @property
    def _library_is_at_work(self) -> bool:
        return self.http is not None and self.http.stage is not Stage.IDLE

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _linger(self) -> None:
        """Send no more, and read on for a moment, so that the answer arrives before the end."""
        if self.transport is None or self.transport.is_closing():
            return
        self._ending = self._lingering = True
        self._until = self.loop.time() + LINGER_SECONDS
        self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _throw_away(self, data: bytes) -> None:
        self._thrown_away += len(data)
        if self._thrown_away > LINGER_BYTES and self.transport is not None:
            self.transport.pause_reading()

    def _reset(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    # The gate

    @property
    def _is_idle(self) -> bool:
        """Whether an answer was given and nothing has come since."""
        return self._framing.head is None and not self._outside and self._answered

    def _wait_for_client(self, seconds: float) -> None:
        self._until = self.loop.time() + seconds
        # Whoever begins to wait is the last in the row of those that wait.
        self._all.waiting.pop(self, None)
        self._all.waiting[self] = None

    def _next(self) -> None:
        """Let the next request in."""
        self._framing = Framing()
        self._answered = True
        self._let_go()
        self._wait_for_client(
            self._limits.head_seconds if self._outside else self._limits.idle_seconds
        )
        if self._outside:
            self._take(len(self._outside))

    def _take(self, count: int) -> None:
        """Give the library what belongs to this request.

        Args:
            count: How many bytes are new.
        """
        framing, taken = self._framing, b""
        try:
            if framing.head is None:
                taken = framing.take(self._outside)
                if not taken:
                    return
                self._admit(framing.head)
            body = framing.take(self._outside)
        except Malformed as error:
            self.refuse(HTTPStatus(error.status), str(error))
            return
        except Refused as error:
            self.refuse(error.status, str(error))
            return
        # Requests without a body, which are most, cost nothing that would have to be counted.
        if (body or self._outside) and not self._hold(count + PIECE_BYTES):
            return
        if self._framing.ended and self._until is not None:
            self._all.receiving.pop(self, None)
            self._until = None
            self._time = self.loop.time()
        if taken or body:
            self.recv_buffer += taken + body
            self._data_received.set()
        ahead = len(self.recv_buffer) >= READ_BUFFER_BYTES
        if (ahead or (self._framing.ended and self._outside)) and self.transport is not None:
            self.transport.pause_reading()

    def _admit(self, head: Head | None) -> None:
        if head is None:
            raise RuntimeError("a request is let in when its head is there")
        self._all.access.require(head, self._local_address)
        self._all.waiting.pop(self, None)
        self._all.receiving[self] = None
        self._until = self.loop.time() + self._limits.body_seconds

    def _hold(self, count: int) -> bool:
        if not self._all.hold(count, self):
            self.fail(ServiceUnavailable(NO_MEMORY))
            return False
        self._held += count
        return True

    def _let_go(self) -> None:
        self._all.waiting.pop(self, None)
        self._all.receiving.pop(self, None)
        self._all.held_bytes -= self._held
        self._held = 0

    @property
    def _local_address(self) -> str:
        return "" if self.conn_info is None else str(self.conn_info.sockname[0])


def _answer(status: HTTPStatus, message: str, *, without_body: bool) -> bytes:
    """Write an error as the application would."""
    document = {"status": "error", "message": message, "job_group_id": None}
    body = json.dumps(document).encode()
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **ANSWER_HEADERS,
    }
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *map(": ".join, headers.items())]
    head = "\r\n".join(lines).encode() + HEAD_END
    return head if without_body else head + body
