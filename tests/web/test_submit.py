"""``POST /api/job``: the contract, to the letter."""

import asyncio
import json
import sqlite3
import string
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from table_queue import TableQueue

from prover_framework.app import open_runtime
from prover_framework.database.opening import open_database
from prover_framework.jobs.service import ProvingService
from prover_framework.plugins.registry import Plugins
from prover_framework.queues.base import Outgoing, SendFailure
from prover_framework.settings import Settings
from prover_framework.web.server import serve

Rows = Callable[[str], list[tuple[object, ...]]]

RANGE = {"start_timestamp": 1234567890, "end_timestamp": 1234567891}
PROOF_TYPES = ("twap", "reserve_price", "max_return")


def body(group_id: str, **changes: Any) -> dict[str, Any]:
    return {"job_group_id": group_id} | dict.fromkeys(PROOF_TYPES, RANGE) | changes


def success(group_id: str) -> dict[str, str]:
    return {
        "status": "success",
        "message": "All jobs dispatched successfully",
        "job_group_id": group_id,
    }


def test_the_example_of_the_documentation_succeeds(client: httpx.Client, rows: Rows) -> None:
    answer = client.post(
        "/api/job",
        content="""{
          "job_group_id": "job_123",
          "twap": {"start_timestamp": 1234567890, "end_timestamp": 1234567891},
          "reserve_price": {"start_timestamp": 1234567890, "end_timestamp": 1234567891},
          "max_return": {"start_timestamp": 1234567890, "end_timestamp": 1234567891}
        }""",
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "status": "success",
        "message": "All jobs dispatched successfully",
        "job_group_id": "job_123",
    }
    jobs = rows("SELECT name, state, parameters FROM job WHERE group_id = 'job_123'")
    assert sorted((name, state) for name, state, _ in jobs) == [
        ("max_return", "queued"),
        ("reserve_price", "queued"),
        ("twap", "queued"),
    ]
    for _, _, text in jobs:
        parameters = json.loads(str(text))
        assert {name: parameters[name] for name in RANGE} == RANGE


async def test_each_job_has_one_message_with_the_four_fields_that_others_read(
    installed: Plugins, tmp_path: Path
) -> None:
    ranges = {
        name: {"start_timestamp": place, "end_timestamp": 100 + place}
        for place, name in enumerate(PROOF_TYPES)
    }
    async with (
        open_database(Settings(data_dir=tmp_path)) as database,
        open_runtime(
            Settings(data_dir=tmp_path), installed, queue=await TableQueue.open(database)
        ) as runtime,
    ):
        service = runtime.service
        request = service.parse(json.dumps(body("messages", **ranges)).encode())
        await service.submit(request)
        sent = await TableQueue(database).messages()
        stored = {job.id for job in await runtime.jobs.group("messages")}
    messages = [json.loads(message.body) for message in sent]
    assert [
        {name: message[name] for name in ("job_id", "job_group_id", *RANGE)} for message in messages
    ] == [{"job_id": name, "job_group_id": "messages", **ranges[name]} for name in PROOF_TYPES]
    assert {message["id"] for message in messages} == stored


def test_the_same_body_again_succeeds_and_changes_nothing(client: httpx.Client, rows: Rows) -> None:
    def stored() -> list[list[tuple[object, ...]]]:
        return [
            rows("SELECT * FROM job_group WHERE id = 'again'"),
            rows("SELECT * FROM job WHERE group_id = 'again' ORDER BY id"),
        ]

    client.post("/api/job", json=body("again")).raise_for_status()
    first = stored()
    assert [len(table) for table in first] == [1, 3]
    reordered = dict(reversed(body("again").items()))
    for repetition in (body("again"), reordered):
        answer = client.post("/api/job", content=json.dumps(repetition, indent=2), headers=JSON)
        assert (answer.status_code, answer.json()) == (200, success("again"))
    assert stored() == first


