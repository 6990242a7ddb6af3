"""A chain's node, asked over JSON-RPC for headers: in batches, at a rate, and again if need be.

The URL of a node often has a key in it. No message and no log says more of it than its host.
"""

import asyncio
import contextlib
import json
import logging
import random
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeAlias

import aiohttp
from attrs import field, frozen
from attrs.validators import ge, gt

from prover_framework.chain.headers import EncodedHeader
from prover_framework.chain.rlp_header import FIELDS, encode_header
from prover_framework.chain.sources.base import TAGS
from prover_framework.errors import (
    HeaderInvalid,
    HeaderRule,
    RequestError,
    SourceError,
    SourcePruned,
    SourceUnreachable,
)
from prover_framework.serialization.json_text import Json, parse_json
from prover_framework.text import describe, shorten
from prover_framework.urls import UrlError, parse_http_url, public_http_name

log = logging.getLogger(__name__)

Call: TypeAlias = tuple[str, list[Json]]
Sleep: TypeAlias = Callable[[float], Awaitable[None]]

# An answer that is not there after this time will hardly come.
TIMEOUT_SECONDS = 30.0

# How often in a row a node may fail before it is given up: with the waits between, five minutes
# of trouble are survived.
ATTEMPTS = 10

# What the wait after a failure doubles up to. Each is a random part of it, so that many clients do
# not come back at once.
LONGEST_WAIT_SECONDS = 60.0

# Batches that are asked for at the same time. They hide the way to a distant node, and with the
# limit on an answer they bound the memory.
PARALLEL_BATCHES = 4

# A block with a thousand transactions takes some 70 kB, as their hashes come with it.
MAX_ANSWER_BYTES = 64 * 2**20
READ_BYTES = 64 * 1024

# How often a block that a node should have is asked for while it tells nothing, or something
# wrong: one of many nodes behind the same address may be behind, or be told of the block only now.
DOUBTS = 3

# HTTP's answers that mean "later": timeout, too early, too many requests.
LATER: Final = frozenset({408, 425, 429})
REFUSED: Final = frozenset({401, 403, 404, 405})

# JSON-RPC's answers that another attempt does not change: no such method, wrong parameters.
FINAL_CODES: Final = frozenset({-32601, -32602})

# https://eips.ethereum.org/EIPS/eip-4444: the block is older than what the node keeps.
PRUNED_CODE: Final = 4444

# How nodes say that they do not know a tag, or have no such block yet: besides those above, as
# "unknown block" (Geth, Nethermind) and "finalized block not found" (Erigon, Besu).
NO_TAG_CODES: Final = FINAL_CODES | {-32000, -39001}

# What a refusal says that is over after a while, whatever its code or status is.
_PASSING = re.compile(
    r"rate.?limit|limit(s)? exceeded|too many requests|throttl|capacity|quota|temporar|try again"
    r"|overload|busy|timed? ?out",
    re.IGNORECASE,
)
_PRUNED = re.compile(r"prun|expired history|history (has )?expired", re.IGNORECASE)

# Of a node's message, this much is told: enough for the part that says why.
SHOWN_ERROR_CHARACTERS = 300

# Of an answer with another status than 200, this much is read.
ERROR_BYTES = 4096

# What nodes tell of a block beside its header.
_OTHER_KEYS: Final = frozenset(
    {"hash", "size", "transactions", "uncles", "withdrawals", "totalDifficulty", "author"}
)

HASH_CHARACTERS = 66

# Parts of a URL that are shorter than this are no keys, and may be words of a message.
_SHORTEST_SECRET = 6


@frozen(kw_only=True)
class RequestRate:
    """How a node is asked.

    Args:
        batch: Blocks in one request.
        requests_per_second: How many requests are sent, at most.
        timeout_seconds: How long an answer is waited for.
        retry_seconds: How long to wait before a request is repeated; each further time twice as
            long.
    """

    batch: int = field(default=50, validator=ge(1))
    requests_per_second: float = field(default=10.0, validator=gt(0))
    timeout_seconds: float = field(default=TIMEOUT_SECONDS, validator=gt(0))
    retry_seconds: float = field(default=1.0, validator=gt(0))


