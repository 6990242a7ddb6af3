"""What a group came to, over HTTP: charts as plugins describe them, sent once, waited for."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from run_command import run_command

from prover_framework.charts.terminal import draw_text
from prover_framework.client import Client
from prover_framework.errors import GroupNotFound
from prover_framework.testing import Box, series_of, service_in_a_box, stand_in

HOURS = {"start_timestamp": 0, "end_timestamp": 7200}


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with service_in_a_box(stand_in, series=series_of([(10, 2), (30, 2)])) as box:
        box.submit({"job_group_id": "seen", stand_in.NAME: HOURS})
        yield box


def test_the_client_has_the_charts_that_the_service_would_draw(box: Box) -> None:
    with Client(box.url) as service:
        found = service.charts("seen")
        assert found == box.charts("seen")
        with pytest.raises(GroupNotFound):
            service.charts("nobody")
    (job,) = found.jobs
    assert (found.job_group_id, job.job_id, job.failure) == ("seen", stand_in.NAME, None)
    # It describes none, so it has the hours that it was made from.
    assert job.charts[0].curves[0].y == (5.0, 15.0)


@pytest.mark.parametrize("what", ["", "/receipt", f"/receipt/{stand_in.NAME}", "/charts"])
def test_what_a_group_came_to_is_sent_once(box: Box, what: str) -> None:
    first = httpx.get(f"{box.url}/api/job/seen{what}")
    tag = {"If-None-Match": first.headers["etag"]}
    again = httpx.get(f"{box.url}/api/job/seen{what}", headers=tag)
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


def test_a_command_draws_them_at_a_url(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    drawn = run_command(monkeypatch, capfd, "status", "seen", "--chart", "--url", box.url)
    (chart,) = box.charts("seen").jobs[0].charts
    assert drawn.returncode == 0, drawn.stderr
    lines = [line.rstrip() for line in draw_text(chart, 100).plain.splitlines()]
    assert [line for line in drawn.stdout.splitlines() if line.rstrip() in lines] != []
    assert lines == [line.rstrip() for line in drawn.stdout.splitlines()[-len(lines) :]]


def test_waiting_at_a_url_is_told_of_the_end(box: Box) -> None:
    with Client(box.url) as service:
        assert service.wait("seen").jobs == service.status("seen").jobs


@pytest.mark.parametrize("wait", ["51", "-1", "soon", "1.5", ""])
def test_who_wants_to_wait_longer_than_may_be_is_told(box: Box, wait: str) -> None:
    answer = httpx.get(f"{box.url}/api/job/seen?wait={wait}")
    expected = (200, "") if wait == "" else (400, "wait: must be seconds, 0 to 50")
    assert (answer.status_code, answer.json().get("message", "")[: len(expected[1])]) == expected