@pytest.mark.parametrize("name", PROOF_TYPES)
def test_another_body_under_the_same_id_is_a_conflict(
    client: httpx.Client, rows: Rows, name: str
) -> None:
    group_id = f"taken-{name}"
    client.post("/api/job", json=body(group_id)).raise_for_status()
    before = rows("SELECT * FROM job")

    other = body(group_id, **{name: {"start_timestamp": 1234567890, "end_timestamp": 1234567892}})
    answer = client.post("/api/job", json=other)

    assert answer.status_code == 409
    assert set(answer.json()) == {"status", "message", "job_group_id"}
    assert answer.json()["status"] == "error"
    assert answer.json()["job_group_id"] == group_id
    assert group_id in answer.json()["message"]
    assert rows("SELECT * FROM job") == before
    assert client.post("/api/job", json=body(group_id)).status_code == 200


@pytest.mark.parametrize(
    "group_id",
    [
        "a",
        ".",
        "..",
        "-",
        "0",
        "x" * 128,
        *(string.ascii_letters[place::3] for place in range(3)),
        string.digits,
        "._:-",
        "A.z_0:9-",
    ],
)
def test_every_legal_group_id_can_be_submitted_and_asked_for(
    client: httpx.Client, group_id: str
) -> None:
    answer = client.post("/api/job", json=body(group_id))
    assert (answer.status_code, answer.json()) == (200, success(group_id))
    escaped = "".join(f"%{ord(letter):02X}" for letter in group_id)
    assert client.get(f"/api/job/{escaped}").json()["job_group_id"] == group_id


@pytest.mark.parametrize(
    ("start", "end"), [(0, 1), (0, 2**63 - 1), (2**63 - 2, 2**63 - 1), (3599, 3600), (5, 6)]
)
def test_every_range_in_the_limits_is_accepted(client: httpx.Client, start: int, end: int) -> None:
    limits = {"start_timestamp": start, "end_timestamp": end}
    ranges = dict.fromkeys(PROOF_TYPES, limits)
    answer = client.post("/api/job", json=body(f"range-{start}-{end}", **ranges))
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        'application/json; charset="UTF-8"',
        "application/json ; charset=utf8; x=y",
    ],
)
def test_content_types_that_mean_json_in_utf_8(client: httpx.Client, content_type: str) -> None:
    answer = client.post(
        "/api/job", content=json.dumps(body("types")), headers={"Content-Type": content_type}
    )
    assert answer.status_code == 200


async def test_of_fifty_at_once_with_one_body_all_succeed_and_one_is_stored(
    base_url: str, rows: Rows
) -> None:
    answers = await _post_all(base_url, [body("fifty")] * 50)

    assert [(answer.status_code, answer.json()) for answer in answers] == [
        (200, success("fifty"))
    ] * 50
    assert rows("SELECT count(*) FROM job_group WHERE id = 'fifty'") == [(1,)]
    assert rows("SELECT name FROM job WHERE group_id = 'fifty' ORDER BY 1") == [
        (name,) for name in sorted(PROOF_TYPES)
    ]


async def test_of_two_bodies_at_once_under_one_id_one_wins(base_url: str, rows: Rows) -> None:
    other = {"start_timestamp": 7, "end_timestamp": 77}
    bodies = [body("race"), body("race", twap=other)] * 25
    answers = await _post_all(base_url, bodies)

    statuses = [answer.status_code for answer in answers]
    assert sorted([set(statuses[::2]), set(statuses[1::2])], key=min) == [{200}, {409}]
    winner = bodies[statuses.index(200)]["twap"]
    [(stored,)] = rows("SELECT parameters FROM job WHERE group_id = 'race' AND name = 'twap'")
    assert json.loads(str(stored)) == winner
    assert rows("SELECT count(*) FROM job WHERE group_id = 'race'") == [(3,)]


