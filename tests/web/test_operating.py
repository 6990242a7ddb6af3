"""The API as operators use it, with the client and the command line at its URL."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from run_command import run_command

from prover_framework.client import Client
from prover_framework.errors import GroupNotFound, RequestError, WorkerNotFound
from prover_framework.model.actions import Action
from prover_framework.model.jobs import JobState
from prover_framework.model.listing import GroupQuery

RANGE = {"start_timestamp": 1234567890, "end_timestamp": 1234567891}


@pytest.fixture
def service(base_url: str) -> Iterator[Client]:
    with Client(base_url) as service:
        yield service


def submit(service: Client, group_id: str) -> None:
    body = {"job_group_id": group_id, "twap": RANGE, "reserve_price": RANGE, "max_return": RANGE}
    assert service.submit(json.dumps(body).encode()).unsent == ()


def states(service: Client, group_id: str) -> list[JobState]:
    return [job.status for job in service.status(group_id).jobs]


def test_one_job_is_cancelled_and_tried_again(service: Client) -> None:
    submit(service, "one")
    report = service.act(Action.CANCEL, "one", "twap")
    assert [group.jobs for group in report.groups] == [("twap",)]
    assert states(service, "one") == [JobState.CANCELLED, JobState.QUEUED, JobState.QUEUED]
    (trial,) = service.act(Action.REDRIVE, "one", dry_run=True).groups
    assert (trial.jobs, len(trial.left_out)) == (("twap",), 2)
    assert states(service, "one")[0] is JobState.CANCELLED
    service.act(Action.REDRIVE, "one")
    assert states(service, "one") == [JobState.QUEUED] * 3
    with pytest.raises(RequestError, match="must be one of max_return, reserve_price, twap"):
        service.act(Action.CANCEL, "one", "other")
    with pytest.raises(GroupNotFound):
        service.act(Action.CANCEL, "nobody")


def test_what_a_filter_finds_is_acted_on_and_nothing_else(service: Client) -> None:
    for number in range(3):
        submit(service, f"bulk-{number}")
    submit(service, "other")
    query = GroupQuery(text="bulk-", proof_type="twap", limit=2)
    found: list[str] = []
    while True:
        report = service.act_on_found(Action.CANCEL, query)
        found += [group.job_group_id for group in report.groups]
        assert {group.jobs for group in report.groups} == {("twap",)}
        if report.next_cursor is None:
            break
        query = query.from_cursor(report.next_cursor)
    assert found == ["bulk-2", "bulk-1", "bulk-0"]
    assert states(service, "bulk-1") == [JobState.CANCELLED, JobState.QUEUED, JobState.QUEUED]
    assert JobState.CANCELLED not in states(service, "other")
    with pytest.raises(RequestError, match="at least one filter"):
        service.act_on_found(Action.CANCEL, GroupQuery())


def test_a_group_is_deleted_when_it_has_ended_and_not_before(
    service: Client, rows: Callable[[str], list[tuple[object, ...]]]
) -> None:
    submit(service, "gone")
    (group,) = service.act(Action.DELETE, "gone").groups
    assert (group.jobs, len(group.left_out)) == ((), 3)
    service.act(Action.CANCEL, "gone")
    (group,) = service.act(Action.DELETE, "gone").groups
    assert group.jobs == ("twap", "reserve_price", "max_return")
    with pytest.raises(GroupNotFound):
        service.status("gone")
    assert rows("SELECT * FROM job WHERE group_id = 'gone'") == []
    # Its id is free again.
    submit(service, "gone")


def test_queues_are_paused_and_resumed(service: Client) -> None:
    service.pause("slow", "the node is away")
    (paused,) = service.workers().paused
    assert (paused.queue, paused.reason) == ("slow", "the node is away")
    assert service.resume("slow")
    assert not service.resume("slow")
    assert service.workers().paused == ()
    with pytest.raises(WorkerNotFound):
        service.drain("nobody:1")
    with pytest.raises(RequestError):
        service.pause("no queue")


def test_the_proof_types_have_their_parameters(service: Client) -> None:
    types = {one.name: one for one in service.proof_types()}
    assert types["twap"].required
    assert "window_hours" in types["max_return"].properties


@pytest.fixture
def prover(
    base_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command for the server, where there is no database and nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROVER_URL", base_url)
    # Whatever of these were opened would fail.
    monkeypatch.setenv("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("PROVER_PLUGINS", "")

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        return run_command(monkeypatch, capfd, *arguments)

    return call


def test_commands_need_neither_database_nor_plugins(
    prover: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    flags = ("--range", "1234567890..1234567891", "--max_return.window_hours", 3)
    done = prover("submit", "--id", "far", "--priority", "7", *flags)
    assert done.returncode == 0, done.stderr
    shown = json.loads(prover("status", "far", "--verbose", "--json").stdout)
    by_id = {job["job_id"]: job for job in shown["jobs"]}
    assert by_id["max_return"]["parameters"]["window_hours"] == 3
    assert shown["priority"] == 7
    told = prover("status", "far", "--verbose").stdout
    assert "reserve_price, id" in told
    assert "group far, priority 7" in told
    assert "far" in prover("list", "--text", "far").stdout
    late = prover("status", "far", "--wait", "--timeout", "0")
    assert late.returncode == 3
    assert "not ended after 0 s: max_return queued, " in late.stderr
    assert prover("receipt", "far").returncode == 1
    assert prover("queue", "pause", "--reason", "rest").returncode == 0
    assert "is paused since" in prover("workers").stdout
    assert prover("queue", "resume").stdout == "queue default goes on\n"
    assert prover("cancel", "far", "--job", "twap").stdout.count("cancelled") == 1
    trial = prover("redrive", "--text", "far", "--dry-run", "--json")
    assert json.loads(trial.stdout)["groups"][0]["jobs"] == ["twap"]
    assert prover("cancel", "--text", "far").returncode == 1, "it asks, and nobody answers"
    assert prover("cancel", "--text", "far", "--yes").returncode == 0
    assert prover("delete", "far", "--yes").returncode == 0
    gone = prover("status", "far")
    assert (gone.returncode, gone.stderr) == (1, "prover: there is no job group 'far'\n")
    assert prover("cancel").returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_a_service_that_is_away_has_an_exit_status_of_its_own(
    prover: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    away = prover("status", "far", "--url", "http://127.0.0.1:1")
    assert away.returncode == 4
    assert away.stderr.startswith("prover: the service at 127.0.0.1:1 does not answer")
    assert prover("status", "far", "--url", "nowhere").returncode == 2
