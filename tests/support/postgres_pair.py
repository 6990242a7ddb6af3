"""A PostgreSQL server and its standby, which changes place with it, by streaming replication."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from attrs import define
from postgres_server import PostgresServer, postgres_server

# What a server needs that others follow.
OPTIONS = {
    "wal_level": "replica",
    "max_wal_senders": "8",
    "wal_keep_size": "256MB",
    "wal_retrieve_retry_interval": "100ms",
}

PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.05

# Of a standby that is to confirm each commit.
IN_STEP = "SELECT COUNT(*) FROM pg_stat_replication WHERE sync_state = 'sync'"


@define
class PostgresPair:
    """A server that can be written to, and one that follows it.

    Args:
        primary: The former.
        standby: The latter; None where there is none, and nothing can take its place.
    """

    primary: PostgresServer
    standby: PostgresServer | None = None

    @property
    def servers(self) -> tuple[PostgresServer, ...]:
        """Both, or the one."""
        return (self.primary, self.standby) if self.standby else (self.primary,)

    def url(self, database_url: str) -> str:
        """Return the URL of a database at whichever of the servers is the primary."""
        if self.standby is None:
            return database_url
        parts = urlsplit(database_url)
        hosts = ",".join(where(server.url) for server in self.servers)
        user = parts.netloc.rpartition("@")[0]
        return urlunsplit(
            parts._replace(netloc=f"{user}@{hosts}", query="target_session_attrs=primary")
        )

    def fail_over(self, *, orderly: bool) -> None:
        """End the primary and have its standby take its place, with all that was committed.

        Args:
            orderly: Whether it is stopped; else it is killed.
        """
        old, new = self._both()
        _ask(old, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        _await(old, IN_STEP)
        if orderly:
            old.stop()
        else:
            old.kill()
        _ask(new, f"SELECT pg_promote(true, {PATIENCE_SECONDS:.0f})")
        self.primary, self.standby = new, old

    def rejoin(self) -> None:
        """Have the server that was the primary follow the one that is."""
        primary, standby = self._both()
        standby.follow(primary)
        _await(primary, "SELECT COUNT(*) FROM pg_stat_replication WHERE state = 'streaming'")

    def _both(self) -> tuple[PostgresServer, PostgresServer]:
        if self.standby is None:
            raise AssertionError("there is no standby")
        return self.primary, self.standby


@contextmanager
def postgres_pair() -> Iterator[PostgresPair]:
    """Run a server and its standby.

    Raises:
        NoServer: There can be none, and why.
    """
    with postgres_server(OPTIONS) as primary, postgres_server(OPTIONS) as standby:
        pair = PostgresPair(primary, standby)
        standby.stop()
        pair.rejoin()
        yield pair


def where(url: str) -> str:
    """Return host and port of a URL."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _ask(server: PostgresServer, *statements: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(server.url, timeout=PATIENCE_SECONDS)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close()

    return asyncio.run(ask())


def _await(server: PostgresServer, count: str) -> None:
    """Wait until a server counts one."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _ask(server, count):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{count}: none within {PATIENCE_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)
