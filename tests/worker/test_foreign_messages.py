"""Messages of another service on the same queue, which knows four fields and no ids of ours."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from prover_processes import Installation
from sqs_contract import send_raw, take_raw_now, use_emulator
from sqs_server import SqsEmulator
from waiting import PATIENCE_SECONDS, wait_until

from prover_framework.queues.base import QueueStatus
from prover_framework.queues.sqs.client import open_client
from prover_framework.queues.sqs.status import queue_status

END = 1_704_067_200

LONGER_THAN_A_LEASE = 60

# A day that the database has, as the other service asks for it, to the letter.
TWAP = (
    '{"job_id": "twap", "job_group_id": "job_123",'
    ' "start_timestamp": 1703980800, "end_timestamp": 1704067200}'
)

# Messages that ask for nothing, each with a part of the reason that its dead letter has to name.
# SQS itself takes no empty message, no NUL and no half of a surrogate pair.
MALFORMED = {
    "hello": "not JSON",
    " ": "not JSON",
    "{'job_id': 'twap'}": "not JSON",
    TWAP[:-1]: "not JSON",
    f"\ufeff{TWAP}": "not JSON",
    "null": "must be an object, got null",
    "5": "must be an object, got the integer 5",
    '"twap"': "must be an object, got the string 'twap'",
    "[]": "must be an object, got an array",
    f"[{TWAP}]": "must be an object, got an array",
    "{}": "job_id: is required; job_group_id: is required",
    '{"job_id": "twap", "job_group_id": "g"}': "start_timestamp: is required; end_timestamp: is",
    '{"job_id": "twap", "start_timestamp": 0, "end_timestamp": 3600}': "job_group_id: is required",
    TWAP.replace('"twap"', '"sharpe"'): "'sharpe' is not an installed proof type (installed: ",
    TWAP.replace('"twap"', '"TWAP"'): "'TWAP' is not an installed proof type (installed: ",
    TWAP.replace('"twap"', "7"): "job_id: must be a string, got the integer 7",
    TWAP.replace('"twap"', '["twap"]'): "job_id: must be a string, got an array",
    TWAP.replace("job_123", ""): "job_group_id: must be 1 to 128 letters",
    TWAP.replace("job_123", "../etc"): "job_group_id: must be 1 to 128 letters",
    TWAP.replace("job_123", "j" * 129): "job_group_id: must be 1 to 128 letters",
    TWAP.replace('"job_123"', "null"): "job_group_id: must be a string, got null",
    TWAP.replace("1703980800", '"1703980800"'): "start_timestamp: must be an integer, got the str",
    TWAP.replace("1703980800", "1703980800.0"): "start_timestamp: must be an integer, got the num",
    TWAP.replace("1703980800", "true"): "start_timestamp: must be an integer, got a boolean",
    TWAP.replace("1703980800", "null"): "start_timestamp: is required",
    TWAP.replace("1703980800", "-1"): "start_timestamp: must be >= 0",
    TWAP.replace("1703980800", "1704067200"): "end_timestamp: must be after start_timestamp",
    TWAP.replace("1704067200", "0"): "end_timestamp: must be after start_timestamp",
    TWAP.replace("1704067200", "9223372036854775808"): "end_timestamp: must be <= 92233720368547",
    TWAP.replace("1704067200", "1e400"): "the number 1e400 is too large",
    TWAP.replace("1704067200", "9" * 5000): "a number has 5000 digits",
    TWAP.replace("1704067200", "NaN"): "NaN is not a JSON number",
    TWAP.replace("1704067200", "Infinity"): "Infinity is not a JSON number",
    TWAP.replace('"job_id"', '"job_id": "twap", "job_id"'): "the key 'job_id' appears twice",
    TWAP.replace("{", '{"version": 1, "id": "\\ud800", '): "id: must be Unicode",
    TWAP.replace("{", '{"version": 1, "id": "\\u0000", '): "id: must be the unique id of a job",
    TWAP.replace(
        "{", '{"version": 1, "id": "no-such", '
    ): "there is no job no-such in the database",
    TWAP[:-1] + ', "x": ' + "[" * 50_000 + "]" * 50_000 + "}": "nested too deep",
}


@pytest.fixture
def installation(
    moto: SqsEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Installation:
    """A service with two days of headers, whose queue is on SQS."""
    use_emulator(moto, monkeypatch)
    installation = Installation(
        tmp_path,
        {},
        {
            "PROVER_OTHER_SENDERS": "true",
            "PROVER_PLUGINS": "twap",
            "PROVER_WORKER_SLOTS": "2",
            **moto.environment,
        },
    )
    installation.command("headers", "simulate", "--days", "2", "--end", str(END))
    url = installation.command("queue", "create", tmp_path.name.replace("_", "-")).strip()
    installation.environment["SQS_QUEUE_URL"] = url
    return installation


def send(installation: Installation, bodies: Sequence[str]) -> None:
    send_raw(installation.environment["SQS_QUEUE_URL"], bodies)


def jobs(installation: Installation, group: str) -> list[dict[str, Any]]:
    members: list[dict[str, Any]] = json.loads(
        installation.command("status", group, "--wait", "--json")
    )["jobs"]
    return members


def counts(installation: Installation) -> QueueStatus:
    """Count as ``prover queue status`` does, without a process for each look."""

    async def count() -> QueueStatus:
        async with open_client(1) as client:
            url = installation.environment["SQS_QUEUE_URL"]
            return await queue_status(client, url, queue="default", seconds=PATIENCE_SECONDS)

    return asyncio.run(count())


def test_what_another_sender_asks_for_is_computed_once(
    installation: Installation, moto: SqsEmulator
) -> None:
    with_more = TWAP.replace("{", '{"id": 5, "version": "rust/0.3", "trace": {"span": [1.5]}, ')
    another_range = TWAP.replace("1703980800", "1703894400")
    send(installation, [TWAP, with_more, TWAP, another_range])
    with installation.running("worker"):
        wait_until(lambda: bool(counts(installation).dead_letters))
        (job,) = jobs(installation, "job_123")
        # A copy that came while the job was leased is hidden for the rest of the lease.
        moto.time_passes(LONGER_THAN_A_LEASE)
        wait_until(lambda: counts(installation).visible + counts(installation).in_flight == 0)
        (job,) = jobs(installation, "job_123")
    assert (job["job_id"], job["status"], job["attempts"]) == ("twap", "succeeded", 1)
    assert job["result"]["hours"] in (24, 48)
    (letter,) = json.loads(installation.command("dead", "list", "--json"))
    # Whichever came first is the job, and the other range is another job under its name.
    assert letter["reason"].startswith(
        "job group 'job_123' has a job 'twap' already, with other parameters: {"
    )
    assert (letter["body"] == another_range) == (job["result"]["hours"] == 24)


def test_what_asks_for_nothing_is_a_dead_letter_that_says_why(installation: Installation) -> None:
    bodies = list(MALFORMED)
    send(installation, [*bodies, TWAP])
    with installation.running("worker"):
        wait_until(lambda: counts(installation).dead_letters == len(bodies))
        (job,) = jobs(installation, "job_123")
    assert job["status"] == "succeeded", "a good one among them is served"
    letters = json.loads(installation.command("dead", "list", "--json"))
    reasons = {letter["body"]: letter["reason"] for letter in letters}
    assert reasons.keys() == MALFORMED.keys()
    assert {body: part for body, part in MALFORMED.items() if part not in reasons[body]} == {}
    found = counts(installation)
    assert (found.visible, found.in_flight) == (0, 0)


def test_what_we_send_has_the_fields_that_the_other_service_reads(
    installation: Installation,
) -> None:
    span = f"{END - 86_400}..{END}"
    installation.command("submit", "--id", "ours", "--range", span)
    (raw,) = take_raw_now(installation.environment["SQS_QUEUE_URL"])
    message = json.loads(raw["Body"])
    assert list(message)[:4] == ["job_id", "job_group_id", "start_timestamp", "end_timestamp"]
    assert [message[name] for name in list(message)[:4]] == ["twap", "ours", END - 86_400, END]
