"""Connections to PostgreSQL: opened, lent for a bounded time, thrown away when they are of no use.

The driver's own pool waits in many places without a bound: for its cancel of a statement, when it
resets a connection, when it closes one. This one keeps to one rule. Whoever borrows a connection
has a deadline, the wait for it included, and at the deadline the connection is aborted, whatever
it does. Then, and when the server says that it is of no use any more, all connections are renewed:
those that nobody uses are dropped, those in use end on their own deadline and are not kept.
"""

import asyncio
import os
import random
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import asyncpg
from attrs import define, field, frozen

from prover_framework.database.engine import Bounds, LaneUse
from prover_framework.urls import SYSTEM_ROOTS, Host, PostgresUrl

# A server that is there answers sooner, one that is not should not hold up a stop or a retry.
CONNECT_SECONDS: Final = 10.0

# With less time than this no connection comes about, and none is begun.
LEAST_CONNECT_SECONDS: Final = 0.05

# A process that is stopped in the middle of a transaction keeps its locks, and others that want the
# same jobs wait. The server ends such a transaction after this time. Ours pause for less, an
# import's reading of its next headers included.
IDLE_TRANSACTION_SECONDS: Final = 10.0

# Less would take its transaction from a process on a busy machine that just did not get its turn.
LEAST_IDLE_TRANSACTION_SECONDS: Final = 2.0

# Connections that are not used are left to other processes after this time; one is opened anew in
# some ten milliseconds.
IDLE_SECONDS: Final = 10.0

# A server that has no connection left is asked again after a pause, which grows.
FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 1.0

# For this long after a refusal a connection is closed as soon as nobody of this process waits for
# it: others are waiting for it then.
PRESSURE_SECONDS: Final = 30.0

# Probes without an answer that end a connection.
PROBES: Final = 3

# How long the driver may take to say that its connection was aborted before its task is cancelled.
ABORT_SECONDS: Final = 0.2

# Telling the server good-bye is good manners; one that does not listen is left without.
CLOSE_SECONDS: Final = 0.5

# How long a second connection may take when a pooler is looked at.
POOLER_SECONDS: Final = 2.0

# What the driver raises. It is at a loss, which it calls its own mistake, when a server goes down
# in the middle of its talk with it.
DRIVER_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

# What a server says that cannot be used any more, on connections that were opened before:
# connection_exception as a class, read_only_sql_transaction, invalid_password and the like,
# admin_shutdown, crash_shutdown, cannot_connect_now, database_dropped.
USELESS_CLASSES: Final = ("08", "28")
USELESS_CODES: Final = frozenset({"25006", "57P01", "57P02", "57P03", "57P04"})

TRANSACTION_MODE: Final = (
    "it is behind a pooler in transaction mode, where a session does not keep its settings and "
    "prepared statements; take the server's own address or a pooler in session mode"
)


GIVEN_UP: Final = "this process ends and waits for it no longer"


class Unusable(Exception):
    """A server cannot be used, and why; it reads after the database's name and a colon."""


@frozen
class Lane:
    """Connections for one purpose.

    Args:
        size: How many there are at the most.
        read_only: Whether they refuse to write.
        keeps: Whether an unused connection is kept for as long as the server lets us.
    """

    size: int
    read_only: bool = False
    keeps: bool = False


@define(eq=False)
class _Lent:
    """An open connection."""

    raw: Any
    generation: int
    drop: asyncio.TimerHandle | None = None


@define(eq=False)
class _Places:
    """The connections of a lane that are open or being opened, and who waits for one."""

    lane: Lane
    idle: list[_Lent] = field(factory=list)
    count: int = 0
    waiting: "deque[asyncio.Future[None]]" = field(factory=deque)

    def wake(self) -> None:
        """Let the first who waits look again."""
        while self.waiting:
            future = self.waiting.popleft()
            if not future.done():
                future.set_result(None)
                return

    def wake_all(self) -> None:
        """Let all who wait look again."""
        for future in self.waiting:
            if not future.done():
                future.set_result(None)
        self.waiting.clear()


