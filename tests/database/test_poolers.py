"""A pooler in session mode is as good as a server; one in transaction mode is refused."""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from postgres_server import NOBODY, PostgresServer
from waiting import wait_until

from prover_framework.database.database import Database
from prover_framework.database.engine import Bounds
from prover_framework.errors import StoreError

BOUNDS = Bounds(10)


@contextmanager
def pgbouncer(directory: Path, url: str, mode: str) -> Iterator[str]:
    """Run a pooler before a database; yield its URL."""
    program = shutil.which("pgbouncer")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    parts = urlsplit(url)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    users, log = directory / "users", directory / "log"
    users.write_text(f'"{parts.username}" "{parts.password}"\n')
    log.touch()
    configuration = directory / "pgbouncer.ini"
    configuration.write_text(
        f"[databases]\n* = host={parts.hostname} port={parts.port}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = plain\n"
        f"auth_file = {users}\npool_mode = {mode}\nunix_socket_dir =\nlogfile = {log}\n"
    )
    command = [program, "--quiet", str(configuration)]
    if os.geteuid() == 0:
        # It does not run as root either.
        for path in (users, log):
            os.chown(path, NOBODY, NOBODY)
        directory.chmod(0o755)
        command[1:1] = ["--user", "nobody"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: "process up" in log.read_text())
            yield urlunsplit(
                parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}")
            )
        finally:
            process.terminate()


@pytest.fixture
def pooled(postgres: PostgresServer) -> Iterator[Callable[[str], str]]:
    """Make databases behind poolers of a mode; the function returns a URL."""
    with ExitStack() as stack:

        def make(mode: str) -> str:
            url = postgres.create_database()
            stack.callback(postgres.drop_database, url)
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="prover-pooler-"))
            return stack.enter_context(pgbouncer(Path(directory), url, mode))

        yield make


async def test_a_pooler_in_session_mode_works(pooled: Callable[[str], str]) -> None:
    async with Database(pooled("session"), bounds=BOUNDS) as database:
        await database.migrate()
        await database.require_schema()
        calls = (database.read, database.write, database.beat)
        await asyncio.gather(*(call("SELECT pg_sleep(0.02)") for call in calls * 5))
        ((read_only,),) = await database.read("SHOW transaction_read_only")
        assert read_only == "on"


async def test_a_pooler_in_transaction_mode_is_refused(pooled: Callable[[str], str]) -> None:
    url = pooled("transaction")
    with pytest.raises(StoreError, match="behind a pooler in transaction mode") as caught:
        async with Database(url, bounds=BOUNDS):
            pass
    assert "\n" not in str(caught.value)
