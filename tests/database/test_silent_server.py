"""A server that goes silent, refuses or has no connection left: every call ends in its time."""

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import pytest
from postgres_proxy import PostgresProxy, postgres_proxy
from postgres_server import PostgresServer, postgres_server

from prover_framework.database.database import Database
from prover_framework.database.engine import Bounds, Connection
from prover_framework.database.postgres import PostgresConnection, PostgresEngine
from prover_framework.errors import StoreError

CALL_SECONDS = 2.0
BOUNDS = Bounds(CALL_SECONDS)

# What a busy machine may take beyond a bound that is kept.
SLACK_SECONDS = 20.0


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No task or future ends in an error that nobody has seen."""
    yield
    gc.collect()
    said = [record.getMessage() for record in caplog.records if record.name == "asyncio"]
    # The driver's, where it is cancelled in the moment in which a socket has been opened.
    assert not [text for text in said if "unexpected connection_lost() call" not in text]


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture
def proxy(url: str) -> Iterator[PostgresProxy]:
    with postgres_proxy(url) as proxy:
        yield proxy


@asynccontextmanager
async def opened(
    url: str, proxy: PostgresProxy, bounds: Bounds = BOUNDS
) -> AsyncIterator[Database]:
    async with Database(proxy.url(url), bounds=bounds) as database:
        yield database


@contextmanager
def within(seconds: float) -> Iterator[None]:
    begin = time.monotonic()
    yield
    took = time.monotonic() - begin
    assert took < seconds + SLACK_SECONDS, f"it took {took:.1f} s"


async def refused(call: Awaitable[object]) -> str:
    with within(CALL_SECONDS), pytest.raises(StoreError) as caught:
        await call
    return str(caught.value)


async def in_a_transaction(
    database: Database, body: Callable[[Connection], Awaitable[Any]]
) -> None:
    async with database.transaction() as connection:
        await connection.fetch("CREATE TABLE IF NOT EXISTS t (a TEXT)")
        await body(connection)


async def test_connections_that_go_silent_are_given_up_all_at_once(
    url: str, proxy: PostgresProxy
) -> None:
    async with opened(url, proxy) as database:
        calls = (database.read, database.write, database.beat)
        await asyncio.gather(*(call("SELECT pg_sleep(0.2)") for call in calls * 3))
        proxy.freeze()
        for call in calls:
            if call == database.read:
                assert "does not answer within 2 s" in await refused(call("SELECT 1"))
            else:
                # Of the connections that nobody used none is left.
                with within(0):
                    assert await call("SELECT 1")


async def test_those_who_end_later_do_not_drop_what_was_made_anew(
    url: str, proxy: PostgresProxy
) -> None:
    async with opened(url, proxy) as database:
        await asyncio.gather(*(database.write("SELECT pg_sleep(0.2)") for _ in range(4)))
        proxy.freeze()
        calls = []
        for _ in range(4):
            calls.append(asyncio.create_task(database.write("SELECT 1")))
            await asyncio.sleep(0.1)
        with pytest.raises(StoreError):
            await calls.pop(0)
        await database.write("SELECT 1")
        made = proxy.accepted
        for call in calls:
            with pytest.raises(StoreError):
                await call
            await database.write("SELECT 1")
        assert proxy.accepted == made


@pytest.mark.parametrize("place", ["statement", "commit", "copy", "many", "rollback"])
async def test_every_part_of_a_transaction_ends(url: str, proxy: PostgresProxy, place: str) -> None:
    rows = [["x" * 100_000] for _ in range(300)]

    async def body(connection: Connection) -> None:
        proxy.freeze()
        if place == "statement":
            await connection.fetch("SELECT 1")
        elif place == "copy":
            await connection.copy("t", ["a"], rows)
        elif place == "many":
            await connection.run_many("INSERT INTO t VALUES (?)", rows)
        elif place == "rollback":
            raise StoreError("the body's own")

    async with opened(url, proxy) as database:
        await refused(in_a_transaction(database, body))
        with within(0):
            assert await database.write("SELECT 1")


async def test_a_server_that_is_silent_altogether_costs_each_call_its_time(
    url: str, proxy: PostgresProxy
) -> None:
    with within(3 * CALL_SECONDS + 1):
        async with opened(url, proxy) as database:
            await database.read("SELECT 1")
            proxy.silence()
            calls = [call("SELECT 1") for call in (database.read, database.write, database.beat)]
            # More than there are connections: who waits for one does not wait longer.
            calls += [database.write("SELECT 1") for _ in range(20)]
            await asyncio.gather(*map(refused, calls))
            await refused(in_a_transaction(database, lambda c: c.fetch("SELECT 1")))
            proxy.mend()
            with within(0):
                assert await database.write("SELECT 1")
            proxy.silence()


async def test_what_waits_for_a_silent_server_ends_when_it_is_given_up(
    url: str, proxy: PostgresProxy
) -> None:
    with within(0):
        async with opened(url, proxy, Bounds(600)) as database:
            await database.read("SELECT 1")
            proxy.silence()
            calls = [
                asyncio.create_task(call("SELECT 1"))
                for call in (database.read, database.write, database.beat) * 9
            ]
            await asyncio.wait(calls, timeout=0.1)
            database.give_up()
            for call in calls:
                assert await refused(call)
            assert await refused(database.write("SELECT 1"))


async def test_a_cancelled_call_gives_its_connection_up(url: str, proxy: PostgresProxy) -> None:
    async with opened(url, proxy, Bounds(5)) as database:
        for _ in range(12):
            call = asyncio.create_task(database.write("SELECT pg_sleep(600)"))
            await asyncio.wait({call}, timeout=0.05)
            call.cancel()
            await asyncio.wait({call})
        with within(0):
            assert await database.write("SELECT 1")


async def test_a_lock_that_somebody_holds_is_no_silence(url: str, proxy: PostgresProxy) -> None:
    async with opened(url, proxy, Bounds(600)) as holder, opened(url, proxy) as database:
        before = proxy.accepted
        async with holder.transaction() as connection:
            await connection.lock("headers")
            async with database.transaction() as waiting:
                assert "lock timeout" in await refused(waiting.lock("headers"))
                with pytest.raises(StoreError):
                    await waiting.fetch("SELECT 1")
        assert "statement timeout" in await refused(database.write("SELECT pg_sleep(60)"))
        await database.write("SELECT 1")
        assert proxy.accepted == before, "its connection is kept"


async def test_the_kernel_watches_connections_too(url: str, proxy: PostgresProxy) -> None:
    async def kept_alive(more: str = "") -> list[int]:
        async with (
            Database(f"{proxy.url(url)}{more}", bounds=Bounds(6)) as database,
            database.reading() as reader,
        ):
            assert isinstance(reader, PostgresConnection)
            async with reader.lend() as connection:
                found = connection._transport.get_extra_info("socket")
            return [
                found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
                found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
                found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
            ]

    assert await kept_alive() == [1, 6, 2, 3, 6000]
    own = "?keepalives_idle=30&keepalives_interval=4&keepalives_count=5&tcp_user_timeout=9000"
    assert await kept_alive(own) == [1, 30, 4, 5, 9000]
    assert (await kept_alive("?keepalives=0"))[0] == 0


async def test_a_host_that_is_silent_leaves_time_for_the_others(
    url: str, proxy: PostgresProxy
) -> None:
    proxy.silence()
    silent, _, rest = proxy.url(url).rpartition("@")[2].partition("/")
    user, _, sound = url.rpartition("@")

    with within(2 * CALL_SECONDS):
        several = f"{user}@{silent},{sound.partition('/')[0]}/{rest}"
        async with Database(several, bounds=BOUNDS) as database:
            # The one that worked is asked first from then on.
            with within(0):
                await asyncio.gather(*(database.write("SELECT pg_sleep(0.1)") for _ in range(5)))


@pytest.fixture(scope="module")
def small_server() -> Iterator[PostgresServer]:
    """A server that lets in four at a time."""
    options = {"max_connections": "4", "superuser_reserved_connections": "0"}
    with postgres_server({**options, "max_wal_senders": "0", "autovacuum": "off"}) as server:
        yield server


async def test_a_connection_that_is_refused_is_waited_for(small_server: PostgresServer) -> None:
    bounds = Bounds(20)
    async with (
        Database(small_server.url, bounds=bounds) as one,
        Database(small_server.url, bounds=bounds) as two,
    ):
        calls = [
            call("SELECT pg_sleep(0.02)")
            for database in (one, two)
            for call in (database.write, database.read, database.beat) * 20
        ]
        for rows in await asyncio.gather(*calls):
            assert rows


async def test_the_wait_for_a_connection_ends_with_the_call(small_server: PostgresServer) -> None:
    async with Database(small_server.url, bounds=BOUNDS) as database:
        engine = database._engine
        assert isinstance(engine, PostgresEngine)
        engine.connections.renew()
        async with AsyncExitStack() as others:
            for _ in range(4):
                other = await asyncpg.connect(small_server.url)
                others.push_async_callback(other.close)
            assert "too many clients" in await refused(database.write("SELECT 1"))
            waiting = asyncio.create_task(database.write("SELECT 1"))
            await asyncio.sleep(0.1)
            await other.close()
            assert await waiting


@asynccontextmanager
async def refuses_once() -> AsyncIterator[str]:
    """A server that has no connection left for who asks first, and nothing to say to the others."""
    refusal = b"SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0"
    talks: list[asyncio.StreamWriter] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(writer)
        if len(talks) == 1:
            await reader.read(1024)
            writer.write(b"E" + (4 + len(refusal)).to_bytes(4, "big") + refusal)
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"postgres://prover@127.0.0.1:{port}/prover?sslmode=disable"
    finally:
        server.close()
        for writer in talks:
            writer.close()
        await server.wait_closed()


async def test_a_refusal_is_told_when_the_next_try_has_no_answer_in_time() -> None:
    async with refuses_once() as url:
        database = Database(url, bounds=BOUNDS)
        assert "too many clients" in await refused(database.__aenter__())
