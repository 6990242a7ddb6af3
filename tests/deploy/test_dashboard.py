"""The dashboard shows metrics and labels that exist."""

import json
import re
from typing import Any

from known_metrics import series
from page_session import ROOT

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "prover.json").read_text())
EXPRESSIONS = [
    (panel["title"], target["expr"], target["legendFormat"])
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]


def test_every_series_exists_with_the_labels_that_it_is_shown_by() -> None:
    known = series()
    for title, expression, legend in EXPRESSIONS:
        names = re.findall(r"\bprover_\w+", expression)
        assert names or "process_" in expression, title
        for name in names:
            assert name in known, f"{title}: {name}"
            by = re.search(r"by \(([^)]*)\)", expression)
            wanted = set(by[1].split(", ")) if by else set()
            wanted |= set(re.findall(r"(\w+)=~?\"", expression))
            assert wanted <= known[name] | {"instance", "job"}, title
            assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= wanted, title


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len({*cells})
    assert max(x for x, _ in cells) < 24


def test_every_metric_of_the_service_but_details_is_shown() -> None:
    shown = " ".join(expression for _, expression, _ in EXPRESSIONS)
    unshown = {
        name
        for name in series()
        if not name.endswith(("_sum", "_bucket", "_count")) and name not in shown
    }
    assert unshown == {
        "prover_event_deliveries_total",
        "prover_jobs_without_capable_worker",
        "prover_oldest_seal_seconds",
        "prover_oldest_undelivered_event_seconds",
        "prover_open_job_losses",
        "prover_recent_headers_verified",
        "prover_seal_attempts_total",
        "prover_sync_headers_fetched_total",
        "prover_sync_last_success_timestamp_seconds",
    }
