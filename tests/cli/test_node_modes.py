"""prover headers sync against nodes that refuse, doubt, lack and err: each ends within seconds.

With the right headers, or with one line that says what to do.
"""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from io import StringIO
from itertools import islice
from typing import Any

import pytest
from aiohttp import web
from node_server import NodeServer, at_most, block_of, failing, instead, node_in_thread
from rich.console import Console
from rich.progress import Progress

from prover_framework.chain.sources.simulated import made_whole, simulate
from prover_framework.chain.sync import Fetched
from prover_framework.cli.headers import SyncReport

Command = Callable[..., subprocess.CompletedProcess[str]]
Answer = dict[str, Any]

CHAIN = list(islice(made_whole(simulate(1_700_002_800, 1, first_number=100)), 60))
FIRST, LAST = 100, 159
ALL = ("--from-block", FIRST, "--batch", 16)
SECONDS = 20


@pytest.fixture
def node() -> Iterator[NodeServer]:
    with node_in_thread(CHAIN, chain_id=31337) as server:
        yield server


def sync(prover: Command, node: NodeServer, *arguments: object) -> subprocess.CompletedProcess[str]:
    began = time.monotonic()
    outcome = prover("headers", "sync", "--rpc-url", node.url, *arguments)
    assert time.monotonic() - began < SECONDS
    return outcome


def all_came(outcome: subprocess.CompletedProcess[str]) -> bool:
    return outcome.returncode == 0 and outcome.stdout == (
        "60 headers fetched, 60 of them new, 59 verified, up to block 159\n"
    )


# Batches that are too large.


def one_error(calls: list[Answer]) -> web.StreamResponse:
    """Geth: a list of one error, under the first id."""
    return web.json_response([{"id": calls[0]["id"], "error": failing(-32600, "batch too large")}])


def under_null(_: list[Answer]) -> web.StreamResponse:
    return web.json_response([{"id": None, "error": failing(-32600, "batch too large")}])


def no_list(_: list[Answer]) -> web.StreamResponse:
    return web.json_response({"id": None, "error": failing(-32005, "batch limit is 4")})


def every_entry(calls: list[Answer]) -> web.StreamResponse:
    error = failing(-32602, "too many calls")
    return web.json_response([{"id": call["id"], "error": error} for call in calls])


def nothing(_: list[Answer]) -> web.StreamResponse:
    return web.json_response([])


def status(code: int) -> Callable[[list[Answer]], web.StreamResponse]:
    return lambda _: web.Response(status=code, text="too large")


@pytest.mark.parametrize(
    "refusal",
    [one_error, under_null, no_list, every_entry, nothing,
     *map(status, (400, 413, 422, 429, 500, 503))],
)  # fmt: skip
def test_a_batch_that_is_too_large_is_halved_once_and_for_all(
    prover: Command, node: NodeServer, refusal: Callable[[list[Answer]], web.StreamResponse]
) -> None:
    node.mode = at_most(4, refusal)
    outcome = sync(prover, node, *ALL)
    assert all_came(outcome)
    assert "it is asked again in" in outcome.stderr
    assert "for 8 blocks at a time" in outcome.stderr
    sizes = [len(calls) for calls in node.requests]
    # Four batches are under way at a time when the first is refused.
    assert sum(size > 4 for size in sizes) <= 8
    assert max(sizes[-6:]) <= 4


def test_ids_count_from_one(prover: Command, node: NodeServer) -> None:
    async def mode(calls: list[Answer]) -> web.StreamResponse | None:
        if all(call["id"] for call in calls):
            return None
        return web.Response(status=204)

    node.mode = mode
    assert all_came(sync(prover, node, *ALL))
    assert {call["id"] for calls in node.requests for call in calls} == set(range(1, 17))


# What passes.


def once(response: Callable[[], web.StreamResponse]) -> Any:
    left = [1]

    async def mode(_: list[Answer]) -> web.StreamResponse | None:
        if not left:
            return None
        left.pop()
        return response()

    return mode


def test_a_wait_until_a_date_is_kept(prover: Command, node: NodeServer) -> None:
    until = datetime.now(UTC) + timedelta(seconds=3)
    headers = {"Retry-After": format_datetime(until, usegmt=True)}
    node.mode = once(lambda: web.Response(status=429, headers=headers))
    began = datetime.now(UTC)
    assert all_came(sync(prover, node, *ALL))
    # The date has no fractions of a second.
    assert datetime.now(UTC) - began >= timedelta(seconds=1.5)


@pytest.mark.parametrize("code", [401, 403])
def test_a_refusal_that_carries_a_rate_limit_passes(
    prover: Command, node: NodeServer, code: int
) -> None:
    text = '{"error": {"message": "rate limited: upgrade your plan"}}'
    node.mode = once(lambda: web.Response(status=code, text=text))
    assert all_came(sync(prover, node, *ALL))


def null(_: Answer, answer: Answer) -> Answer:
    return answer | {"result": None}


def wrong_bloom(_: Answer, answer: Answer) -> Answer:
    return answer | {"result": {**answer["result"], "logsBloom": "0x" + "11" * 256}}


def of_a_neighbour(call: Answer, answer: Answer) -> Answer:
    if not call["params"][0].startswith("0x"):
        return answer
    number = int(call["params"][0], 16)
    return answer | {"result": block_of(CHAIN[(number + 1 - FIRST) % 60])}


