"""``prover queue``, over moto."""

import asyncio
import itertools
import json
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from click.testing import CliRunner, Result
from sqs_server import ScriptedServer, SqsEmulator, refusal, scripted_server

from prover_framework.cli import queues as command
from prover_framework.database.database import Database
from prover_framework.errors import QueueError, QueueMissing, SettingsError
from prover_framework.jobs.records import NewGroup, NewJob
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import RetryPolicy
from prover_framework.queues.sqs.client import open_client
from prover_framework.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

T = TypeVar("T")

NAMES = itertools.count()


@pytest.fixture
def name() -> str:
    return f"made{next(NAMES)}"


@pytest.fixture(autouse=True)
def _aws(moto: SqsEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for variable, value in moto.environment.items():
        monkeypatch.setenv(variable, value)
    configure(monkeypatch, None)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        yield server


def use(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    for name in ("settings", "stored_queue"):
        monkeypatch.setattr(command, name, lambda: settings)


def configure(monkeypatch: pytest.MonkeyPatch, url: str | None) -> None:
    use(monkeypatch, Settings(sqs_queue_url=url))


def prover_queue(*arguments: str) -> Result:
    result = CliRunner().invoke(command.queue, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def created(*arguments: str) -> str:
    """Make a queue and return the only thing printed: its URL."""
    result = prover_queue("create", *arguments)
    assert result.exit_code == 0
    (url,) = result.stdout.splitlines()
    return url


def ask(request: "Callable[[SQSClient], Coroutine[Any, Any, T]]") -> T:
    async def work() -> T:
        async with open_client(1) as client:
            return await request(client)

    return asyncio.run(work())


def attributes(url: str) -> dict[str, str]:
    async def read(client: "SQSClient") -> dict[str, str]:
        answer = await client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        return {str(key): value for key, value in answer["Attributes"].items()}

    return ask(read)


def redrive_policy(url: str) -> dict[str, Any]:
    policy: dict[str, Any] = json.loads(attributes(url)["RedrivePolicy"])
    return policy


def send(url: str, count: int) -> None:
    async def work(client: "SQSClient") -> None:
        for number in range(count):
            await client.send_message(QueueUrl=url, MessageBody=str(number))

    ask(work)


def test_create_makes_a_queue_that_loses_nothing(name: str) -> None:
    url = created(name)
    assert url.endswith(f"/{name}")
    dead = attributes(f"{url}-dead")
    assert redrive_policy(url) == {
        "deadLetterTargetArn": dead["QueueArn"],
        "maxReceiveCount": 1000,
    }
    for found in (attributes(url), dead):
        assert found["MessageRetentionPeriod"] == "1209600"


def test_create_twice_changes_nothing(name: str) -> None:
    url = created(name)
    before = attributes(url)
    result = prover_queue("create", name)
    assert result.stdout == f"{url}\n"
    assert result.stderr == ""
    assert attributes(url) == before


@pytest.mark.parametrize("suffix", ["", ".fifo"])
def test_create_makes_fifo_queues(name: str, suffix: str) -> None:
    url = created(f"{name}{suffix}", "--fifo")
    assert url.endswith(f"/{name}.fifo")
    assert redrive_policy(url)["deadLetterTargetArn"].endswith(f":{name}-dead.fifo")
    found = attributes(url)
    assert found["FifoQueue"] == "true"
    assert found["FifoThroughputLimit"] == "perMessageGroupId"
    assert created(f"{name}.fifo") == url


def test_create_completes_a_queue_without_dead_letters_and_keeps_its_settings(name: str) -> None:
    async def make(client: "SQSClient") -> None:
        await client.create_queue(QueueName=name, Attributes={"MessageRetentionPeriod": "86400"})

    ask(make)
    result = prover_queue("create", name)
    (url,) = result.stdout.splitlines()
    assert redrive_policy(url)["deadLetterTargetArn"].endswith(f":{name}-dead")
    assert attributes(url)["MessageRetentionPeriod"] == "86400"
    assert "keeps messages for 1 days, 14 are better" in result.stderr


@pytest.mark.parametrize("gone", [False, True])
def test_create_keeps_a_redrive_policy_and_tells_what_differs(name: str, *, gone: bool) -> None:
    async def make(client: "SQSClient") -> None:
        other = (await client.create_queue(QueueName=f"{name}-other"))["QueueUrl"]
        got = await client.get_queue_attributes(QueueUrl=other, AttributeNames=["QueueArn"])
        policy = {"deadLetterTargetArn": got["Attributes"]["QueueArn"], "maxReceiveCount": 3}
        await client.create_queue(QueueName=name, Attributes={"RedrivePolicy": json.dumps(policy)})
        if gone:
            await client.delete_queue(QueueUrl=other)

    ask(make)
    result = prover_queue("create", name)
    (url,) = result.stdout.splitlines()
    assert redrive_policy(url)["maxReceiveCount"] == 3
    assert "its maxReceiveCount is 3, 1000 is better" in result.stderr
    assert f"its dead letters go to arn:aws:sqs:eu-west-1:123456789012:{name}-other" in (
        result.stderr
    )
    assert ("which does not exist" in result.stderr) == gone


def test_the_name_defaults_to_the_one_in_the_settings(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert created().endswith("/prover-jobs")
    configure(monkeypatch, f"http://elsewhere:4566/queue/us-east-1/000000000000/{name}")
    assert created().endswith(f"/{name}")


def test_status_counts_messages_and_dead_letters(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = created(name)
    send(url, 3)
    send(f"{url}-dead", 2)
    configure(monkeypatch, url)
    found = json.loads(prover_queue("status", "--json").stdout)
    assert found == {
        "url": url,
        "visible": 3,
        "in_flight": 0,
        "delayed": 0,
        "dead_letter_url": f"{url}-dead",
        "dead_letters": 2,
    }
    table = prover_queue("status").stdout
    assert "waiting" in table
    assert "dead letters" in table


def test_status_of_a_queue_without_dead_letters_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def make(client: "SQSClient") -> str:
        return (await client.create_queue(QueueName=name))["QueueUrl"]

    configure(monkeypatch, ask(make))
    assert "no dead-letter queue" in prover_queue("status").stdout


def test_purge_asks_first_and_keeps_the_dead_letters(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = created(name)
    send(url, 2)
    send(f"{url}-dead", 1)
    configure(monkeypatch, url)
    assert prover_queue("purge").exit_code == 1
    assert attributes(url)["ApproximateNumberOfMessages"] == "2"
    assert prover_queue("purge", "--yes").stdout == "queue default is purged\n"
    assert attributes(url)["ApproximateNumberOfMessages"] == "0"
    assert attributes(f"{url}-dead")["ApproximateNumberOfMessages"] == "1"


def test_a_queue_that_is_not_there_is_told(
    name: str, moto: SqsEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, f"{moto.url}/123456789012/{name}")
    with pytest.raises(QueueMissing, match='"prover queue create"'):
        prover_queue("status")
    with pytest.raises(SettingsError, match=r"'other' has no URL \(known: default\)"):
        prover_queue("status", "--queue", "other")


def test_status_of_the_table_of_jobs_and_that_there_is_nothing_to_purge(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def status(*arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(prover_queue("status", *arguments, "--json").stdout)
        return found

    async def fill() -> None:
        async with Database(database_url) as database:
            jobs = JobStore(database, RetryPolicy(), by_messages=False)
            for name in "abcd":
                await jobs.submit(NewGroup(name, (NewJob(name, "twap", "{}", "default"),)))
            later = NewJob("e", "twap", "{}", "default", delay_seconds=600)
            await jobs.submit(NewGroup("e", (later,)))
            await jobs.submit(NewGroup("f", (NewJob("f", "twap", "{}", "large"),)))
            await jobs.take_ready("default", ["twap"], limit=1, worker="w", lease_seconds=600)
            await jobs.cancel("d")

    asyncio.run(fill())
    use(monkeypatch, Settings(database_url=database_url))
    nowhere = {"url": None, "dead_letter_url": None, "dead_letters": 0}
    assert status() == {"visible": 2, "in_flight": 1, "delayed": 1, **nowhere}
    table = prover_queue("status").stdout
    assert "default" in table
    assert "dead letters" in table
    assert status("--queue", "large")["visible"] == 1
    with pytest.raises(SettingsError, match=r'nothing to purge: .*"prover cancel GROUP"'):
        prover_queue("purge", "--yes")


def test_what_sqs_refuses_is_told(scripted: ScriptedServer) -> None:
    scripted.script = lambda _: refusal("AccessDenied", status=403)
    with pytest.raises(QueueError, match=r"access is denied.*sqs:GetQueueUrl"):
        prover_queue("create", "x")
