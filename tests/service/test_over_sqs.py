"""The whole service with its queue on SQS, the server being moto in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from sqs_server import SqsEmulator

# SQS's longest.
LONG_POLL_SECONDS = 20

PROVER = Path(sys.executable).with_name("prover")
END = 1_704_067_200
RANGE = f"{END - 20 * 86400}..{END}"


def test_a_group_goes_through_sqs_to_its_results(tmp_path: Path, moto: SqsEmulator) -> None:
    # The variables of AWS may stand in the .env file like all others.
    settings = {**moto.environment, "PROVER_DATA_DIR": "data"}
    dotenv = tmp_path / ".env"
    dotenv.write_text("".join(f"{name}={text}\n" for name, text in settings.items()))
    environment = {
        name: text for name, text in os.environ.items() if not name.startswith(("AWS_", "PROVER_"))
    }

    def prover(*arguments: str) -> str:
        done = subprocess.run(
            [PROVER, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    url = prover("queue", "create", tmp_path.name.replace("_", "-")).strip()
    with dotenv.open("a") as file:
        file.write(f"SQS_QUEUE_URL={url}\n")
    prover("headers", "simulate", "--days", "20", "--end", str(END))
    options = ("--range", RANGE, "--max_return.window_hours=100")
    prover("submit", "--id", "before", *options)
    assert json.loads(prover("queue", "status", "--json"))["visible"] == 3

    log = tmp_path / "worker.log"
    with log.open("wb") as stderr:
        worker = subprocess.Popen([PROVER, "worker"], cwd=tmp_path, env=environment, stderr=stderr)
        try:
            group = json.loads(prover("submit", "--id", "during", *options, "--wait", "--json"))
            before = json.loads(prover("status", "before", "--wait", "--json"))
        finally:
            worker.send_signal(signal.SIGTERM)
            # The long poll is awaited, not cancelled: it ends when SQS's clock says so.
            moto.time_passes(LONG_POLL_SECONDS)
            assert worker.wait(60) == 0
    for finished in (before, group):
        assert [job["status"] for job in finished["jobs"]] == ["succeeded"] * 3
        assert [job["attempts"] for job in finished["jobs"]] == [1, 1, 1]
    counts = json.loads(prover("queue", "status", "--json"))
    assert (counts["visible"], counts["in_flight"], counts["dead_letters"]) == (0, 0, 0)
    assert "very-secret" not in log.read_text()
