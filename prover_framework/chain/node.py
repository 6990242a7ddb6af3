"""A chain's node, asked over JSON-RPC for headers: in batches, at a pace, and again if need be.

The URL of a node often has a key in it. No message and no log says more of it than its host.
"""

import asyncio
import contextlib
import json
import logging
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import aiohttp
from attrs import field, frozen
from attrs.validators import ge, gt

from prover_framework.chain.headers import StoredHeader
from prover_framework.chain.source import TAGS
from prover_framework.chain.whole_header import FIELDS, block_hash, whole_header
from prover_framework.errors import (
    HeaderInvalid,
    HeaderRule,
    RequestError,
    SourceError,
    SourceUnreachable,
)
from prover_framework.jsontext import Json, describe, parse_json, shorten

log = logging.getLogger(__name__)

Call: TypeAlias = tuple[str, list[Json]]
Sleep: TypeAlias = Callable[[float], Awaitable[None]]

# An answer that is not there after this time will hardly come.
TIMEOUT_SECONDS = 30.0

# How often in a row a node may fail before it is given up: with the waits between, five minutes
# of trouble are survived.
ATTEMPTS = 10

# The first wait after a failure. It doubles with each further one, up to the longest, and the wait
# is a random part of it, so that many clients do not come back at once.
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0

# Batches that are asked for at the same time. They hide the way to a distant node, and with the
# limit on an answer they bound the memory.
PARALLEL_BATCHES = 4

# A block with a thousand transactions takes some 70 kB, as their hashes come with it.
MAX_ANSWER_BYTES = 64 * 2**20
READ_BYTES = 64 * 1024

# HTTP's answers that mean "later": timeout, too early, too many requests.
LATER: Final = frozenset({408, 425, 429})
PAYLOAD_TOO_LARGE = 413

# JSON-RPC's answers that another attempt does not change: no such method, wrong parameters.
FINAL_CODES: Final = frozenset({-32601, -32602})

# What nodes tell of a block beside its header.
_OTHER_KEYS: Final = frozenset(
    {"hash", "size", "transactions", "uncles", "withdrawals", "totalDifficulty", "author"}
)

HASH_CHARACTERS = 66

# Parts of a URL that are shorter than this are no keys, and may be words of a message.
_SHORTEST_SECRET = 6


@frozen(kw_only=True)
class Pace:
    """How a node is asked.

    Args:
        batch: Blocks in one request.
        requests_per_second: How many requests are sent, at most.
    """

    batch: int = field(default=50, validator=ge(1))
    requests_per_second: float = field(default=10.0, validator=gt(0))


