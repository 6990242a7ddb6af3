"""What is deployed fits the service: settings and commands exist, rights are those in use."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from alert_rules import rules
from command_tree import subcommands
from page_session import ROOT

from prover_framework.cli.main import prover
from prover_framework.model.jobs import JobState
from prover_framework.variables import known_variables

DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text())
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
PLAYBOOK = (ROOT / "docs" / "how-to" / "operate.md").read_text()

# How long a worker may take to end: PROVER_STOP_SECONDS, and ten seconds after it.
STOP_SECONDS = 30


def manifests() -> Iterator[dict[str, Any]]:
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        yield from yaml.safe_load_all(file.read_text())


MANIFESTS = list(manifests())
PODS = {
    document["metadata"]["name"]: document["spec"]["template"]["spec"]
    for document in MANIFESTS
    if document["kind"] in ("Deployment", "Job")
}


def named(text: str) -> set[str]:
    """Return the variables of ours that a text sets."""
    return set(re.findall(r"\b((?:PROVER|DATABASE|SQS)_[A-Z_]+)(?==|:)", text))


@pytest.mark.parametrize(
    "file", [path for path in sorted(DEPLOY.rglob("*")) if path.is_file()], ids=lambda p: p.name
)
def test_every_variable_that_is_set_is_a_setting(file: Path) -> None:
    own = {*known_variables(), "PROVER_FROM_TIME", "SQS_ENDPOINT_STRATEGY"}
    assert named(file.read_text()) <= own


def require_command(words: list[str]) -> None:
    command: Any = prover
    for word in words:
        if word.startswith("-"):
            assert word in {name for option in command.params for name in option.opts}
        elif isinstance(command, click.Group):
            command = subcommands(command)[word]


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_units_are_what_systemd_takes(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text()
    (command,) = re.findall(r"^ExecStart=/opt/prover/bin/prover (.*)$", text, re.MULTILINE)
    require_command(command.split())
    assert int(re.findall(r"^TimeoutStopSec=(\d+)s$", text, re.MULTILINE)[0]) > STOP_SECONDS
    assert "Type=notify" in text
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / unit.name
    copy.write_text(text.replace("/opt/prover/bin/prover", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_two_daemons_of_a_machine_do_not_share_a_port() -> None:
    ports = [re.findall(r"PROVER_MONITORING_PORT=(\d+)", unit.read_text()) for unit in UNITS]
    given = [port for found in ports for port in found]
    assert len(given) == len({*given}) == len(UNITS) - 1


def test_the_compose_file_runs_commands_that_exist() -> None:
    for name, service in COMPOSE["services"].items():
        if service.get("image") != "prover":
            assert re.search(r":v?\d", service["image"]), f"{name} is of no version"
            continue
        require_command([word for word in service["command"] if not re.match(r"\$|prover-", word)])
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert int(service["stop_grace_period"].removesuffix("s")) > STOP_SECONDS
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")
    assert COMPOSE["services"]["localstack"]["image"] == "localstack/localstack:4.14.0"
    assert {"api", "worker", "sync", "postgres", "prometheus", "grafana"} <= set(
        COMPOSE["services"]
    )
    for service in COMPOSE["services"].values():
        for needed in service.get("depends_on", {}):
            assert needed in COMPOSE["services"]
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).exists()


def test_the_image_is_built_in_two_stages_for_nobody_in_particular() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert sum(line.startswith("FROM ") for line in lines) == 2
    final = "\n".join(lines[max(i for i, line in enumerate(lines) if line.startswith("FROM ")) :])
    assert re.search(r"^USER 10001", final, re.MULTILINE)
    assert "HEALTHCHECK" in final
    assert "pip install" not in final
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists()
            ignore = (DEPLOY / "Dockerfile.dockerignore").read_text()
            assert f"!{name}\n" in ignore, f"{name} is left out of the build"


@pytest.mark.parametrize("name", PODS)
def test_pods_are_probed_bounded_and_unprivileged(name: str) -> None:
    pod = PODS[name]
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        own = container["securityContext"]
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted <= {volume["name"] for volume in pod["volumes"]}
    (main,) = pod["containers"]
    require_command([word for word in main["args"] if not word.isdecimal()])
    if name != "prover-migrate":
        assert main["readinessProbe"]["httpGet"]["path"] == "/health/ready"
        assert main["livenessProbe"]["httpGet"]["path"] == "/health/live"
        assert pod["terminationGracePeriodSeconds"] > STOP_SECONDS


def test_everything_is_part_of_the_kustomization() -> None:
    (kustomization,) = (one for one in MANIFESTS if one["kind"] == "Kustomization")
    files = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")}
    assert {*kustomization["resources"], "kustomization.yaml"} == files


def test_workers_are_scaled_by_states_that_exist() -> None:
    (scaled,) = (one for one in MANIFESTS if one["kind"] == "ScaledObject")
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    states = re.findall(r'state=~"([^"]+)"', query)[0].split("|")
    assert {*states} <= {state.value for state in JobState}
    assert scaled["spec"]["scaleTargetRef"]["name"] in PODS


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kustomize_builds_it() -> None:
    subprocess.run(
        ["kubectl", "kustomize", str(DEPLOY / "kubernetes")], check=True, capture_output=True
    )


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")
def test_terraform_reads_and_would_write_the_same() -> None:
    subprocess.run(
        ["terraform", "fmt", "-check", str(DEPLOY / "terraform")], check=True, capture_output=True
    )


def test_policies_allow_what_the_code_calls_and_no_more() -> None:
    text = (DEPLOY / "terraform" / "main.tf").read_text()
    allowed = set(re.findall(r'"sqs:([A-Za-z]+)"', text))
    code = "".join(
        (ROOT / "prover_framework" / "queues" / "sqs" / name).read_text()
        for name in ("queue.py", "status.py", "dead_letters.py", "client.py")
    )
    called = {
        "".join(word.capitalize() for word in call.removesuffix("_batch").split("_"))
        for call in re.findall(r"client\.([a-z]+_[a-z_]+)\(", code)
    }
    # `prover queue purge`; making queues is Terraform's.
    assert allowed == called | {"PurgeQueue"}


def test_every_alert_leads_to_a_section_of_the_playbook() -> None:
    headings = re.findall(r"^### (.+)$", PLAYBOOK, re.MULTILINE)
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings
    }
    for rule in rules():
        page, _, anchor = rule.document["annotations"]["runbook"].partition("#")
        assert (ROOT / page).exists()
        assert anchor in anchors, rule.name
