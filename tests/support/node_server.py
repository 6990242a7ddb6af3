"""A small HTTP server that answers as a chain's node does, or as one that misbehaves."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiohttp import web

from prover_framework.chain.headers import EncodedHeader
from prover_framework.chain.rlp_header import FIELDS, decode_fields

Misbehaviour = Callable[[list[dict[str, Any]]], Awaitable[web.StreamResponse | None]]


class NodeServer:
    """A node with a chain; what it does wrong is a list of functions, one for each request."""

    def __init__(self, chain: Sequence[EncodedHeader], chain_id: int = 1) -> None:
        self.chain = list(chain)
        self.chain_id = chain_id
        self.finalized: int | None = None
        self.url = ""
        self.requests: list[list[dict[str, Any]]] = []
        self.misbehaviours: list[Misbehaviour] = []
        self.mode: Misbehaviour | None = None

    def reply(self, call: dict[str, Any]) -> dict[str, Any]:
        """Answer one call as a good node does."""
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": call["id"]}
        if call["method"] == "eth_chainId":
            return answer | {"result": hex(self.chain_id)}
        if call["method"] == "eth_getBlockByHash":
            named = (s for s in self.chain if s.header.block_hash == call["params"][0])
            return answer | {"result": next(map(block_of, named), None)}
        if call["method"] != "eth_getBlockByNumber":
            return answer | {"error": {"code": -32601, "message": "no such method"}}
        name = call["params"][0]
        newest = self.chain[-1].header.number if self.chain else None
        if name in ("finalized", "safe", "latest"):
            number = newest if self.finalized is None else self.finalized
        else:
            number = int(name, 16)
        found = next((s for s in self.chain if s.header.number == number), None)
        return answer | {"result": None if found is None else block_of(found)}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.text())
        calls = body if isinstance(body, list) else [body]
        self.requests.append(calls)
        if self.misbehaviours:
            response = await self.misbehaviours.pop(0)(calls)
            if response is not None:
                return response
        if self.mode is not None:
            response = await self.mode(calls)
            if response is not None:
                return response
        answers = [self.reply(call) for call in calls]
        return web.json_response(answers if isinstance(body, list) else answers[0])

    @property
    def asked(self) -> list[int]:
        """The numbers of the blocks that were asked for, one for each time."""
        return [
            int(call["params"][0], 16)
            for calls in self.requests
            for call in calls
            if call["method"] == "eth_getBlockByNumber" and call["params"][0].startswith("0x")
        ]


def failing(code: int, message: str) -> dict[str, Any]:
    """Return what JSON-RPC calls an error."""
    return {"code": code, "message": message}


def at_most(
    size: int, refusal: Callable[[list[dict[str, Any]]], web.StreamResponse]
) -> Misbehaviour:
    """Refuse batches of more calls than some."""

    async def mode(calls: list[dict[str, Any]]) -> web.StreamResponse | None:
        return refusal(calls) if len(calls) > size else None

    return mode


def instead(
    server: NodeServer,
    change: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]],
    *,
    times: int = 10**9,
) -> Misbehaviour:
    """Answer calls for blocks in another way, each of them so many times.

    Args:
        server: The node.
        change: Makes the answer, of the call and the right answer.
        times: How often each call is answered so.
    """
    seen: dict[str, int] = {}

    async def mode(calls: list[dict[str, Any]]) -> web.StreamResponse | None:
        answers = []
        for call in calls:
            answer = server.reply(call)
            name = str(call["params"][:1])
            if call["method"] == "eth_getBlockByNumber" and seen.get(name, 0) < times:
                seen[name] = seen.get(name, 0) + 1
                answer = change(call, answer)
            answers.append(answer)
        return web.json_response(answers if len(calls) > 1 else answers[0])

    return mode


def block_of(stored: EncodedHeader) -> dict[str, Any]:
    """Return a block as nodes tell it."""
    fields = decode_fields(stored.rlp)
    values = {field.key: fields.get(field.name) for field in FIELDS}
    return {
        "hash": stored.header.block_hash,
        "size": "0x266",
        "transactions": ["0x" + "ab" * 32],
        "uncles": [],
    } | {
        key: f"0x{value.hex()}" if isinstance(value, bytes) else hex(value)
        for key, value in values.items()
        if value is not None
    }


@asynccontextmanager
async def node_server(
    chain: Sequence[EncodedHeader], chain_id: int = 1
) -> AsyncIterator[NodeServer]:
    """Serve a chain on a free port, under a path with a key in it."""
    node = NodeServer(chain, chain_id)
    app = web.Application()
    app.router.add_post("/v2/secret-key-of-ours", node.handle)
    # Whoever hangs does not hold up the end.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        node.url = f"http://127.0.0.1:{port}/v2/secret-key-of-ours"
        yield node
    finally:
        await runner.cleanup()


@contextmanager
def node_in_thread(chain: Sequence[EncodedHeader], chain_id: int = 1) -> Iterator[NodeServer]:
    """Serve a chain from a thread of its own, for clients that are other processes."""
    ready: Future[NodeServer] = Future()
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve() -> None:
        async with node_server(chain, chain_id) as server:
            ready.set_result(server)
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield ready.result(timeout=30)
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()
