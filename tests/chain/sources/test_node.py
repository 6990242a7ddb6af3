"""A node is asked in batches and at a pace, and again when it fails; what it tells is checked."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import chain as joined
from itertools import islice
from typing import Any, TypeVar

import attrs
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from node_server import Misbehaviour, NodeServer, block_of, node_server
from real_headers import FORKS, LONDON, PRAGUE, PRAGUE_NEXT, stored

from prover_framework.chain.headers import EncodedHeader
from prover_framework.chain.sources import node as module
from prover_framework.chain.sources.node import (
    ATTEMPTS,
    DOUBTS,
    EthereumNode,
    RequestRate,
    open_node,
)
from prover_framework.chain.sources.simulated import made_whole, simulate
from prover_framework.errors import (
    HeaderInvalid,
    HeaderRule,
    ProverError,
    SourceError,
    SourceUnreachable,
)

T = TypeVar("T")

CHAIN = list(islice(made_whole(simulate(1_700_002_800, 1, first_number=100)), 60))
FIRST, LAST = CHAIN[0].header.number, CHAIN[-1].header.number
QUICK = RequestRate(batch=10, requests_per_second=1e6)

Waits = list[float]


def ask(
    use: Callable[[EthereumNode, NodeServer, Waits], Awaitable[T]],
    *,
    chain: Sequence[EncodedHeader] = CHAIN,
    rate: RequestRate = QUICK,
    misbehaviours: Sequence[Misbehaviour] = (),
) -> T:
    """Serve a chain and give a client of it to a function, with the waits that it has had."""
    waits: Waits = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def work() -> T:
        async with (
            node_server(chain) as server,
            open_node(server.url, rate=rate, sleep=sleep) as node,
        ):
            server.misbehaviours.extend(misbehaviours)
            return await use(node, server, waits)

    return asyncio.run(work())


async def all_headers(
    node: EthereumNode, first: int = FIRST, last: int = LAST
) -> list[EncodedHeader]:
    return [header async for page in node.headers(first, last) for header in page]


async def read_all(node: EthereumNode, server: NodeServer, waits: Waits) -> list[EncodedHeader]:  # noqa: ARG001
    return await all_headers(node)


def answers(change: Callable[[list[dict[str, Any]]], Any]) -> Misbehaviour:
    """Answer with what a function makes of the right answers."""

    async def misbehave(calls: list[dict[str, Any]]) -> web.StreamResponse:
        server = NodeServer(CHAIN)
        return web.json_response(change([server.reply(call) for call in calls]))

    return misbehave


def answering(document: Any) -> Misbehaviour:
    return answers(lambda _: document)


def status(code: int, text: str = "", **headers: str) -> Misbehaviour:
    async def misbehave(_: list[dict[str, Any]]) -> web.StreamResponse:
        return web.Response(status=code, text=text, headers=headers)

    return misbehave


# What a good node tells.


@pytest.mark.parametrize("batch", [1, 7, 60, 1000])
def test_headers_come_in_order_whatever_the_size_of_a_batch(batch: int) -> None:
    async def use(node: EthereumNode, server: NodeServer, waits: Waits) -> None:
        assert await all_headers(node) == CHAIN
        assert sorted(server.asked) == list(range(FIRST, LAST + 1))
        assert {len(calls) for calls in server.requests} <= {batch, 60 % batch, 60}
        assert waits == []

    ask(use, rate=RequestRate(batch=batch, requests_per_second=1e6))


@pytest.mark.parametrize("row", FORKS.values(), ids=FORKS)
def test_real_headers_of_every_fork_are_taken(row: dict[str, str]) -> None:
    header = stored(row)
    number = header.header.number

    async def use(node: EthereumNode, *_: object) -> list[EncodedHeader]:
        return await all_headers(node, number, number)

    assert ask(use, chain=[header]) == [header]


def test_chain_id_newest_block_and_timestamps_are_told() -> None:
    async def use(node: EthereumNode, server: NodeServer, _: Waits) -> None:
        server.chain_id = 11155111
        server.finalized = LAST - 5
        assert await node.chain_id() == 11155111
        assert await node.newest() == LAST - 5
        assert server.requests[-1][0]["params"] == ["finalized", False]
        assert await node.timestamp(FIRST) == CHAIN[0].header.timestamp
        assert await node.timestamp(LAST + 1) is None
        server.finalized = LAST + 7
        assert await node.newest() is None

    ask(use)


def test_requests_keep_their_pace() -> None:
    async def use(node: EthereumNode, server: NodeServer, waits: Waits) -> None:
        await all_headers(node)
        assert len(server.requests) == 6
        # The first goes out at once, each further one half a second after the one before.
        assert len(waits) == 5
        assert waits == sorted(waits)
        assert waits[-1] == pytest.approx(2.5, abs=0.4)

    ask(use, rate=RequestRate(batch=10, requests_per_second=2))


def test_only_some_batches_are_asked_for_ahead() -> None:
    async def use(node: EthereumNode, server: NodeServer, _: Waits) -> None:
        pages = node.headers(FIRST, LAST)
        assert len(await anext(pages)) == 2
        assert len(server.requests) <= module.PARALLEL_BATCHES
        await pages.aclose()

    ask(use, rate=RequestRate(batch=2, requests_per_second=1e6))


# What is tried again.


def shuffled(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return entries[::-1]


def with_an_error(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    error = {"code": -32005, "message": "limit exceeded for secret-key-of-ours"}
    return [{"id": entries[0]["id"], "error": error}, *entries[1:]]


def with_null(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": entries[0]["id"], "result": None}, *entries[1:]]


def with_strange_ids(entries: list[dict[str, Any]]) -> list[Any]:
    strange = ["7", -1, True, None, 10**30, {}]
    return [entry | {"id": id_} for entry, id_ in zip(entries, strange, strict=False)]


@pytest.mark.parametrize(
    "misbehaviour",
    [
        status(429),
        status(500, "oops"),
        status(503),
        status(200, "<html>gateway</html>"),
        status(200, ""),
        status(200, '{"jsonrpc": "2.0", "id": 1'),
        status(200, "[" * 100_000),
        answers(lambda entries: entries[1:]),
        answers(lambda _: []),
        answers(lambda _: {"jsonrpc": "2.0", "id": None, "error": {"code": -32600}}),
        answers(lambda _: {}),
        answers(lambda _: None),
        answers(lambda _: [1, "x", None]),
        answers(with_an_error),
        answers(with_null),
        answers(with_strange_ids),
        answers(lambda entries: [entry | {"error": "bad"} for entry in entries]),
        answers(lambda entries: [{"id": entry["id"]} for entry in entries]),
    ],
)
def test_after_an_answer_that_is_none_the_node_is_asked_again(misbehaviour: Misbehaviour) -> None:
    async def use(node: EthereumNode, server: NodeServer, waits: Waits) -> None:
        assert await all_headers(node) == CHAIN
        assert len(waits) == 1
        assert len(server.requests) > 6

    ask(use, misbehaviours=[misbehaviour])


def test_answers_in_another_order_are_no_trouble() -> None:
    async def use(node: EthereumNode, _: NodeServer, waits: Waits) -> None:
        assert await all_headers(node) == CHAIN
        assert waits == []

    ask(use, misbehaviours=[answers(shuffled)] * 6)


def test_only_what_is_missing_is_asked_for_again() -> None:
    async def use(node: EthereumNode, server: NodeServer, _: Waits) -> None:
        assert await all_headers(node) == CHAIN
        assert sorted(server.asked) == sorted([*range(FIRST, LAST + 1), FIRST])

    ask(use, misbehaviours=[answers(with_null)])


def test_a_node_that_takes_no_batches_is_asked_one_by_one() -> None:
    async def single_only(calls: list[dict[str, Any]]) -> web.StreamResponse | None:
        if len(calls) == 1:
            return None
        return web.json_response({"id": None, "error": {"code": -32600, "message": "no batches"}})

    async def use(node: EthereumNode, server: NodeServer, _: Waits) -> None:
        assert await all_headers(node, FIRST, FIRST + 9) == CHAIN[:10]
        assert sum(len(calls) == 1 for calls in server.requests) == 10

    ask(use, misbehaviours=[single_only] * 100)


def test_a_batch_that_is_too_large_is_made_smaller() -> None:
    async def small_only(calls: list[dict[str, Any]]) -> web.StreamResponse | None:
        return None if len(calls) <= 3 else web.Response(status=413)

    async def use(node: EthereumNode, server: NodeServer, _: Waits) -> None:
        assert await all_headers(node) == CHAIN
        assert max(len(calls) for calls in server.requests[-5:]) <= 3

    ask(use, misbehaviours=[small_only] * 100)


def test_a_node_that_hangs_up_is_asked_again() -> None:
    async def hang_up(_: list[dict[str, Any]]) -> web.StreamResponse:
        raise ConnectionResetError

    async def use(node: EthereumNode, _: NodeServer, waits: Waits) -> None:
        assert await all_headers(node, FIRST, FIRST) == CHAIN[:1]
        assert len(waits) == 1

    ask(use, misbehaviours=[hang_up])


def test_a_node_that_hangs_is_given_up_and_asked_again() -> None:
    async def hang(_: list[dict[str, Any]]) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async def use(node: EthereumNode, server: NodeServer, waits: Waits) -> None:
        assert await all_headers(node, FIRST, FIRST) == CHAIN[:1]
        assert len(server.requests) == 2
        assert len(waits) == 1

    # Longer than an answer takes on a busy machine.
    ask(use, rate=attrs.evolve(QUICK, timeout_seconds=2.0), misbehaviours=[hang])


def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 100_000)

    async def use(node: EthereumNode, _: NodeServer, waits: Waits) -> None:
        assert await all_headers(node, FIRST, FIRST + 1) == CHAIN[:2]
        assert len(waits) == 1

    ask(use, misbehaviours=[status(200, " " * 200_000)])


def test_a_node_that_asks_for_time_gets_it() -> None:
    async def use(node: EthereumNode, _: NodeServer, waits: Waits) -> None:
        await all_headers(node, FIRST, FIRST)
        # What is no number of seconds, or too many, is not obeyed.
        assert waits[0] == 17
        assert waits[1] <= 2
        assert waits[2] == module.LONGEST_WAIT_SECONDS

    later = [status(429, **{"Retry-After": text}) for text in ("17", "Wed, 21 Oct", "99999")]
    ask(use, misbehaviours=later)


@pytest.mark.parametrize("first", [1.0, 0.25])
def test_waits_grow_up_to_the_longest_and_a_dead_node_is_given_up(first: float) -> None:
    async def use(node: EthereumNode, server: NodeServer, waits: Waits) -> None:
        with pytest.raises(SourceUnreachable, match=rf"HTTP 502; it was asked {ATTEMPTS} times"):
            await node.chain_id()
        assert len(server.requests) == ATTEMPTS
        assert len(waits) == ATTEMPTS - 1
        for before, wait in enumerate(waits):
            assert 0.5 <= wait / min(first * 2.0**before, module.LONGEST_WAIT_SECONDS) <= 1

    rate = attrs.evolve(QUICK, retry_seconds=first)
    ask(use, rate=rate, misbehaviours=[status(502)] * ATTEMPTS)


def test_a_node_that_answers_in_part_each_time_is_not_given_up() -> None:
    async def use(node: EthereumNode, _: NodeServer, waits: Waits) -> None:
        assert await all_headers(node, FIRST, FIRST + 19) == CHAIN[:20]
        assert len(waits) == 19

    only_first = [answers(lambda entries: entries[:1])] * 19
    ask(use, rate=RequestRate(batch=20, requests_per_second=1e6), misbehaviours=only_first)


def test_where_nobody_listens_is_told_without_the_key() -> None:
    waits: Waits = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def work() -> str:
        async with node_server(CHAIN) as server:
            url = server.url
        async with open_node(url, rate=QUICK, sleep=sleep) as node:
            with pytest.raises(SourceUnreachable, match="cannot be reached") as caught:
                await node.chain_id()
        return str(caught.value)

    assert "secret" not in asyncio.run(work())


# What is refused.


@pytest.mark.parametrize("code", [301, 400, 401, 403, 404, 405])
def test_a_node_that_refuses_is_not_asked_again(code: int) -> None:
    async def use(node: EthereumNode, server: NodeServer, _: Waits) -> None:
        with pytest.raises(SourceError, match=f"HTTP {code}: check"):
            await node.chain_id()
        assert len(server.requests) == 1

    ask(use, misbehaviours=[status(code, Location="http://127.0.0.1:1/")])


def test_a_tag_that_the_node_does_not_know_is_told_with_what_to_do() -> None:
    error = {"code": -32602, "message": "invalid argument 0: finalized"}

    async def use(node: EthereumNode, *_: object) -> None:
        with pytest.raises(
            SourceError,
            match="has no finalized blocks, or not yet: follow it with --tag safe or --tag latest",
        ):
            await node.newest()

    ask(use, misbehaviours=[answers(lambda entries: {"id": entries[0]["id"], "error": error})])


def test_a_node_without_a_block_is_given_up_with_the_number() -> None:
    async def use(node: EthereumNode, *_: object) -> None:
        with pytest.raises(SourceUnreachable, match=f"of block {LAST + 1}; it was asked"):
            await all_headers(node, LAST, LAST + 1)

    ask(use)


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        ({"stateRoot": "0x" + "11" * 32}, "block_hash", HeaderRule.HASH),
        ({"baseFeePerGas": "0x1"}, "block_hash", HeaderRule.HASH),
        ({"hash": "0x" + "11" * 32}, "block_hash", HeaderRule.HASH),
        ({"hash": None}, "block_hash", HeaderRule.HASH),
        ({"number": hex(FIRST + 1)}, "number", HeaderRule.NUMBER),
        ({"gasUsed": "lots"}, "gas_used", HeaderRule.FORM),
        ({"gasUsed": 1.5}, "gas_used", HeaderRule.FORM),
        ({"miner": None}, "miner", HeaderRule.FORM),
        ({"baseFeePerGas": None}, "base_fee_per_gas", HeaderRule.FORM),
        ({"withdrawalsRoot": None}, "withdrawals_root", HeaderRule.FORM),
    ],
)
def test_a_header_that_does_not_verify_is_refused_with_block_field_and_rule(
    change: dict[str, Any], field: str, rule: HeaderRule
) -> None:
    wrong = block_of(CHAIN[0]) | change

    async def use(node: EthereumNode, *_: object) -> None:
        with pytest.raises(HeaderInvalid) as caught:
            await all_headers(node, FIRST, FIRST)
        error = caught.value
        assert (error.block, error.field, error.rule) == (FIRST, field, rule)

    ask(
        use,
        misbehaviours=[answers(lambda entries: {"id": entries[0]["id"], "result": wrong})] * DOUBTS,
    )


def test_a_block_from_before_london_is_refused_as_such() -> None:
    block = {k: v for k, v in block_of(stored(LONDON)).items() if k != "baseFeePerGas"}
    block["number"] = hex(12_964_999)

    async def use(node: EthereumNode, *_: object) -> None:
        with pytest.raises(HeaderInvalid, match=r"block 12964999, .* before the London fork"):
            await all_headers(node, 12_964_999, 12_964_999)

    ask(
        use,
        misbehaviours=[answers(lambda entries: {"id": entries[0]["id"], "result": block})] * DOUBTS,
    )


def test_fields_of_a_newer_fork_are_named() -> None:
    block = block_of(CHAIN[0]) | {"hash": "0x" + "11" * 32, "slowness": "0x5"}

    async def use(node: EthereumNode, *_: object) -> None:
        with pytest.raises(HeaderInvalid, match="the node also tells slowness: if this belongs"):
            await all_headers(node, FIRST, FIRST)

    ask(
        use,
        misbehaviours=[answers(lambda entries: {"id": entries[0]["id"], "result": block})] * DOUBTS,
    )


@pytest.mark.parametrize("result", [None, 1, "1", "0x", "0xyz", [], {"number": "0x1"}])
def test_what_is_no_number_is_refused(result: Any) -> None:
    async def use(node: EthereumNode, *_: object) -> None:
        with pytest.raises(SourceError):
            await node.chain_id()

    wrong = answers(lambda entries: {"id": entries[0]["id"], "result": result})
    ask(use, misbehaviours=[wrong] * ATTEMPTS)


@pytest.mark.parametrize("url", ["", "node", "ftp://node", "http://", "http://[", "http:///path"])
def test_what_is_no_url_of_a_node_is_refused_without_being_repeated(url: str) -> None:
    async def use() -> None:
        with pytest.raises(SourceError, match="must begin with https"):
            async with open_node(url):
                pass

    asyncio.run(use())


def test_no_message_and_no_log_holds_the_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    messages: list[str] = []

    async def use(node: EthereumNode, *_: object) -> None:
        try:
            await node.chain_id()
        except ProverError as error:
            messages.append(str(error))

    for trouble in (
        [status(403)],
        [status(500)] * ATTEMPTS,
        [status(200, "garbage")] * ATTEMPTS,
        [answers(with_an_error)] * ATTEMPTS,
    ):
        ask(use, misbehaviours=trouble)
    assert len(messages) == 4
    assert "127.0.0.1" in messages[0]
    assert not re.search("secret|key-of-ours", "".join([*messages, caplog.text]))


@settings(max_examples=20)
@given(st.data())
def test_whatever_a_node_answers_it_is_the_chain_or_a_refusal(data: st.DataObject) -> None:
    junk = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["id", "result", "error", "number", "hash"]), inner)
        ),
        max_leaves=10,
    )
    troubles = [answering(made) for made in data.draw(st.lists(junk, max_size=4))]
    with suppress(SourceError, HeaderInvalid):
        assert ask(read_all, misbehaviours=troubles) == CHAIN


def test_two_real_blocks_in_a_row_are_a_page() -> None:
    async def use(node: EthereumNode, *_: object) -> list[EncodedHeader]:
        number = int(PRAGUE["number"])
        return list(joined.from_iterable([p async for p in node.headers(number, number + 1)]))

    headers = [stored(PRAGUE), stored(PRAGUE_NEXT)]
    assert ask(use, chain=headers) == headers
