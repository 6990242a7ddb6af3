"""Requests that are wrong: each gets a 4xx with its reasons, and leaves no trace."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prover_framework.errors import RequestError
from prover_framework.jobs.requests import REQUIRED
from prover_framework.jobs.service import ProvingService
from prover_framework.plugins.registry import Plugins
from prover_framework.receipts.documents import MAX_MEMBERS
from prover_framework.serialization.converter import unstructure

pytestmark = pytest.mark.usefixtures("nothing_stored")

LIMIT = 64 * 1024
GROUP_ID_RULE = "1 to 128 letters, digits, '.', '_', ':' or '-'"
POST = b"POST /api/job HTTP/1.1\r\nHost: localhost\r\n"
RANGE = {"start_timestamp": 1234567890, "end_timestamp": 1234567891}
PROOF_TYPES = ("twap", "reserve_price", "max_return")
INSTALLED = "max_return, reserve_price, twap"


def body(**changes: Any) -> dict[str, Any]:
    document = {"job_group_id": "bad"} | dict.fromkeys(PROOF_TYPES, RANGE) | changes
    return {key: value for key, value in document.items() if value is not ...}


def twap(start: str, end: str = "5") -> bytes:
    """A body whose TWAP has values as they are written here."""
    text = json.dumps(body(twap=0))
    limits = f'{{"start_timestamp": {start}, "end_timestamp": {end}}}'
    return text.replace('"twap": 0', f'"twap": {limits}').encode()


def post(client: httpx.Client, content: bytes, **headers: str) -> httpx.Response:
    return client.post(
        "/api/job", content=content, headers={"Content-Type": "application/json"} | headers
    )


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Require the error object and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()
    assert set(error) == {"status", "message", "job_group_id"}
    assert error["status"] == "error"
    assert isinstance(error["message"], str)
    assert "Traceback" not in error["message"]
    assert len(answer.content) < 10_000
    return dict(error)


# Bodies that are no request at all


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the body is not JSON: Expecting value at line 1, column 1"),
        (b" \n ", "the body is not JSON: Expecting value at line 2, column 2"),
        (b"null", "the body must be an object, got null"),
        (b"true", "the body must be an object, got a boolean (true)"),
        (b"5", "the body must be an object, got the integer 5"),
        (b'"job"', "the body must be an object, got the string 'job'"),
        (b"[]", "the body must be an object, got an array"),
        (json.dumps([body()]).encode(), "the body must be an object, got an array"),
        (b"{", "the body is not JSON: "),
        (b"{}{}", "the body is not JSON: Extra data at line 1, column 3"),
        (b"{'a': 1}", "the body is not JSON: "),
        (b'{"a": 1,}', "the body is not JSON: "),
        (b'{"a": 01}', "the body is not JSON: "),
        (b'{"a": "\n"}', "the body is not JSON: "),
        (b"\xff\xfe{\x00}\x00", "the body is not UTF-8: byte 0 cannot be decoded"),
        (b'{"job_group_id": "\xe4"}', "the body is not UTF-8: byte 18 cannot be decoded"),
        (b'{"a": "\xed\xa0\x80"}', "the body is not UTF-8: byte 7 cannot be decoded"),
        (b'{"a": "\xc0\xaf"}', "the body is not UTF-8: byte 7 cannot be decoded"),
        (b"\xef\xbb\xbf" + json.dumps(body()).encode(), "the body is not JSON: "),
        (json.dumps(body()).encode("utf-16"), "the body is not UTF-8: "),
        (b"\x1f\x8b\x08\x00", "the body is not UTF-8: byte 1 cannot be decoded"),
        (b"[" * 60_000, "the body is nested too deep"),
        (b"[" * 30_000 + b"]" * 30_000, "the body is nested too deep"),
        (b'{"a":' * 13_000, "the body is nested too deep"),
        (b'{"twap":' + b"[" * 60_000, "the body is nested too deep"),
    ],
)
def test_a_body_that_is_no_json_object(client: httpx.Client, content: bytes, message: str) -> None:
    error = error_of(post(client, content), 400)
    assert error["message"].startswith(message)
    assert error["job_group_id"] is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("NaN", "NaN is not a JSON number"),
        ("Infinity", "Infinity is not a JSON number"),
        ("-Infinity", "-Infinity is not a JSON number"),
        ("1e999", "the number 1e999 is too large"),
        ("-1e999", "the number -1e999 is too large"),
        ("9" * 5000, "a number has 5000 digits"),
        ("-" + "9" * 5000, "a number has 5000 digits"),
    ],
)
def test_numbers_that_json_can_not_hold(client: httpx.Client, value: str, message: str) -> None:
    assert error_of(post(client, twap(value)), 400)["message"] == message


@pytest.mark.parametrize(
    "content",
    [
        b'{"job_group_id": "bad", "job_group_id": "bad"}',
        json.dumps(body()).replace('"twap"', '"max_return"').encode(),
        json.dumps(body()).replace("end_", "start_", 1).encode(),
        b'{"job_group_id": "bad", "other": [{"x": {"y": 1, "y": 1}}]}',
    ],
)
def test_a_key_that_appears_twice(client: httpx.Client, content: bytes) -> None:
    message = error_of(post(client, content), 400)["message"]
    assert message.endswith("appears twice in one object")


def test_a_group_of_more_proofs_than_a_receipt_has(client: httpx.Client) -> None:
    labels = {f"twap@l{number}": RANGE for number in range(MAX_MEMBERS - len(PROOF_TYPES))}
    error = error_of(client.post("/api/job", json=body(**labels, **{"twap@more": RANGE})), 400)
    assert error == {
        "status": "error",
        "message": f"the request asks for {MAX_MEMBERS + 1} proofs, and a group has "
        f"{MAX_MEMBERS} at most",
        "job_group_id": "bad",
    }
    # As many as may are looked at one by one.
    error = error_of(client.post("/api/job", json=body(**{**labels, "twap@l0": 1})), 400)
    assert error["message"].startswith("twap@l0: must be an object")


# Parameters


@pytest.mark.parametrize(
    ("value", "got"),
    [
        ('"1"', "the string '1'"),
        ('""', "the string ''"),
        ("true", "a boolean (true)"),
        ("false", "a boolean (false)"),
        ("null", "null"),
        ("1.0", "the number 1.0"),
        ("1e3", "the number 1000.0"),
        ("1.5", "the number 1.5"),
        ("-0.0", "the number -0.0"),
        ("[1]", "an array"),
        ('{"seconds": 1}', "an object"),
    ],
)
def test_a_timestamp_that_is_no_integer(client: httpx.Client, value: str, got: str) -> None:
    error = error_of(post(client, twap(value)), 400)
    assert error["message"] == f"twap.start_timestamp: must be an integer, got {got}"
    assert error["job_group_id"] == "bad"
    error = error_of(post(client, twap("5", value)), 400)
    assert error["message"] == f"twap.end_timestamp: must be an integer, got {got}"


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("-1", "5", "twap.start_timestamp: must be >= 0, got the integer -1"),
        ("5", "5", "twap.end_timestamp: must be after start_timestamp (5), got 5"),
        ("6", "5", "twap.end_timestamp: must be after start_timestamp (6), got 5"),
        (
            "5",
            str(2**63),
            f"twap.end_timestamp: must be <= {2**63 - 1}, got the integer {2**63}",
        ),
        (
            "-1",
            str(2**64),
            (
                "twap.start_timestamp: must be >= 0, got the integer -1; "
                f"twap.end_timestamp: must be <= {2**63 - 1}, got the integer {2**64}"
            ),
        ),
    ],
)
def test_a_range_out_of_its_limits(
    client: httpx.Client, start: str, end: str, message: str
) -> None:
    error = error_of(post(client, twap(start, end)), 400)
    assert error["message"] == message
    assert error["job_group_id"] == "bad"


@pytest.mark.parametrize("digits", [20, 400, 4000])
def test_a_long_integer_is_refused_in_its_place_and_not_repeated(
    client: httpx.Client, digits: int
) -> None:
    error = error_of(post(client, twap("1", "9" * digits)), 400)
    assert error["message"].startswith(f"twap.end_timestamp: must be <= {2**63 - 1}, got ")
    assert len(error["message"]) < 200
    assert error["job_group_id"] == "bad"
    message = error_of(post(client, twap("-" + "9" * digits)), 400)["message"]
    assert message.startswith("twap.start_timestamp: must be >= 0, got ")
    message = error_of(post(client, twap("9" * digits, "9" * digits)), 400)["message"]
    assert len(message) < 400


@pytest.mark.parametrize("name", PROOF_TYPES)
def test_every_proof_type_is_required_and_checked(client: httpx.Client, name: str) -> None:
    missing = error_of(client.post("/api/job", json=body(**{name: ...})), 400)
    assert missing["message"] == f"{name}: {REQUIRED}"
    assert missing["job_group_id"] == "bad"
    for value, got in ((None, "null"), ([], "an array"), (5, "the integer 5")):
        wrong = error_of(client.post("/api/job", json=body(**{name: value})), 400)
        assert wrong["message"] == f"{name}: must be an object, got {got}"
    empty = error_of(client.post("/api/job", json=body(**{name: {}})), 400)
    assert empty["message"] == (
        f"{name}.start_timestamp: is required; {name}.end_timestamp: is required"
    )


def test_unknown_keys_are_named_with_the_known_ones(client: httpx.Client) -> None:
    outer = error_of(client.post("/api/job", json=body(tvap=RANGE)), 400)
    assert outer["message"] == f"'tvap': is not an installed proof type (installed: {INSTALLED})"
    assert outer["job_group_id"] == "bad"
    inner = error_of(client.post("/api/job", json=body(twap=RANGE | {"step": 1})), 400)
    assert inner["message"] == "twap.'step': is unknown (known: start_timestamp, end_timestamp)"


def test_all_problems_are_reported_at_once(client: httpx.Client) -> None:
    answer = client.post(
        "/api/job",
        json={
            "job_group_id": "a b",
            "twap": {"start_timestamp": "1", "end_timestamp": -1},
            "max_return": None,
            "volatility": {},
        },
    )
    assert error_of(answer, 400)["message"].split("; ") == [
        f"job_group_id: must be {GROUP_ID_RULE}, got the string 'a b'",
        "twap.start_timestamp: must be an integer, got the string '1'",
        "twap.end_timestamp: must be >= 0, got the integer -1",
        "max_return: must be an object, got null",
        f"'volatility': is not an installed proof type (installed: {INSTALLED})",
        f"reserve_price: {REQUIRED}",
    ]
    assert answer.json()["job_group_id"] is None


def test_a_body_full_of_mistakes_gets_a_short_answer(client: httpx.Client) -> None:
    many = body() | {f"unknown_{number}": {} for number in range(60)}
    message = error_of(client.post("/api/job", json=many), 400)["message"]
    assert message.endswith("; and more")
    inside = RANGE | {f"unknown_{number}": 0 for number in range(3000)}
    message = error_of(client.post("/api/job", json=body(twap=inside)), 400)["message"]
    assert message.endswith("; and more")
    long = {"x" * 50_000: 1, "job_group_id": "y" * 10_000}
    message = error_of(client.post("/api/job", json=long), 400)["message"]
    assert "(50000 characters)" in message
    assert "(10000 characters)" in message


# Group ids


@pytest.mark.parametrize(
    "group_id",
    [
        "",
        "x" * 129,
        "x" * 10_000,
        "a b",
        "a/b",
        "a\n",
        "\n",
        "a\x00b",
        "ä",
        "٣",
        "\N{GRINNING FACE}",
        "\ud800",
        "a\udfffb",
        "a%62",
        "a+b",
        "{}",
        "'; DROP TABLE job; --",
    ],
)
def test_a_group_id_of_other_characters_or_length(client: httpx.Client, group_id: str) -> None:
    error = error_of(post(client, json.dumps(body(job_group_id=group_id)).encode()), 400)
    assert error["message"].startswith(f"job_group_id: must be {GROUP_ID_RULE}, got the string ")
    assert error["message"].isascii()
    assert error["job_group_id"] is None


@pytest.mark.parametrize(
    ("group_id", "got"),
    [(5, "the integer 5"), (None, "null"), (True, "a boolean (true)"), (["a"], "an array")],
)
def test_a_group_id_that_is_no_string(client: httpx.Client, group_id: object, got: str) -> None:
    error = error_of(client.post("/api/job", json=body(job_group_id=group_id)), 400)
    assert error["message"] == f"job_group_id: must be a string, got {got}"
    assert error["job_group_id"] is None


def test_a_missing_group_id(client: httpx.Client) -> None:
    error = error_of(client.post("/api/job", json=body(job_group_id=...)), 400)
    assert error["message"] == "job_group_id: is required"
    assert error["job_group_id"] is None


def test_lone_surrogates_anywhere(client: httpx.Client) -> None:
    content = json.dumps(body(twap={"\ud800": "\udfff", "start_timestamp": "\ud800"})).encode()
    message = error_of(post(client, content), 400)["message"]
    assert "twap.'\\ud800': is unknown" in message
    assert "twap.start_timestamp: must be an integer, got the string '\\ud800'" in message
    content = json.dumps(body() | {"\udfff": 1}).encode()
    assert error_of(post(client, content), 400)["message"].startswith("'\\udfff': is not an")


# Size and type


def chunks(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 10_000):
        yield content[start : start + 10_000]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_exactly_the_limit_is_read(client: httpx.Client, *, chunked: bool) -> None:
    content = b"[1]".ljust(LIMIT)
    answer = client.post(
        "/api/job",
        content=chunks(content) if chunked else content,
        headers={"Content-Type": "application/json"},
    )
    assert error_of(answer, 400)["message"] == "the body must be an object, got an array"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [LIMIT + 1, 2 * LIMIT, 1_000_000])
def test_a_larger_body_is_not_read(client: httpx.Client, size: int, *, chunked: bool) -> None:
    content = json.dumps(body()).encode().ljust(size)
    answer = client.post(
        "/api/job",
        content=chunks(content) if chunked else content,
        headers={"Content-Type": "application/json"},
    )
    error = error_of(answer, 413)
    assert error["message"] == "the body is larger than 65536 bytes"
    assert error["job_group_id"] is None


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/jsonx",
        "application/problem+json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "application/json; charset=",
        "json",
        ";",
        "application/" + "x" * 5000,
    ],
)
def test_another_content_type_is_refused(client: httpx.Client, content_type: str) -> None:
    content = json.dumps(body()).encode()
    error = error_of(post(client, content, **{"Content-Type": content_type}), 415)
    assert "must be" in error["message"]
    assert error["job_group_id"] is None


def test_a_body_without_a_content_type_is_refused(client: httpx.Client) -> None:
    error = error_of(client.post("/api/job", content=json.dumps(body()).encode()), 415)
    assert error["message"] == "the content type must be application/json, got none"


def test_a_compressed_body_is_refused_as_such(client: httpx.Client) -> None:
    answer = post(client, b"\x1f\x8b\x08", **{"Content-Encoding": "gzip"})
    message = error_of(answer, 415)["message"]
    assert message == "the body must not be compressed, got the encoding 'gzip'"


# Below the level of a client library


@contextmanager
def connected(base_url: str) -> Iterator[Callable[[bytes], tuple[int, dict[str, Any]]]]:
    """Open a connection; what is sent on it is answered with a status and a document."""
    parts = urlsplit(base_url)
    with socket.create_connection((parts.hostname, parts.port or 0), timeout=10) as connection:
        stream = connection.makefile("rb")

        def exchange(request: bytes) -> tuple[int, dict[str, Any]]:
            connection.sendall(request)
            status = int(stream.readline().split(b" ")[1])
            length = 0
            while (header := stream.readline()) != b"\r\n":
                if header.lower().startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            return status, json.loads(stream.read(length))

        yield exchange


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /health HTTP/9.9\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://[::1/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (POST + b"Content-Length: -5\r\n\r\n", 400),
        (POST + b"Content-Length: five\r\n\r\n", 400),
        (POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n1", 400),
        (POST + b"Content-Length: 99999999999999999999\r\n\r\n", 413),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n", 413),
        (POST + b"Expect: more\r\nContent-Length: 1\r\n\r\n1", 417),
        (POST + b"Content-Type: \xff\xfe\r\nContent-Length: 1\r\n\r\n1", 415),
        (POST + b"Content-Type: application/json\r\n\r\n", 400),
        (b"BREW /api/job HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    ],
)
def test_malformed_requests_get_the_error_object(
    base_url: str, request_bytes: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(base_url) as exchange:
        answered, error = exchange(request_bytes)
    assert answered == status
    assert set(error) == {"status", "message", "job_group_id"}
    assert (error["status"], error["job_group_id"]) == ("error", None)
    assert not [record for record in caplog.records if record.exc_info]


def test_a_connection_is_good_for_more_after_an_error(base_url: str) -> None:
    post = POST + b"Content-Type: application/json\r\n"
    with connected(base_url) as exchange:
        for content in (b"{}", b"", b"[", b"x" * 1000):
            rest = b"Content-Length: %d\r\n\r\n" % len(content) + content
            assert exchange(post + rest)[0] == 400
            assert exchange(POST + rest)[0] == 415
            assert exchange(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\n" + rest)[0] == 404
            assert exchange(b"PUT /api/job HTTP/1.1\r\nHost: localhost\r\n" + rest)[0] == 405
        chunked = b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        assert exchange(post + chunked)[0] == 400
        assert exchange(b"GET /api/job/nobody HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 404
        assert exchange(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 200


# Anything at all

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["start_timestamp", "end_timestamp"]) | st.text(), inner, max_size=4
        )
    ),
    max_leaves=10,
)
limits = st.fixed_dictionaries(
    {"start_timestamp": st.integers(0, 10) | json_values},
    optional={"end_timestamp": st.integers(0, 2**63) | json_values},
)
near_requests = st.fixed_dictionaries(
    {},
    optional={"job_group_id": st.text(max_size=3) | json_values}
    | dict.fromkeys((*PROOF_TYPES, "other"), limits | json_values),
)
bodies = (
    st.binary(max_size=200)
    | json_values.map(lambda value: json.dumps(value).encode())
    | near_requests.map(lambda value: json.dumps(value).encode())
    | st.lists(st.sampled_from(list('{}[]":,.-+0123456789eE\\u \ntwaphNIlf'))).map(
        lambda letters: "".join(letters).encode()
    )
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=bodies)
def test_any_bytes_are_a_request_or_have_problems(installed: Plugins, content: bytes) -> None:
    service = ProvingService(installed, None, None)  # type: ignore[arg-type] # parsing needs none
    try:
        request = service.parse(content)
    except RequestError as refusal:
        # The message must survive every way out.
        problems = str(refusal).encode().decode()
        assert problems
        return
    document = json.loads(content)
    assert document["job_group_id"] == request.group_id
    assert {job.proof_type for job in request.jobs} == set(PROOF_TYPES)
    for job in request.jobs:
        parameters = unstructure(job.parameters)
        assert isinstance(parameters, dict)
        assert parameters | document[job.proof_type] == parameters
        assert 0 <= job.parameters.start_timestamp < job.parameters.end_timestamp < 2**63


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(content=bodies)
def test_any_bytes_get_an_answer(client: httpx.Client, content: bytes) -> None:
    # The group id is made illegal, so that this module stores nothing.
    answer = post(client, content.replace(b'"job_group_id": "', b'"job_group_id": "!'))
    error_of(answer, 400)
