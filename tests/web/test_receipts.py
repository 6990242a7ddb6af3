"""Receipts, keys and verification over HTTP."""

import json
from collections.abc import Iterator
from typing import Any

import attrs
import httpx
import prover_twap
import pytest

from prover_framework.receipts.documents import MAX_RECEIPT_BYTES
from prover_framework.seals.keys import KeyDirectory
from prover_framework.testing import Box, series_of, service_in_a_box
from prover_framework.testing.box import SETTINGS

HOURS = {"start_timestamp": 0, "end_timestamp": 7200}
JSON = {"Content-Type": "application/json"}
PATHS = ("/api/job/g/receipt", "/api/job/g/receipt/twap")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyDirectory:
    keys = KeyDirectory(tmp_path_factory.mktemp("keys"))
    keys.create()
    keys.rotate()
    return keys


@pytest.fixture(scope="module")
def box(keys: KeyDirectory) -> Iterator[Box]:
    public = keys.public_keys()[-1].public_key
    settings = attrs.evolve(SETTINGS, key_dir=keys.path, trusted_keys=(public,))
    with service_in_a_box(
        prover_twap, series=series_of([(50, 2), (70, 3)]), settings=settings
    ) as box:
        box.submit({"job_group_id": "g", "twap": HOURS})
        box.submit({"job_group_id": "too-short", "twap": {**HOURS, "end_timestamp": 1}})
        yield box


@pytest.fixture
def client(box: Box) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=box.url, timeout=60) as client:
        yield client


def error(answer: httpx.Response) -> str:
    document = answer.json()
    assert document.keys() == {"status", "message", "job_group_id"}
    assert document["status"] == "error"
    message: str = document["message"]
    return message


# Handing out


def test_the_receipt_of_a_group_holds_those_of_its_proofs(client: httpx.Client) -> None:
    group, one = (client.get(path) for path in PATHS)
    assert group.status_code == one.status_code == 200
    assert group.headers["content-type"] == "application/json"
    assert group.json()["receipts"] == [one.json()]
    assert one.json()["statement"]["result"]["twap"] == pytest.approx(24.1667, rel=1e-4)
    assert [seal["kind"] for seal in group.json()["seals"]] == ["ed25519"]


