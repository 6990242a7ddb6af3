"""The files for running against LocalStack fit each other and the settings."""

import re
import subprocess
from pathlib import Path

from dotenv import dotenv_values

from prover_framework.cli.queues import DEFAULT_NAME
from prover_framework.settings import described_settings

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.sqs.yml").read_text()
SCRIPT = ROOT / "setup-localstack.sh"
EXAMPLE = ROOT / ".env.example"


def test_the_example_has_settings_and_aws_variables_only() -> None:
    known = {field.metadata["variable"] for field in described_settings()}
    # Those that are commented out count as well.
    named = re.findall(r"^(?:# )?([A-Z][A-Z_]+)=", EXAMPLE.read_text(), flags=re.MULTILINE)
    assert {"AWS_ENDPOINT_URL", "AWS_REGION", "SQS_QUEUE_URL"} <= set(named)
    assert [name for name in named if name not in known and not name.startswith("AWS_")] == []


def test_example_compose_file_and_script_name_the_same_place() -> None:
    example = dotenv_values(EXAMPLE)
    endpoint, region = example["AWS_ENDPOINT_URL"], example["AWS_REGION"]
    assert endpoint == "http://127.0.0.1:4566"
    assert example["SQS_QUEUE_URL"] == f"{endpoint}/queue/{region}/000000000000/{DEFAULT_NAME}"
    assert "SQS_ENDPOINT_STRATEGY: path" in COMPOSE
    assert "LOCALSTACK_HOST: 127.0.0.1:4566" in COMPOSE
    script = SCRIPT.read_text()
    assert f"{{LOCALSTACK_URL:-{endpoint}}}" in script
    assert f"{{AWS_REGION:-{region}}}" in script
    assert f"{{1:-{DEFAULT_NAME}}}" in script


def test_images_are_pinned_and_ports_are_this_machines_only() -> None:
    assert re.findall(r"image: (\S+)", COMPOSE)[0] == "localstack/localstack:4.14.0"
    assert all(re.search(r":\d+\.\d+", image) for image in re.findall(r"image: (\S+)", COMPOSE))
    ports = re.findall(r'- "([\d.:]+)"', COMPOSE)
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_script_is_valid_and_can_be_run() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    assert SCRIPT.stat().st_mode & 0o111
