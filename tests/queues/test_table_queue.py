"""The queue that tests have in place of SQS keeps what every queue promises."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from queue_contract import Bench, QueueContract
from table_queue import TableQueue

from prover_framework.database.database import Database
from prover_framework.testing import ManualClock


class TestTableQueue(QueueContract):
    """On each engine, on a clock that the test owns."""

    @pytest.fixture(autouse=True)
    def database(self, database_url: str) -> None:
        self.url = database_url

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Bench]:
        url, clock = self.url, ManualClock()

        async def time_passes(seconds: float) -> None:
            clock.ms += round(seconds * 1000)

        async with Database(url, clock=clock) as database, Database(url, clock=clock) as another:
            queue = await TableQueue.open(database)
            other = await TableQueue.open(another)

            async def dead() -> list[tuple[str, str]]:
                return [(letter.body, letter.reason) for letter in await queue.dead()]

            yield Bench(queue, other, time_passes, dead)
            await queue.close()
            await other.close()

    def open(self, directory: Path) -> AbstractAsyncContextManager[Bench]:  # noqa: ARG002
        return self._open()
