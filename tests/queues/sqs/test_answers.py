"""What the API answers when SQS takes some messages and others not."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqs_contract import use_environment
from sqs_server import Answer, Call, ScriptedServer, aws_environment, scripted_server, success

from prover_framework.app import open_runtime
from prover_framework.plugins import loading as plugins
from prover_framework.settings import Settings
from prover_framework.web.server import serve

RANGE = {"start_timestamp": 1701475200, "end_timestamp": 1704067200}
BODY = {"job_group_id": "g", "twap": RANGE, "reserve_price": RANGE, "max_return": RANGE}


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        use_environment(aws_environment(server.url), monkeypatch)
        yield server


def proof_type(entry: dict[str, Any]) -> str:
    name: str = json.loads(entry["MessageBody"])["job_id"]
    return name


def post(scripted: ScriptedServer, directory: Path, *scripts: Any) -> list[httpx.Response]:
    """Post one request again and again, under one script after the other."""

    async def work() -> list[httpx.Response]:
        settings = Settings(data_dir=directory, sqs_queue_url=scripted.queue_url)
        loaded = plugins.load(plugins.installed(), strict=True)
        ready = asyncio.get_running_loop().create_future()
        stopping = asyncio.Event()
        answers = []
        async with open_runtime(settings, loaded) as runtime, asyncio.TaskGroup() as tasks:
            tasks.create_task(
                serve(
                    runtime.service,
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
            async with httpx.AsyncClient(base_url=await ready, timeout=30) as client:
                for script in scripts:
                    scripted.script = script
                    answers.append(await client.post("/api/job", json=BODY))
            stopping.set()
        return answers

    return asyncio.run(work())


def refuse(*names: str) -> Any:
    def answer(call: Call) -> Answer:
        failed = [entry for entry in call.entries if proof_type(entry) in names]
        return Answer(
            {
                "Successful": [{"Id": e["Id"]} for e in call.entries if e not in failed],
                "Failed": [
                    {"Id": e["Id"], "Code": "KmsDisabled", "Message": "no", "SenderFault": True}
                    for e in failed
                ],
            }
        )

    return answer


def test_the_500_answer_names_each_job_that_sqs_refused(
    scripted: ScriptedServer, tmp_path: Path
) -> None:
    first, again, last = post(
        scripted, tmp_path, refuse("twap", "max_return"), refuse("twap"), success
    )
    refused = "job failed: SQS refused it: KmsDisabled: no"
    assert first.status_code == again.status_code == 500
    assert first.json() == {
        "status": "error",
        "message": f"TWAP {refused}, Max Return {refused}",
        "job_group_id": "g",
    }
    assert again.json()["message"] == f"TWAP {refused}"
    assert last.status_code == 200
    # One batch for a group, and then only what is not yet sent.
    sent = [sorted(map(proof_type, call.entries)) for call in scripted.of("SendMessageBatch")]
    assert sent == [["max_return", "reserve_price", "twap"], ["max_return", "twap"], ["twap"]]


def test_the_500_answer_names_all_jobs_when_the_queue_is_gone(
    scripted: ScriptedServer, tmp_path: Path
) -> None:
    gone = Answer({"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "x"}, 400)
    (answer,) = post(scripted, tmp_path, lambda _: gone)
    assert answer.status_code == 500
    message = answer.json()["message"]
    for title in ("TWAP", "Reserve Price", "Max Return"):
        assert f"{title} job failed: sending to queue 'default' failed: there is no such" in message
