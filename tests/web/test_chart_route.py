"""Charts over HTTP as plugins describe them, and drawn by a command at the service's URL."""

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


def test_they_are_sent_once(box: Box) -> None:
    first = httpx.get(f"{box.url}/api/job/seen/charts")
    tag = {"If-None-Match": first.headers["etag"]}
    assert httpx.get(f"{box.url}/api/job/seen/charts", headers=tag).status_code == 304


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
