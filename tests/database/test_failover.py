"""Servers that become read-only, end sessions or refuse a password: no restart is needed."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from postgres_proxy import postgres_proxy
from postgres_server import PostgresServer, postgres_server
from waiting import answer_that

from prover_framework.chain.sources.indexer import open_indexer
from prover_framework.database.database import Database
from prover_framework.database.engine import Bounds
from prover_framework.errors import SourceError, StoreError

BOUNDS = Bounds(5)
WRITE = "INSERT INTO t VALUES (1) RETURNING 1"


async def run(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """Two servers that tests may turn about; the second one begins read-only."""
    with postgres_server({}) as first, postgres_server({}) as second:
        for server in (first, second):
            asyncio.run(run(server.url, "CREATE TABLE t (n INT)"))
        asyncio.run(set_read_only(second, read_only=True))
        yield first, second


async def set_read_only(server: PostgresServer, *, read_only: bool) -> None:
    value = "on" if read_only else "off"
    # The server's own setting, which sessions that are open follow, too.
    await run(
        server.url,
        "SET default_transaction_read_only = off",
        f"ALTER SYSTEM SET default_transaction_read_only = {value}",
        "SELECT pg_reload_conf()",
    )
    # Once a new session has the value all others have been told of it.
    watching = await asyncpg.connect(server.url)
    try:
        await answer_that(
            lambda told: told == value,
            lambda: watching.fetchval("SHOW default_transaction_read_only"),
        )
    finally:
        await watching.close()


async def count(server: PostgresServer) -> int:
    connection = await asyncpg.connect(server.url)
    try:
        return int(await connection.fetchval("SELECT COUNT(*) FROM t"))
    finally:
        await connection.close()


async def test_a_server_that_becomes_read_only_is_left_and_found_again(
    pair: tuple[PostgresServer, PostgresServer],
) -> None:
    first, _ = pair

    async with Database(first.url, bounds=BOUNDS) as database:
        await asyncio.gather(*(database.write(WRITE) for _ in range(4)))
        await database.read("SELECT 1")
        await set_read_only(first, read_only=True)
        try:
            for _ in range(5):
                with pytest.raises(StoreError, match=r"read-only|can only be read"):
                    await database.write(WRITE)
            with pytest.raises(StoreError, match="can only be read"):
                async with Database(first.url, bounds=BOUNDS):
                    pass
        finally:
            await set_read_only(first, read_only=False)
        assert await database.write(WRITE)


async def test_writers_follow_a_failover_and_the_way_back(
    pair: tuple[PostgresServer, PostgresServer],
) -> None:
    first, second = pair

    with postgres_proxy(first.url) as proxy:
        async with Database(proxy.url(first.url), bounds=BOUNDS) as database:
            await asyncio.gather(*(database.write(WRITE) for _ in range(4)))
            for old, new in ((first, second), (second, first)):
                before = await count(new)
                await set_read_only(old, read_only=True)
                await set_read_only(new, read_only=False)
                # The address leads to the new server; what is open stays with the old one.
                proxy.point_to(new.url)
                with pytest.raises(StoreError, match="read-only"):
                    await database.write(WRITE)
                await asyncio.gather(*(database.write(WRITE) for _ in range(8)))
                assert await count(new) == before + 8


async def test_of_several_hosts_the_one_that_can_be_written_to_is_taken(
    pair: tuple[PostgresServer, PostgresServer],
) -> None:
    first, second = pair
    user, _, where = first.url.rpartition("@")
    several = f"{user}@{second.url.rpartition('@')[2].partition('/')[0]},{where}"

    before = await count(first)
    async with Database(several, bounds=BOUNDS) as database:
        await database.write(WRITE)
    assert await count(first) == before + 1
    # Who only reads may want the other one.
    with pytest.raises(SourceError, match="no table blockheaders"):
        async with open_indexer(f"{second.url}?target_session_attrs=read-only"):
            pass
    with pytest.raises(SourceError, match="target_session_attrs=read-only, and it can be wri"):
        async with open_indexer(f"{first.url}?target_session_attrs=read-only"):
            pass


async def test_an_administrator_who_ends_sessions_ends_no_service(
    pair: tuple[PostgresServer, PostgresServer],
) -> None:
    first, _ = pair
    end_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"

    async with Database(first.url, bounds=BOUNDS) as database:
        long = [asyncio.create_task(database.write("SELECT pg_sleep(3)")) for _ in range(3)]
        await asyncio.gather(*(database.write(WRITE) for _ in range(3)))
        await run(first.url, f"{end_all} AND application_name LIKE 'prover:%'")
        for call in long:
            # The lowest version of the driver may see the end before the reason.
            with pytest.raises(StoreError, match=r"administrator command|was closed in the"):
                await call
        assert await database.write(WRITE)
        assert await database.beat(WRITE)


async def test_a_password_file_is_read_again_when_it_is_needed(
    pair: tuple[PostgresServer, PostgresServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, _ = pair
    where = first.url.rpartition("@")[2]
    passwords = tmp_path / "pgpass"
    monkeypatch.setenv("PGPASSFILE", str(passwords))

    def write(password: str) -> None:
        passwords.touch(0o600)
        passwords.write_text(f"*:*:*:rotated:{password}\n")

    await run(first.url, "CREATE ROLE rotated LOGIN PASSWORD 'first-one'")
    write("first-one")
    async with Database(f"postgres://rotated@{where}", bounds=BOUNDS) as database:
        await run(
            first.url,
            "ALTER ROLE rotated PASSWORD 'second-one'",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rotated'",
        )
        with pytest.raises(StoreError):
            # This one's connection has ended, which may be known or not.
            await database.read("SELECT 1")
        with pytest.raises(StoreError, match="password") as caught:
            await database.read("SELECT 1")
        assert "one" not in str(caught.value)
        write("second-one")
        assert await database.read("SELECT 1")
