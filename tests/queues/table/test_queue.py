"""The queue that is a table keeps what every queue promises, and the order of sending."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from queue_contract import (
    HANG_SECONDS,
    Bench,
    QueueContract,
    bodies,
    job_id,
    outgoing,
    receive,
)

from prover_framework.database.database import Database
from prover_framework.database.tables import DeadLetter
from prover_framework.queues.base import Received
from prover_framework.queues.table import queue as embedded
from prover_framework.queues.table.queue import EmbeddedQueue
from prover_framework.testing import ManualClock

# Nobody looks without a reason: what ends a wait is the news alone.
UNASKED = {"look_seconds": HANG_SECONDS, "poll_seconds": HANG_SECONDS}


class TestEmbedded(QueueContract):
    """The queue that is a table, on each engine, on a clock that the test owns."""

    waits: Mapping[str, float] = MappingProxyType({})

    @pytest.fixture(autouse=True)
    def database(self, database_url: str) -> None:
        self.url = database_url

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Bench]:
        url, clock = self.url, ManualClock()

        async def time_passes(seconds: float) -> None:
            clock.ms += round(seconds * 1000)

        async with Database(url, clock=clock) as database, Database(url, clock=clock) as another:
            queue = EmbeddedQueue(database, **self.waits)
            other = EmbeddedQueue(another, **self.waits)

            async def dead() -> list[tuple[str, str]]:
                async with database.reading() as reader:
                    rows = await DeadLetter.all().using_db(reader).order_by("id")
                return [(row.body, row.reason) for row in rows]

            yield Bench(queue, other, time_passes, dead)
            await queue.close()
            await other.close()

    def open(self, directory: Path) -> AbstractAsyncContextManager[Bench]:  # noqa: ARG002
        return self._open()

    async def test_messages_come_in_the_order_of_sending(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            for start in (0, 10, 20):
                await bench.queue.send([outgoing(f"{n:02}") for n in range(start, start + 10)])
            got = [m.body for _ in range(6) for m in await receive(bench.queue, limit=5)]
            assert got == [f"{n:02}" for n in range(30)]

    async def test_receivers_that_look_at_once_share_what_there_is(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            await bench.queue.send([outgoing(f"{n:02}") for n in range(40)])
            got: list[Received] = []
            while len(got) < 40:
                parts = await asyncio.gather(
                    *(receive(queue, limit=3) for queue in (bench.queue, bench.other) * 4)
                )
                got.extend(message for part in parts for message in part)
            assert bodies(got) == [f"{n:02}" for n in range(40)], "none of them came twice"

    async def test_news_reach_each_of_several_waiting_receives_at_once(
        self, tmp_path: Path
    ) -> None:
        self.waits = UNASKED
        async with self.bench(tmp_path) as bench:
            waiting = [
                asyncio.create_task(receive(bench.queue, limit=1, wait_seconds=HANG_SECONDS))
                for _ in range(4)
            ]
            await asyncio.sleep(0.1)
            await bench.queue.send([outgoing(str(n)) for n in range(4)])
            got = await asyncio.gather(*waiting)
            assert bodies([m for part in got for m in part]) == list("0123")

    async def test_a_message_that_is_released_ends_the_wait(self, tmp_path: Path) -> None:
        self.waits = UNASKED
        async with self.bench(tmp_path) as bench:
            await bench.queue.send([outgoing("a")])
            (message,) = await receive(bench.queue)
            waiting = asyncio.create_task(receive(bench.queue, wait_seconds=HANG_SECONDS))
            await asyncio.sleep(0.1)
            await bench.queue.change_visibility([message], 0)
            assert bodies(await waiting) == ["a"]

    async def test_a_send_during_the_look_is_not_missed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.waits = UNASKED
        look = EmbeddedQueue._take_visible
        sent = False

        async def look_and_miss(queue: EmbeddedQueue, *arguments: Any) -> list[Received]:
            nonlocal sent
            messages = await look(queue, *arguments)
            if not sent:
                sent = True
                await queue.send([outgoing("a")])
            return messages

        monkeypatch.setattr(EmbeddedQueue, "_take_visible", look_and_miss)

        # The mark is made useless, so that only the news of this process is left.
        async def same_mark(_: Database) -> int:
            return 0

        monkeypatch.setattr(Database, "data_version", same_mark)
        async with self.bench(tmp_path) as bench:
            assert bodies(await receive(bench.queue, wait_seconds=HANG_SECONDS)) == ["a"]

    async def test_a_database_that_refuses_fails_all_messages_of_a_send(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with self.bench(tmp_path) as bench:
            with monkeypatch.context() as patch:
                patch.setattr(embedded, "INSERT", "INSERT INTO no_such_table VALUES (?)")
                failures = await bench.queue.send([outgoing("a"), outgoing("b")])
            assert [failure.job_id for failure in failures] == [job_id("a"), job_id("b")]
            assert all("no_such_table" in failure.reason for failure in failures)
            assert await receive(bench.queue) == []
