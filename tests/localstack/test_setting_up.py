"""The script that makes the queues on LocalStack; docs/how-to/sqs.md goes on from there."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from sqs_server import SqsEmulator

from prover_framework.cli.queues import DEFAULT_NAME

pytestmark = pytest.mark.localstack

ROOT = Path(__file__).parents[2]
SCRIPT = "setup-localstack.sh"
EXAMPLE = ".env.example"

# What the documents say.
ADDRESS = "127.0.0.1:4566"

PATIENCE_SECONDS = 100.0


@pytest.fixture
def directory(localstack: SqsEmulator, tmp_path: Path) -> Path:
    """A folder with the files that the page uses, made for where LocalStack is."""
    for name in (SCRIPT, EXAMPLE):
        text = (ROOT / name).read_text()
        assert ADDRESS in text
        file = tmp_path / name
        file.write_text(text.replace(ADDRESS, localstack.url.removeprefix("http://")))
        file.chmod((ROOT / name).stat().st_mode)
    return tmp_path


def environment(**more: str) -> Mapping[str, str]:
    """The variables of somebody who has activated the environment, and has AWS's for his work."""
    path = os.pathsep.join([str(ROOT / ".venv" / "bin"), os.environ["PATH"]])
    names = ("HOME", "LANG", "TMPDIR")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {**kept, "PATH": path, "AWS_EC2_METADATA_DISABLED": "true", **more}


def run(
    command: list[str], directory: Path, **variables: str
) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_script_makes_the_queues_and_is_safe_to_run_twice(
    localstack: SqsEmulator, directory: Path
) -> None:
    url = f"{localstack.url}/queue/us-east-1/000000000000/{DEFAULT_NAME}"
    first = run([f"./{SCRIPT}"], directory)
    again = run([f"./{SCRIPT}"], directory)
    assert first.stdout == again.stdout == f"{url}\n"
    assert first.stderr == again.stderr == ""
    assert f"SQS_QUEUE_URL={url}\n" in (directory / EXAMPLE).read_text()
    run(["cp", EXAMPLE, ".env"], directory)
    status = run(["prover", "queue", "status"], directory)
    assert f"{url}-dead" in status.stdout


def test_the_script_makes_nothing_in_an_account_that_the_environment_names(
    localstack: SqsEmulator, directory: Path
) -> None:
    made = run(
        [f"./{SCRIPT}", "of-my-own"],
        directory,
        AWS_ENDPOINT_URL="http://127.0.0.1:1",
        AWS_ENDPOINT_URL_SQS="http://127.0.0.1:1",
        AWS_PROFILE="production",
        AWS_REGION="eu-north-1",
    )
    assert made.stdout == f"{localstack.url}/queue/eu-north-1/000000000000/of-my-own\n"
