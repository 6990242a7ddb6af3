"""GET /api/proof-types tells what is installed, and how to ask for it."""

from pathlib import Path

import httpx
import pytest
from jsonschema import Draft202012Validator

from prover_framework.plugins import loading as plugins
from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.catalogue import catalogue
from prover_framework.plugins.registry import Plugins
from prover_framework.serialization.converter import unstructure

WINDOW = {"start_timestamp": 1_701_475_200, "end_timestamp": 1_704_067_200}


def test_every_installed_proof_type_is_told_with_where_it_comes_from(
    client: httpx.Client, installed: Plugins
) -> None:
    answer = client.get("/api/proof-types")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert told == unstructure(catalogue(installed))
    assert told["api_version"] == 1
    assert [each["name"] for each in told["proof_types"]] == sorted(installed.proof_types)
    (twap,) = (each for each in told["proof_types"] if each["name"] == "twap")
    assert twap["parameters"].pop("properties").keys() == WINDOW.keys()
    assert twap["result"].pop("properties").keys() >= {"twap", "hours"}
    assert twap == {
        "name": "twap",
        "title": "TWAP",
        "version": installed.proof_types["twap"].version,
        "required": True,
        "limits": {
            "seconds": 300.0,
            "memory_bytes": 4 * 2**30,
            "attachments": 0,
            "attachment_bytes": 16 * 2**20,
            "attachments_bytes": 64 * 2**20,
        },
        "plugin": "twap",
        "distribution": "prover-twap",
        "distribution_version": "0.1.0",
        "hooks": ["charts", "compute", "proof_type"],
        "parameters": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "RangeParameters",
            "type": "object",
            "additionalProperties": False,
            "required": ["start_timestamp", "end_timestamp"],
            "description": (
                "Parameters of a proof over a time range; proof types with more of them inherit "
                "from this."
            ),
        },
        "result": twap["result"],
    }
    assert client.head("/api/proof-types").status_code == 200


def test_what_fits_the_schemas_is_accepted(client: httpx.Client) -> None:
    told = client.get("/api/proof-types").json()["proof_types"]
    body = {each["name"]: WINDOW for each in told if each["required"]}
    for each in told:
        validator = Draft202012Validator(each["parameters"])
        assert validator.is_valid(WINDOW)
        assert not validator.is_valid({**WINDOW, "start_timestamp": -1})
    answer = client.post("/api/job", json={**body, "job_group_id": "fits-the-schemas"})
    assert answer.status_code == 200, answer.text


def test_plugins_that_are_not_used_are_told_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_plugin_of_a_test.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    broken = Candidate("broken", "broken_plugin_of_a_test", "prover-broken", "2.0")
    off = Candidate("off", "nowhere", "prover-off", "3.0")
    told = catalogue(plugins.load([broken, off], deny=["off"]))
    assert told.proof_types == ()
    assert unstructure(told.plugins) == [
        {
            "name": "broken",
            "distribution": "prover-broken",
            "distribution_version": "2.0",
            "state": "failed",
            "failure": "its import failed: ZeroDivisionError: division by zero",
            "proof_type": None,
            "hooks": [],
        },
        {
            "name": "off",
            "distribution": "prover-off",
            "distribution_version": "3.0",
            "state": "disabled",
            "failure": None,
            "proof_type": None,
            "hooks": [],
        },
    ]