@asynccontextmanager
async def open_node(
    url: str, *, tag: str = TAGS[0], pace: Pace | None = None, sleep: Sleep = asyncio.sleep
) -> AsyncIterator["EthereumNode"]:
    """Open a node for the body.

    Args:
        url: ``http://`` or ``https://``.
        tag: Which block is the newest one: one of `TAGS`.
        pace: How it is asked.
        sleep: How waits are waited.

    Raises:
        SourceError: The URL is none.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise SourceError("the URL of a node must begin with http:// or https:// and name a host")
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "prover-framework"},
    ) as session:
        yield EthereumNode(session, url, tag, pace or Pace(), sleep)


class _TryAgain(Exception):
    """A request failed in a way that another one may not.

    Args:
        reason: What happened, as the rest of a sentence that begins with the node.
        wait_seconds: How long the node wants to be left alone, where it says so.
        smaller: Whether fewer blocks in one request may help.
    """

    def __init__(
        self, reason: str, *, wait_seconds: float | None = None, smaller: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_seconds = wait_seconds
        self.smaller = smaller


class EthereumNode:
    """A node as a source of headers; see `prover_framework.chain.source.HeaderSource`."""

    whole = True

    def __init__(
        self, session: aiohttp.ClientSession, url: str, tag: str, pace: Pace, sleep: Sleep
    ) -> None:
        parts = urlsplit(url)
        self.name = f"the node {parts.netloc.rpartition('@')[2]}"
        self._session = session
        self._url = url
        self._tag = tag
        self._size = pace.batch
        self._interval = 1 / pace.requests_per_second
        self._sleep = sleep
        self._next_turn = 0.0
        self._secrets = [
            part
            for text in (parts.path, parts.query, parts.username or "", parts.password or "")
            for part in text.replace("=", "/").replace("&", "/").split("/")
            if len(part) >= _SHORTEST_SECRET
        ]

    async def chain_id(self) -> int:
        """Ask for the chain's id (EIP-155)."""
        (answer,) = await self._call([("eth_chainId", [])])
        return self._quantity(answer, "its chain id")

    async def newest(self) -> int | None:
        """Ask for the number of the newest block under the tag; None if there is none yet."""
        (block,) = await self._call([("eth_getBlockByNumber", [self._tag, False])], may_lack=True)
        return None if block is None else self._quantity(self._member(block, "number"), "a number")

    async def timestamp(self, number: int) -> int | None:
        """Ask for a block's timestamp, also of a block from before London."""
        (block,) = await self._call([_block_call(number)], may_lack=True)
        if block is None:
            return None
        return self._quantity(self._member(block, "timestamp"), f"the timestamp of block {number}")

    async def number_of(self, block_hash: str) -> int | None:
        """Ask for the number of the block that has a hash; None if the node knows of none."""
        (block,) = await self._call([("eth_getBlockByHash", [block_hash, False])], may_lack=True)
        return None if block is None else self._quantity(self._member(block, "number"), "a number")

    async def headers(self, first: int, last: int) -> AsyncGenerator[Sequence[StoredHeader], None]:
        """Ask for headers, several batches at a time."""
        waiting: deque[asyncio.Task[list[StoredHeader]]] = deque()
        begin = first
        try:
            while begin <= last or waiting:
                while begin <= last and len(waiting) < PARALLEL_BATCHES:
                    end = min(begin + self._size - 1, last)
                    waiting.append(asyncio.create_task(self._batch(range(begin, end + 1))))
                    begin = end + 1
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _batch(self, numbers: range) -> list[StoredHeader]:
        blocks = await self._call([_block_call(number) for number in numbers])
        return [_stored(block, number) for block, number in zip(blocks, numbers, strict=True)]

    async def _call(self, calls: Sequence[Call], *, may_lack: bool = False) -> list[Json]:
        """Return the results of some calls, in their order.

        Args:
            calls: Method and parameters of each.
            may_lack: Whether null is an answer. Otherwise the node is asked again: one of many
                behind the same address may be a few blocks behind.

        Raises:
            SourceError: The node refuses.
            SourceUnreachable: It does not answer, or not with what was asked for.
        """
        answers: dict[int, Json] = {}
        failures = 0
        while len(answers) < len(calls):
            wanted = [place for place in range(len(calls)) if place not in answers]
            had = len(answers)
            try:
                await self._ask(calls, wanted[: self._size], answers, may_lack=may_lack)
            except _TryAgain as trouble:
                # Whoever answers at least in part is there.
                failures = 1 if len(answers) > had else failures + 1
                if failures == ATTEMPTS:
                    raise SourceUnreachable(
                        f"{self.name} {trouble.reason}; it was asked {ATTEMPTS} times"
                    ) from None
                if trouble.smaller and self._size > 1:
                    self._size = max(min(self._size, len(wanted)) // 2, 1)
                wait = _wait_seconds(failures, trouble.wait_seconds)
                log.info("%s %s; it is asked again in %.1f s", self.name, trouble.reason, wait)
                await self._sleep(wait)
        return [answers[place] for place in range(len(calls))]

    async def _ask(
        self,
        calls: Sequence[Call],
        wanted: Sequence[int],
        answers: dict[int, Json],
        *,
        may_lack: bool,
    ) -> None:
        """Send one request; put what it brings into ``answers`` by the places of the calls."""
        requests: list[Json] = [
            {"jsonrpc": "2.0", "id": place, "method": calls[place][0], "params": calls[place][1]}
            for place in wanted
        ]
        # Not every node takes batches.
        document = await self._post(requests if len(requests) > 1 else requests[0])
        if isinstance(document, list):
            entries = document
        elif isinstance(document, dict) and len(wanted) > 1:
            reason = self._error(document.get("error"))
            raise _TryAgain(f"does not take a batch of {len(wanted)}: {reason}", smaller=True)
        else:
            entries = [document]
        reason = "left out an answer"
        for entry in entries:
            place = entry.get("id") if isinstance(entry, dict) else None
            if not isinstance(entry, dict) or type(place) is not int or place not in wanted:
                reason = "gave an answer that is none to what was asked"
            elif entry.get("error") is not None:
                self._refuse_final(entry["error"], calls[place])
                reason = f"answered with an error: {self._error(entry['error'])}"
            elif entry.get("result") is None and not may_lack:
                reason = f"has nothing to tell for {_shown(calls[place])}"
            elif "result" in entry:
                answers[place] = entry["result"]
        if not all(place in answers for place in wanted):
            raise _TryAgain(reason)

    async def _post(self, body: Json) -> Json:
        await self._turn()
        try:
            async with self._session.post(
                self._url,
                data=json.dumps(body, separators=(",", ":")).encode(),
                headers={"Content-Type": "application/json"},
                allow_redirects=False,
            ) as response:
                self._check_status(response, many=isinstance(body, list))
                data = bytearray()
                async for part in response.content.iter_chunked(READ_BYTES):
                    data += part
                    if len(data) > MAX_ANSWER_BYTES:
                        raise _TryAgain(
                            f"sent an answer of more than {MAX_ANSWER_BYTES} bytes", smaller=True
                        )
        except TimeoutError:
            raise _TryAgain(f"did not answer within {TIMEOUT_SECONDS:.0f} seconds") from None
        except aiohttp.ClientConnectorError as error:
            raise _TryAgain(f"can not be reached: {error.strerror or 'no connection'}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _TryAgain(f"broke off: {type(error).__name__}") from None
        try:
            return parse_json(bytes(data))
        except RequestError:
            raise _TryAgain("sent an answer that is not JSON") from None

    def _check_status(self, response: aiohttp.ClientResponse, *, many: bool) -> None:
        status = response.status
        if status == 200:
            return
        what = f"answered with HTTP {status}"
        if status in LATER or status >= 500:
            raise _TryAgain(what, wait_seconds=_retry_after(response))
        if many and status in (400, PAYLOAD_TOO_LARGE):
            raise _TryAgain(f"{what} to a batch", smaller=True)
        advice = {
            401: "check the key in its URL",
            403: "check the key in its URL",
            404: "check the path of its URL",
        }.get(status, "check its URL")
        raise SourceError(f"{self.name} {what}: {advice}")

    async def _turn(self) -> None:
        """Wait until the next request may be sent."""
        now = asyncio.get_running_loop().time()
        wait = self._next_turn - now
        self._next_turn = max(self._next_turn, now) + self._interval
        if wait > 0:
            await self._sleep(wait)

    def _refuse_final(self, error: Json, call: Call) -> None:
        """Refuse an error that another attempt does not change."""
        if isinstance(error, dict) and error.get("code") in FINAL_CODES:
            tag = call[1][0] if call[1] else None
            advice = ""
            if tag in TAGS[:-1]:
                advice = f"; it may not know {tag} blocks, then follow it with --tag {TAGS[-1]}"
            raise SourceError(f"{self.name} refuses {_shown(call)}: {self._error(error)}{advice}")

    def _error(self, error: Json) -> str:
        """Return an error of the node's for a message, without the key that it may repeat."""
        if not isinstance(error, dict):
            return describe(error)
        text = str(error.get("message"))
        for secret in self._secrets:
            text = text.replace(secret, "...")
        return f"{shorten(text)!a} (code {describe(error.get('code'))})"

    def _member(self, value: Json, key: str) -> Json:
        return value.get(key) if isinstance(value, dict) else None

    def _quantity(self, value: Json, what: str) -> int:
        if isinstance(value, str) and value.startswith("0x"):
            with contextlib.suppress(ValueError):
                return int(value, 16)
        raise SourceError(f"{self.name} gave {describe(value)} for {what}: is it an Ethereum node?")


def _block_call(number: int) -> Call:
    return "eth_getBlockByNumber", [hex(number), False]


def _shown(call: Call) -> str:
    """Name a call in a message; blocks have decimal numbers there."""
    method, parameters = call
    block = str(parameters[0]) if parameters else ""
    return (
        f"{method} of block {int(block, 16) if block[:2] == '0x' else block}" if block else method
    )


def _stored(block: Json, number: int) -> StoredHeader:
    """Return the header of a block as a node tells it.

    Raises:
        HeaderInvalid: It is malformed, of another block, or does not make the block's hash.
    """
    if not isinstance(block, dict):
        raise HeaderInvalid(f"the node gave {describe(block)}", HeaderRule.FORM, block=number)
    try:
        header = whole_header({field.name: block.get(field.key) for field in FIELDS})
    except HeaderInvalid as error:
        raise error.at(number) from None
    if header.number != number:
        raise HeaderInvalid(
            f"is {header.number} in the node's answer", HeaderRule.NUMBER, "number", number
        )
    encoded = header.encode()
    told, own = str(block.get("hash")).lower(), block_hash(encoded)
    if told != own:
        unknown = sorted(set(block) - {field.key for field in FIELDS} - _OTHER_KEYS)
        newer = ""
        if unknown:
            newer = (
                f"; the node also tells {shorten(', '.join(unknown))}: if this belongs to headers "
                "since a newer fork, a newer version is needed"
            )
        raise HeaderInvalid(
            f"is {shorten(told)!a}, and the header's fields have the hash {own}{newer}",
            HeaderRule.HASH,
            "block_hash",
            number,
        )
    return StoredHeader(header.light(own), encoded)


def _wait_seconds(failures: int, asked: float | None) -> float:
    """Return how long to wait after some failures in a row."""
    longest = min(FIRST_WAIT_SECONDS * 2.0 ** (failures - 1), LONGEST_WAIT_SECONDS)
    jittered = longest * random.uniform(0.5, 1)  # noqa: S311 (nothing here is secret)
    return jittered if asked is None else min(max(jittered, asked), LONGEST_WAIT_SECONDS)


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Return the seconds that a node asks to be left alone; a date is not understood."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None