class Connections:
    """All connections of a process to one database.

    Args:
        url: The database.
        lanes: What they are for, by names.
        bounds: How long a call may take.
        writable: Whether only a server that can be written to is taken.
        application_name: What the server's views show, unless the URL says something else.
        idle_transaction_seconds: When the server ends a transaction in which nothing happens.
    """

    def __init__(
        self,
        url: PostgresUrl,
        lanes: Mapping[str, Lane],
        bounds: Bounds,
        *,
        writable: bool = True,
        application_name: str = "prover",
        idle_transaction_seconds: float = IDLE_TRANSACTION_SECONDS,
    ) -> None:
        self.bounds = bounds
        self._url = url
        self._writable = writable
        self._application_name = application_name
        self._idle_transaction_seconds = idle_transaction_seconds
        self._places = {name: _Places(lane) for name, lane in lanes.items()}
        self._generation = 0
        # The host that could be used last; it is tried first.
        self._host = 0
        self._lent: dict[Any, _Lent] = {}
        # Attempts to connect that are under way.
        self._attempts: set[asyncio.Timeout] = set()
        self._pause = 0.0
        self._refused_until = 0.0
        self._pressure_until = 0.0
        self._pooler_known = False
        self._given_up = False

    # Lending

    @asynccontextmanager
    async def lend(self, name: str, seconds: float | None = None) -> AsyncIterator[Any]:
        """Lend a connection for one call, which has ended when the time is over.

        Args:
            name: The lane.
            seconds: The time, the wait for the connection included; None: as the bounds say.

        Raises:
            TimeoutError: It took longer.
            Unusable: There is no server that can be used, or this process ends.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + (self.bounds.call_seconds if seconds is None else seconds)
        async with self.hold(name, deadline) as raw, self.limited(raw, deadline):
            yield raw

    @asynccontextmanager
    async def hold(self, name: str, deadline: float) -> AsyncIterator[Any]:
        """Lend a connection for several calls, each of which is `limited` by its borrower.

        Args:
            name: The lane.
            deadline: When the wait for it ends, by the event loop's clock.
        """
        lent = await self._acquire(self._places[name], deadline)
        self._lent[lent.raw] = lent
        try:
            yield lent.raw
        except (asyncio.CancelledError, GeneratorExit):
            # Whatever it was in the middle of, nobody waits for the end.
            lent.raw.terminate()
            raise
        except Exception as error:
            if any(map(is_useless, _causes(error))):
                self._renew_with(lent.raw)
            raise
        finally:
            del self._lent[lent.raw]
            self._release(self._places[name], lent)

    @asynccontextmanager
    async def limited(self, raw: Any, deadline: float | None = None) -> AsyncIterator[None]:
        """Abort a connection if the body has not ended by a deadline, and renew the others.

        Raises:
            TimeoutError: It has not.
            Unusable: The process ends.
        """
        loop = asyncio.get_running_loop()
        if deadline is None:
            deadline = loop.time() + self.bounds.call_seconds
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            raw.terminate()
            self._renew_with(raw)

        if self._given_up:
            raise Unusable(GIVEN_UP)
        timer = loop.call_at(deadline, expire)
        try:
            # Aborting wakes the driver from every wait for the server, and from most of its others.
            async with asyncio.timeout_at(deadline + ABORT_SECONDS):
                yield
        except (*DRIVER_ERRORS, OSError) as error:
            if expired:
                raise TimeoutError from error
            if self._given_up:
                raise Unusable(GIVEN_UP) from error
            raise
        finally:
            timer.cancel()

    def renew(self) -> None:
        """Drop all connections: at once those that nobody uses, the others when they come back."""
        self._generation += 1
        for places in self._places.values():
            self._drop_idle(places)
            places.count = 0
            places.wake_all()

    def _renew_with(self, raw: Any) -> None:
        """Renew because of a connection, unless that was done since it was opened."""
        if self._lent[raw].generation == self._generation:
            self.renew()

    def use(self) -> tuple[LaneUse, ...]:
        """Return how the connections of each lane are used."""
        return tuple(
            LaneUse(
                name,
                used=places.count - len(places.idle),
                idle=len(places.idle),
                waiting=sum(not future.done() for future in places.waiting),
            )
            for name, places in self._places.items()
        )

    def give_up(self) -> None:
        """Abort all connections, and open no more: what waits for the server ends now."""
        self._given_up = True
        self.renew()
        for raw in self._lent:
            raw.terminate()
        now = asyncio.get_running_loop().time()
        for attempt in self._attempts:
            attempt.reschedule(now)

    async def close(self) -> None:
        """Close all connections, those in use, too."""
        idle = [lent.raw for places in self._places.values() for lent in places.idle]
        self._given_up = True
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(*(raw.close() for raw in idle), return_exceptions=True)
        except TimeoutError:
            pass
        finally:
            for raw in idle:
                raw.terminate()
            self.give_up()

    async def _acquire(self, places: _Places, deadline: float) -> _Lent:
        loop = asyncio.get_running_loop()
        refused: Exception | None = None
        while not self._given_up:
            while places.idle:
                lent = places.idle.pop()
                if lent.drop is not None:
                    lent.drop.cancel()
                if not lent.raw.is_closed():
                    return lent
                places.count -= 1
            now = loop.time()
            until = deadline
            if places.count < places.lane.size:
                if now >= self._refused_until:
                    try:
                        return await self._open(places, deadline)
                    except asyncpg.TooManyConnectionsError as error:
                        # Somebody else will have done with one soon, perhaps we ourselves.
                        refused = error
                        self._note_refusal()
                        continue
                    except TimeoutError:
                        # The last try came too late for its answer, which was known before it.
                        if refused is not None:
                            raise refused from None
                        raise
                until = min(deadline, self._refused_until)
            if now >= deadline:
                if refused is not None:
                    raise refused
                raise TimeoutError
            future = loop.create_future()
            places.waiting.append(future)
            try:
                async with asyncio.timeout_at(until):
                    await future
            except TimeoutError:
                continue
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    places.wake()
                raise
        raise Unusable(GIVEN_UP)

    async def _open(self, places: _Places, deadline: float) -> _Lent:
        generation = self._generation
        places.count += 1
        try:
            raw = await self._connect(places.lane, deadline)
        except BaseException:
            if generation == self._generation:
                places.count -= 1
                places.wake()
            raise
        self._pause = 0.0
        if self._given_up:
            raw.terminate()
            raise Unusable(GIVEN_UP)
        return _Lent(raw, generation)

    def _note_refusal(self) -> None:
        """Wait before the next try, and let go of what this process does not use itself."""
        now = asyncio.get_running_loop().time()
        self._pause = min(max(FIRST_PAUSE_SECONDS, 2 * self._pause), LONGEST_PAUSE_SECONDS)
        # Several processes that wait for one connection must not ask in step.
        spread = random.uniform(0.5, 1.0)  # noqa: S311 - guards nothing
        self._refused_until = now + self._pause * spread
        self._pressure_until = now + PRESSURE_SECONDS
        for places in self._places.values():
            places.count -= self._drop_idle(places)

    def _drop_idle(self, places: _Places) -> int:
        dropped = len(places.idle)
        for lent in places.idle:
            if lent.drop is not None:
                lent.drop.cancel()
            lent.raw.terminate()
        places.idle.clear()
        return dropped

    def _release(self, places: _Places, lent: _Lent) -> None:
        raw = lent.raw
        if lent.generation != self._generation or self._given_up:
            raw.terminate()
            return
        now = asyncio.get_running_loop().time()
        under_pressure = now < self._pressure_until and not places.waiting
        if raw.is_closed() or raw.is_in_transaction() or under_pressure:
            raw.terminate()
            places.count -= 1
        else:
            if not places.lane.keeps:
                lent.drop = asyncio.get_running_loop().call_later(
                    IDLE_SECONDS, self._drop_unused, places, lent
                )
            places.idle.append(lent)
        places.wake()
        if under_pressure:
            for others in self._places.values():
                others.wake()

    def _drop_unused(self, places: _Places, lent: _Lent) -> None:
        if lent in places.idle:
            places.idle.remove(lent)
            places.count -= 1
            lent.raw.terminate()

    # Opening

    async def _connect(self, lane: Lane, deadline: float) -> Any:
        """Open a connection to the first host that can be used."""
        loop = asyncio.get_running_loop()
        failure: Exception | None = None
        hosts = self._url.hosts
        order = [(self._host + place) % len(hosts) for place in range(len(hosts))]
        for place, number in enumerate(order):
            # A host that is silent must leave time for the others.
            share = (deadline - loop.time()) / (len(order) - place)
            if share < LEAST_CONNECT_SECONDS:
                break
            seconds = min(share, self._url.connect_seconds or CONNECT_SECONDS, CONNECT_SECONDS)
            try:
                async with self._attempt(seconds):
                    raw = await self._connect_to(hosts[number], lane)
            except (OSError, Unusable, asyncpg.PostgresError) as error:
                if failure is None or not isinstance(error, OSError):
                    failure = error
            else:
                self._host = number
                return raw
        raise failure or TimeoutError

    @asynccontextmanager
    async def _attempt(self, seconds: float) -> AsyncIterator[None]:
        if self._given_up:
            raise Unusable(GIVEN_UP)
        async with asyncio.timeout(seconds) as attempt:
            self._attempts.add(attempt)
            try:
                yield
            finally:
                self._attempts.discard(attempt)

    async def _connect_to(self, host: Host, lane: Lane) -> Any:
        raw = await self._handshake(host)
        try:
            self._keep_alive(raw)
            values = self._session(lane)
            columns = ", ".join(
                f"set_config(${2 * place + 1}, ${2 * place + 2}, false)"
                for place in range(len(values))
            )
            row = await raw.fetchrow(
                "SELECT pg_backend_pid() AS pid, current_setting('transaction_read_only') AS fixed"
                f", {columns}",
                *(part for pair in values.items() for part in pair),
            )
            self._require_target(read_only=row["fixed"] == "on")
            if not self._pooler_known:
                if row["pid"] != raw.get_server_pid():
                    await self._look_at_pooler(host, raw, row["pid"])
                self._pooler_known = True
        except BaseException:
            raw.terminate()
            raise
        return raw

    def _require_target(self, *, read_only: bool) -> None:
        target = self._url.target_session_attrs
        if read_only and (self._writable or target in ("read-write", "primary")):
            raise Unusable("it can only be read, and no other host of its URL can be written to")
        if not read_only and not self._writable and target in ("read-only", "standby"):
            raise Unusable(f"target_session_attrs={target}, and it can be written to")

    def _session(self, lane: Lane) -> dict[str, str]:
        """Return the settings of a session.

        They are set once it is open, and not as parameters of its start, which poolers refuse.
        """
        # Whether the server lets writers write is its own business.
        guard = {"default_transaction_read_only": "on"} if lane.read_only else {}
        return {
            **guard,
            "default_transaction_isolation": "read committed",
            "idle_in_transaction_session_timeout": _ms(self._idle_transaction_seconds),
            # Our statements take milliseconds. To compile one, as the server does where it expects
            # many rows, takes tens of them, for each of the first on each connection.
            "jit": "off",
            "lock_timeout": _ms(self.bounds.lock_seconds),
            "statement_timeout": _ms(self.bounds.statement_seconds),
        }

    async def _handshake(self, host: Host) -> Any:
        url = self._url
        settings = {"application_name": url.application_name or self._application_name}
        if url.options is not None:
            settings["options"] = url.options
        options: dict[str, Any] = {
            "host": host.name,
            "port": host.port if host.name is not None else None,
            "user": url.user or _system_user(),
            "password": url.password,
            "passfile": url.passfile,
            "database": url.database,
            "direct_tls": url.direct_tls or None,
            "server_settings": settings,
            "target_session_attrs": "any",
            # The deadline is ours, and its end an abort.
            "timeout": 2 * CONNECT_SECONDS,
        }
        _require_files(url.ssl)
        try:
            if url.sslmode == "verify-full" and _has_no_roots(url):
                options["ssl"] = _system_context(url)
            elif url.sslmode == "verify-ca" and _has_no_roots(url):
                raise Unusable(
                    "sslmode=verify-ca needs sslrootcert=FILE; sslmode=verify-full does without, "
                    "by the authorities that this machine trusts"
                )
            elif url.sslmode is not None or url.ssl:
                # The driver takes files and versions of TLS from a URL alone.
                mode = {} if url.sslmode is None else {"sslmode": url.sslmode}
                options["dsn"] = f"postgres:///?{urlencode({**mode, **url.ssl})}"
            return await asyncpg.connect(**{k: v for k, v in options.items() if v is not None})
        except (asyncpg.InterfaceError, ValueError) as error:
            # What the driver has against its arguments: files, versions of TLS.
            raise Unusable(url.redacted(str(error))) from error

    def _keep_alive(self, raw: Any) -> None:
        """Have the kernel notice a connection on which nothing comes back."""
        transport = raw._transport  # noqa: SLF001 - the driver shows its socket nowhere else
        found = transport.get_extra_info("socket")
        if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
            return
        wanted = self._url.keepalives
        if not wanted.enabled:
            return
        seconds = max(1, round(self.bounds.call_seconds))
        interval = wanted.interval_seconds or max(1, seconds // PROBES)
        options = {
            "TCP_KEEPIDLE": wanted.idle_seconds or seconds,
            "TCP_KEEPINTVL": interval,
            "TCP_KEEPCNT": wanted.count or PROBES,
            "TCP_USER_TIMEOUT": wanted.user_timeout_ms or round(self.bounds.call_seconds * 1000),
        }
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():
            # Not every system has all of them.
            if (number := getattr(socket, name, None)) is not None:
                with suppress(OSError):
                    found.setsockopt(socket.IPPROTO_TCP, number, value)

    async def _look_at_pooler(self, host: Host, first: Any, pid: int) -> None:
        """Refuse a pooler in transaction mode: two sessions there share a server's process.

        Raises:
            Unusable: It is one.
        """
        backend = "SELECT pg_backend_pid()"
        try:
            async with asyncio.timeout(POOLER_SECONDS):
                second = await self._handshake(host)
        except (TimeoutError, OSError, *DRIVER_ERRORS, Unusable):
            # It has no second connection to give; errors will tell.
            return
        try:
            async with asyncio.timeout(POOLER_SECONDS):
                await second.execute("BEGIN")
                theirs = await second.fetchval(backend)
                ours = await first.fetchval(backend)
        except (TimeoutError, *DRIVER_ERRORS):
            # What the one has begun holds up the other, or its statements are not found again.
            theirs = ours = None
        finally:
            second.terminate()
        if ours != pid or theirs == pid:
            raise Unusable(TRANSACTION_MODE)


def is_useless(error: BaseException) -> bool:
    """Tell whether an error says that a server's connections are of no use any more."""
    code = getattr(error, "sqlstate", None) or ""
    return code in USELESS_CODES or code.startswith(USELESS_CLASSES)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Go through an error and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__


