"""What is not exactly HTTP is refused before anything of it is handled."""

import asyncio
import json
from contextlib import suppress
from itertools import pairwise

import pytest
from api_server import running, status_of
from hypothesis import given
from hypothesis import strategies as st

from prover_framework.web.framing import MAX_CHUNKS, MAX_HEAD_BYTES, Framing, Malformed

HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
POST = b"POST /api/job HTTP/1.1\r\n" + HOST + JSON
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET /health HTTP/1.1\r\n" + HOST

HOSTILE_HEADS = [
    # Line ends and controls
    b"GET /health HTTP/1.1\nHost: localhost\n\n",
    b"GET /health HTTP/1.1\r\nHost: localhost\n\r\n",
    b"GET /health HTTP/1.1\nHost: localhost\r\n\r\n",
    GET + b"X: a\rb\r\n\r\n",
    GET + b"X: a\nY: b\r\n\r\n",
    GET + b"X: a\x00b\r\n\r\n",
    GET + b"X: a\x7f\r\n\r\n",
    GET + b"X: a\x0bb\r\n\r\n",
    GET + b"\x00\r\n\r\n",
    b"\r\n" + GET + b"\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    # The request line
    b"GET  /health HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /health  HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET\t/health HTTP/1.1\r\n" + HOST + b"\r\n",
    b" GET /health HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /health HTTP/1.1 \r\n" + HOST + b"\r\n",
    b"GET /health\r\n" + HOST + b"\r\n",
    b"GET /health HTTP/1.2\r\n" + HOST + b"\r\n",
    b"GET /health HTTP/2.0\r\n" + HOST + b"\r\n",
    b"GET /health http/1.1\r\n" + HOST + b"\r\n",
    b"GET health HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET ftp://localhost/health HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
    b"CONNECT localhost:3000 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"G(ET /health HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /\xc3\xa4 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    # Names and values
    GET + b"X : a\r\n\r\n",
    GET + b"X\t: a\r\n\r\n",
    GET + b": a\r\n\r\n",
    GET + b"X\r\n\r\n",
    GET + b"X y: a\r\n\r\n",
    GET + b"X: a\r\n folded\r\n\r\n",
    GET + b"X: a\r\n\tfolded\r\n\r\n",
    b"GET /health HTTP/1.1\r\n Host: localhost\r\n\r\n",
    GET + b"X\xff: a\r\n\r\n",
    # Lengths
    POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n1",
    POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n11",
    POST + b"Content-Length: 1, 1\r\n\r\n1",
    POST + b"Content-Length: +1\r\n\r\n1",
    POST + b"Content-Length: -1\r\n\r\n1",
    POST + b"Content-Length: 1_0\r\n\r\n1234567890",
    POST + b"Content-Length: 0x1\r\n\r\n1",
    POST + b"Content-Length: 1.0\r\n\r\n1",
    POST + b"Content-Length: \r\n\r\n",
    POST + b"Content-Length:\xd9\xa3\r\n\r\n123",
    POST + b"Content-Length: 1 1\r\n\r\n1",
    POST + b"Content-Length : 1\r\n\r\n1",
    POST + b"Content-Length: " + b"1" * 5000 + b"\r\n\r\n1",
    # Encodings
    POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
]

# Codings that this server does not know, and ways to write the one that it knows.
OTHER_CODINGS = [
    b"gzip, chunked",
    b"chunked, chunked",
    b"chunked, identity",
    b"identity",
    b"xchunked",
    b"Chunked",
    b'"chunked"',
    b"chunked;q=1",
    b"\x0cchunked".replace(b"\x0c", b"chunked, "),
]

HOSTILE_CHUNKS = [
    b"0x2\r\n{}\r\n0\r\n\r\n",
    b"+2\r\n{}\r\n0\r\n\r\n",
    b"-2\r\n{}\r\n0\r\n\r\n",
    b"2_0\r\n" + b" " * 32 + b"\r\n0\r\n\r\n",
    b" 2\r\n{}\r\n0\r\n\r\n",
    b"2 \r\n{}\r\n0\r\n\r\n",
    b"\xd9\xa3\r\n{ }\r\n0\r\n\r\n",
    b"\r\n{}\r\n0\r\n\r\n",
    b"2;a=b\r\n{}\r\n0\r\n\r\n",
    b"2;\n{}\r\n0\r\n\r\n",
    b"2\n{}\r\n0\r\n\r\n",
    b"2\r{}\r\n0\r\n\r\n",
    b"2\r\n{}0\r\n\r\n",
    b"2\r\n{}\n0\r\n\r\n",
    b"2\r\n{}XX0\r\n\r\n",
    b"2\r\n{}\r\r\n0\r\n\r\n",
    b"1\r\n{}\r\n0\r\n\r\n",
    b"2\r\n{}\r\n0\r\nX: trailer\r\n\r\n",
    b"2\r\n{}\r\n0\r\n\n",
    b"2\r\n{}\r\n0\r\nGET / HTTP/1.1\r\n\r\n",
    b"000000002\r\n{}\r\n0\r\n\r\n",
    b"fffffffff\r\n",
    b"g\r\n",
    b"2" * 100,
]


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
