"""The databases that tests run over: one suite, every engine."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from postgres_server import NoServer, PostgresServer, postgres_server

from prover_framework.store.database import Database


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


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """A database with all tables, to be copied."""
    url = postgres.create_database()

    async def migrate() -> None:
        async with Database(url) as database:
            await database.migrate()

    asyncio.run(migrate())
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Make databases with all tables, on each engine in turn; the function returns a URL."""
    made: list[str] = []

    def make() -> str:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path}/database-{len(made)}.sqlite3"
            asyncio.run(_migrate(url))
        else:
            server: PostgresServer = request.getfixturevalue("postgres")
            url = server.create_database(request.getfixturevalue("postgres_template"))
        made.append(url)
        return url

    yield make
    if request.param == "postgres":
        for url in made:
            request.getfixturevalue("postgres").drop_database(url)


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """A database with all tables, on each engine in turn."""
    return new_database()


async def _migrate(url: str) -> None:
    async with Database(url) as database:
        await database.migrate()
