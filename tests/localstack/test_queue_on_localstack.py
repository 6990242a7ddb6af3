"""The queue on LocalStack, whose FIFO queues are nearer to SQS's than moto's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from queue_contract import HANG_SECONDS
from sqs_contract import FifoContract, SqsContract, new_queue, use_emulator
from sqs_server import SqsEmulator

from prover_framework.queues.base import Outgoing, Queue, Received
from prover_framework.queues.sqs.client import open_client
from prover_framework.queues.sqs.queue import open_queue

pytestmark = pytest.mark.localstack


class TestStandard(SqsContract):
    @pytest.fixture(autouse=True)
    def _server(self, localstack: SqsEmulator) -> None:
        self.emulator = localstack


class TestFifo(FifoContract):
    @pytest.fixture(autouse=True)
    def _server(self, localstack: SqsEmulator) -> None:
        self.emulator = localstack


def outgoing(job_id: str, *, sends: int = 0, body: str = "{}") -> Outgoing:
    return Outgoing(job_id, "default", body, sends=sends)


async def take(queue: Queue, *, wait_seconds: float = 1) -> list[Received]:
    """Take what is there, which several receives may bring."""
    taken: list[Received] = []
    while messages := await queue.receive(
        "default", limit=10, wait_seconds=wait_seconds, visibility_seconds=600
    ):
        taken += messages
    return taken


@asynccontextmanager
async def fifo(localstack: SqsEmulator, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Queue]:
    use_emulator(localstack, monkeypatch)
    async with open_client(1) as client:
        url, _ = await new_queue(client, dead_letters=True, fifo=True)
    async with asyncio.timeout(HANG_SECONDS), open_queue({"default": url}) as queue:
        yield queue


async def test_a_fifo_queue_takes_a_send_once_and_the_next_send_of_the_job_again(
    localstack: SqsEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fifo(localstack, monkeypatch) as queue:
        for _ in range(3):
            # As a sender does whose answer was lost.
            assert await queue.send([outgoing("a"), outgoing("b")]) == []
        first = await take(queue)
        assert len(first) == 2
        for message in first:
            await queue.delete(message)
        # What was sent and deleted is no reason to send it again, a sweep is.
        assert await queue.send([outgoing("a"), outgoing("a", sends=1)]) == []
        assert len(await take(queue)) == 1


async def test_jobs_of_a_fifo_queue_do_not_wait_for_each_other(
    localstack: SqsEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fifo(localstack, monkeypatch) as queue:
        assert await queue.send([outgoing(job, body=job) for job in "abc"]) == []
        (first,) = await queue.receive("default", limit=1, wait_seconds=1, visibility_seconds=600)
        others = await take(queue)
        assert sorted(m.body for m in [first, *others]) == ["a", "b", "c"]
