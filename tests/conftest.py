"""What tests run over: databases of every engine, servers of SQS."""

import asyncio
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

import botocore.session
import pytest
from localstack_server import LocalStackMissing, localstack_server
from postgres_server import NoServer, PostgresServer, postgres_server
from receipt_bench import ReceiptBench, receipt_bench
from sqs_server import SqsEmulator, moto_server

from prover_framework.database.database import Database
from prover_framework.database.engine import Connection
from prover_framework.database.sqlite import SqliteEngine


def pytest_configure() -> None:
    """Let signals reach the commands that tests start, in the background and under nohup too.

    What is ignored here they would ignore; what is handled here has its default effect there.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole run."""
    try:
        with postgres_server() as server:
            yield server
    except NoServer as reason:
        if "CI" in os.environ:
            pytest.fail(str(reason))
        pytest.skip(str(reason))


@pytest.fixture
def own_postgres(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A server that no other test minds being stopped."""
    if not postgres.own:
        pytest.skip("TEST_DATABASE_URL names a server that is not this test's to stop")
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """A database with all tables, to be copied."""
    url = postgres.create_database()
    asyncio.run(_migrate(url))
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables, to be copied: complete without a log beside it."""
    directory = tmp_path_factory.mktemp("template")
    migrated = directory / "migrated.sqlite3"
    asyncio.run(_migrate(f"sqlite:///{migrated}"))
    whole = directory / "prover.sqlite3"
    # A connection that closes late leaves tables in the log, which a copy of the file lacks.
    with closing(sqlite3.connect(migrated)) as source, closing(sqlite3.connect(whole)) as target:
        source.backup(target)
    return whole


async def _migrate(url: str) -> None:
    async with Database(url) as database:
        await database.migrate()


@pytest.fixture(params=["sqlite", "postgres"])
def engine_name(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    name: str = request.param
    return name


@pytest.fixture
def new_database(
    request: pytest.FixtureRequest, engine_name: str, tmp_path: Path
) -> Iterator[Callable[[], str]]:
    """Make databases with all tables; the function returns a URL."""
    made: list[str] = []

    def make() -> str:
        if engine_name == "sqlite":
            path = tmp_path / f"database-{len(made)}.sqlite3"
            shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
            url = f"sqlite:///{path}"
        else:
            server: PostgresServer = request.getfixturevalue("postgres")
            url = server.lend_database(request.getfixturevalue("postgres_template"))
        made.append(url)
        return url

    yield make
    if engine_name == "postgres":
        for url in made:
            template = request.getfixturevalue("postgres_template")
            request.getfixturevalue("postgres").take_back(url, template)


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """A database with all tables."""
    return new_database()


@pytest.fixture
def empty_url(request: pytest.FixtureRequest, engine_name: str, tmp_path: Path) -> Iterator[str]:
    """A database without any tables."""
    if engine_name == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.sqlite3"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture(scope="session", autouse=True)
def _schemas_are_made_once(sqlite_template: Path) -> Iterator[None]:
    """Give new SQLite databases of this process the schema that the migrations have made once."""
    with closing(sqlite3.connect(sqlite_template)) as template:
        statements = [line for line in template.iterdump() if _is_of_schema(line)]
    migrate = SqliteEngine.apply_migrations

    async def apply_migrations(engine: SqliteEngine, transaction: Connection) -> None:
        if await transaction.fetch("SELECT name FROM sqlite_master"):
            await migrate(engine, transaction)
        else:
            for statement in statements:
                await transaction.fetch(statement)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteEngine, "apply_migrations", apply_migrations)
        yield


def _is_of_schema(statement: str) -> bool:
    others = ("BEGIN TRANSACTION", "COMMIT", 'DELETE FROM "sqlite_sequence"')
    return not statement.startswith((*others, 'INSERT INTO "sqlite_sequence"'))


@pytest.fixture(scope="session", autouse=True)
def _descriptions_are_read_once() -> Iterator[None]:
    """Read what botocore knows of AWS's services once, not for each of hundreds of clients."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", cache(botocore.session.create_loader))
        yield


@pytest.fixture(scope="session")
def moto() -> Iterator[SqsEmulator]:
    """A server that does as SQS does; each test makes queues of names of its own there."""
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def localstack() -> Iterator[SqsEmulator]:
    """LocalStack; where it cannot be had, its tests are skipped, and fail in CI."""
    try:
        with localstack_server() as server:
            yield server
    except LocalStackMissing as error:
        if "CI" in os.environ:
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiptBench]:
    """Receipts that a whole service has made."""
    with receipt_bench(tmp_path_factory.mktemp("receipts")) as bench:
        yield bench
