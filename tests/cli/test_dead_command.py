"""``prover dead``, over moto."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner, Result
from queue_contract import outgoing, receive
from sqs_contract import new_queue, use_emulator
from sqs_server import SqsEmulator

from prover_framework.app import open_runtime
from prover_framework.cli import dead_letters as command
from prover_framework.errors import DeadLetterNotFound, QueueError, SettingsError
from prover_framework.plugins.registry import Plugins
from prover_framework.queues.base import Received
from prover_framework.queues.sqs.client import open_client
from prover_framework.settings import Settings

# SQS itself takes no other control characters.
EVIL = "a[31m \x85 \u00e4\nb"
REASON = "no sense in it"


@pytest.fixture
def chosen(moto: SqsEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a queue, which the command finds."""
    use_emulator(moto, monkeypatch)
    chosen = Settings(data_dir=tmp_path, sqs_queue_url=asyncio.run(make_queue()))
    monkeypatch.setattr(command, "stored_queue", lambda: chosen)
    return chosen


async def make_queue(*, dead_letters: bool = True) -> str:
    async with open_client(1) as client:
        return (await new_queue(client, dead_letters=dead_letters))[0]


def die(chosen: Settings, *texts: str, queue: str = "default") -> None:
    """Have messages buried."""

    async def work() -> None:
        async with open_runtime(chosen, Plugins(found=(), hooks={})) as runtime:
            assert runtime.queue
            assert await runtime.queue.send([outgoing(text, queue=queue) for text in texts]) == []
            for _ in texts:
                for message in await receive(runtime.queue, name=queue, wait_seconds=1):
                    await runtime.queue.bury(message, REASON)

    asyncio.run(work())


def received(chosen: Settings) -> Sequence[str]:
    async def work() -> list[Received]:
        async with open_runtime(chosen, Plugins(found=(), hooks={})) as runtime:
            assert runtime.queue
            return await receive(runtime.queue)

    return sorted(message.body for message in asyncio.run(work()))


def prover_dead(*arguments: str, answer: str | None = None) -> Result:
    result = CliRunner().invoke(command.dead, arguments, input=answer)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def listed() -> list[dict[str, Any]]:
    letters: list[dict[str, Any]] = json.loads(prover_dead("list", "--json").stdout)
    return letters


def ids() -> dict[str, str]:
    """The ids of the dead letters by their messages."""
    return {letter["body"]: letter["id"] for letter in listed()}


def test_list_and_show_tell_what_the_letters_are(chosen: Settings) -> None:
    die(chosen, "x" * 100, "b")
    letters = {letter["body"]: letter for letter in listed()}
    letter = letters["b"]
    assert (letter["queue"], letter["reason"]) == ("default", REASON)
    assert letter["died_at"].endswith("Z")
    table = prover_dead("list").stdout
    assert letter["id"] in table
    assert REASON in table
    assert f"{'x' * 40}... (100 characters)" in table
    assert json.loads(prover_dead("show", letter["id"], "--json").stdout) == letter
    assert "x" * 100 in prover_dead("show", letters["x" * 100]["id"]).stdout
    assert len(listed()) == 2


def test_a_list_that_is_cut_says_so(chosen: Settings) -> None:
    die(chosen, "a", "b")
    cut = prover_dead("list", "--limit", "1")
    assert "these are 1, there may be more" in cut.stderr
    assert "there may be more" not in prover_dead("list").stderr


def test_what_a_terminal_might_obey_is_shown_and_not_printed(
    chosen: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "shorten", lambda text: text)
    die(chosen, EVIL)
    ((_, id_),) = ids().items()
    for shown in (prover_dead("list").stdout, prover_dead("show", id_).stdout):
        assert "\x85" not in shown
        assert "\u00e4" in shown


