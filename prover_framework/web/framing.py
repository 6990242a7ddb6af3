"""Where a request ends: a strict reading of heads and chunks, before the server library's own.

A server that reads more than HTTP allows may take the end of one request for another one than the
proxy in front of it does, and whoever sends it then speaks as somebody else. So what is not exactly
RFC 9112 is refused here: bare line feeds, folded headers, blanks before a colon, two lengths or a
length with an encoding, chunk sizes such as ``0x2``, chunks without their line end. So are chunk
extensions and trailers, which the RFC allows and nobody who calls this API needs.
"""

import re
from enum import Enum, auto

from attrs import frozen

# The server library's own limit; the largest heads of browsers with many cookies stay below it.
MAX_HEAD_BYTES = 8192

# Eight hex digits are 4 GiB, far above any limit of a body.
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")
MAX_CHUNK_LINE_BYTES = 8

# A body in chunks of one byte would cost fifty times its size. Clients send chunks of kilobytes, so
# this many are the largest receipt in chunks of 128 bytes.
MAX_CHUNKS = 16_384

LINE_END = b"\r\n"
HEAD_END = b"\r\n\r\n"

# A line feed without its carriage return and the reverse, where the next byte is known; controls.
# What no line of a head can have is refused at once: the end of such a head may never come.
FORBIDDEN = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([!-~]+) HTTP/(1\.[01])")
FIELDS = rb"((?:\r\n" + TOKEN + rb":[\t -~\x80-\xff]*)*)"
HEAD = re.compile(REQUEST_LINE.pattern + FIELDS)
LENGTHS = ("content-length", "transfer-encoding")
LENGTH = re.compile(r"[0-9]{1,20}")
URL = re.compile(r"https?://", re.IGNORECASE)