class FailingQueue(TableQueue):
    """A queue where the messages of some proof types cannot be sent."""

    reasons: dict[str, str]

    async def send(self, messages: Sequence[Outgoing]) -> list[SendFailure]:
        failures: list[SendFailure] = []
        sound: list[Outgoing] = []
        for message in messages:
            reason = self.reasons.get(json.loads(message.body)["job_id"])
            if reason is None:
                sound.append(message)
            else:
                failures.append(SendFailure(message.job_id, reason))
        return failures + await super().send(sound)


async def test_a_failed_dispatch_is_named_and_only_that_job_is_sent_by_the_retry(
    installed: Plugins, tmp_path: Path
) -> None:
    await _fail_and_retry(installed, tmp_path)


async def _fail_and_retry(installed: Plugins, directory: Path) -> None:
    ready = asyncio.get_running_loop().create_future()
    stopping = asyncio.Event()
    settings = Settings(data_dir=directory)
    async with (
        open_database(settings) as database,
        open_runtime(settings, installed, queue=await FailingQueue.open(database)) as runtime,
    ):
        jobs, queue = runtime.jobs, await FailingQueue.open(database)
        service = ProvingService(installed, jobs, queue)

        async def states() -> dict[str, str]:
            return {job.proof_type: str(job.state) for job in await jobs.group("job_123")}

        async def waiting() -> list[str]:
            received = await queue.receive(
                "default", limit=10, wait_seconds=0, visibility_seconds=60
            )
            return sorted(json.loads(message.body)["job_id"] for message in received)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                serve(
                    service,
                    "127.0.0.1",
                    0,
                    stopping,
                    ready.set_result,
                    receipts=runtime.receipts,
                    callers=runtime.callers,
                    verification=runtime.verification,
                    monitoring=runtime.monitoring,
                )
            )
            async with httpx.AsyncClient(base_url=await ready) as client:
                queue.reasons = {"twap": "error1", "reserve_price": "error2"}
                answer = await client.post("/api/job", json=body("job_123"))
                assert answer.status_code == 500
                assert answer.json() == {
                    "status": "error",
                    "message": "TWAP job failed: error1, Reserve Price job failed: error2",
                    "job_group_id": "job_123",
                }
                assert await states() == {
                    "twap": "pending",
                    "reserve_price": "pending",
                    "max_return": "queued",
                }
                assert await waiting() == ["max_return"]

                queue.reasons = {"reserve_price": "error3"}
                answer = await client.post("/api/job", json=body("job_123"))
                assert answer.status_code == 500
                assert answer.json()["message"] == "Reserve Price job failed: error3"
                assert await waiting() == ["twap"]

                queue.reasons = {"twap": "is not sent again"}
                answer = await client.post("/api/job", json=body("job_123"))
                assert (answer.status_code, answer.json()) == (200, success("job_123"))
                assert await waiting() == ["reserve_price"]
                assert set((await states()).values()) == {"queued"}

                answer = await client.post("/api/job", json=body("job_123"))
                assert answer.status_code == 200
                assert await waiting() == []
            stopping.set()
        await service.close()
        await queue.close()


JSON = {"Content-Type": "application/json"}


async def _post_all(base_url: str, bodies: Sequence[object]) -> list[httpx.Response]:
    async with httpx.AsyncClient(base_url=base_url, timeout=30) as client:
        return await asyncio.gather(*(client.post("/api/job", json=each) for each in bodies))


def test_a_parameter_that_a_plugin_gained_since_does_not_make_it_another_request(
    client: httpx.Client, database_path: Path
) -> None:
    assert client.post("/api/job", json=body("upgraded")).status_code == 200
    with closing(sqlite3.connect(database_path, isolation_level=None)) as database:
        # As a version of the plugin without this parameter would have stored it.
        changed = database.execute(
            "UPDATE job SET parameters = json_remove(parameters, '$.window_hours') "
            "WHERE group_id = 'upgraded' AND name = 'max_return'"
        )
        assert changed.rowcount == 1

    assert client.post("/api/job", json=body("upgraded")).json() == success("upgraded")
    other = body("upgraded", max_return=RANGE | {"window_hours": 24})
    assert client.post("/api/job", json=other).status_code == 409