def test_redrive_sends_the_chosen_ones_back(chosen: Settings) -> None:
    die(chosen, "a", "b", "c")
    by_text = ids()
    done = prover_dead("redrive", by_text["a"], by_text["b"], by_text["a"])
    assert (done.exit_code, done.stdout) == (0, "2 dead letters redriven\n")
    assert set(ids()) == {"c"}
    assert received(chosen) == ["a", "b"]


def test_redrive_sends_all_back(chosen: Settings) -> None:
    die(chosen, "a", "b")
    by_text = ids()
    done = json.loads(prover_dead("redrive", "--all", "--json").stdout)
    assert sorted(done["redriven"]) == sorted(by_text.values())
    assert done["failed"] == {}
    assert listed() == []
    assert received(chosen) == ["a", "b"]
    assert prover_dead("redrive", "--all").stdout == "0 dead letters redriven\n"


def test_drop_asks_first_and_removes_for_good(chosen: Settings) -> None:
    die(chosen, "a", "b")
    by_text = ids()
    refused = prover_dead("drop", by_text["a"], answer="n\n")
    assert refused.exit_code == 1
    assert set(ids()) == {"a", "b"}
    done = prover_dead("drop", by_text["a"], "--yes")
    assert done.stdout == "1 dead letters dropped\n"
    assert set(ids()) == {"b"}
    assert prover_dead("drop", "--all", "--yes").exit_code == 0
    assert listed() == []
    assert received(chosen) == []


def test_an_unknown_id_changes_nothing(chosen: Settings) -> None:
    die(chosen, "a")
    known = ids()["a"]
    for arguments in (
        ("show", "999"),
        ("redrive", known, "999"),
        ("drop", "--yes", known, "999"),
    ):
        with pytest.raises(DeadLetterNotFound, match="there is no dead letter '999' of queue"):
            prover_dead(*arguments)
    assert set(ids()) == {"a"}
    assert received(chosen) == []


@pytest.mark.parametrize("what", [["redrive"], ["drop", "--yes"]])
def test_either_ids_or_all_have_to_be_given(chosen: Settings, what: Sequence[str]) -> None:
    die(chosen, "a")
    for arguments in (what, [*what, "--all", ids()["a"]]):
        result = prover_dead(*arguments)
        assert result.exit_code == 2
        assert "either the IDS of dead letters or --all" in result.stderr
    assert set(ids()) == {"a"}


def test_what_fails_is_told_and_the_status_is_1(
    moto: SqsEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_emulator(moto, monkeypatch)
    url = asyncio.run(make_queue())
    here = Settings(data_dir=tmp_path, sqs_queue_url=url)
    # The settings of another machine have a name for it that these have not.
    die(attrs.evolve(here, further_queue_urls=(("alias", url),)), "a", queue="alias")
    monkeypatch.setattr(command, "stored_queue", lambda: here)
    id_ = ids()["a"]
    result = prover_dead("redrive", id_)
    assert (result.exit_code, result.stdout) == (1, "0 dead letters redriven\n")
    assert result.stderr.startswith(f"{id_}: queue 'alias' has no URL")
    result = prover_dead("redrive", "--all", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["redriven"] == []
    assert list(json.loads(result.stdout)["failed"]) == [id_]
    assert ids() == {"a": id_}


def test_a_queue_without_dead_letters_says_so(
    moto: SqsEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_emulator(moto, monkeypatch)
    url = asyncio.run(make_queue(dead_letters=False))
    monkeypatch.setattr(command, "stored_queue", lambda: Settings(sqs_queue_url=url))
    with pytest.raises(QueueError, match=r'no dead-letter queue; "prover queue create"'):
        prover_dead("list")
    with pytest.raises(QueueError, match="queue 'other' has no URL"):
        prover_dead("list", "--queue", "other")


def test_where_the_table_of_jobs_is_the_queue_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "stored_queue", lambda: Settings(data_dir=tmp_path))
    with pytest.raises(SettingsError, match=r'no dead letters: .*"prover list --state failed"'):
        prover_dead("list")
