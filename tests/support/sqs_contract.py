"""What every queue promises, on SQS: standard and FIFO queues of an emulator."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dead_contract import DeadBench, DeadLettersContract, texts
from queue_contract import Bench, QueueContract, bodies, outgoing, receive
from sqs_server import SqsEmulator

from prover_framework.queues.sqs.admin import create_queue
from prover_framework.queues.sqs.client import open_client
from prover_framework.queues.sqs.dead_letters import HOLD_SECONDS, Reading, SqsDeadLetters
from prover_framework.queues.sqs.queue import REASON_ATTRIBUTE, SqsQueue

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.type_defs import MessageTypeDef

NAMES = itertools.count()

# SQS's longest poll, for waits that something else has to end.
LONG_SECONDS = 20.0

# Making a client costs more than most tests: each has two, for all that they do.
CONNECTIONS = 32

# Ends a poll that nobody waits for any more.
WAKE_UP = "wake up"


def use_emulator(emulator: SqsEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an emulator what clients find in the environment, and nothing else."""
    use_environment(emulator.environment, monkeypatch)


def use_environment(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)


async def new_queue(
    client: "SQSClient", *, dead_letters: bool = False, fifo: bool = False
) -> tuple[str, str | None]:
    """Make a queue of a name of its own; return its URL and that of its dead letters."""
    name = f"jobs{next(NAMES)}"
    if dead_letters:
        created = await create_queue(client, name, fifo=fifo)
        return created.url, created.dead_letter_url
    if fifo:
        made = await client.create_queue(QueueName=f"{name}.fifo", Attributes={"FifoQueue": "true"})
    else:
        made = await client.create_queue(QueueName=name)
    return made["QueueUrl"], None


async def take_raw(client: "SQSClient", url: str) -> "list[MessageTypeDef]":
    answer = await client.receive_message(
        QueueUrl=url, MessageAttributeNames=["All"], MaxNumberOfMessages=10
    )
    return answer.get("Messages", [])


def send_raw(url: str, texts: Sequence[str]) -> None:
    """Send texts as another program does that knows nothing of ours."""

    async def send() -> None:
        async with open_client(1) as client:
            for text in texts:
                await client.send_message(QueueUrl=url, MessageBody=text)

    asyncio.run(send())


def take_raw_now(url: str) -> "list[MessageTypeDef]":
    """Receive as such a program does."""

    async def take() -> "list[MessageTypeDef]":
        async with open_client(1) as client:
            return await take_raw(client, url)

    return asyncio.run(take())


