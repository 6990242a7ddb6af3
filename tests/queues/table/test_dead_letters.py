"""Dead letters in a table, on each engine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from dead_contract import DeadBench, DeadLettersContract, texts

from prover_framework.database.database import Database
from prover_framework.queues.table.dead_letters import EmbeddedDeadLetters
from prover_framework.queues.table.queue import EmbeddedQueue


class TestEmbedded(DeadLettersContract):
    """The queue that is a table."""

    @pytest.fixture(autouse=True)
    def _database(self, database_url: str) -> None:
        self.url = database_url

    def open_dead(self, directory: Path) -> AbstractAsyncContextManager[DeadBench]:  # noqa: ARG002
        return self._open_dead()

    @asynccontextmanager
    async def _open_dead(self) -> AsyncIterator[DeadBench]:
        async with Database(self.url) as database, Database(self.url) as another:
            queue = EmbeddedQueue(database)
            yield DeadBench(queue, EmbeddedDeadLetters(database), EmbeddedDeadLetters(another))
            await queue.close()

    @pytest.mark.parametrize("first", ["redrive", "drop"])
    @pytest.mark.parametrize("second", ["redrive", "drop"])
    async def test_of_two_who_decide_one_is_late(
        self, tmp_path: Path, first: str, second: str
    ) -> None:
        async with self.dead_bench(tmp_path) as bench:
            await bench.die("a", "b")
            async with (
                bench.dead.hold("default", limit=10) as held,
                bench.other.hold("default", limit=10) as others,
            ):
                chosen = [letter for letter in held.letters if letter.body == "a"]
                assert await getattr(held, first)(chosen) == []
                failures = {
                    failure.letter_id: failure.reason
                    for failure in await getattr(others, second)(others.letters)
                }
            (late,) = [letter.id for letter in others.letters if letter.body == "a"]
            assert failures == {late: "somebody else has redriven or dropped it"}
            assert await bench.seen() == []

    async def test_two_who_redrive_at_once_send_each_letter_once(self, tmp_path: Path) -> None:
        async with self.dead_bench(tmp_path) as bench:
            await bench.die(*map(str, range(30)))
            async with (
                bench.dead.hold("default", limit=100) as held,
                bench.other.hold("default", limit=100) as others,
            ):
                failures = await asyncio.gather(
                    held.redrive(held.letters), others.redrive(others.letters)
                )
            assert sum(map(len, failures)) == 30
            got = [
                message.body
                for _ in range(6)
                for message in await bench.queue.receive(
                    "default", limit=10, wait_seconds=0, visibility_seconds=60
                )
            ]
            assert sorted(got) == sorted(map(str, range(30)))

    async def test_letters_of_other_queues_are_not_seen(self, tmp_path: Path) -> None:
        async with self.dead_bench(tmp_path) as bench:
            await bench.die("a")
            await bench.die("b", queue="large")
            assert texts(await bench.seen()) == ["a"]
            assert texts(await bench.seen(queue="large")) == ["b"]
