"""Credentials of AWS that are replaced while a service runs."""

from collections.abc import Iterator
from pathlib import Path

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

from prover_framework.queues.base import Outgoing
from prover_framework.queues.sqs.credentials import CREDENTIAL_CODES
from prover_framework.queues.sqs.queue import open_queue

MESSAGES = [Outgoing("a", "default", "{}")]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        use_environment(aws_environment(server.url), monkeypatch)
        yield server


@pytest.fixture
def shared_file(scripted: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """AWS's file of credentials, in place of variables."""
    assert scripted.url, "it has set the variables"
    file = tmp_path / "credentials"
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    write(file, "OLD")
    return file


def write(file: Path, access_key: str) -> None:
    file.write_text(
        f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = very-secret\n"
    )


def accept(scripted: ScriptedServer, access_key: str, code: str = "ExpiredToken") -> None:
    def script(call: Call) -> Answer:
        return success(call) if call.access_key == access_key else refusal(code, status=403)

    scripted.script = script


@pytest.mark.parametrize("code", sorted(CREDENTIAL_CODES))
async def test_credentials_that_are_refused_are_read_again(
    scripted: ScriptedServer, shared_file: Path, code: str
) -> None:
    accept(scripted, "OLD", code)

    async with open_queue({"default": scripted.queue_url}) as queue:
        assert await queue.send(MESSAGES) == []
        write(shared_file, "NEW")
        accept(scripted, "NEW", code)
        assert await queue.send(MESSAGES) == []
    assert [call.access_key for call in scripted.calls] == ["OLD", "OLD", "NEW"]


async def test_many_calls_that_are_refused_at_once_all_succeed(
    scripted: ScriptedServer, shared_file: Path
) -> None:
    accept(scripted, "NEW")

    async with open_queue({"default": scripted.queue_url}) as queue:
        write(shared_file, "NEW")
        many = [Outgoing(f"job{n}", "default", "{}") for n in range(40)]
        assert await queue.send(many) == []


@pytest.mark.usefixtures("shared_file")
async def test_credentials_that_are_still_the_same_are_refused_once(
    scripted: ScriptedServer,
) -> None:
    accept(scripted, "NEW")

    async with open_queue({"default": scripted.queue_url}) as queue:
        (failure,) = await queue.send(MESSAGES)
        assert "does not accept the AWS credentials (ExpiredToken)" in failure.reason
    assert len(scripted.calls) == 1


async def test_credentials_that_come_later_are_found(
    scripted: ScriptedServer, shared_file: Path
) -> None:
    shared_file.unlink()  # noqa: ASYNC240 - nobody else runs
    async with open_queue({"default": scripted.queue_url}) as queue:
        (failure,) = await queue.send(MESSAGES)
        assert "set AWS_ACCESS_KEY_ID" in failure.reason
        write(shared_file, "NEW")
        queue._client._request_signer._credentials._read_at -= 10  # type: ignore[attr-defined]
        assert await queue.send(MESSAGES) == []
