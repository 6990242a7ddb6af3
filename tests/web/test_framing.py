"""What is not exactly HTTP is refused before anything of it is handled."""

import asyncio
import json
from contextlib import suppress
from itertools import pairwise

import pytest
from api_server import running, status_of
from hostile_http import (
    CHUNKED,
    GET,
    HOST,
    HOSTILE_CHUNKS,
    HOSTILE_HEADS,
    OTHER_CODINGS,
    POST,
)
from hypothesis import given
from hypothesis import strategies as st

from prover_framework.web.framing import MAX_CHUNKS, MAX_HEAD_BYTES, Framing, Malformed


def refused(answer: bytes, status: int) -> str:
    """Require one answer, the error object, and the end of the connection after it."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status_of(answer) == status, answer
    assert b"\r\nconnection: close" in head.lower()
    error = json.loads(body)
    assert error.keys() == {"status", "message", "job_group_id"}
    message: str = error["message"]
    return message


@pytest.mark.parametrize("request_bytes", HOSTILE_HEADS)
async def test_a_hostile_head_is_refused_and_ends_the_connection(request_bytes: bytes) -> None:
    assert refused(await _exchange(request_bytes), 400)


@pytest.mark.parametrize("coding", OTHER_CODINGS)
async def test_other_encodings_than_chunked_are_refused(coding: bytes) -> None:
    request = POST + b"Transfer-Encoding: " + coding + b"\r\n\r\n0\r\n\r\n"
    assert "must be chunked" in refused(await _exchange(request), 501)


@pytest.mark.parametrize("chunks", HOSTILE_CHUNKS)
async def test_hostile_chunks_are_refused_and_end_the_connection(chunks: bytes) -> None:
    assert refused(await _exchange(CHUNKED + chunks), 400)


@pytest.mark.parametrize("chunks", HOSTILE_CHUNKS)
async def test_hostile_chunks_after_the_handler_has_begun_to_read(chunks: bytes) -> None:
    assert refused(await _exchange(CHUNKED + b"1\r\n \r\n", chunks), 400)


async def test_nothing_after_a_refused_request_is_handled() -> None:
    hidden = GET + b"\r\n"
    for request in (CHUNKED + b"2\r\n{}XX0\r\n\r\n", GET + b"X : a\r\n\r\n"):
        answer = await _exchange(request + hidden)
        refused(answer, 400)
        assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_large_head_is_refused_and_one_of_the_limit_is_not() -> None:
    room = MAX_HEAD_BYTES - len(GET) - len(b"X: ") - 1
    fits = GET + b"Connection: close\r\n" + b"X: " + b"x" * (room - 19) + b"\r\n\r\n"
    assert status_of(await _exchange(fits)) == 200
    larger = GET + b"X: " + b"x" * (room + 1) + b"\r\n\r\n"
    assert "too large" in refused(await _exchange(larger), 431)
    assert "too large" in refused(await _exchange(GET + b"X: " + b"x" * 100_000), 431)


async def test_chunks_without_number_are_refused() -> None:
    body = b"1\r\n \r\n" * (MAX_CHUNKS + 1)
    assert "chunks" in refused(await _exchange(CHUNKED + body), 413)


async def _exchange(*parts: bytes) -> bytes:
    """Send parts one after the other, each when what came before was read."""
    async with running() as api, asyncio.timeout(30):
        reader, writer = await api.connect()
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
                await api.client.get("/health")
            return await reader.read()
        finally:
            writer.close()


# What is HTTP is taken, in whatever pieces it comes

WHOLE = [
    GET + b"\r\n",
    GET.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\n\r\n",
    GET + b"X:\r\nY:  \ta b\t \r\nZ: \xc3\xa4\xff\r\n\r\n",
    POST + b"content-length: 2 \r\n\r\n{}",
    POST + b"Content-Length: 0\r\n\r\n",
    CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
    CHUNKED + b"00000002\r\n{}\r\n000\r\n\r\n",
    CHUNKED + b"a\r\n" + b" " * 10 + b"\r\nA\r\n" + b" " * 10 + b"\r\n0\r\n\r\n",
    CHUNKED + b"0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET http://localhost/health HTTP/1.1\r\n" + HOST + b"\r\n",
]


def pieces_of(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[begin:end] for begin, end in pairwise(places)]


def take_all(pieces: list[bytes]) -> bytes:
    """Take all requests that are in some pieces."""
    framing, buffer, taken = Framing(), bytearray(), b""
    for piece in pieces:
        buffer += piece
        while part := framing.take(buffer):
            taken += part
            if framing.ended:
                framing = Framing()
    return taken


@given(
    requests=st.lists(st.sampled_from(WHOLE), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 2000), max_size=30),
)
def test_the_ends_of_requests_are_found_in_any_pieces(
    requests: list[bytes], cuts: list[int]
) -> None:
    found: list[bytes] = []
    framing, taken, buffer = Framing(), b"", bytearray()
    for piece in pieces_of(b"".join(requests), cuts):
        buffer += piece
        while part := framing.take(buffer):
            taken += part
            if framing.ended:
                found.append(taken)
                framing, taken = Framing(), b""
    assert found == requests
    assert not buffer


@given(
    request=st.sampled_from(
        [head for head in HOSTILE_HEADS if not head.startswith(b"\x16")]
        + [CHUNKED + chunks for chunks in HOSTILE_CHUNKS]
    ),
    cuts=st.lists(st.integers(0, 2000), max_size=30),
)
def test_what_is_refused_whole_is_refused_in_any_pieces(request: bytes, cuts: list[int]) -> None:
    with pytest.raises(Malformed):
        take_all(pieces_of(request, cuts))


@given(junk=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=10))
def test_any_bytes_are_taken_or_refused(junk: bytes, cuts: list[int]) -> None:
    for start in (b"", GET, CHUNKED, POST + b"Content-Length: 20\r\n\r\n"):
        with suppress(Malformed):
            taken = take_all(pieces_of(start + junk, cuts))
            assert (start + junk).startswith(taken)
