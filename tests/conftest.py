"""The databases that tests run over: one suite, every engine."""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from postgres_server import NoServer, PostgresServer, postgres_server

from prover_framework.store.database import Database


def pytest_configure() -> None:
    """Let Ctrl-C reach the commands that tests start: a shell's background job ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
    asyncio.run(_migrate(url))
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables, to be copied."""
    path = tmp_path_factory.mktemp("template") / "prover.sqlite3"
    asyncio.run(_migrate(f"sqlite:///{path}"))
    return path


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
            url = server.create_database(request.getfixturevalue("postgres_template"))
        made.append(url)
        return url

    yield make
    if engine_name == "postgres":
        for url in made:
            request.getfixturevalue("postgres").drop_database(url)


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
