"""Dead letters on SQS: what goes over the wire when things go wrong."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqs_contract import use_environment
from sqs_server import (
    Answer,
    Call,
    ScriptedServer,
    aws_environment,
    refusal,
    scripted_server,
    success,
)

from prover_framework.errors import QueueError
from prover_framework.queues.base import Letter
from prover_framework.queues.sqs.dead_letters import (
    USUAL_READING,
    HeldSqsLetters,
    Reading,
    SqsDeadLetters,
    open_dead_letters,
)

HANG_SECONDS = 30.0

POLICY = '{"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:1:jobs-dead", "maxReceiveCount": 9}'


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        use_environment(aws_environment(server.url), monkeypatch)
        yield server


def message(id_: str, queue: str | None = "default", body: str = "text") -> dict[str, Any]:
    attributes = {"queue": queue, "reason": "because"} if queue else {}
    return {
        "MessageId": id_,
        "ReceiptHandle": f"receipt {id_}",
        "Body": body,
        "Attributes": {"SentTimestamp": "1700000000000"},
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
    }


class Dead:
    """Answers as SQS does for a dead-letter queue with some messages."""

    def __init__(self, url: str, *messages: dict[str, Any]) -> None:
        self.url = url
        self.batches = [list(messages)]
        # Answers that a test wants instead, by operation.
        self.instead: dict[str, Callable[[Call], Answer]] = {}

    def __call__(self, call: Call) -> Answer:
        if call.operation in self.instead:
            return self.instead[call.operation](call)
        match call.operation:
            case "GetQueueAttributes":
                return Answer({"Attributes": {"RedrivePolicy": POLICY}})
            case "GetQueueUrl":
                return Answer({"QueueUrl": f"{self.url}/1/jobs-dead"})
            case "ReceiveMessage":
                return Answer({"Messages": self.batches.pop(0) if self.batches else []})
        return success(call)


def refuse_entries(*bad: str) -> Callable[[Call], Answer]:
    """Refuse entries whose body or receipt has one of some texts."""

    def answer(call: Call) -> Answer:
        failed = [e for e in call.entries if any(text in str(e) for text in bad)]
        return Answer(
            {
                "Successful": [{"Id": e["Id"]} for e in call.entries if e not in failed],
                "Failed": [
                    {"Id": e["Id"], "Code": "InternalError", "SenderFault": False} for e in failed
                ],
            }
        )

    return answer


@asynccontextmanager
async def opened(
    scripted: ScriptedServer, reading: Reading = USUAL_READING, **urls: str
) -> AsyncIterator[SqsDeadLetters]:
    all_urls = {"default": scripted.queue_url, **urls}
    async with asyncio.timeout(HANG_SECONDS), open_dead_letters(all_urls, reading=reading) as dead:
        yield dead


def entries(scripted: ScriptedServer, operation: str, key: str) -> list[Any]:
    return sorted(entry[key] for call in scripted.of(operation) for entry in call.entries)


def given_back(scripted: ScriptedServer) -> list[Any]:
    calls = scripted.of("ChangeMessageVisibilityBatch")
    assert {e["VisibilityTimeout"] for call in calls for e in call.entries} <= {0}
    return entries(scripted, "ChangeMessageVisibilityBatch", "ReceiptHandle")


async def test_a_letter_that_can_not_be_sent_stays(scripted: ScriptedServer) -> None:
    scripted.script = script = Dead(scripted.url, message("a", body="bad"), message("b"))
    script.instead["SendMessageBatch"] = refuse_entries("bad")
    async with opened(scripted) as dead:
        async with dead.hold("default", limit=10) as held:
            (failure,) = await held.redrive(held.letters)
        assert failure.letter_id == "a"
        assert "InternalError" in failure.reason
    assert entries(scripted, "DeleteMessageBatch", "ReceiptHandle") == ["receipt b"]
    assert given_back(scripted) == ["receipt a"]


async def test_a_letter_that_was_sent_and_can_not_be_removed_is_told(
    scripted: ScriptedServer,
) -> None:
    scripted.script = script = Dead(scripted.url, message("a"), message("b"))
    script.instead["DeleteMessageBatch"] = refuse_entries("receipt a")
    async with opened(scripted) as dead, dead.hold("default", limit=10) as held:
        (failure,) = await held.redrive(held.letters)
        assert failure.letter_id == "a"
        assert failure.reason.startswith("it was sent back, and is still here as well: ")
        (failure,) = await held.drop(held.letters)
        assert "'dead letters of default' failed" in failure.reason
    assert given_back(scripted) == ["receipt a"]


async def test_a_letter_of_a_queue_that_nobody_knows_stays(scripted: ScriptedServer) -> None:
    scripted.script = Dead(scripted.url, message("a", queue="elsewhere"))
    async with opened(scripted) as dead:
        async with dead.hold("default", limit=10) as held:
            (failure,) = await held.redrive(held.letters)
        assert "'elsewhere' has no URL" in failure.reason
    assert scripted.of("SendMessageBatch") == []
    assert given_back(scripted) == ["receipt a"]


async def test_each_letter_goes_to_its_own_queue(scripted: ScriptedServer) -> None:
    scripted.script = Dead(
        scripted.url, message("a", queue="large"), message("b"), message("c", queue=None)
    )
    large = f"{scripted.url}/1/large.fifo"
    async with opened(scripted, large=large) as dead, dead.hold("default", limit=10) as held:
        assert await held.redrive(held.letters) == []
    sent = {
        (call.parameters["QueueUrl"], entry.get("MessageGroupId"))
        for call in scripted.of("SendMessageBatch")
        for entry in call.entries
    }
    assert sent == {(scripted.queue_url, None), (large, "a")}
    assert given_back(scripted) == []


async def test_what_sqs_has_moved_itself_has_no_reason(scripted: ScriptedServer) -> None:
    scripted.script = Dead(scripted.url, message("a", queue=None))
    async with opened(scripted) as dead, dead.hold("default", limit=10) as held:
        assert held.letters == [
            Letter(
                id="a",
                queue="default",
                body="text",
                reason=None,
                died_at_ms=1_700_000_000_000,
            )
        ]


async def test_a_letter_that_comes_twice_is_one(scripted: ScriptedServer) -> None:
    scripted.script = script = Dead(scripted.url, message("a"))
    script.batches.append([{**message("a"), "ReceiptHandle": "second receipt"}])
    async with opened(scripted) as dead, dead.hold("default", limit=10) as held:
        assert len(held.letters) == 1
        assert await held.drop(held.letters) == []
    assert entries(scripted, "DeleteMessageBatch", "ReceiptHandle") == ["second receipt"]


async def test_reading_that_fails_gives_back_what_it_had(scripted: ScriptedServer) -> None:
    def receive(_: Call) -> Answer:
        if len(scripted.of("ReceiveMessage")) == 1:
            return Answer({"Messages": [message("a")]})
        return refusal("AccessDenied", status=403)

    scripted.script = script = Dead(scripted.url)
    script.instead["ReceiveMessage"] = receive
    async with opened(scripted) as dead:
        with pytest.raises(QueueError, match="access is denied"):
            async with dead.hold("default", limit=10):
                pytest.fail("there is nothing to decide about")
    assert given_back(scripted) == ["receipt a"]


async def test_a_reader_that_loses_patience_swallows_nothing(scripted: ScriptedServer) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def receive(_: Call) -> Answer:
        asked.set()
        go_on.wait(HANG_SECONDS)
        return Answer({"Messages": [message("a")]})

    scripted.script = script = Dead(scripted.url)
    script.instead["ReceiveMessage"] = receive
    async with opened(scripted) as dead:

        async def read() -> None:
            async with dead.hold("default", limit=10):
                pytest.fail("it was to lose patience")

        reading = asyncio.create_task(read())
        await asyncio.to_thread(asked.wait)
        reading.cancel()
        # Time for a receive that is cut off to be cut off.
        await asyncio.sleep(0.05)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert given_back(scripted) == ["receipt a"]


async def test_reading_leaves_time_to_decide(scripted: ScriptedServer) -> None:
    scripted.script = Dead(scripted.url, message("a"))
    async with (
        opened(scripted, reading=Reading(read_seconds=0.0)) as dead,
        dead.hold("default", limit=10) as held,
    ):
        assert held.letters == []


async def test_letters_that_can_not_be_given_back_are_told(
    scripted: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    scripted.script = script = Dead(scripted.url, message("a"))
    script.instead["ChangeMessageVisibilityBatch"] = lambda _: refusal("AccessDenied", status=403)
    async with opened(scripted) as dead, dead.hold("default", limit=10) as held:
        assert isinstance(held, HeldSqsLetters)
    assert "some of 1 dead letters are visible again in 120 s only" in caplog.text


async def test_a_queue_without_dead_letters_says_so(scripted: ScriptedServer) -> None:
    async with opened(scripted) as dead:
        with pytest.raises(QueueError, match=r'no dead-letter queue; "prover queue create"'):
            async with dead.hold("default", limit=10):
                pytest.fail("there is nothing to decide about")
        with pytest.raises(QueueError, match="'other' has no URL"):
            async with dead.hold("other", limit=10):
                pytest.fail("there is nothing to decide about")