@pytest.mark.parametrize("path", PATHS)
def test_a_receipt_is_the_same_bytes_each_time(client: httpx.Client, path: str) -> None:
    first = client.get(path)
    assert client.get(path).content == first.content
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/api/job/nowhere/receipt", 404, "there is no job group 'nowhere'"),
        ("/api/job/nowhere/receipt/twap", 404, "there is no job group 'nowhere'"),
        ("/api/job/a%20b/receipt", 404, "there is no job group 'a b'"),
        ("/api/job/g/receipt/dice", 404, "job group g has no 'dice' (it has: twap)"),
        ("/api/job/too-short/receipt/twap", 404, "twap of job group too-short is failed"),
        ("/api/job/g/receipt/twap/x", 404, "there is nothing at"),
    ],
)
def test_what_is_not_there_is_said(client: httpx.Client, path: str, status: int, said: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert said in error(answer)


def test_a_group_whose_jobs_failed_says_so(client: httpx.Client) -> None:
    receipt = client.get("/api/job/too-short/receipt").json()
    assert receipt["receipts"] == []
    assert receipt["statement"]["members"] == [
        {"job_id": "twap", "state": "failed", "digest": None}
    ]


def test_a_receipt_that_is_not_there_yet_is_a_conflict(client: httpx.Client) -> None:
    later = {"start_timestamp": 7200, "end_timestamp": 10_800}
    submitted = client.post("/api/job", json={"job_group_id": "later", "twap": later})
    assert submitted.status_code == 200
    for path in ("/api/job/later/receipt", "/api/job/later/receipt/twap"):
        answer = client.get(path)
        assert answer.status_code == 409
        assert "later" in error(answer)


def test_the_status_shows_evidence_from_the_receipt(client: httpx.Client) -> None:
    (job,) = client.get("/api/job/g").json()["jobs"]
    receipt = client.get("/api/job/g/receipt/twap").json()
    evidence = job["result"].pop("evidence")
    assert job["result"] == receipt["statement"]["result"]
    assert evidence["seed"] == receipt["statement"]["seed"]
    hours = evidence["inputs"]["hourly_base_fee"]
    assert hours["facts"] == receipt["statement"]["inputs"]["hourly_base_fee"]["facts"]
    assert hours["provenance"] == receipt["provenance"]["inputs"]["hourly_base_fee"]
    assert hours["provenance"]["blocks"] == 5


def test_public_keys_are_served_with_their_validity(
    client: httpx.Client, keys: KeyDirectory
) -> None:
    served = client.get("/api/keys").json()["keys"]
    assert [key["id"] for key in served] == [key.id for key in keys.public_keys()]
    old, new = served
    assert old["retired_at"] == new["created_at"]
    assert new["retired_at"] is None
    assert b"PRIVATE" not in client.get("/api/keys").content


# Verifying


def verified(client: httpx.Client, body: bytes, **parameters: str) -> dict[str, Any]:
    answer = client.post("/api/verify", content=body, params=parameters, headers=JSON)
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


@pytest.mark.parametrize("path", PATHS)
def test_a_receipt_of_this_service_is_accepted(client: httpx.Client, path: str) -> None:
    report = verified(client, client.get(path).content)
    assert report["accepted"], report
    assert report["strength"].startswith("Shown: the results follow")
    assert {row["outcome"] for row in report["checks"] if row["asked"]} == {"passed"}


def test_a_receipt_that_was_altered_is_not(client: httpx.Client) -> None:
    document = client.get(PATHS[1]).json()
    document["statement"]["result"]["hours"] += 1
    report = verified(client, json.dumps(document).encode())
    assert not report["accepted"]
    failed = {row["check"] for row in report["checks"] if row["outcome"] == "failed"}
    assert failed == {"seal", "result"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[" * 30_000, b'{"format": 1}'])
def test_what_is_no_receipt_is_answered_with_the_reason(client: httpx.Client, body: bytes) -> None:
    report = verified(client, body)
    assert not report["accepted"]
    [row] = report["checks"]
    assert (row["check"], row["outcome"]) == ("form", "failed")


def test_a_body_of_megabytes_is_not_read_to_its_end(client: httpx.Client) -> None:
    answer = client.post("/api/verify", content=b" " * (MAX_RECEIPT_BYTES + 1), headers=JSON)
    assert answer.status_code == 413
    assert f"larger than {MAX_RECEIPT_BYTES} bytes" in error(answer)
    # Another route's limit is its own.
    answer = client.post("/api/job", content=b" " * (65 * 1024), headers=JSON)
    assert answer.status_code == 413
    assert verified(client, b" " * (65 * 1024))["accepted"] is False


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"rpc_url": "http://169.254.169.254/"}, "'rpc_url': is unknown (known: trusted_hash)"),
        ({"headers": "/etc/passwd"}, "'headers': is unknown"),
        ({"key": "ab" * 32}, "'key': is unknown"),
        ({"trusted_hash": "0x12"}, "trusted_hash: must be 0x and 64 lower-case hex digits"),
    ],
)
def test_whoever_asks_names_no_source(
    client: httpx.Client, parameters: dict[str, str], said: str
) -> None:
    """No address, no file, no key: the service verifies with what its operator chose."""
    answer = client.post("/api/verify", content=b"{}", params=parameters, headers=JSON)
    assert answer.status_code == 400
    assert said in error(answer)


def test_a_trusted_hash_asks_for_the_chain(client: httpx.Client) -> None:
    report = verified(client, client.get(PATHS[1]).content, trusted_hash="0x" + "ab" * 32)
    assert not report["accepted"]
    [row] = [row for row in report["checks"] if row["check"] == "chain"]
    assert row["asked"]
    assert row["outcome"] == "not possible"
