"""The small abuse run: some seconds of ill treatment from all sides, and the service goes on."""

from pathlib import Path

import pytest
from abuse_run import Plan, run
from sqs_contract import use_emulator
from sqs_server import SqsEmulator
from strangers import KINDS

# The machine that tests run on is busy with others of them, so a pause is no fault of the service's
# unless it is as long as one receipt would hold it up.
SMALL = Plan(seconds=8.0, seed=1, each=1, slow=40, verifying=2, health_seconds=4.0)


@pytest.mark.timeout(300)
def test_ill_treatment_from_all_sides_stops_nothing(
    tmp_path: Path, moto: SqsEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_emulator(moto, monkeypatch)
    report = run(SMALL, tmp_path, moto)
    assert report.broken == []
    assert report.messages > 0
    assert set(report.answers) >= KINDS
    statuses = {kind: set(counts) for kind, counts in report.answers.items()}
    assert statuses["keys guessed"] == {401}
    assert statuses["wrong host, origin or type"] <= {400, 403, 415, 421}
