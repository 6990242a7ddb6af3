"""What is attached to results, over HTTP."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256

import httpx
import pytest
from attaching_box import attach, attaching_box
from attaching_plugin import content

from prover_framework.testing import Box

SIZES = {"large.bin": 3 * 2**20 + 17, "empty": 0}
LARGE = "/api/job/g/attachment/attaching/large.bin"
DIGEST = sha256(content(SIZES["large.bin"])).hexdigest()


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with attaching_box(tmp_path_factory.mktemp("modules")) as box:
        attach(box, "g", SIZES, media_type="text/html")
        attach(box, "bare", {})
        attach(box, "failed", {}, trick="fail")
        yield box


@pytest.fixture
def client(box: Box) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=box.url, timeout=60) as client:
        yield client


def test_an_attachment_is_handed_out_whole_and_so_that_no_browser_shows_it(
    client: httpx.Client,
) -> None:
    answer = client.get(LARGE)
    assert answer.status_code == 200
    assert answer.content == content(SIZES["large.bin"])
    headers = {name: text for name, text in answer.headers.items() if name != "x-request-id"}
    assert headers | {"connection": ""} == {
        "content-type": "text/html",
        "content-length": str(SIZES["large.bin"]),
        "content-disposition": 'attachment; filename="large.bin"',
        "content-security-policy": "default-src 'none'; sandbox",
        "x-content-type-options": "nosniff",
        "etag": f'"{DIGEST}"',
        "cache-control": "private, no-cache",
        "connection": "",
    }


def test_an_empty_one_is_handed_out_as_well(client: httpx.Client) -> None:
    answer = client.get("/api/job/g/attachment/attaching/empty")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == "0"


def test_a_head_has_all_but_the_bytes(client: httpx.Client) -> None:
    answer = client.head(LARGE)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(SIZES["large.bin"])
    assert client.get("/health").status_code == 200, "on the same connection"


@pytest.mark.parametrize("tag", [f'"{DIGEST}"', f'"other", W/"{DIGEST}"', "*"])
def test_who_has_the_bytes_already_is_told_so(client: httpx.Client, tag: str) -> None:
    answer = client.get(LARGE, headers={"If-None-Match": tag})
    assert (answer.status_code, answer.content) == (304, b"")
    assert client.get(LARGE, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/api/job/g/attachment/attaching/other", 404, "it has: empty, large.bin"),
        ("/api/job/g/attachment/attaching/..%2Fother", 404, "has no attachment '../other'"),
        ("/api/job/g/attachment/twap/empty", 404, "it has: attaching"),
        ("/api/job/none/attachment/attaching/empty", 404, "there is no job group"),
        ("/api/job/a%20b/attachment/attaching/empty", 404, "there is no job group"),
        ("/api/job/bare/attachment/attaching/empty", 404, "it has: none"),
        ("/api/job/failed/attachment/attaching/empty", 404, "attaching of job group failed is f"),
    ],
)
def test_what_is_not_there_is_404_and_says_what_is(
    client: httpx.Client, path: str, status: int, message: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert message in answer.json()["message"]


def test_the_status_lists_them_with_their_addresses(client: httpx.Client) -> None:
    (job,) = client.get("/api/job/g").json()["jobs"]
    assert job["attachments"][1] == {
        "name": "large.bin",
        "media_type": "text/html",
        "size": SIZES["large.bin"],
        "sha256": DIGEST,
        "url": LARGE,
    }
    assert [client.get(one["url"]).status_code for one in job["attachments"]] == [200, 200]
    assert client.get("/api/job/bare").json()["jobs"][0]["attachments"] == []


def test_a_receipt_states_attachments_only_where_there_are_some(client: httpx.Client) -> None:
    stated, bare = (
        client.get(f"/api/job/{group}/receipt/attaching").json()["statement"]
        for group in ("g", "bare")
    )
    assert stated["attachments"]["large.bin"] == {
        "media_type": "text/html",
        "size": SIZES["large.bin"],
        "sha256": DIGEST,
    }
    assert "attachments" not in bare


def test_whoever_asks_over_http_has_them_made_again_and_compared(client: httpx.Client) -> None:
    receipt = client.get("/api/job/g/receipt")
    headers = {"Content-Type": "application/json"}
    answer = client.post("/api/verify", content=receipt.content, headers=headers).json()
    assert answer["accepted"], answer
    assert {
        check["detail"]: check["outcome"]
        for check in answer["checks"]
        if check["check"] == "attachments"
    } == {"empty": "passed", "large.bin": "passed"}
    forged = receipt.content.replace(DIGEST.encode(), b"0" * 64)
    answer = client.post("/api/verify", content=forged, headers=headers).json()
    assert not answer["accepted"]


def test_a_client_that_hangs_up_ends_nothing_else(client: httpx.Client, box: Box) -> None:
    with client.stream("GET", LARGE) as answer:
        assert next(answer.iter_raw(1000))
    assert httpx.get(f"{box.url}/health").status_code == 200


def test_a_client_notices_that_a_piece_is_missing(box: Box, client: httpx.Client) -> None:
    attach(box, "torn", {"torn.bin": 600_000})
    path = box._runtime.settings.sqlite_path
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "DELETE FROM attachment_chunk WHERE number = 1 AND attachment_id = "
            "(SELECT id FROM attachment WHERE name = 'torn.bin')"
        )
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/api/job/torn/attachment/attaching/torn.bin")
    assert client.get("/health").status_code == 200
