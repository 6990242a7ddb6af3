"""A worker that is stopped in the middle of a long poll swallows nothing."""

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prover_processes import Installation
from sqs_server import Answer, Call, ScriptedServer, aws_environment, scripted_server, success

HANG_SECONDS = 60.0

# After this time docker kills what it stops.
CONTAINER_SECONDS = 10.0


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.mark.parametrize("command", ["worker", "up"])
def test_what_the_last_poll_brings_is_given_back_at_once(
    scripted: ScriptedServer, tmp_path: Path, command: str
) -> None:
    polling, go_on = threading.Event(), threading.Event()

    def script(call: Call) -> Answer:
        if call.operation != "ReceiveMessage":
            return success(call)
        polling.set()
        assert go_on.wait(HANG_SECONDS)
        return Answer({"Messages": [{"MessageId": "m", "ReceiptHandle": "r", "Body": "{}"}]})

    scripted.script = script
    settings = {**aws_environment(scripted.url), "SQS_QUEUE_URL": scripted.queue_url}
    installation = Installation(tmp_path, {}, {**settings, "PROVER_PLUGINS": "twap"})
    with installation.running(command) as process:
        assert polling.wait(HANG_SECONDS)
        process.send_signal(signal.SIGTERM)
        # It waits for its poll and for nothing else.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        go_on.set()
        assert process.wait(HANG_SECONDS) == 0
    assert len(scripted.of("ReceiveMessage")) == 1
    (given_back,) = scripted.of("ChangeMessageVisibilityBatch")
    assert given_back.entries == [{"Id": "0", "ReceiptHandle": "r", "VisibilityTimeout": 0}]
    assert scripted.of("DeleteMessageBatch") == []


def test_a_stop_takes_less_time_than_a_container_has(
    scripted: ScriptedServer, tmp_path: Path
) -> None:
    """A poll takes as long as it asked for, and is neither cut off nor waited for for longer."""
    polling = threading.Event()

    def script(call: Call) -> Answer:
        if call.operation == "ReceiveMessage":
            polling.set()
            time.sleep(call.parameters["WaitTimeSeconds"])
        return success(call)

    scripted.script = script
    settings = {**aws_environment(scripted.url), "SQS_QUEUE_URL": scripted.queue_url}
    installation = Installation(tmp_path, {}, {**settings, "PROVER_PLUGINS": "twap"})
    with installation.running("worker") as process:
        assert polling.wait(HANG_SECONDS)
        process.send_signal(signal.SIGTERM)
        assert process.wait(CONTAINER_SECONDS) == 0