@pytest.mark.parametrize("change", [null, wrong_bloom, of_a_neighbour])
def test_what_is_wrong_once_is_asked_for_again(
    prover: Command, node: NodeServer, change: Callable[[Answer, Answer], Answer]
) -> None:
    doubtful = {hex(FIRST + 7), hex(LAST)}
    mode = instead(node, lambda c, a: change(c, a) if c["params"][0] in doubtful else a, times=1)
    node.mode = mode
    outcome = sync(prover, node, *ALL)
    assert all_came(outcome)
    # As PROVER_RPC_RETRY_SECONDS says.
    assert "again in 0.0 s" in outcome.stderr


@pytest.mark.parametrize("time", [1_700_002_800 + 12 * 20, 1_700_002_800 + 12 * 20 + 5])
def test_one_null_does_not_move_the_start(prover: Command, node: NodeServer, time: int) -> None:
    node.mode = instead(node, null, times=1)
    outcome = sync(prover, node, "--from-time", time, "--batch", 16)
    assert outcome.stdout.startswith("40 headers fetched")
    assert "120 to 159" in prover("headers", "status").stdout


# What does not.


def pruned_before(number: int) -> Callable[[Answer, Answer], Answer]:
    def change(call: Answer, answer: Answer) -> Answer:
        name = call["params"][0]
        if not name.startswith("0x") or int(name, 16) >= number:
            return answer
        return {"id": call["id"], "error": failing(4444, "pruned history unavailable")}

    return change


def test_a_time_is_searched_for_above_what_the_node_no_longer_has(
    prover: Command, node: NodeServer
) -> None:
    node.mode = instead(node, pruned_before(130))
    outcome = sync(prover, node, "--from-time", 1_700_002_800 + 12 * 40)
    assert outcome.stdout.startswith("20 headers fetched")
    assert "140 to 159" in prover("headers", "status").stdout


@pytest.mark.parametrize(
    ("begin", "said"),
    [
        (("--from-block", 110), "pruned history unavailable"),
        (("--from-time", 1_700_002_800 + 12 * 10), "begin with --from-block 130"),
    ],
)
def test_what_the_node_no_longer_has_ends_at_once_with_the_remedy(
    prover: Command, node: NodeServer, begin: tuple[object, ...], said: str
) -> None:
    node.mode = instead(node, pruned_before(130))
    outcome = sync(prover, node, *begin)
    assert outcome.returncode == 1
    assert said in outcome.stderr.splitlines()[-1]
    assert re.search("use a node with all history", outcome.stderr)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (-32000, "finalized block not found"),
        (-39001, "unknown block"),
        (-32602, "invalid argument 0: hex string without 0x prefix"),
        (-32601, "the method is not there"),
    ],
)
def test_a_tag_that_is_not_supported_is_told_at_once(
    prover: Command, node: NodeServer, code: int, message: str
) -> None:
    def change(call: Answer, answer: Answer) -> Answer:
        if call["params"][0] != "finalized":
            return answer
        return {"id": call["id"], "error": failing(code, message)}

    node.mode = instead(node, change)
    outcome = sync(prover, node, *ALL)
    assert outcome.returncode == 1
    (line,) = outcome.stderr.splitlines()
    assert message in line
    assert "follow it with --tag safe or --tag latest" in line
    assert all_came(sync(prover, node, *ALL, "--tag", "latest"))


def test_nothing_finalized_yet_is_no_success(prover: Command, node: NodeServer) -> None:
    node.mode = instead(node, lambda c, a: null(c, a) if c["params"][0] == "finalized" else a)
    outcome = sync(prover, node, *ALL)
    assert outcome.returncode == 1
    assert "there is no finalized block yet" in outcome.stderr
    assert "--tag latest" in outcome.stderr


def test_when_nothing_is_fetched_it_says_why(prover: Command, node: NodeServer) -> None:
    node.finalized = 120
    outcome = sync(prover, node, "--from-block", 130)
    assert "0 headers fetched" in outcome.stdout
    assert "the newest block there is 120, and 130 is the next to fetch" in outcome.stdout


def test_a_block_that_never_comes_is_named(prover: Command, node: NodeServer) -> None:
    missing = hex(FIRST + 9)
    node.mode = instead(node, lambda c, a: null(c, a) if c["params"][0] == missing else a)
    outcome = sync(prover, node, *ALL)
    assert outcome.returncode == 1
    assert (
        f"has nothing to tell for eth_getBlockByNumber of block {FIRST + 9}"
        in (outcome.stderr.splitlines()[-1])
    )


def test_the_part_of_a_message_that_says_why_is_told(prover: Command, node: NodeServer) -> None:
    why = "this key may not call eth_getBlockByNumber on this network; ask for archive access"
    text = "Access was denied by the operator of the gateway. Reason: " + why
    node.mode = at_most(0, lambda _: web.Response(status=401, text=text))
    outcome = sync(prover, node, *ALL)
    assert outcome.returncode == 1
    assert why in outcome.stderr
    assert "check the key in its URL" in outcome.stderr


def test_progress_is_told_where_there_is_no_terminal(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with Progress(console=Console(file=StringIO())) as progress:
        report = SyncReport(progress, follow=False, line_seconds=0.0)
        report(Fetched(100, 129, new=30, verified=30, end=159))
        report(Fetched(130, 159, new=30, verified=30, end=159))
    assert caplog.messages == ["block 129 of 100 to 159", "block 159 of 100 to 159"]


def test_of_a_chain_without_a_rule_it_is_said_that_fees_are_not_checked(
    prover: Command, node: NodeServer
) -> None:
    node.chain_id = 42161
    outcome = sync(prover, node, *ALL)
    assert outcome.returncode == 0
    assert "59 verified" in outcome.stdout
    said = "base fees are not checked: no rule is known for"
    assert f"{said} Arbitrum One" in outcome.stdout
    assert "not checked: no rule is known" in prover("headers", "status").stdout
    assert f"their {said} the chain" in prover("headers", "verify").stdout