def is_pooled(error: BaseException) -> bool:
    """Tell whether an error comes from a pooler that gives statements to several servers."""
    return isinstance(
        error,
        asyncpg.InvalidSQLStatementNameError | asyncpg.DuplicatePreparedStatementError,
    ) or "unsupported startup parameter" in str(error)


def idle_transaction_seconds(bounds: Bounds) -> float:
    """Return when a transaction in which nothing happens is to end."""
    return min(IDLE_TRANSACTION_SECONDS, max(LEAST_IDLE_TRANSACTION_SECONDS, bounds.call_seconds))


def _ms(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"


def _system_user() -> str | None:
    """Return the user that libpq would take, where the driver might end in an error of its own."""
    if name := os.environ.get("PGUSER"):
        return name
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        raise Unusable("its URL names no user, and the operating system neither") from None


def _require_files(given: Mapping[str, str]) -> None:
    for name in ("sslrootcert", "sslcert", "sslkey", "sslcrl"):
        path = given.get(name)
        if path is None or (name == "sslrootcert" and path == SYSTEM_ROOTS):
            continue
        try:
            with Path(path).open("rb"):
                pass
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no path"
            raise Unusable(f"the file of {name} cannot be read: {reason}") from None


def _has_no_roots(url: PostgresUrl) -> bool:
    """Tell whether no file of trusted authorities is named or where libpq looks for it."""
    named = url.ssl.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
    if named:
        return named == SYSTEM_ROOTS
    try:
        (Path.home() / ".postgresql" / "root.crt").stat()
    except (RuntimeError, FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        # It may be there. The driver says that it cannot be read.
        return False
    return False


def _system_context(url: PostgresUrl) -> ssl.SSLContext:
    """Return what checks a server by the authorities that the machine trusts."""
    context = ssl.create_default_context()
    versions = {"minimum": "ssl_min_protocol_version", "maximum": "ssl_max_protocol_version"}
    for end, name in versions.items():
        if name in url.ssl:
            version = ssl.TLSVersion[url.ssl[name].replace(".", "_")]
            setattr(context, f"{end}_version", version)
    if "sslcrl" in url.ssl:
        context.load_verify_locations(cafile=url.ssl["sslcrl"])
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    if "sslcert" in url.ssl:
        password = url.ssl.get("sslpassword", "")
        context.load_cert_chain(url.ssl["sslcert"], url.ssl.get("sslkey"), lambda: password)
    return context
