"""Requests that are not exactly HTTP, in the ways that proxies and servers disagree about."""

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
