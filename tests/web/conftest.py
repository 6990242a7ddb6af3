"""A server on a free port with a database of its own, and a look into its tables."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from prover_framework.app import open_runtime
from prover_framework.plugins import loading as plugins
from prover_framework.plugins.registry import Plugins
from prover_framework.settings import Settings
from prover_framework.web.server import serve


@pytest.fixture(scope="session")
def installed() -> Plugins:
    return plugins.load(plugins.installed(), strict=True)


@pytest.fixture(scope="module")
def database_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data") / "prover.sqlite3"


@pytest.fixture(scope="module")
def base_url(installed: Plugins, database_path: Path) -> Iterator[str]:
    """Serve in a thread with a loop of its own, for the tests of one module."""
    started: Future[tuple[str, Callable[[], None]]] = Future()

    async def run() -> None:
        loop, stopping = asyncio.get_running_loop(), asyncio.Event()

        def stop() -> None:
            loop.call_soon_threadsafe(stopping.set)

        async with open_runtime(Settings(data_dir=database_path.parent), installed) as runtime:
            await serve(
                runtime.service,
                "127.0.0.1",
                0,
                stopping,
                lambda url: started.set_result((url, stop)),
                receipts=runtime.receipts,
                callers=runtime.callers,
                verification=runtime.verification,
                monitoring=runtime.monitoring,
                charts=runtime.charts,
                pages=runtime.pages,
                feed=runtime.feed,
            )

    ended: Future[None] = Future()

    def main() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            (ended if started.done() else started).set_exception(error)
        else:
            ended.set_result(None)

    thread = threading.Thread(target=main)
    thread.start()
    url, stop = started.result(timeout=30)
    yield url
    stop()
    ended.result(timeout=30)
    thread.join()


@pytest.fixture
def client(base_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base_url, timeout=30) as client:
        yield client


@pytest.fixture
def rows(database_path: Path, base_url: str) -> Callable[[str], list[tuple[object, ...]]]:
    """Read a statement's rows from the server's database."""
    assert base_url, "the server makes the tables"

    def read(statement: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(database_path)) as connection:
            return list(connection.execute(statement))

    return read


@pytest.fixture
def nothing_stored(rows: Callable[[str], list[tuple[object, ...]]]) -> Iterator[None]:
    """Require that a test leaves no trace in any table."""

    def everything() -> list[list[tuple[object, ...]]]:
        tables = ("job_group", "job")
        return [rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables]

    before = everything()
    yield
    assert everything() == before
