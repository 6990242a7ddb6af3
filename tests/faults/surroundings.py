"""What lies between a service and its database and clients, and breaks in a fault run.

Proxies before PostgreSQL's servers that go silent, a server that turns read-only, one whose place
its standby takes, a password that is changed, and clients that open connections and say nothing.
"""

import asyncio
import resource
import secrets
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from attrs import frozen
from postgres_pair import PostgresPair, where
from postgres_proxy import PostgresProxy, postgres_proxy

ROLE = "faults"

# More than the API keeps open, and than many systems let a process open by default.
IDLE_CONNECTIONS = 1100

# What this process has open besides.
OWN_DESCRIPTORS = 200

END_SESSIONS = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'"


@frozen(eq=False)
class Surroundings:
    """The way to a database, as a service has it.

    Args:
        admin_url: The database, as nothing breaks it.
        service_url: The same through the proxies, by a role whose password is in a file.
        password_file: That file.
        proxies: One for each server.
        pair: The servers.
    """

    admin_url: str
    service_url: str
    password_file: Path
    proxies: tuple[PostgresProxy, ...]
    pair: PostgresPair

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a service that lives in it."""
        return {"DATABASE_URL": self.service_url, "PGPASSFILE": str(self.password_file)}

    async def go_silent(self, seconds: float) -> None:
        """Let what is open go silent, as a proxy does that has lost its state; new ones work."""
        for proxy in self.proxies:
            await asyncio.to_thread(proxy.freeze)
        await asyncio.sleep(seconds)
        # What was silent ends in the end, as it does by the system's own keep-alives.
        for proxy in self.proxies:
            await asyncio.to_thread(proxy.cut)

    async def fail_over(self, *, orderly: bool) -> None:
        """Stop or kill the primary; its standby takes its place."""
        await asyncio.to_thread(self.pair.fail_over, orderly=orderly)

    async def rejoin(self) -> None:
        """Have the server that was the primary follow the one that is."""
        await asyncio.to_thread(self.pair.rejoin)

    async def turn_read_only(self, seconds: float) -> None:
        """Let the server be one that can only be read, and then one that can be written again."""
        await self._set_read_only("on")
        try:
            await asyncio.sleep(seconds)
        finally:
            await self._set_read_only("off")

    async def rotate_password(self, seconds: float) -> None:
        """Change the password, end all sessions, and tell the service the new one later."""
        await self._set_password(tell=False)
        await asyncio.sleep(seconds)
        await self._set_password(tell=True)

    async def _set_read_only(self, value: str) -> None:
        await _run(
            self.admin_url,
            "SET default_transaction_read_only = off",
            f"ALTER SYSTEM SET default_transaction_read_only = {value}",
            "SELECT pg_reload_conf()",
        )

    async def _set_password(self, *, tell: bool) -> None:
        password = secrets.token_hex(8)
        await _run(self.admin_url, f"ALTER ROLE {ROLE} PASSWORD '{password}'", END_SESSIONS)
        if tell:
            _write_password(self.password_file, password)


@asynccontextmanager
async def surroundings(
    directory: Path, database_url: str, pair: PostgresPair
) -> AsyncIterator[Surroundings]:
    """Make a way to a database that breaks as it is told.

    Args:
        directory: For the file of passwords.
        database_url: The database, at the server that is the primary now.
        pair: Its servers.
    """
    password, file = secrets.token_hex(8), directory / "passwords"
    admin_url = pair.url(database_url)
    await _run(
        admin_url,
        # A server that several runs share has the role already.
        f"DO $$ BEGIN CREATE ROLE {ROLE} SUPERUSER LOGIN; "
        "EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"ALTER ROLE {ROLE} PASSWORD '{password}'",
    )
    _write_password(file, password)
    with ExitStack() as stack:
        proxies = tuple(stack.enter_context(postgres_proxy(server.url)) for server in pair.servers)
        hosts = ",".join(where(proxy.url(database_url)) for proxy in proxies)
        service_url = urlunsplit(urlsplit(database_url)._replace(netloc=f"{ROLE}@{hosts}"))
        yield Surroundings(admin_url, service_url, file, proxies, pair)


async def stay_connected(url: str, seconds: float) -> None:
    """Open more connections to an API than it keeps, and say nothing on them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, max(soft, IDLE_CONNECTIONS + OWN_DESCRIPTORS))
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    host, _, port = url.removeprefix("http://").rpartition(":")
    writers: list[asyncio.StreamWriter] = []
    try:
        for _ in range(min(IDLE_CONNECTIONS, wanted - OWN_DESCRIPTORS)):
            _, writer = await asyncio.open_connection(host, int(port))
            writers.append(writer)
        await asyncio.sleep(seconds)
    finally:
        for writer in writers:
            writer.transport.abort()


def _write_password(file: Path, password: str) -> None:
    file.touch(0o600)
    file.write_text(f"*:*:*:{ROLE}:{password}\n")


async def _run(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url, timeout=30)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