@asynccontextmanager
async def open_node(
    url: str, *, tag: str = TAGS[0], rate: RequestRate | None = None, sleep: Sleep = asyncio.sleep
) -> AsyncIterator["EthereumNode"]:
    """Open a node for the body.

    Args:
        url: ``http://`` or ``https://``.
        tag: Which block is the newest one: one of `TAGS`.
        rate: How it is asked.
        sleep: How waits are waited.

    Raises:
        SourceError: The URL is none.
    """
    try:
        parse_http_url(url)
    except UrlError as error:
        raise SourceError(f"the URL of a node {error}") from None
    rate = rate or RequestRate()
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=rate.timeout_seconds),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "prover-framework"},
    ) as session:
        yield EthereumNode(session, url, tag, rate, sleep)


class _TryAgain(Exception):
    """A request failed in a way that another one may not.

    Args:
        reason: What happened, as the rest of a sentence that begins with the node.
        wait_seconds: How long the node wants to be left alone, where it says so.
        answered: Whether the node was there, so that fewer blocks in one request may help.
        doubted: Whether it told nothing of a block that it should have.
    """

    def __init__(
        self,
        reason: str,
        *,
        wait_seconds: float | None = None,
        answered: bool = True,
        doubted: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_seconds = wait_seconds
        self.answered = answered
        self.doubted = doubted


class EthereumNode:
    """A node as a source of headers; see `prover_framework.chain.sources.base.HeaderSource`."""

    whole = True

    def __init__(
        self, session: aiohttp.ClientSession, url: str, tag: str, rate: RequestRate, sleep: Sleep
    ) -> None:
        parts = parse_http_url(url)
        self.name = f"the node {public_http_name(parts)}"
        self._session = session
        self._url = url
        self._tag = tag
        self._size = rate.batch
        self._timeout_seconds = rate.timeout_seconds
        self._interval = 1 / rate.requests_per_second
        self._retry_seconds = rate.retry_seconds
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
        """Ask for the number of the newest block under the tag; None if there is none yet.

        Raises:
            SourceError: The node does not know the tag, or cannot be used.
        """
        block = await self._doubted(("eth_getBlockByNumber", [self._tag, False]))
        return None if block is None else self._quantity(self._member(block, "number"), "a number")

    async def timestamp(self, number: int) -> int | None:
        """Ask for a block's timestamp, also of a block from before London.

        None stands for a block that the node does not have: because it is too new, or because it is
        older than what the node keeps.
        """
        try:
            block = await self._doubted(_block_call(number))
        except SourcePruned:
            return None
        if block is None:
            return None
        return self._quantity(self._member(block, "timestamp"), f"the timestamp of block {number}")

    async def number_of(self, block_hash: str) -> int | None:
        """Ask for the number of the block that has a hash; None if the node knows of none."""
        (block,) = await self._call([("eth_getBlockByHash", [block_hash, False])], may_lack=True)
        return None if block is None else self._quantity(self._member(block, "number"), "a number")

    async def headers(self, first: int, last: int) -> AsyncGenerator[Sequence[EncodedHeader], None]:
        """Ask for headers, several batches at a time."""
        waiting: deque[asyncio.Task[list[EncodedHeader]]] = deque()
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

    async def _batch(self, numbers: range) -> list[EncodedHeader]:
        blocks = await self._call([_block_call(number) for number in numbers])
        return [
            await self._checked(block, number)
            for block, number in zip(blocks, numbers, strict=True)
        ]

    async def _checked(self, block: Json, number: int) -> EncodedHeader:
        """Return the header of a block; one that does not verify is asked for again first."""
        for doubt in range(1, DOUBTS):
            try:
                return _stored(block, number)
            except HeaderInvalid as error:
                wait = self._wait_seconds(doubt)
                log.warning("%s: %s; it is asked for again in %.1f s", self.name, error, wait)
            await self._sleep(wait)
            (block,) = await self._call([_block_call(number)])
        return _stored(block, number)

    def _wait_seconds(self, failures: int, asked: float | None = None) -> float:
        """Return how long to wait after some failures in a row, and at least as long as asked."""
        longest = min(self._retry_seconds * 2.0 ** (failures - 1), LONGEST_WAIT_SECONDS)
        jittered = longest * random.uniform(0.5, 1)  # noqa: S311 (nothing here is secret)
        return jittered if asked is None else min(max(jittered, asked), LONGEST_WAIT_SECONDS)

    async def _doubted(self, call: Call) -> Json:
        """Return what the node tells of a block; where that is nothing, ask once more."""
        (block,) = await self._call([call], may_lack=True)
        if block is None:
            await self._sleep(self._wait_seconds(1))
            (block,) = await self._call([call], may_lack=True)
        return block

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
        failures = doubts = 0
        while len(answers) < len(calls):
            wanted = [place for place in range(len(calls)) if place not in answers]
            had = len(answers)
            asked = wanted[: self._size]
            try:
                await self._ask(calls, asked, answers, may_lack=may_lack)
            except _TryAgain as trouble:
                # Whoever answers at least in part is there.
                failures = 1 if len(answers) > had else failures + 1
                doubts = doubts + 1 if trouble.doubted and len(answers) == had else 0
                if failures == ATTEMPTS or (doubts == DOUBTS and len(asked) == 1):
                    times = min(failures, doubts or failures)
                    raise SourceUnreachable(
                        f"{self.name} {trouble.reason}; it was asked {times} times"
                    ) from None
                smaller = ""
                if trouble.answered and len(answers) == had and len(asked) > 1:
                    # Whatever it says: perhaps it is too much. Others may have found that out, too.
                    self._size = min(self._size, len(asked) // 2)
                    failures, smaller = 1, f", for {self._size} blocks at a time"
                wait = self._wait_seconds(failures, trouble.wait_seconds)
                log.warning(
                    "%s %s; it is asked again in %.1f s%s",
                    self.name,
                    trouble.reason,
                    wait,
                    smaller,
                )
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
        # Some servers take the id 0 for none.
        requests: list[Json] = [
            {"jsonrpc": "2.0", "id": place + 1, "method": method, "params": parameters}
            for place, (method, parameters) in ((place, calls[place]) for place in wanted)
        ]
        # Not every node takes batches.
        document = await self._post(requests if len(requests) > 1 else requests[0])
        if isinstance(document, list):
            entries = document
        elif isinstance(document, dict) and len(wanted) > 1:
            reason = self._error(document.get("error"))
            raise _TryAgain(f"does not take a batch of {len(wanted)}: {reason}")
        else:
            entries = [document]
        reason, doubted = "left out an answer", False
        for entry in entries:
            id_ = entry.get("id") if isinstance(entry, dict) else None
            place = id_ - 1 if type(id_) is int else -1
            error = entry.get("error") if isinstance(entry, dict) else None
            if error is not None and (place in wanted or len(wanted) == 1):
                place = place if place in wanted else wanted[0]
                self._refuse_final(error, calls[place], alone=len(wanted) == 1)
                reason = f"answered with an error: {self._error(error)}"
            elif error is not None:
                reason = f"refused a batch of {len(wanted)}: {self._error(error)}"
            elif not isinstance(entry, dict) or place not in wanted:
                reason = "gave an answer that is none to what was asked"
            elif entry.get("result") is None and not may_lack:
                reason, doubted = f"has nothing to tell for {_shown(calls[place])}", True
            elif "result" in entry:
                answers[place] = entry["result"]
        if not all(place in answers for place in wanted):
            raise _TryAgain(reason, doubted=doubted)

    async def _post(self, body: Json) -> Json:
        await self._turn()
        try:
            async with self._session.post(
                self._url,
                data=json.dumps(body, separators=(",", ":")).encode(),
                headers={"Content-Type": "application/json"},
                allow_redirects=False,
            ) as response:
                await self._check_status(response, many=isinstance(body, list))
                data = bytearray()
                async for part in response.content.iter_chunked(READ_BYTES):
                    data += part
                    if len(data) > MAX_ANSWER_BYTES:
                        raise _TryAgain(f"sent an answer of more than {MAX_ANSWER_BYTES} bytes")
        except TimeoutError:
            raise _TryAgain(f"did not answer within {self._timeout_seconds:.0f} seconds") from None
        except aiohttp.ClientConnectorError as error:
            raise _TryAgain(
                f"cannot be reached: {error.strerror or 'no connection'}", answered=False
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _TryAgain(f"broke off: {type(error).__name__}") from None
        try:
            return parse_json(bytes(data))
        except RequestError:
            raise _TryAgain("sent an answer that is not JSON") from None

    async def _check_status(self, response: aiohttp.ClientResponse, *, many: bool) -> None:
        status = response.status
        if status == 200:
            return
        text = self._shortened((await response.content.read(ERROR_BYTES)).decode(errors="replace"))
        what = f"answered with HTTP {status}" + (f": {text!a}" if text else "")
        if status in LATER or status >= 500 or _PASSING.search(text):
            raise _TryAgain(what, wait_seconds=_retry_after(response))
        if many and status not in REFUSED:
            raise _TryAgain(f"{what}, to a batch")
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

    def _refuse_final(self, error: Json, call: Call, *, alone: bool) -> None:
        """Refuse an error that another attempt does not change."""
        if not isinstance(error, dict):
            return
        code, text = error.get("code"), str(error.get("message"))
        if code == PRUNED_CODE or _PRUNED.search(text):
            raise SourcePruned(
                f"{self.name} no longer has what {_shown(call)} asks for: {self._error(error)}; "
                "begin later, or use a node with all history"
            )
        tag = call[1][0] if call[1] else None
        if not alone or _PASSING.search(text):
            return
        if tag in TAGS and code in NO_TAG_CODES:
            raise SourceError(
                f"{self.name} refuses {_shown(call)}: {self._error(error)}; {_tag_advice(str(tag))}"
            )
        if code in FINAL_CODES:
            raise SourceError(f"{self.name} refuses {_shown(call)}: {self._error(error)}")

    def _error(self, error: Json) -> str:
        """Return an error of the node's for a message, without the key that it may repeat."""
        if not isinstance(error, dict):
            return describe(error)
        text = self._shortened(str(error.get("message")))
        return f"{text!a} (code {describe(error.get('code'))})"

    def _shortened(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "...")
        return shorten(" ".join(text.split()), SHOWN_ERROR_CHARACTERS)

    def _member(self, value: Json, key: str) -> Json:
        return value.get(key) if isinstance(value, dict) else None

    def _quantity(self, value: Json, what: str) -> int:
        if isinstance(value, str) and value.startswith("0x"):
            with contextlib.suppress(ValueError):
                return int(value, 16)
        raise SourceError(f"{self.name} gave {describe(value)} for {what}: is it an Ethereum node?")


def _tag_advice(tag: str) -> str:
    others = [other for other in TAGS if other != tag]
    return f"it has no {tag} blocks, or not yet: follow it with --tag {' or --tag '.join(others)}"


def _block_call(number: int) -> Call:
    return "eth_getBlockByNumber", [hex(number), False]


def _shown(call: Call) -> str:
    """Name a call in a message; blocks have decimal numbers there."""
    method, parameters = call
    block = str(parameters[0]) if parameters else ""
    return (
        f"{method} of block {int(block, 16) if block[:2] == '0x' else block}" if block else method
    )


def _stored(block: Json, number: int) -> EncodedHeader:
    """Return the header of a block as a node tells it.

    Raises:
        HeaderInvalid: It is malformed, of another block, or does not make the block's hash.
    """
    if not isinstance(block, dict):
        raise HeaderInvalid(f"the node gave {describe(block)}", HeaderRule.FORM, block=number)
    try:
        encoded = encode_header({field.name: block.get(field.key) for field in FIELDS})
    except HeaderInvalid as error:
        raise error.at(number) from None
    header = encoded.header
    if header.number != number:
        raise HeaderInvalid(
            f"is {header.number} in the node's answer", HeaderRule.NUMBER, "number", number
        )
    stated, own = str(block.get("hash")).lower(), header.block_hash
    if stated != own:
        unknown = sorted(set(block) - {field.key for field in FIELDS} - _OTHER_KEYS)
        newer = ""
        if unknown:
            newer = (
                f"; the node also tells {shorten(', '.join(unknown))}: if this belongs to headers "
                "since a newer fork, a newer version is needed"
            )
        raise HeaderInvalid(
            f"is {shorten(stated)!a}, and the header's fields have the hash {own}{newer}",
            HeaderRule.HASH,
            "block_hash",
            number,
        )
    return encoded


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Return the seconds that a node asks to be left alone, or until the date that it names."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit() and len(text) < 6:
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until.replace(tzinfo=UTC) if until.tzinfo is None else until
    return max((until - datetime.now(UTC)).total_seconds(), 0)
