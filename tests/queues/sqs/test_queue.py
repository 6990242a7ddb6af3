"""The queue on SQS: what is sent over the wire, and what becomes of every kind of trouble."""

import asyncio
import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqs_contract import (
    FifoContract,
    SqsContract,
    new_queue,
    take_raw,
    use_emulator,
    use_environment,
)
from sqs_server import (
    ACCOUNT,
    REGION,
    Answer,
    Call,
    Hang,
    ScriptedServer,
    SqsEmulator,
    aws_environment,
    refusal,
    scripted_server,
    success,
)
from waiting import until

from prover_framework.errors import QueueError, QueueMissing, QueueUnreachable
from prover_framework.queues.base import Outgoing, Queue, Received
from prover_framework.queues.sqs.admin import create_queue
from prover_framework.queues.sqs.client import open_client
from prover_framework.queues.sqs.queue import (
    MAX_BATCH_BYTES,
    QUEUE_ATTRIBUTE,
    REASON_ATTRIBUTE,
    open_queue,
)

T = TypeVar("T")

# A call that would wait for ever fails its test only.
pytestmark = pytest.mark.timeout(150)

# A call that is to fail by hanging need not hang for long.
BRIEF = 0.3


@pytest.fixture
def aws(moto: SqsEmulator, monkeypatch: pytest.MonkeyPatch) -> SqsEmulator:
    use_emulator(moto, monkeypatch)
    return moto


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        use_environment(aws_environment(server.url), monkeypatch)
        yield server


def outgoing(
    job_id: str, *, body: str = '{"a":1}', queue: str = "default", delay: float = 0.0
) -> Outgoing:
    return Outgoing(job_id, queue, body, delay)


def held(receipt: str, *, queue: str = "default", body: str = "{}") -> Received:
    return Received(queue, body, receipt, 1)


async def take(queue: Queue, limit: int = 10, wait: float = 2, hide: float = 30) -> list[Received]:
    return await queue.receive("default", limit=limit, wait_seconds=wait, visibility_seconds=hide)


class TestStandard(SqsContract):
    """A standard queue on moto."""

    @pytest.fixture(autouse=True)
    def _server(self, aws: SqsEmulator) -> None:
        self.emulator = aws


# Its poll looks up once, when it begins, which message groups are in flight.
unseen_by_moto = pytest.mark.xfail(run=False, reason="moto's poll misses what is released")


class TestFifo(FifoContract):
    """A FIFO queue on moto; LocalStack's does what moto's does not."""

    @pytest.fixture(autouse=True)
    def _server(self, aws: SqsEmulator) -> None:
        self.emulator = aws

    @unseen_by_moto
    async def test_an_interrupt_ends_waits_now_and_from_now_on(self, tmp_path: Path) -> None:
        await super().test_an_interrupt_ends_waits_now_and_from_now_on(tmp_path)

    @unseen_by_moto
    async def test_a_message_that_becomes_visible_ends_the_wait(self, tmp_path: Path) -> None:
        await super().test_a_message_that_becomes_visible_ends_the_wait(tmp_path)


# Sending and receiving


@pytest.mark.usefixtures("aws")
async def test_a_message_comes_back_as_it_was_sent() -> None:
    async with open_client(2) as client:
        url, _ = await new_queue(client)
        async with open_queue({"default": url}) as queue:
            assert await queue.send([outgoing("a", body='{"text":"\\u00e4 \u00e4"}')]) == []
            (first,) = await take(queue)
            assert first.queue == "default"
            assert first.body == '{"text":"\\u00e4 \u00e4"}'
            assert first.receive_count == 1
            await queue.change_visibility([first], 0)
            (second,) = await take(queue)
            assert second.receive_count == 2
            await queue.delete(second)
            assert await take(queue, wait=0) == []


async def test_a_queue_without_a_url_fails_its_own_messages_only(scripted: ScriptedServer) -> None:
    async with open_queue({"default": scripted.queue_url}) as queue:
        failures = await queue.send([outgoing("a"), outgoing("b", queue="nowhere")])
        assert [f.job_id for f in failures] == ["b"]
        assert "'nowhere' has no URL" in failures[0].reason
        for call in (
            queue.receive("nowhere", limit=1, wait_seconds=0, visibility_seconds=1),
            queue.change_visibility([held("r", queue="nowhere")], 1),
            queue.delete(held("r", queue="nowhere")),
            queue.bury(held("r", queue="nowhere"), "why"),
        ):
            with pytest.raises(QueueError, match="'nowhere' has no URL"):
                await call
    assert len(scripted.of("SendMessageBatch")) == 1


