"""prover headers sync: what it fetches, what it tells, and that no key of a URL is shown."""

import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
from node_server import NodeServer, node_in_thread
from real_headers import PRAGUE, PRAGUE_NEXT

from prover_framework.chain.sources.simulated import made_whole, simulate

CHAIN = list(islice(made_whole(simulate(1_700_002_800, 1, first_number=0)), 60))
ENTRY = [sys.executable, "-c", "from prover_framework.cli import main; main()"]

Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.usefixtures("data_dir")


@pytest.fixture
def server() -> Iterator[NodeServer]:
    with node_in_thread(CHAIN, chain_id=31337) as node:
        yield node


def test_a_sync_tells_what_it_fetched(
    prover: Run, server: NodeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prover("headers", "sync", "--rpc-url", server.url, "--from-block", 10, "--to-block", 39)
    assert first.returncode == 0
    assert first.stdout == "30 headers fetched, 30 of them new, 29 verified, up to block 39\n"
    monkeypatch.setenv("PROVER_RPC_URL", server.url)
    second = prover("headers", "sync")
    assert second.stdout == "20 headers fetched, 20 of them new, 20 verified, up to block 59\n"
    again = prover("headers", "sync")
    assert again.stdout == (
        "0 headers fetched, 0 of them new, 0 verified: all up to block 59 is stored\n"
    )
    status = prover("headers", "status")
    assert "31337 (real)" in status.stdout
    assert re.search(r"verified +│ 49 ", status.stdout)
    assert "the node 127.0.0.1" in status.stdout


def test_options_choose_batch_pace_and_tag(prover: Run, server: NodeServer) -> None:
    prover(
        "headers", "sync", "--rpc-url", server.url, "--from-block", 10,
        "--batch", 25, "--per-second", 500, "--tag", "safe",
    )  # fmt: skip
    assert {len(calls) for calls in server.requests} == {1, 25}
    single = [calls[0]["params"] for calls in server.requests if len(calls) == 1]
    assert single == [[], ["safe", False]]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "name it by --rpc-url or PROVER_RPC_URL"),
        (["--rpc-url", "ftp://x/secret-key"], "must begin with https:// or http://"),
        (["--from-block", "1", "--from-time", "2"], "--from-block and --from-time exclude"),
        (["--to-block", "1", "--to-time", "2"], "--to-block and --to-time exclude"),
    ],
)
def test_what_can_not_be_done_is_told_in_a_line(
    prover: Run, arguments: list[str], complaint: str
) -> None:
    outcome = prover("headers", "sync", *arguments)
    assert outcome.returncode
    assert complaint in outcome.stderr


def test_an_empty_database_needs_a_place_to_begin(prover: Run, server: NodeServer) -> None:
    outcome = prover("headers", "sync", "--rpc-url", server.url)
    assert outcome.returncode == 1
    assert "say where to begin with --from-block or --from-time" in outcome.stderr


def test_another_chain_is_refused(prover: Run, server: NodeServer) -> None:
    outcome = prover("headers", "sync", "--rpc-url", server.url, "--chain-id", 1)
    assert outcome.returncode == 1
    assert "is of chain 31337, and chain 1 is wanted" in outcome.stderr


def test_a_follower_tells_what_comes_and_ends_when_it_is_asked_to(server: NodeServer) -> None:
    server.finalized = 20
    follower = subprocess.Popen(
        [*ENTRY, "headers", "sync", "--rpc-url", server.url, "--from-block", "10", "--follow"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert follower.stdout is not None
        caught_up = follower.stdout.readline()
        assert caught_up == "11 headers fetched, 11 of them new, 10 verified, up to block 20\n"
        server.finalized = 22
        assert follower.stdout.readline() == "blocks 21 to 22: 2 new headers, 2 verified\n"
        follower.send_signal(signal.SIGTERM)
        out, err = follower.communicate(timeout=60)
    finally:
        follower.kill()
        follower.wait()
    assert (follower.returncode, err) == (0, "")
    assert out == "13 headers fetched, 13 of them new, 12 verified, up to block 22; stopped\n"


# prover headers verify.


def test_what_was_fetched_is_verified_again(prover: Run, server: NodeServer) -> None:
    prover("headers", "sync", "--rpc-url", server.url, "--from-block", 10)
    outcome = prover("headers", "verify")
    assert outcome.returncode == 0
    first, second, third = outcome.stdout.splitlines()
    assert first.startswith("blocks 10 to 59 are verified: 50 headers in ")
    assert second.startswith("the base fee of block 10 is not")
    assert third.startswith("they are a chain; whether it is the one that you mean")
    part = prover("headers", "verify", "--from-block", 20, "--to-block", 29)
    assert part.stdout.startswith("blocks 20 to 29 are verified: 10 headers in ")


def test_a_trusted_hash_anchors_what_was_verified(prover: Run, server: NodeServer) -> None:
    prover("headers", "sync", "--rpc-url", server.url, "--from-block", 0)
    trusted = CHAIN[50].header.block_hash
    outcome = prover("headers", "verify", "--to-block", 40, "--trusted-hash", trusted)
    assert outcome.returncode == 0
    assert outcome.stdout.splitlines()[1].startswith("block 50 has the trusted hash, so it and all")
    late = prover("headers", "verify", "--to-block", 55, "--trusted-hash", trusted)
    assert late.returncode == 1
    assert late.stderr == "prover: no block at or after block 55 has the trusted hash\n"
    wrong = prover("headers", "verify", "--trusted-hash", "0x12")
    assert "must be 0x and 64 hex digits" in wrong.stderr


def test_a_wrong_header_is_named_with_its_rule(
    prover: Run, server: NodeServer, tmp_path: Path
) -> None:
    prover("headers", "sync", "--rpc-url", server.url, "--from-block", 0)
    with closing(sqlite3.connect(tmp_path / "data" / "prover.sqlite3")) as database, database:
        database.execute("UPDATE block_header SET gas_used = 5 WHERE number = 33")
    outcome = prover("headers", "verify")
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("prover: block 33, gas_used: is 5, and the header's own bytes")


# prover headers import, with all columns.


def test_a_file_with_all_columns_is_verified(prover: Run, tmp_path: Path) -> None:
    names = list(PRAGUE)
    lines = [",".join(row.get(name, "") for name in names) for row in (PRAGUE, PRAGUE_NEXT)]
    path = tmp_path / "headers.csv"
    path.write_text("\n".join([",".join(names), *lines]) + "\n")
    outcome = prover("headers", "import", path, "--chain-id", 11155111)
    assert outcome.stdout == (
        "2 headers read, 2 of them new, 1 verified\n"
        "1 headers are not verified: the block before is not stored\n"
    )
    wrong = lines[1].replace(PRAGUE_NEXT["state_root"], PRAGUE["state_root"])
    path.write_text("\n".join([",".join(names), wrong]) + "\n")
    refused = prover("headers", "import", path, "--chain-id", 11155111)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"prover: block {PRAGUE_NEXT['number']}, block_hash: is 0x")