class SqsContract(QueueContract, DeadLettersContract):
    """A standard queue. Inherit, and set ``emulator``, whose clock the test owns."""

    emulator: SqsEmulator
    fifo = False

    @pytest.fixture(autouse=True)
    def _environment(self, _server: None, monkeypatch: pytest.MonkeyPatch) -> None:
        use_emulator(self.emulator, monkeypatch)

    def open(self, directory: Path) -> AbstractAsyncContextManager[Bench]:  # noqa: ARG002
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Bench]:
        async with open_client(CONNECTIONS) as client, open_client(CONNECTIONS) as another:
            default, dead_url = await new_queue(client, dead_letters=True, fifo=self.fifo)
            large, _ = await new_queue(client, fifo=self.fifo)
            urls = {"default": default, "large": large}

            async def time_passes(seconds: float) -> None:
                await asyncio.to_thread(self.emulator.time_passes, seconds)

            async def dead() -> list[tuple[str, str]]:
                assert dead_url
                return [
                    (letter["Body"], letter["MessageAttributes"][REASON_ATTRIBUTE]["StringValue"])
                    for letter in await take_raw(client, dead_url)
                ]

            queue, other = SqsQueue(client, urls), SqsQueue(another, urls)
            yield Bench(queue, other, time_passes, dead)
            await _end_polls(queue, other)
            await queue.close()
            await other.close()

    def open_dead(self, directory: Path) -> AbstractAsyncContextManager[DeadBench]:  # noqa: ARG002
        return self._open_dead()

    @asynccontextmanager
    async def _open_dead(self) -> AsyncIterator[DeadBench]:
        async with open_client(CONNECTIONS) as client, open_client(CONNECTIONS) as another:
            urls = {
                name: (await new_queue(client, dead_letters=True, fifo=self.fifo))[0]
                for name in ("default", "large")
            }
            queue = SqsQueue(client, urls)
            # An emulator has one server, which has looked at everything when it answers.
            at_once = Reading(wait_seconds=0)
            dead, others = (SqsDeadLetters(each, urls, at_once) for each in (client, another))
            yield DeadBench(queue, dead, others)
            await queue.close()

    async def test_letters_that_somebody_holds_are_invisible_to_others(
        self, tmp_path: Path
    ) -> None:
        async with self.dead_bench(tmp_path) as bench:
            await bench.die("a", "b", "c")
            async with bench.dead.hold("default", limit=2) as held:
                (left,) = await bench.seen()
                assert left.body not in texts(held.letters)
            assert texts(await bench.seen()) == ["a", "b", "c"]

    async def test_what_a_reader_that_was_killed_has_held_comes_back(self, tmp_path: Path) -> None:
        async with self.dead_bench(tmp_path) as bench:
            await bench.die("a")
            async with bench.dead.hold("default", limit=2):
                assert await bench.seen() == []
                await asyncio.to_thread(self.emulator.time_passes, HOLD_SECONDS + 1)
                assert texts(await bench.seen()) == ["a"]

    async def test_an_outdated_receipt_moves_nothing(self, tmp_path: Path) -> None:
        """SQS promises this for messages that are gone, and no more."""

        async with self.bench(tmp_path) as bench:
            await bench.queue.send([outgoing("a"), outgoing("b")])
            first, second = await receive(bench.queue)
            await bench.queue.delete(first)
            await bench.queue.delete(first)
            await bench.queue.bury(first, "outdated")
            await bench.queue.change_visibility([first, second], 0)
            (again,) = await receive(bench.queue)
            assert again.body == second.body
            assert await bench.dead() == []

    async def test_an_interrupt_ends_waits_now_and_from_now_on(self, tmp_path: Path) -> None:
        """The polls that were left may take the message first, and then give it back."""

        async with self.bench(tmp_path) as bench:
            waiting = [
                asyncio.create_task(receive(bench.queue, wait_seconds=LONG_SECONDS))
                for _ in range(3)
            ]
            await asyncio.sleep(0.1)
            bench.queue.interrupt()
            assert await asyncio.gather(*waiting) == [[], [], []]
            assert await receive(bench.queue, wait_seconds=LONG_SECONDS) == []
            await bench.other.send([outgoing("a")])
            assert bodies(await receive(bench.other, wait_seconds=LONG_SECONDS)) == ["a"]


class FifoContract(SqsContract):
    """A FIFO queue, whose messages have no delay of their own: the job's row has it."""

    fifo = True

    async def test_a_delayed_message_comes_later(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            await bench.queue.send([outgoing("later", delay_seconds=2), outgoing("now")])
            assert bodies(await receive(bench.queue)) == ["later", "now"]

    async def test_a_message_that_becomes_visible_ends_the_wait(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            await bench.queue.send([outgoing("a")])
            (message,) = await receive(bench.queue, visibility_seconds=LONG_SECONDS)
            waiting = asyncio.create_task(receive(bench.other, wait_seconds=LONG_SECONDS))
            await asyncio.sleep(0.1)
            await bench.queue.change_visibility([message], 0)
            assert bodies(await waiting) == ["a"]


async def _end_polls(queue: SqsQueue, other: SqsQueue) -> None:
    """End the polls that were left, which SQS would do after 20 s: each releases what it gets."""
    queue.interrupt()
    other.interrupt()
    for number in itertools.count():
        polls = queue._background | other._background
        if not polls:
            return
        await other.send([outgoing(f"{WAKE_UP} {number}")])
        await asyncio.wait(polls, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