async def test_sends_of_the_same_moment_share_batches(scripted: ScriptedServer) -> None:
    async with open_queue({"default": scripted.queue_url}) as queue:
        groups = [[outgoing(f"{g}.{j}") for j in range(3)] for g in range(10)]
        assert await asyncio.gather(*map(queue.send, groups)) == [[]] * 10
        assert await queue.send([]) == []
    calls = scripted.of("SendMessageBatch")
    assert [len(call.entries) for call in calls] == [10, 10, 10]
    assert all(len({entry["Id"] for entry in call.entries}) == 10 for call in calls)


async def test_a_batch_holds_no_more_bytes_than_the_limit(scripted: ScriptedServer) -> None:
    bodies = ["\u00e4" * (MAX_BATCH_BYTES // 5), "b", "c" * MAX_BATCH_BYTES * 2, "d", "e"]
    async with open_queue({"default": scripted.queue_url}) as queue:
        messages = [outgoing(str(i), body=body) for i, body in enumerate(bodies)]
        assert await queue.send([messages[0], *messages]) == []
    sizes = [
        [len(entry["MessageBody"].encode()) for entry in call.entries]
        for call in scripted.of("SendMessageBatch")
    ]
    # One that is too large for any batch goes alone, so that only it is refused.
    large = 2 * (MAX_BATCH_BYTES // 5)
    assert sorted(sizes) == sorted([[large, large, 1], [MAX_BATCH_BYTES * 2], [1, 1]])


async def test_delays_are_rounded_up_and_cut_to_fifteen_minutes(scripted: ScriptedServer) -> None:
    async with open_queue({"default": scripted.queue_url}) as queue:
        await queue.send([outgoing(str(d), delay=d) for d in (0, 0.2, 900, 90_000, -3)])
    (call,) = scripted.of("SendMessageBatch")
    assert [entry["DelaySeconds"] for entry in call.entries] == [0, 1, 900, 900, 0]
    assert "MessageGroupId" not in call.entries[0]


async def test_fifo_messages_have_a_group_for_each_job_and_no_delay(
    scripted: ScriptedServer,
) -> None:
    async with open_queue({"default": f"{scripted.queue_url}.fifo"}) as queue:
        await queue.send([outgoing("aa", delay=5), outgoing("bb")])
    (call,) = scripted.of("SendMessageBatch")
    assert call.entries == [
        {
            "Id": str(index),
            "MessageBody": '{"a":1}',
            "MessageGroupId": job,
            "MessageDeduplicationId": f"{job}-0",
        }
        for index, job in enumerate(["aa", "bb"])
    ]


async def test_each_refused_entry_is_reported_for_its_job(scripted: ScriptedServer) -> None:
    def script(call: Call) -> Answer:
        ids = {entry["MessageBody"]: entry["Id"] for entry in call.entries}
        return Answer(
            {
                "Successful": [{"Id": ids["fine"]}],
                "Failed": [
                    {"Id": ids["bad"], "Code": "Internal", "Message": "x", "SenderFault": False}
                ],
            }
        )

    scripted.script = script
    async with open_queue({"default": scripted.queue_url}) as queue:
        one, two = await asyncio.gather(
            queue.send([outgoing("a", body="fine"), outgoing("b", body="bad")]),
            queue.send([outgoing("c", body="forgotten")]),
        )
    assert [(f.job_id, f.reason) for f in one] == [("b", "SQS refused it: Internal: x")]
    assert [(f.job_id, f.reason) for f in two] == [("c", "SQS did not confirm it")]


@pytest.mark.usefixtures("aws")
async def test_a_message_that_sqs_can_not_hold_harms_no_other() -> None:
    async with open_client(2) as client:
        url, _ = await new_queue(client)
    async with open_queue({"default": url}) as queue:
        failures = await queue.send(
            [outgoing("a"), outgoing("b", body="\x00"), outgoing("c", body=""), outgoing("d")]
        )
        assert [f.job_id for f in failures] == ["b", "c"]
        assert len(await take(queue)) == 2


async def test_a_call_that_fails_fails_each_message_of_its_batch(scripted: ScriptedServer) -> None:
    def script(call: Call) -> Answer:
        if call.parameters["QueueUrl"].endswith("closed"):
            return refusal("AccessDenied", "User: arn:aws:iam::1:user/x is not authorized")
        return success(call)

    scripted.script = script
    urls = {"default": scripted.queue_url, "closed": f"{scripted.url}/1/closed"}
    async with open_queue(urls) as queue:
        failures = await queue.send(
            [outgoing("a", queue="closed"), outgoing("b"), outgoing("c", queue="closed")]
        )
    assert [f.job_id for f in failures] == ["a", "c"]
    assert "queue 'closed' failed: access is denied" in failures[0].reason
    assert "sqs:SendMessage" in failures[0].reason


async def test_receiving_asks_for_what_sqs_takes(scripted: ScriptedServer) -> None:
    def script(_: Call) -> Answer:
        return Answer({"Messages": [{"Body": "x", "ReceiptHandle": "r", "MessageId": "m"}]})

    scripted.script = script
    async with open_queue({"default": scripted.queue_url}) as queue:
        (message,) = await take(queue, limit=64, wait=99, hide=0.4)
        assert message == Received("default", "x", "r", 1)
        await take(queue, limit=3, wait=0.1, hide=1e6)
    wanted = [
        [
            call.parameters[key]
            for key in ("MaxNumberOfMessages", "WaitTimeSeconds", "VisibilityTimeout")
        ]
        for call in scripted.of("ReceiveMessage")
    ]
    assert wanted == [[10, 5, 1], [3, 1, 43_200]]


# Stopping


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("way", ["interrupt", "cancel"])
async def test_what_a_left_poll_brings_is_visible_again_at_once(way: str) -> None:
    async with open_client(2) as client:
        url, _ = await new_queue(client)
    async with (
        open_queue({"default": url}) as leaving,
        open_queue({"default": url}) as staying,
    ):
        receiving = asyncio.create_task(take(leaving, wait=20, hide=600))
        await asyncio.sleep(0)
        began = time.monotonic()
        if way == "interrupt":
            leaving.interrupt()
            assert await receiving == []
        else:
            receiving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await receiving
        assert time.monotonic() - began < 10, "it did not wait for the poll"
        await staying.send([outgoing("late")])
        # The poll ends with the message, and closing waits for the message's release.
        await leaving.close()
        (message,) = await take(staying)
        assert message.receive_count == 2


async def test_a_receive_that_is_cancelled_as_its_answer_comes_gives_it_back(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_queue({"default": scripted.queue_url}) as queue:

        async def poll(answer: "asyncio.Future[list[Received]]", *_: Any, **__: Any) -> None:
            answer.set_result([held("r")])
            receiving.cancel()

        monkeypatch.setattr(queue, "_poll", poll)
        receiving = asyncio.create_task(take(queue))
        with pytest.raises(asyncio.CancelledError):
            await receiving
    (call,) = scripted.of("ChangeMessageVisibilityBatch")
    assert call.entries == [{"Id": "0", "ReceiptHandle": "r", "VisibilityTimeout": 0}]


async def test_after_an_interrupt_receives_return_at_once_and_the_rest_works(
    scripted: ScriptedServer,
) -> None:
    async with open_queue({"default": scripted.queue_url}) as queue:
        queue.interrupt()
        assert await take(queue, wait=20) == []
        assert await queue.send([outgoing("a")]) == []
        await queue.change_visibility([held("r")], 0)
        await queue.delete(held("r"))
    assert scripted.of("ReceiveMessage") == []


async def test_a_poll_that_fails_after_it_was_left_is_of_no_interest(
    scripted: ScriptedServer,
) -> None:
    scripted.script = lambda _: refusal("AccessDenied")
    async with open_queue({"default": scripted.queue_url}) as queue:
        receiving = asyncio.create_task(take(queue))
        await asyncio.sleep(0)
        queue.interrupt()
        assert await receiving == []


async def test_what_can_not_be_released_is_told(
    scripted: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    def script(call: Call) -> Answer:
        if call.operation == "ReceiveMessage":
            return Answer({"Messages": [{"Body": "x", "ReceiptHandle": "r"}]})
        return refusal("AccessDenied")

    scripted.script = script
    async with open_queue({"default": scripted.queue_url}) as queue:
        receiving = asyncio.create_task(take(queue))
        await asyncio.sleep(0)
        queue.interrupt()
        await receiving
    assert "1 messages of queue default come back late only" in caplog.text


async def test_closing_finishes_what_was_handed_in(scripted: ScriptedServer) -> None:
    async with open_queue({"default": scripted.queue_url}) as queue:
        sending = asyncio.create_task(queue.send([outgoing("a")]))
        deleting = asyncio.create_task(queue.delete(held("r")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await queue.close()
        await queue.close()
    assert await sending == []
    await deleting
    assert {call.operation for call in scripted.calls} == {
        "SendMessageBatch",
        "DeleteMessageBatch",
    }


# Hiding, deleting, burying


async def test_hiding_rounds_up_and_goes_in_batches(scripted: ScriptedServer) -> None:
    async with open_queue({"default": scripted.queue_url}) as queue:
        await queue.change_visibility([held(f"r{i}") for i in range(23)], 9.2)
        await queue.change_visibility([held("r")], 1e9)
        await queue.change_visibility([held("r")], -1)
        await queue.change_visibility([], 1)
    calls = scripted.of("ChangeMessageVisibilityBatch")
    # Those of one call are under way at the same time.
    assert sorted(len(call.entries) for call in calls[:3]) == [3, 10, 10]
    assert [len(call.entries) for call in calls[3:]] == [1, 1]
    assert [call.entries[0]["VisibilityTimeout"] for call in calls] == [10] * 3 + [43_200, 0]


async def test_deletes_of_the_same_moment_share_batches(scripted: ScriptedServer) -> None:
    async with open_queue({"default": scripted.queue_url}) as queue:
        await asyncio.gather(*(queue.delete(held(f"r{i}")) for i in range(25)))
    receipts = [
        entry["ReceiptHandle"]
        for call in scripted.of("DeleteMessageBatch")
        for entry in call.entries
    ]
    assert sorted(receipts) == sorted(f"r{i}" for i in range(25))
    assert len(scripted.of("DeleteMessageBatch")) == 3


@pytest.mark.parametrize(
    "code",
    [
        "InvalidParameterValueException",
        "AWS.SimpleQueueService.MessageNotInflight",
        "ReceiptHandleIsInvalid",
    ],
)
async def test_every_way_of_saying_outdated_is_understood(
    scripted: ScriptedServer, code: str
) -> None:
    scripted.script = lambda call: Answer(
        {"Failed": [{"Id": e["Id"], "Code": code, "SenderFault": True} for e in call.entries]}
    )
    async with open_queue({"default": scripted.queue_url}) as queue:
        await queue.change_visibility([held("r")], 5)
        await queue.delete(held("r"))


async def test_an_entry_that_fails_otherwise_is_an_error_and_the_others_are_done(
    scripted: ScriptedServer,
) -> None:
    def script(call: Call) -> Answer:
        bad = [entry for entry in call.entries if entry["ReceiptHandle"] == "bad"]
        good = [{"Id": entry["Id"]} for entry in call.entries if entry not in bad]
        failed = [{"Id": e["Id"], "Code": "InternalError", "SenderFault": False} for e in bad]
        return Answer({"Successful": good, "Failed": failed})

    scripted.script = script
    messages = [held("bad"), *(held(f"r{i}") for i in range(12))]
    async with open_queue({"default": scripted.queue_url}) as queue:
        with pytest.raises(QueueError, match=r"hiding messages of queue 'default'.*Internal"):
            await queue.change_visibility(messages, 5)
        outcomes = await asyncio.gather(
            *(queue.delete(message) for message in messages), return_exceptions=True
        )
    assert [type(outcome) for outcome in outcomes] == [QueueError] + [type(None)] * 12
    assert len(scripted.of("ChangeMessageVisibilityBatch")) == 2


@pytest.mark.usefixtures("aws")
async def test_a_buried_message_is_in_the_dead_letters_with_its_reason() -> None:
    async with open_client(2) as client:
        url, _ = await new_queue(client, dead_letters=True)
        async with open_queue({"default": url}) as queue:
            await queue.send([outgoing(str(i), body=f"body {i}") for i in range(3)])
            messages = {message.body: message for message in await take(queue)}
            reasons = {"body 0": "not\x00 JSON", "body 1": "", "body 2": "x" * 100_000}
            for body, reason in reasons.items():
                await queue.bury(messages[body], reason)
            await queue.change_visibility(list(messages.values()), 0)
            assert await take(queue, wait=0) == []
        dead = await take_raw(client, f"{url}-dead")
        attributes = {
            letter["Body"]: {
                name: value["StringValue"] for name, value in letter["MessageAttributes"].items()
            }
            for letter in dead
        }
        assert attributes["body 0"] == {
            REASON_ATTRIBUTE: "not\ufffd JSON",
            QUEUE_ATTRIBUTE: "default",
        }
        assert attributes["body 1"][REASON_ATTRIBUTE] == "no reason was given"
        assert attributes["body 2"][REASON_ATTRIBUTE] == "x" * 1000


@pytest.mark.usefixtures("aws")
async def test_without_dead_letters_a_message_is_kept_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        async with open_client(2) as client:
            url, _ = await new_queue(client)
            async with open_queue({"default": url}) as queue:
                await queue.send([outgoing("a")])
                (message,) = await take(queue)
                await queue.bury(message, "it is no JSON")
                assert await take(queue, wait=0) == []
                await queue.change_visibility([message], 0)
                (again,) = await take(queue)
                # A dead-letter queue that is made later is found.
                await create_queue(client, url.rpartition("/")[2])
                await queue.bury(again, "it is no JSON")
            assert len(await take_raw(client, f"{url}-dead")) == 1
    assert "has no dead-letter queue" in caplog.text
    assert "it is no JSON" in caplog.text


async def test_a_given_dead_letter_queue_is_used_as_it_is(scripted: ScriptedServer) -> None:
    dead = f"{scripted.url}/{ACCOUNT}/dead.fifo"
    async with open_queue(
        {"default": scripted.queue_url}, dead_letter_urls={"default": dead}
    ) as queue:
        await queue.bury(held("r1"), "why")
        await queue.bury(held("r2"), "why")
    one, two = scripted.of("SendMessageBatch")
    assert one.parameters["QueueUrl"] == dead
    # Two messages with one body are two dead letters.
    ids = [call.entries[0]["MessageDeduplicationId"] for call in (one, two)]
    assert len(set(ids)) == 2
    assert all(len(id_) <= 128 for id_ in ids)
    assert one.entries[0]["MessageGroupId"] == ids[0]
    assert {call.operation for call in scripted.calls} == {
        "ChangeMessageVisibilityBatch",
        "SendMessageBatch",
        "DeleteMessageBatch",
    }


async def test_the_dead_letter_queue_is_found_by_the_redrive_policy_once(
    scripted: ScriptedServer,
) -> None:
    policy = {"deadLetterTargetArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:other", "maxReceiveCount": 3}

    def script(call: Call) -> Answer:
        if call.operation == "GetQueueAttributes":
            return Answer({"Attributes": {"RedrivePolicy": json.dumps(policy)}})
        if call.operation == "GetQueueUrl":
            assert call.parameters == {"QueueName": "other", "QueueOwnerAWSAccountId": ACCOUNT}
            return Answer({"QueueUrl": f"{scripted.url}/{ACCOUNT}/other"})
        return success(call)

    scripted.script = script
    async with open_queue({"default": scripted.queue_url}) as queue:
        await queue.bury(held("r1"), "why")
        await queue.bury(held("r2", body="x" * MAX_BATCH_BYTES), "why")
    assert [call.operation for call in scripted.calls] == [
        "GetQueueAttributes",
        "GetQueueUrl",
        *["ChangeMessageVisibilityBatch", "SendMessageBatch", "DeleteMessageBatch"] * 2,
    ]
    small, large = scripted.of("SendMessageBatch")
    assert "MessageAttributes" in small.entries[0]
    assert "MessageAttributes" not in large.entries[0]


@pytest.mark.parametrize("failing", ["whole call", "entry", "unconfirmed"])
async def test_a_message_that_could_not_be_buried_is_not_deleted(
    scripted: ScriptedServer, failing: str
) -> None:
    answers = {
        "whole call": refusal("AccessDenied"),
        "entry": Answer({"Failed": [{"Id": "0", "Code": "KmsDisabled", "SenderFault": True}]}),
        "unconfirmed": Answer(),
    }

    scripted.script = lambda call: (
        answers[failing] if call.operation == "SendMessageBatch" else success(call)
    )
    async with open_queue(
        {"default": scripted.queue_url}, dead_letter_urls={"default": "http://x/1/dead"}
    ) as queue:
        with pytest.raises(QueueError, match="dead letters of queue 'default' failed"):
            await queue.bury(held("r"), "why")
    assert scripted.of("DeleteMessageBatch") == []


@pytest.mark.parametrize(("code", "raises"), [("MessageNotInflight", False), ("Internal", True)])
async def test_only_who_holds_a_message_buries_it(
    scripted: ScriptedServer, code: str, *, raises: bool
) -> None:
    scripted.script = lambda _: Answer({"Failed": [{"Id": "0", "Code": code, "SenderFault": True}]})
    async with open_queue(
        {"default": scripted.queue_url}, dead_letter_urls={"default": "http://x/1/dead"}
    ) as queue:
        with pytest.raises(QueueError) if raises else nullcontext():
            await queue.bury(held("r"), "why")
    assert [call.operation for call in scripted.calls] == ["ChangeMessageVisibilityBatch"]


# Trouble


async def test_an_endpoint_that_refuses_is_told_soon_and_without_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as taken:
        # A port that is bound and not listened on refuses.
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        use_environment(aws_environment(f"http://user:hunter2@127.0.0.1:{port}"), monkeypatch)

        async with (
            asyncio.timeout(30),
            open_queue({"default": f"http://127.0.0.1:{port}/1/jobs"}) as queue,
        ):
            failures, receive, delete, hide = await asyncio.gather(
                queue.send([outgoing(str(i)) for i in range(200)]),
                take(queue),
                queue.delete(held("r")),
                queue.change_visibility([held("r")], 3),
                return_exceptions=True,
            )
        assert isinstance(failures, list)
        assert len(failures) == 200
        assert failures[0].reason == (
            f"sending to queue 'default' failed: http://127.0.0.1:{port} cannot be reached; "
            "check the network and AWS_ENDPOINT_URL"
        )
        for error in (receive, delete, hide):
            assert isinstance(error, QueueUnreachable)


async def test_an_endpoint_that_hangs_is_given_up(scripted: ScriptedServer) -> None:
    scripted.script = lambda _: Hang()
    async with open_queue({"default": scripted.queue_url}, call_seconds=BRIEF) as queue:
        first = asyncio.create_task(queue.send([outgoing(str(i)) for i in range(500)]))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(queue.send([outgoing("late")]))
        failures = await first
        assert len(failures) == 500
        assert "did not answer in time" in failures[0].reason
        # Fifty batches in eight lanes: those that had not begun do not hang one by one.
        assert len(scripted.calls) <= 2 * 8
        (failure,) = await second
        assert failure.job_id == "late"
        for call in (
            take(queue, wait=0),
            queue.change_visibility([held("r")], 1),
            queue.delete(held("r")),
        ):
            with pytest.raises(QueueUnreachable, match="did not answer in time"):
                await call


async def test_a_send_does_not_wait_for_long_behind_one_that_hangs(
    scripted: ScriptedServer,
) -> None:
    sent: list[str] = []

    def script(call: Call) -> Answer | Hang:
        bodies = [entry["MessageBody"] for entry in call.entries]
        sent.extend(bodies)
        return Hang() if "slow" in bodies else success(call)

    scripted.script = script
    async with open_queue({"default": scripted.queue_url}, call_seconds=3) as queue:
        slow = asyncio.create_task(queue.send([outgoing("a", body="slow")]))
        await until(lambda: bool(sent))
        queue._call_seconds = 0.1
        (failure,) = await queue.send([outgoing("b", body="behind")])
        assert "earlier messages still wait" in failure.reason
        (failure,) = await slow
        assert "did not answer in time" in failure.reason
        assert await queue.send([outgoing("c", body="next")]) == []
    # What was reported as not sent is not sent later.
    assert "behind" not in sent


async def test_heartbeats_do_not_stand_behind_polls_and_sends(scripted: ScriptedServer) -> None:
    def script(call: Call) -> Answer | Hang:
        return success(call) if call.operation == "ChangeMessageVisibilityBatch" else Hang()

    scripted.script = script
    async with open_queue({"default": scripted.queue_url}, call_seconds=30) as queue:
        others = asyncio.gather(
            take(queue, wait=0),
            queue.send([outgoing(str(i)) for i in range(300)]),
            *(queue.delete(held(str(i))) for i in range(100)),
            *(queue.bury(held(str(i)), "why") for i in range(20)),
            return_exceptions=True,
        )
        await until(lambda: len({call.operation for call in scripted.calls}) > 2)
        async with asyncio.timeout(20):
            await queue.change_visibility([held(str(i)) for i in range(100)], 30)
        scripted.ended.set()
        others.cancel()


async def test_one_failed_answer_is_asked_for_again(scripted: ScriptedServer) -> None:
    def script(call: Call) -> Answer:
        if len(scripted.calls) == 1:
            return refusal("InternalError", status=500)
        return success(call)

    scripted.script = script
    async with open_queue({"default": scripted.queue_url}) as queue:
        assert await queue.send([outgoing("a")]) == []
    assert len(scripted.calls) == 2


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("QueueDoesNotExist", 400, 'there is no such queue.*"prover queue create"'),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, "there is no such queue"),
        ("AccessDeniedException", 403, "access is denied.*sqs:ReceiveMessage"),
        ("RequestThrottled", 400, "throttles us"),
        ("InvalidClientTokenId", 403, "does not accept the AWS credentials"),
        ("SignatureDoesNotMatch", 403, "does not accept the AWS credentials"),
        ("ExpiredToken", 403, "does not accept the AWS credentials"),
        ("OverLimit", 400, "answered OverLimit: very-secret"),
    ],
)
async def test_what_sqs_says_is_explained(
    scripted: ScriptedServer, code: str, status: int, expected: str
) -> None:
    scripted.script = lambda _: refusal(code, "very-secret", status)
    async with open_queue({"default": scripted.queue_url}) as queue:
        with pytest.raises(QueueError, match=expected) as raised:
            await take(queue)
        assert str(raised.value).startswith("receiving from queue 'default' failed: ")
        if code != "OverLimit":
            assert "very-secret" not in str(raised.value)
        assert raised.value.__suppress_context__
        assert isinstance(raised.value, QueueMissing) == ("queue" in expected)


@pytest.mark.parametrize(
    "answer",
    [
        Answer("<html>a proxy's greeting</html>"),
        Answer(""),
        Answer([1, 2]),
        Answer({"Successful": "all", "Failed": 3}),
        Answer("<html>Bad Gateway</html>", status=502),
        Answer("nothing here", status=404),
    ],
)
async def test_an_answer_that_is_not_sqs_confirms_nothing(
    scripted: ScriptedServer, answer: Answer
) -> None:
    scripted.script = lambda _: answer
    async with open_queue({"default": scripted.queue_url}) as queue:
        assert [f.job_id for f in await queue.send([outgoing("a")])] == ["a"]


async def test_a_queue_that_does_not_exist_is_told(aws: SqsEmulator) -> None:
    async with open_queue({"default": f"{aws.url}/{ACCOUNT}/no-such"}) as queue:
        (failure,) = await queue.send([outgoing("a")])
        assert "there is no such queue" in failure.reason
        with pytest.raises(QueueMissing, match="there is no such queue"):
            await take(queue)


# The AWS configuration


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({"AWS_REGION": "eu-north-1"}, "eu-north-1"),
        ({"AWS_DEFAULT_REGION": "eu-south-1"}, "eu-south-1"),
        ({"AWS_REGION": "eu-north-1", "AWS_DEFAULT_REGION": "eu-south-1"}, "eu-north-1"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-south-1"}, "eu-south-1"),
    ],
)
@pytest.mark.usefixtures("scripted")
async def test_the_region_is_found_where_aws_tools_look(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    region: str,
) -> None:
    monkeypatch.delenv("AWS_REGION")
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)

    async with open_client(1) as client:
        assert (client.meta.region_name) == region


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("AWS_REGION", None, "set AWS_REGION"),
        ("AWS_PROFILE", "no-such", r"no-such.*check AWS_PROFILE"),
        ("AWS_ENDPOINT_URL", "127.0.0.1:4566", "AWS_ENDPOINT_URL must be like"),
        ("AWS_SECRET_ACCESS_KEY", None, "no complete AWS credentials"),
    ],
)
async def test_an_incomplete_configuration_is_told(
    scripted: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str | None,
    expected: str,
) -> None:
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)

    with pytest.raises(QueueError, match=expected):
        async with open_queue({"default": scripted.queue_url}) as queue:
            await take(queue)
    assert scripted.calls == []


async def test_without_any_credentials_a_send_says_so(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    async with open_queue({"default": scripted.queue_url}) as queue:
        (failure,) = await queue.send([outgoing("a")])
    assert "set AWS_ACCESS_KEY_ID" in failure.reason