class Malformed(Exception):
    """A request that is not exactly HTTP/1.1 or 1.0.

    Args:
        message: What is wrong, for whoever sent it.
        status: The answer's status.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        self.status = status
        super().__init__(message)


@frozen
class Head:
    """The head of a request.

    Args:
        method: As it was sent.
        target: What the request line names: a path or a URL.
        version: ``1.1`` or ``1.0``.
        fields: Names in lower case and values without blanks around them, in their order.
        length: Of the body in bytes, where it is told; 0 where there is none; None for chunks.
    """

    method: str
    target: str
    version: str
    fields: tuple[tuple[str, str], ...]
    length: int | None

    def values(self, name: str) -> list[str]:
        """Return all values of a field, by its name in lower case."""
        return [value for field, value in self.fields if field == name]


def read_head(text: bytes) -> Head:
    """Read a head.

    Args:
        text: Its lines, without the empty one that ends it.

    Raises:
        Malformed: It breaks a rule.
    """
    match = HEAD.fullmatch(text)
    if match is None:
        raise Malformed(_mistake(text))
    method, target, version, rest = (part.decode("latin-1") for part in match.groups())
    if target[0] != "/" and not URL.match(target) and (method, target) != ("OPTIONS", "*"):
        raise Malformed("the request's target must be a path or an http URL")
    fields = tuple([_field(line) for line in rest.split("\r\n")[1:]])
    return Head(method, target, version, fields, _length(version, fields))


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.lower(), value.strip(" \t")


def _mistake(text: bytes) -> str:
    """Return what is wrong with a head."""
    first, *lines = text.split(LINE_END)
    if not REQUEST_LINE.fullmatch(first):
        return "the request line must be METHOD TARGET HTTP/1.1, with one blank between"
    if any(line[:1] in (b" ", b"\t") for line in lines):
        return "a header must not go on in the next line"
    return "a header must be NAME: VALUE, without a blank before the colon and without controls"


def _length(version: str, fields: tuple[tuple[str, str], ...]) -> int | None:
    told = [(name, value) for name, value in fields if name in LENGTHS]
    if not told:
        return 0
    if len(told) > 1:
        raise Malformed("a request has one Content-Length or one Transfer-Encoding, not both")
    [(name, value)] = told
    if name == "content-length":
        if not LENGTH.fullmatch(value):
            raise Malformed("the Content-Length must be a number of bytes")
        return int(value)
    if version != "1.1":
        raise Malformed("HTTP/1.0 has no Transfer-Encoding")
    # Other codings, and other ways to write this one, are not what the server library knows.
    if value != "chunked":
        raise Malformed("the Transfer-Encoding must be chunked", 501)
    return None


class _Part(Enum):
    HEAD = auto()
    BODY = auto()
    CHUNK_SIZE = auto()
    CHUNK = auto()
    CHUNK_END = auto()
    LAST_END = auto()
    ENDED = auto()


class Framing:
    """Follows one request through the bytes of a connection, to its end."""

    def __init__(self) -> None:
        self.head: Head | None = None
        self._part = _Part.HEAD
        # How much of an incomplete head was looked at already.
        self._seen = 0
        # Bytes to come of the body, or of the chunk.
        self._left = 0
        self._chunks = 0

    @property
    def ended(self) -> bool:
        """Whether the request is complete."""
        return self._part is _Part.ENDED

    def take(self, buffer: bytearray) -> bytes:
        """Remove from a buffer what belongs to this request, and return it.

        A head is returned once it is complete, and alone; of a body what is there. Nothing is
        returned that was not checked, nor anything of the next request.

        Args:
            buffer: What was received and not taken yet.

        Raises:
            Malformed: It is not HTTP.
        """
        if self._part is _Part.HEAD:
            return self._take_head(buffer)
        taken = bytearray()
        while buffer and self._part is not _Part.ENDED:
            piece = self._take_piece(buffer)
            if not piece:
                break
            taken += piece
        return bytes(taken)

    def _take_head(self, buffer: bytearray) -> bytes:
        end = buffer.find(HEAD_END, max(0, self._seen - len(HEAD_END) + 1))
        if (end if end >= 0 else len(buffer)) >= MAX_HEAD_BYTES:
            raise Malformed("the request's head is too large", 431)
        if end < 0:
            if FORBIDDEN.search(buffer, max(0, self._seen - 1)):
                raise Malformed("the request's head has a control character or a bare line end")
            self._seen = len(buffer)
            return b""
        self.head = head = read_head(bytes(buffer[:end]))
        if head.length is None:
            self._part = _Part.CHUNK_SIZE
        else:
            self._left = head.length
            self._part = _Part.BODY if head.length else _Part.ENDED
        return _cut(buffer, end + len(HEAD_END))

    def _take_piece(self, buffer: bytearray) -> bytes:
        """Take the next piece of the body, or nothing while it is not whole."""
        match self._part:
            case _Part.BODY:
                return self._take_data(buffer, _Part.ENDED)
            case _Part.CHUNK_SIZE:
                return self._take_size(buffer)
            case _Part.CHUNK:
                return self._take_data(buffer, _Part.CHUNK_END)
            case _Part.CHUNK_END:
                return self._take_line_end(
                    buffer, _Part.CHUNK_SIZE, "a chunk must end with a line end after its size"
                )
            case _:
                return self._take_line_end(
                    buffer, _Part.ENDED, "the last chunk must be followed by an empty line"
                )

    def _take_data(self, buffer: bytearray, then: _Part) -> bytes:
        data = _cut(buffer, self._left)
        self._left -= len(data)
        if not self._left:
            self._part = then
        return data

    def _take_size(self, buffer: bytearray) -> bytes:
        end = buffer.find(LINE_END, 0, MAX_CHUNK_LINE_BYTES + len(LINE_END))
        # While the line is not whole, what is there of it must be the beginning of one.
        digits = bytes(buffer[:end] if end >= 0 else buffer[: MAX_CHUNK_LINE_BYTES + 1])
        if end < 0:
            digits = digits.removesuffix(b"\r")
        if not CHUNK_SIZE.fullmatch(digits):
            raise Malformed("the size of a chunk must be 1 to 8 hex digits and nothing else")
        if end < 0:
            return b""
        self._left = int(digits, 16)
        self._chunks += 1
        if self._chunks > MAX_CHUNKS:
            raise Malformed(f"the body has more than {MAX_CHUNKS} chunks; send larger ones", 413)
        self._part = _Part.CHUNK if self._left else _Part.LAST_END
        return _cut(buffer, end + len(LINE_END))

    def _take_line_end(self, buffer: bytearray, then: _Part, rule: str) -> bytes:
        found = bytes(buffer[: len(LINE_END)])
        if not LINE_END.startswith(found):
            raise Malformed(rule)
        if found != LINE_END:
            return b""
        self._part = then
        return _cut(buffer, len(LINE_END))


def _cut(buffer: bytearray, count: int) -> bytes:
    data = bytes(buffer[:count])
    del buffer[:count]
    return data
